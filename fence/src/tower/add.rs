//! The client's side.

use std::task::{Context, Poll};

use http::{HeaderValue, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::HEADER;
use crate::Sequencer;

/// Adds the header of a guard to each request of a client.
#[derive(Clone, Debug)]
pub struct AddTokenLayer {
    header: HeaderValue,
}

/// A client whose requests carry the token of a guard.
#[derive(Clone, Debug)]
pub struct AddToken<S> {
    inner: S,
    header: HeaderValue,
}

impl AddTokenLayer {
    /// For as long as the guard is held, and afterwards: then the service refuses.
    pub fn new(who: impl Into<Sequencer>) -> Self {
        Self { header: header(&who.into()) }
    }
}

impl<S> Layer<S> for AddTokenLayer {
    type Service = AddToken<S>;

    fn layer(&self, inner: S) -> AddToken<S> {
        AddToken { inner, header: self.header.clone() }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for AddToken<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.headers_mut().insert(HEADER, self.header.clone());
        self.inner.call(request)
    }
}

/// As an interceptor of tonic's clients: `StockClient::with_interceptor(channel, AddTokenLayer::new(&guard))`.
#[cfg(feature = "tonic")]
impl tonic::service::Interceptor for AddTokenLayer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        let value = tonic::metadata::MetadataValue::try_from(self.header.as_bytes());
        request.metadata_mut().insert(super::fence::NAME, value.expect("a sequencer is visible ASCII"));
        Ok(request)
    }
}

/// For clients that are built of something else.
impl From<&Sequencer> for HeaderValue {
    fn from(who: &Sequencer) -> Self {
        header(who)
    }
}

fn header(who: &Sequencer) -> HeaderValue {
    HeaderValue::try_from(who.to_string()).expect("a sequencer is visible ASCII")
}
