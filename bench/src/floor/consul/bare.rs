//! The HTTP library, and the few requests of the recipe.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use leasehold_core::Result;
use leasehold_core::url::EngineUrl;

use super::{failed, odd};

/// Where Consul is.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    base: String,
}

impl Servers {
    /// The first server of this URL; that is also where ours goes as long as it answers.
    pub(super) fn of(url: &str) -> Self {
        let url = EngineUrl::parse(url).ok();
        let hosts = url.as_ref().map_or("", |url| url.raw()).trim_start_matches('/').to_owned();
        let first = hosts.split(',').next().unwrap_or_default().trim_end_matches('/').to_owned();
        Self { base: format!("http://{first}/v1/") }
    }
}

/// A client; clones share connections.
#[derive(Clone, Debug)]
pub(super) struct Bare {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Bare {
    pub(super) fn new(servers: Servers) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { http: Client::builder(TokioExecutor::new()).build(tcp), base: servers.base }
    }

    /// The body of an answer, and the index to wait from.
    async fn ask(&self, method: Method, path: &str, body: &'static str) -> Result<(Bytes, u64)> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).map_err(failed)?;
        let answer = self.http.request(request).await.map_err(failed)?;
        let index =
            answer.headers().get("x-consul-index").and_then(|index| index.to_str().ok()?.parse().ok());
        let body = answer.into_body().collect().await.map_err(failed)?.to_bytes();
        Ok((body, index.unwrap_or(0)))
    }

    /// A session that nobody need renew.
    pub(super) async fn session(&self) -> Result<String> {
        let body = "{\"LockDelay\":\"0s\",\"Checks\":[],\"NodeChecks\":[]}";
        let (made, _) = self.ask(Method::PUT, "session/create", body).await?;
        let made: serde_json::Value = serde_json::from_slice(&made).map_err(failed)?;
        made["ID"].as_str().map(str::to_owned).ok_or_else(|| odd("no session"))
    }

    pub(super) async fn destroy(&self, session: &str) -> Result<()> {
        self.ask(Method::PUT, &format!("session/destroy/{session}"), "").await.map(drop)
    }

    /// Whether the key is this session's now.
    pub(super) async fn acquire(&self, key: &str, session: &str) -> Result<bool> {
        self.yes_or_no(&format!("kv/{key}?acquire={session}&flags=3304740253564472344")).await
    }

    /// Whether the key was this session's.
    pub(super) async fn release(&self, key: &str, session: &str) -> Result<bool> {
        self.yes_or_no(&format!("kv/{key}?release={session}&flags=3304740253564472344")).await
    }

    async fn yes_or_no(&self, path: &str) -> Result<bool> {
        let (said, _) = self.ask(Method::PUT, path, "x").await?;
        match &*said {
            b"true" | b"true\n" => Ok(true),
            b"false" | b"false\n" => Ok(false),
            other => Err(odd(&String::from_utf8_lossy(other))),
        }
    }

    /// Whether somebody has the key, once it has changed since this index; and the index of that.
    pub(super) async fn taken(&self, key: &str, index: u64) -> Result<(bool, u64)> {
        let (entries, index) = self.ask(Method::GET, &format!("kv/{key}?index={index}&wait=15s"), "").await?;
        let entries: serde_json::Value = serde_json::from_slice(&entries).map_err(failed)?;
        Ok((entries[0]["Session"].is_string(), index))
    }

    pub(super) async fn delete(&self, prefix: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("kv/{prefix}?recurse"), "").await.map(drop)
    }
}
