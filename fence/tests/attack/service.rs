//! A value behind an HTTP service.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::routing::get;
use axum::{Router, extract::State};
use http::{HeaderValue, Request, StatusCode};
use leasehold_fence::Memory;
use leasehold_fence::tower::{FenceLayer, HEADER};
use tower::ServiceExt;

use crate::order::{LOCK, Order, Reply, Value};
use crate::{Answer, Check, Failure, Open, Storage, Target};

struct Client {
    service: Router,
    check: Check,
}

/// The service yields before it does anything: somebody else's turn, if it can be.
pub(crate) fn target() -> Result<Target, Failure> {
    let value = Arc::new(Mutex::new(Value::default()));
    let routes = get(async |State(value): State<Arc<Mutex<Value>>>| {
        tokio::task::yield_now().await;
        value.lock().unwrap().to_string()
    })
    .put(async |State(value): State<Arc<Mutex<Value>>>, body: String| {
        tokio::task::yield_now().await;
        *value.lock().unwrap() = body.parse().unwrap();
    });
    let layer = FenceLayer::new(Memory::new()).lock(LOCK).optional();
    let service = Router::new().route("/", routes).layer(layer).with_state(value);
    let open = move |check| -> Box<dyn Storage> { Box::new(Client { service: service.clone(), check }) };
    Ok(Target {
        name: "HTTP",
        writes: 100_000,
        open: Open::Tasks(Box::new(open)),
        engine: None,
        _keeps: Box::new(()),
    })
}

impl Storage for Client {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let mut request = match to_write {
                Some(value) => Request::put("/").body(Body::from(value.to_string()))?,
                None => Request::get("/").body(Body::empty())?,
            };
            if let Some(who) = who {
                request.headers_mut().insert(HEADER, HeaderValue::from(who));
            }
            let response = self.service.clone().oneshot(request).await?;
            match (response.status(), to_write) {
                (StatusCode::CONFLICT, _) => Ok(Reply::Stale),
                (StatusCode::OK, Some(_)) => Ok(Reply::Done),
                (StatusCode::OK, None) => {
                    let body = to_bytes(response.into_body(), 100).await?;
                    Ok(Reply::Value(std::str::from_utf8(&body)?.parse()?))
                }
                (other, _) => Err(other.to_string().into()),
            }
        })
    }
}
