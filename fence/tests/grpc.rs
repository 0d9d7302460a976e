//! A tonic server as a fenced resource, and a tonic client that says under which lock it asks.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use leasehold_core::{Client, Env, Guard, Memory as Engine};
use leasehold_fence::tower::{AddTokenLayer, FenceLayer};
use leasehold_fence::{Memory, Sequencer};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request as Asked, Response as Answered};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

const PATH: &str = "/shop.Stock/Sell";

/// What `tonic-build` would make of a service with one method from text to text.
#[derive(Clone)]
struct Stock;

impl NamedService for Stock {
    const NAME: &'static str = "shop.Stock";
}

impl Service<Asked<Body>> for Stock {
    type Response = Answered<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answered<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Asked<Body>) -> Self::Future {
        Box::pin(
            async move { Ok(Grpc::new(ProstCodec::<String, String>::default()).unary(Sell, request).await) },
        )
    }
}

/// Says who has asked for what.
struct Sell;

impl UnaryService<String> for Sell {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let who = request.extensions().get::<Sequencer>().map(ToString::to_string);
        let said = format!("{} by {}", request.into_inner(), who.unwrap_or_default());
        Box::pin(async move { Ok(Response::new(said)) })
    }
}

/// A server on a free port, which lives as long as the test.
async fn server() -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fence = FenceLayer::new(Memory::new()).lock("stock/42").grpc();
    let serving = Server::builder().layer(fence).add_service(Stock);
    tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

/// As a generated client asks.
async fn sell<S>(channel: S) -> Result<String, Status>
where
    S: tonic::client::GrpcService<Body>,
    S::Error: Into<tonic::codegen::StdError>,
    S::ResponseBody: tonic::codegen::Body<Data = tonic::codegen::Bytes> + Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unknown(e.into().to_string()))?;
    let codec = ProstCodec::<String, String>::default();
    let answer = client.unary(Request::new("one".to_owned()), PathAndQuery::from_static(PATH), codec).await?;
    Ok(answer.into_inner())
}

/// A client whose guard speaks for it.
fn under(guard: &Guard, channel: &Channel) -> InterceptedService<Channel, AddTokenLayer> {
    InterceptedService::new(channel.clone(), AddTokenLayer::new(guard))
}

#[tokio::test]
async fn a_stale_call_is_aborted_and_told_what_was_seen() {
    let locks = Client::new(Engine::new(Env::system())).unwrap();
    let channel = server().await;
    let first = locks.mutex("stock/42").unwrap().lock().await.unwrap();
    let (old, old_token) = (under(&first, &channel), first.token());
    assert_eq!(sell(old.clone()).await.unwrap(), format!("one by exclusive:{old_token}:stock/42"));
    first.release().await.unwrap();

    let second = locks.mutex("stock/42").unwrap().lock().await.unwrap();
    let layered = AddTokenLayer::new(&second).layer(channel.clone());
    assert_eq!(sell(layered).await.unwrap(), format!("one by exclusive:{}:stock/42", second.token()));
    let refused = sell(old).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("is stale"), "{refused}");
    let told = |key| refused.metadata().get(key).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(told("fencing-token-presented"), Some(old_token.to_string()));
    assert_eq!(told("fencing-token-seen"), Some(second.token().to_string()));
}

#[tokio::test]
async fn a_call_without_a_lock_or_under_another_is_refused() {
    let locks = Client::new(Engine::new(Env::system())).unwrap();
    let channel = server().await;
    let refused = sell(channel.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("send its token"), "{refused}");
    let other = locks.mutex("stock/43").unwrap().lock().await.unwrap();
    let refused = sell(under(&other, &channel)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("under the lock `stock/42`"), "{refused}");
}
