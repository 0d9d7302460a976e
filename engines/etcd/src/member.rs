//! One member of the cluster, connected to: requests go out with what it must know of who asks.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::{Stream, stream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::messages::{AuthenticateRequest, Call};
use crate::watch::Watches;

/// Answers may be as long as etcd lets them be: a session of many locks is.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) address: String,
    grpc: Grpc<Channel>,
    token: RwLock<Option<Token>>,
    watches: Mutex<Option<Watches>>,
}

/// What the server knows us by after we have said who we are.
type Token = MetadataValue<Ascii>;

impl Member {
    pub(crate) fn new(address: &str, channel: Channel) -> Self {
        Self {
            address: address.to_owned(),
            grpc: Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
            token: RwLock::default(),
            watches: Mutex::default(),
        }
    }

    /// The token that requests go out with now.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says who we are, unless somebody has since this token was ours.
    pub(crate) async fn log_in(&self, login: &(String, String), stale: Option<&Token>) -> Result<(), Status> {
        if self.token().as_ref() != stale {
            return Ok(());
        }
        let (name, password) = login.clone();
        // A token that is over would be refused before the password is looked at.
        let token = match self.send_with(None, AuthenticateRequest { name, password }).await {
            Ok(answer) => {
                answer.token.parse().map_err(|_| Status::internal("a token that cannot be sent"))?
            }
            // Then anybody may do anything.
            Err(status) if status.message() == "etcdserver: authentication is not enabled" => return Ok(()),
            Err(status) => return Err(status),
        };
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    /// Asks once.
    pub(crate) async fn send<C: Call>(&self, request: C) -> Result<C::Answer, Status> {
        if C::STREAMED {
            let mut answers = self.stream(stream::iter([request])).await?;
            return answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended"));
        }
        self.send_with(self.token(), request).await
    }

    async fn send_with<C: Call>(&self, token: Option<Token>, request: C) -> Result<C::Answer, Status> {
        let (mut grpc, request) = (self.grpc.clone(), dress(token, request));
        grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
        let codec = ProstCodec::<C, C::Answer>::default();
        Ok(grpc.unary(request, PathAndQuery::from_static(C::PATH), codec).await?.into_inner())
    }

    /// Opens a stream of requests and answers.
    pub(crate) fn stream<C: Call, S: Stream<Item = C> + Send + 'static>(
        &self,
        requests: S,
    ) -> impl Future<Output = Result<Streaming<C::Answer>, Status>> + Send + use<C, S> {
        let (mut grpc, requests) = (self.grpc.clone(), dress(self.token(), requests));
        async move {
            grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
            let codec = ProstCodec::<C, C::Answer>::default();
            Ok(grpc.streaming(requests, PathAndQuery::from_static(C::PATH), codec).await?.into_inner())
        }
    }

    /// The watches on this connection.
    pub(crate) fn watches(&self) -> MutexGuard<'_, Option<Watches>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dress<T>(token: Option<Token>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    // A member that has lost its cluster says so at once, also to those who watch.
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    if let Some(token) = token {
        request.metadata_mut().insert("token", token);
    }
    request
}
