//! Requests to whichever server answers, and no more than that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leasehold_core::{Env, Result};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::config::Config;
use crate::failure::{self, Broken};
use crate::tls;

/// What is not sent as it is in a path: all that means something there.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// The same in the value of a parameter.
const VALUE: &AsciiSet = &PATH.add(b'&').add(b'+').add(b'=').add(b'/');

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");

/// The part of a path that names a key.
pub(crate) fn in_path(key: &str) -> impl fmt::Display {
    utf8_percent_encode(key, PATH)
}

/// What a server has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Of a read: to wait until something is newer.
    pub(crate) index: u64,
    pub(crate) body: Bytes,
}

/// What asks; one for all tasks.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// What every request's address begins with, a server each.
    bases: Vec<String>,
    /// Which of them was the last to answer.
    current: AtomicUsize,
    token: Option<HeaderValue>,
    /// Datacenter and namespace, as they are put behind a path.
    place: String,
    pub(crate) timeout: Duration,
    pub(crate) env: Env,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("bases", &self.bases).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(config: &Config, env: Env) -> Result<Arc<Self>> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.timeout));
        tcp.enforce_http(false);
        let tls = tls::settings(config.tls.as_ref())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let token = config.token.as_deref().map(|token| {
            let mut value = HeaderValue::from_str(token).map_err(|_| failure::odd_token())?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Arc::new(Self {
            client,
            bases: config.servers.iter().map(|server| format!("{scheme}://{server}/v1/")).collect(),
            current: AtomicUsize::new(0),
            token: token.transpose()?,
            place: place(config),
            timeout: config.timeout,
            env,
        }))
    }

    /// Asks whichever server can be reached, and waits for its answer for as long as it may take.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Broken> {
        self.ask_patiently(method, path, body, Duration::ZERO).await
    }

    /// The same for a question whose answer may be so much later.
    pub(crate) async fn ask_patiently(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Answer, Broken> {
        let body = Bytes::from(body);
        let mut tried = 0;
        loop {
            let server = self.current.load(Ordering::Relaxed);
            let deadline = self.env.now() + wait + self.timeout;
            let asked = self.once(&self.bases[server], method.clone(), path, body.clone());
            let answer = tokio::select! {
                biased;
                answer = asked => answer,
                () = self.env.clock.sleep_until(deadline) => Err(Broken::TimedOut),
            };
            tried += 1;
            match answer {
                // A server that knows of no leader may be cut off from those that have one.
                Ok(answer) if failure::knows_no_leader(&answer) => {
                    self.leave(server);
                    if tried >= self.bases.len() {
                        return Ok(answer);
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(broken) => {
                    self.leave(server);
                    if !matches!(broken, Broken::NotReached(_)) || tried >= self.bases.len() {
                        return Err(broken);
                    }
                }
            }
        }
    }

    /// Turns to the next server, unless somebody has.
    fn leave(&self, server: usize) {
        let next = (server + 1) % self.bases.len();
        // Whoever was faster has done the same.
        let _ = self.current.compare_exchange(server, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn once(&self, base: &str, method: Method, path: &str, body: Bytes) -> Result<Answer, Broken> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let address = match self.place.as_str() {
            "" => format!("{base}{path}"),
            place => format!("{base}{path}{mark}{place}"),
        };
        let mut request = Request::builder().method(method).uri(address);
        if let Some(token) = &self.token {
            request = request.header(TOKEN, token);
        }
        let request = request.body(Full::new(body)).map_err(|why| Broken::NotReached(Box::new(why)))?;
        let answer = self.client.request(request).await.map_err(|why| match why.is_connect() {
            true => Broken::NotReached(Box::new(why)),
            false => Broken::Cut(Box::new(why)),
        })?;
        let index = answer.headers().get(INDEX).and_then(|index| index.to_str().ok()?.parse().ok());
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|why| Broken::Cut(Box::new(why)))?;
        Ok(Answer { status, index: index.unwrap_or(0), body: body.to_bytes() })
    }
}

fn place(config: &Config) -> String {
    let part = |name: &str, value: &Option<String>| {
        value.as_deref().map(|value| format!("{name}={}", utf8_percent_encode(value, VALUE)))
    };
    let parts = [part("dc", &config.dc), part("ns", &config.ns)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("&")
}
