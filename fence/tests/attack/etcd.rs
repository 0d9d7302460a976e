//! A key of etcd, written by processes under a lock in the same cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use leasehold_fence::etcd::Locks;
use leasehold_testkit::etcd::Etcd;
use serde_json::{Value as Json, json};
use tonic::transport::{Channel, Endpoint};

use crate::order::{Order, Reply, refused};
use crate::turn::connect;
use crate::{Answer, Check, Failure, Open, Storage, Target, runtime};

const KEY: &str = "stored/value";

pub(crate) struct Stored {
    channel: Channel,
    /// For what is not guarded: the gateway of JSON.
    bare: reqwest::Client,
    endpoint: String,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let server = Etcd::start()?;
    let (open, engine) = (Open::Processes("etcd", server.endpoint()), Some(server.url()));
    Ok(Target { name: "etcd", writes: 3_000, open, engine, _keeps: Box::new(server) })
}

impl Stored {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        let channel = channel(place).await?;
        Ok(Self { channel, bare: crate::http()?, endpoint: place.to_owned(), check })
    }

    async fn ask(&self, verb: &str, request: Json) -> Result<Json, Failure> {
        let url = format!("{}/v3/kv/{verb}", self.endpoint);
        let answer = self.bare.post(url).body(request.to_string()).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

async fn channel(endpoint: &str) -> Result<Channel, Failure> {
    Ok(Endpoint::try_from(endpoint.to_owned())?.tcp_nodelay(true).connect().await?)
}

impl Storage for Stored {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let Some(who) = who else {
                let key = BASE64.encode(KEY);
                return Ok(match to_write {
                    Some(value) => {
                        let put = json!({"key": key, "value": BASE64.encode(value.to_string())});
                        self.ask("put", put).await?;
                        Reply::Done
                    }
                    None => {
                        let found = self.ask("range", json!({ "key": key })).await?;
                        let value = BASE64.decode(found["kvs"][0]["value"].as_str().unwrap_or_default())?;
                        Reply::Value(String::from_utf8(value)?.parse()?)
                    }
                });
            };
            let mut entered = match Locks::new().enter(who, self.channel.clone()).await {
                Ok(entered) => entered,
                Err(error) => return refused(error),
            };
            match to_write {
                Some(value) => {
                    entered.put(KEY, value.to_string()).await.map(|()| Reply::Done).or_else(refused)
                }
                None => match entered.get(KEY).await {
                    Ok(value) => Ok(Reply::Value(String::from_utf8(value.unwrap_or_default())?.parse()?)),
                    Err(error) => refused(error),
                },
            }
        })
    }
}

/// All that can be done, while the lock is held and afterwards, under names that are spelled in another way than they are.
pub(crate) fn commands() -> Result<(), Failure> {
    let server = Etcd::start()?;
    runtime()?.block_on(async {
        let locks = connect(&server.url()).await?;
        let channel = channel(&server.endpoint()).await?;
        for name in crate::NAMES {
            let guard = locks.mutex(name)?.lock().await?;
            let mut entered = Locks::new().enter(&guard, channel.clone()).await?;
            entered.put("a", "1").await?;
            assert_eq!(entered.get("a").await?.as_deref(), Some(&b"1"[..]));
            assert!(entered.delete("a").await? && !entered.delete("a").await?);
            assert_eq!(entered.get("a").await?, None);
            guard.release().await?;
            assert!(entered.put("a", "2").await.unwrap_err().is_refusal(), "{name}");
            assert!(entered.get("a").await.unwrap_err().is_refusal() && entered.delete("a").await.is_err());
        }
        let old = locks.mutex("x")?.lock().await?;
        let entered = Locks::new().enter(&old, channel.clone()).await?;
        // A transaction of another client.
        let (contender, revision) = entered.contender();
        let txn = |value: &str| -> Result<String, Failure> {
            let key = std::str::from_utf8(contender)?;
            let mut command = server.ctl_command()?;
            command.arg("txn");
            let text = format!(
                "create({key:?}) = {revision:?}\n\nput b {value}\n\n\n",
                revision = revision.to_string()
            );
            crate::output(command, &text)
        };
        assert!(txn("3")?.starts_with("SUCCESS"));
        old.release().await?;
        assert!(txn("4")?.starts_with("FAILURE"));
        assert_eq!(server.ctl(["get", "--print-value-only", "b"])?.trim(), "3");
        Ok(())
    })
}
