//! The service's side.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::refusal::Refusal;
use crate::{Memory, Sequencer};

/// The header that carries a [`Sequencer`].
pub const HEADER: HeaderName = HeaderName::from_static(NAME);

/// The same as text.
pub(super) const NAME: &str = "fencing-token";

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

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

/// [`FenceLayer`] for a service that speaks gRPC alone, as tonic's do: [`FenceLayer::grpc`].
#[derive(Clone, Debug)]
pub struct GrpcFenceLayer(FenceLayer);

/// A gRPC service behind a fence.
#[derive(Clone, Debug)]
pub struct GrpcFenced<S> {
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

    /// The same for a service that speaks gRPC alone, such as one of tonic's: a refusal is a status without a body.
    pub fn grpc(self) -> GrpcFenceLayer {
        GrpcFenceLayer(self)
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
    type Future = Answer<B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let form = |refusal: &Refusal, asked: &HeaderMap| refusal.respond(asked);
        self.layer.call(&mut self.inner, request, form)
    }
}

impl<S> Layer<S> for GrpcFenceLayer {
    type Service = GrpcFenced<S>;

    fn layer(&self, inner: S) -> GrpcFenced<S> {
        GrpcFenced { inner, layer: self.0.clone() }
    }
}

impl<S, A, B> Service<Request<A>> for GrpcFenced<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Send + 'static,
    B: Default + Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answer<B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        self.layer.call(&mut self.inner, request, |refusal, _| refusal.grpc())
    }
}

impl FenceLayer {
    /// Has a request answered by the service, inside the fence, or refused in a form.
    fn call<S, A, B>(
        &self,
        inner: &mut S,
        mut request: Request<A>,
        refuse: fn(&Refusal, &HeaderMap) -> Response<B>,
    ) -> Answer<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Send + 'static,
        B: Send + 'static,
    {
        // The one that has been polled ready is the one to call.
        let clone = inner.clone();
        let mut inner = std::mem::replace(inner, clone);
        let (who, fence) = (self.who(&request), self.fence.clone());
        Box::pin(async move {
            let who = match who {
                Ok(Some(who)) => who,
                Ok(None) => return inner.call(request).await,
                Err(refusal) => return Ok(refuse(&refusal, request.headers())),
            };
            let inside = match fence.enter(&who).await {
                Ok(inside) => inside,
                Err(stale) => return Ok(refuse(&Refusal::Stale(stale), request.headers())),
            };
            request.extensions_mut().insert(who);
            let response = inner.call(request).await;
            drop(inside);
            response
        })
    }
}
