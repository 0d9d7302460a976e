//! The service's side.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::refusal::Refusal;
use crate::{Memory, Sequencer};

/// The header that carries a [`Sequencer`].
pub const HEADER: HeaderName = HeaderName::from_static("fencing-token");

type LockOf = Arc<dyn Fn(&http::Uri) -> String + Send + Sync>;

/// Makes a service a fenced resource: stale requests are refused.
#[derive(Clone)]
pub struct FenceLayer {
    fence: Memory,
    lock: Option<LockOf>,
    optional: bool,
}

/// A service behind a fence.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    inner: S,
    layer: FenceLayer,
}

impl FenceLayer {
    /// Every request must carry a token. Its lock is the one that it names, so say which it must be, with
    /// [`lock`](Self::lock) or [`lock_of`](Self::lock_of), unless you know your clients.
    pub fn new(fence: Memory) -> Self {
        Self { fence, lock: None, optional: false }
    }

    /// The one lock that all is under.
    #[must_use]
    pub fn lock(self, name: &str) -> Self {
        let name = name.to_owned();
        self.lock_of(move |_| name.clone())
    }

    /// Which lock a request must be under, by what it asks for.
    #[must_use]
    pub fn lock_of(mut self, lock: impl Fn(&http::Uri) -> String + Send + Sync + 'static) -> Self {
        self.lock = Some(Arc::new(lock));
        self
    }

    /// Lets requests without a token pass, unfenced: for the time in which clients learn to send one.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Under which lock a request comes; `None` if it needs none.
    fn who<B>(&self, request: &Request<B>) -> Result<Option<Sequencer>, Refusal> {
        let Some(header) = request.headers().get(HEADER) else {
            return if self.optional { Ok(None) } else { Err(Refusal::Missing) };
        };
        let who = parse(header).map_err(Refusal::Malformed)?;
        match &self.lock {
            Some(lock) if lock(request.uri()) != who.name().as_str() => {
                Err(Refusal::OtherLock { presented: who.name().to_string(), expected: lock(request.uri()) })
            }
            _ => Ok(Some(who)),
        }
    }
}

fn parse(header: &HeaderValue) -> leasehold_core::Result<Sequencer> {
    // What is no text is no sequencer either, and is told so.
    header.to_str().unwrap_or_default().parse()
}

impl fmt::Debug for FenceLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceLayer").field("optional", &self.optional).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for FenceLayer {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, layer: self.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for Fenced<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Send + 'static,
    B: From<String> + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        // The one that has been polled ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (who, fence) = (self.layer.who(&request), self.layer.fence.clone());
        Box::pin(async move {
            let who = match who {
                Ok(Some(who)) => who,
                Ok(None) => return inner.call(request).await,
                Err(refusal) => return Ok(refusal.respond(request.headers())),
            };
            let inside = match fence.enter(&who).await {
                Ok(inside) => inside,
                Err(stale) => return Ok(Refusal::Stale(stale).respond(request.headers())),
            };
            request.extensions_mut().insert(who);
            let response = inner.call(request).await;
            drop(inside);
            response
        })
    }
}
