//! A key of Consul, written by processes under a lock in the same datacenter.

use leasehold_fence::Sequencer;
use leasehold_fence::consul::Locks;
use leasehold_testkit::consul::Consul;
use serde_json::json;

use crate::order::{Order, Reply, refused};
use crate::turn::connect;
use crate::{Answer, Check, Failure, Open, Storage, Target, runtime};

const KEY: &str = "stored/value";

pub(crate) struct Stored {
    client: reqwest::Client,
    place: String,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let server = Consul::start()?;
    let open = Open::Processes("consul", format!("http://{}", server.addr()));
    // A session that ends without letting go would keep its lock from all for 15 seconds more.
    let engine = Some(format!("{}?lock_delay=0s", server.url()));
    Ok(Target { name: "Consul", writes: 1_000, open, engine, _keeps: Box::new(server) })
}

impl Stored {
    pub(crate) fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { client: crate::http()?, place: place.to_owned(), check })
    }
}

impl Storage for Stored {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let Some(who) = who else {
                let url = format!("{}/v1/kv/{KEY}?raw&consistent", self.place);
                return Ok(match to_write {
                    Some(value) => {
                        let put = self.client.put(url).body(value.to_string()).send().await?;
                        put.error_for_status()?;
                        Reply::Done
                    }
                    None => {
                        let found = self.client.get(url).send().await?;
                        let text = if found.status() == 404 { String::new() } else { found.text().await? };
                        Reply::Value(text.parse()?)
                    }
                });
            };
            let mut entered = match Locks::new().enter(who, self.client.clone(), &self.place).await {
                Ok(entered) => entered,
                Err(error) => return refused(error),
            };
            match to_write {
                Some(value) => {
                    entered.set(KEY, value.to_string()).await.map(|()| Reply::Done).or_else(refused)
                }
                None => match entered.get(KEY).await {
                    Ok(value) => Ok(Reply::Value(String::from_utf8(value.unwrap_or_default())?.parse()?)),
                    Err(error) => refused(error),
                },
            }
        })
    }
}

/// All that can be done, while the lock is held and afterwards, under names that are spelled in another way than they are;
/// and by one reader among several, whose place moves when another goes.
pub(crate) fn commands() -> Result<(), Failure> {
    let server = Consul::start()?;
    runtime()?.block_on(async {
        let (client, url) = (crate::http()?, format!("http://{}", server.addr()));
        let around = format!("{}?prefix=locks/&suffix=/it", server.url());
        for (engine, at) in [(server.url(), Locks::new()), (around, Locks::around("locks/", "/it"))] {
            let locks = connect(&engine).await?;
            for name in crate::NAMES {
                let guard = locks.mutex(name)?.lock().await?;
                let mut entered = at.enter(&guard, client.clone(), &url).await?;
                entered.set("a", "1").await?;
                assert_eq!(entered.get("a").await?.as_deref(), Some(&b"1"[..]));
                entered.set("a", "").await?;
                assert_eq!(entered.get("a").await?.as_deref(), Some(&b""[..]));
                entered.delete("a").await?;
                assert_eq!(entered.get("a").await?, None);
                guard.release().await?;
                assert!(entered.set("a", "late").await.unwrap_err().is_refusal(), "{name}");
                assert!(
                    entered.get("a").await.unwrap_err().is_refusal() && entered.delete("a").await.is_err()
                );
            }
        }

        let locks = connect(&server.url()).await?;
        let lock = locks.rwlock("x")?;
        let (one, other) = (lock.read().await?, lock.read().await?);
        let mut entered = Locks::new().enter(&other, client.clone(), &url).await?;
        let late = Sequencer::from(&one);
        one.release().await?;
        entered.set("b", "1").await?;
        let cas = json!({"KV": {"Verb": "cas", "Key": "b", "Index": 1, "Value": ""}});
        let raced = entered.transact(&[json!({"KV": {"Verb": "get", "Key": "b"}}), cas]).await.unwrap_err();
        assert!(!raced.is_refusal() && raced.to_string().contains("index"), "{raced}");
        let told = entered.transact(&[json!({"KV": {"Verb": "get", "Key": "b"}})]).await?;
        assert_eq!((told.len(), told[0]["KV"]["Key"].as_str()), (1, Some("b")));
        assert!(Locks::new().enter(&late, client, &url).await.unwrap_err().is_refusal());
        other.release().await?;
        assert!(entered.set("b", "2").await.unwrap_err().is_refusal());
        Ok(())
    })
}
