//! An axum service as a fenced resource, over real HTTP and in the process.

use axum::body::{Body, to_bytes};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Request, Response, StatusCode};
use leasehold_core::{Client, Env, Memory as Engine};
use leasehold_fence::tower::{AddTokenLayer, FenceLayer, HEADER};
use leasehold_fence::{Memory, Sequencer};
use tower::{Layer, ServiceExt};

fn service() -> Router {
    let layer = FenceLayer::new(Memory::new()).lock_of(|uri| uri.path().trim_start_matches('/').to_owned());
    Router::new()
        .route("/stock/42", post(|Extension(who): Extension<Sequencer>| async move { who.to_string() }))
        .layer(layer)
}

fn ask(token: Option<&str>, form: &str) -> Request<Body> {
    let mut request = Request::post("/stock/42").header("content-type", form);
    if let Some(token) = token {
        request = request.header(HEADER, token);
    }
    request.body(Body::empty()).unwrap()
}

async fn answer(service: &Router, token: Option<&str>) -> (StatusCode, String) {
    read(service.clone().oneshot(ask(token, "text/plain")).await.unwrap()).await
}

async fn read(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stale_request_is_refused_with_a_problem_that_says_why() {
    let service = service();
    let (new, old) = ("exclusive:34:stock/42", "exclusive:33:stock/42");
    assert_eq!(answer(&service, Some(new)).await, (StatusCode::OK, new.to_owned()));
    let response = service.clone().oneshot(ask(Some(old), "text/plain")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let (status, body) = read(response).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((problem["presented"].as_str(), problem["seen"].as_str()), (Some("33"), Some("34")));
    assert_eq!(problem["status"], 409);
}

#[tokio::test]
async fn what_is_not_a_token_of_this_lock_is_refused() {
    let service = service();
    for (token, status, word) in [
        (None, StatusCode::PRECONDITION_REQUIRED, "send its token"),
        (Some("34"), StatusCode::BAD_REQUEST, "looks like"),
        (Some("exclusive:34:stock/43"), StatusCode::BAD_REQUEST, "under the lock `stock/42`"),
    ] {
        let (got, body) = answer(&service, token).await;
        assert_eq!(got, status, "{body}");
        assert!(body.contains(word), "{body}");
    }
}

#[tokio::test]
async fn who_has_no_token_may_pass_where_that_is_said() {
    let layer = FenceLayer::new(Memory::new()).optional();
    let service = Router::new().route("/stock/42", post(async || "done")).layer(layer);
    assert_eq!(answer(&service, None).await.0, StatusCode::OK);
    assert_eq!(answer(&service, Some("nonsense")).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn grpc_is_answered_in_its_own_form() {
    let service = service();
    answer(&service, Some("exclusive:34:stock/42")).await;
    for (token, code) in [(Some("exclusive:33:stock/42"), "10"), (None, "9"), (Some("34"), "3")] {
        let response = service.clone().oneshot(ask(token, "application/grpc+proto")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], code);
        assert!(!response.headers()["grpc-message"].is_empty());
    }
}

#[tokio::test]
async fn a_client_with_the_layer_is_let_in_until_the_next_holder_comes() {
    let locks = Client::new(Engine::new(Env::system())).unwrap();
    let layer = FenceLayer::new(Memory::new()).lock("x");
    let service = Router::new().route("/", get(async || "done")).layer(layer);
    let request = || Request::get("/").body(Body::empty()).unwrap();

    let first = locks.mutex("x").unwrap().lock().await.unwrap();
    let old = AddTokenLayer::new(&first).layer(service.clone());
    assert_eq!(old.clone().oneshot(request()).await.unwrap().status(), StatusCode::OK);
    first.release().await.unwrap();
    let second = locks.mutex("x").unwrap().lock().await.unwrap();
    let new = AddTokenLayer::new(&second).layer(service);
    assert_eq!(new.oneshot(request()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(old.oneshot(request()).await.unwrap().status(), StatusCode::CONFLICT);
}
