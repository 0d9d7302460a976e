//! Requests to DynamoDB: signed, sent, and repeated for as long as that can help.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leasehold_core::{Env, Error, Moment, Outcome, Result};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqsign_command_execute_tokio::TokioCommandExecute;
use reqsign_core::{Context, OsEnv, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::config::{Config, Place};
use crate::failure::{self, Fault};

/// How many requests are under way at a time; each has a connection.
const REQUESTS_MAX: usize = 64;
/// How long it may take until there is a connection.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long one attempt may take, of a request that may take longer.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// The pause before the first repetition, and the longest; each is drawn from nothing to it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(500));

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const DIGEST: HeaderName = HeaderName::from_static("x-amz-content-sha256");

type Hyper = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// What asks; one for all tasks.
pub(crate) struct Http {
    client: Hyper,
    signer: Signer<Credential>,
    pub(crate) place: Place,
    permits: Semaphore,
    pub(crate) timeout: Duration,
    pub(crate) env: Env,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(config: &Config, env: Env) -> Result<Self> {
        let place = config.place()?;
        let client = client()?;
        let context = Context::new()
            .with_file_read(TokioFileRead)
            .with_http_send(Plain { client: client.clone(), env: env.clone() })
            .with_command_execute(TokioCommandExecute)
            .with_env(OsEnv);
        let request = RequestSigner::new("dynamodb", &place.region);
        let signer = match (&config.login, &config.profile) {
            (Some((key, secret)), _) => {
                Signer::new(context, StaticCredentialProvider::new(key, secret), request)
            }
            (None, Some(profile)) => {
                let credentials = DefaultCredentialProvider::builder().no_env().with_profile(profile);
                Signer::new(context, credentials.build(), request)
            }
            (None, None) => Signer::new(context, DefaultCredentialProvider::new(), request),
        };
        let permits = Semaphore::new(REQUESTS_MAX);
        Ok(Self { client, signer, place, permits, timeout: config.timeout, env })
    }

    /// Asks, and asks again while that may help and there is time. A repetition is the same request to the letter: who
    /// asks for a change must be able to see in a refusal that the first attempt had made it.
    pub(crate) async fn ask(&self, operation: &'static str, body: &Value) -> Result<Value, Fault> {
        let body = Bytes::from(body.to_string());
        // Whoever waits here has sent nothing; what is refused for being too much leaves nothing free for more.
        let permit = self.permits.acquire().await;
        let _permit = permit.map_err(|_| Fault::Failed(failure::late(operation)))?;
        let until = self.env.now() + self.timeout;
        let mut pause = PAUSES.0;
        // Once an attempt may have succeeded, a later one that certainly has not proves nothing.
        let mut outcome = Outcome::NotApplied;
        loop {
            let (error, again) = match self.attempt(operation, body.clone(), until).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Condition(found)) => return Err(Fault::Condition(found)),
                Err(Fault::Again(error)) => (error, true),
                Err(Fault::Failed(error)) => (error, false),
            };
            if error.outcome() != Outcome::NotApplied {
                outcome = error.outcome();
            }
            let at = self.env.now() + self.part_of(pause);
            if !again || at >= until {
                return Err(Fault::Failed(
                    error.with_outcome(outcome).with("endpoint", &self.place.endpoint),
                ));
            }
            self.env.clock.sleep_until(at).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Some part of a pause: those who were refused together shall not come back together.
    pub(crate) fn part_of(&self, pause: Duration) -> Duration {
        pause.mul_f64(f64::from(self.env.rng.next() as u16) / f64::from(u16::MAX))
    }

    async fn attempt(&self, operation: &'static str, body: Bytes, until: Moment) -> Result<Value, Fault> {
        let until = until.min(self.env.now() + ATTEMPT_MAX);
        tokio::select! {
            biased;
            answer = self.once(operation, body) => answer,
            () = self.env.clock.sleep_until(until) => Err(Fault::Again(failure::late(operation))),
        }
    }

    async fn once(&self, operation: &'static str, body: Bytes) -> Result<Value, Fault> {
        let request = Request::post(&self.place.endpoint)
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .header(TARGET, format!("DynamoDB_20120810.{operation}"))
            .header(DIGEST, reqsign_core::hash::hex_sha256(&body))
            .body(())
            .map_err(|why| Fault::Failed(failure::unsigned(operation, &why.to_string())))?;
        let (mut parts, ()) = request.into_parts();
        self.signer.sign(&mut parts, None).await.map_err(|why| failure::signing(operation, why))?;
        let request = Request::from_parts(parts, Full::new(body));
        let broken = |why| Fault::Again(failure::broken(operation, why));
        let answer = self.client.request(request).await.map_err(|why| {
            Fault::Again(match why.is_connect() {
                true => failure::not_reached(operation, why),
                false => failure::broken(operation, why),
            })
        })?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        let said = serde_json::from_slice(&body);
        match said {
            Ok(said) if status.is_success() => Ok(said),
            said => Err(failure::refused(operation, status, said.unwrap_or_default(), &self.place)),
        }
    }
}

/// Plain requests, for those who look for credentials.
#[derive(Debug)]
struct Plain {
    client: Hyper,
    env: Env,
}

impl reqsign_core::HttpSend for Plain {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        let failed = |why: String| reqsign_core::Error::unexpected(why).set_retryable(true);
        let asked = async {
            let answer =
                self.client.request(request.map(Full::new)).await.map_err(|why| failed(why.to_string()))?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|why| failed(why.to_string()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::select! {
            answer = asked => answer,
            () = self.env.clock.sleep_until(self.env.now() + ATTEMPT_MAX) => Err(failed("no answer in time".into())),
        }
    }
}

fn client() -> Result<Hyper> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    // Where there are none, a server's certificate is refused, and that says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| failure::tls(&why))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    tcp.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector))
}

/// The error of a request that is not for a lock, so that nobody minds a condition.
pub(crate) fn plain(fault: Fault) -> Error {
    match fault {
        Fault::Again(error) | Fault::Failed(error) => error,
        Fault::Condition(_) => failure::odd("request", "it speaks of a condition that was not made"),
    }
}
