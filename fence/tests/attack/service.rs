//! A value behind an HTTP service: asked within the process, and over HTTP by processes of their own.

use std::net::{SocketAddr, TcpListener};
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

/// A client over HTTP.
pub(crate) struct Remote {
    client: reqwest::Client,
    url: String,
    check: Check,
}

/// A server, until it is dropped.
struct Served(Option<tokio::runtime::Runtime>);

/// The service yields before it does anything: somebody else's turn, if it can be.
fn service() -> Router {
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
    Router::new().route("/", routes).layer(layer).with_state(value)
}

pub(crate) fn target() -> Result<Target, Failure> {
    let service = service();
    let open = move |check| -> Box<dyn Storage> { Box::new(Client { service: service.clone(), check }) };
    Ok(Target {
        name: "HTTP, in the process",
        writes: 100_000,
        open: Open::Tasks(Box::new(open)),
        engine: None,
        _keeps: Box::new(()),
    })
}

pub(crate) fn served() -> Result<Target, Failure> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}/", listener.local_addr()?);
    let runtime = crate::runtime()?;
    runtime.spawn(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, service()).await.unwrap();
    });
    let open = Open::Processes("http", url);
    Ok(Target { name: "HTTP", writes: 20_000, open, engine: None, _keeps: Box::new(Served(Some(runtime))) })
}

impl Drop for Served {
    /// Also where no runtime may be waited for.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Remote {
    pub(crate) fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { client: crate::http()?, url: place.to_owned(), check })
    }
}

impl Storage for Remote {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let mut request = match to_write {
                Some(value) => self.client.put(&self.url).body(value.to_string()),
                None => self.client.get(&self.url),
            };
            if let Some(who) = who {
                request = request.header(HEADER, HeaderValue::from(who));
            }
            let response = request.send().await?;
            match (response.status(), to_write) {
                (StatusCode::CONFLICT, _) => Ok(Reply::Stale),
                (StatusCode::OK, Some(_)) => Ok(Reply::Done),
                (StatusCode::OK, None) => Ok(Reply::Value(response.text().await?.parse()?)),
                (other, _) => Err(other.to_string().into()),
            }
        })
    }
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
