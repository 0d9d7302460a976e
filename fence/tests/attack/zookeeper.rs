//! A node of ZooKeeper, written by processes under a lock in the same ensemble.

use leasehold_fence::zookeeper::Locks;
use leasehold_testkit::zookeeper::ZooKeeper;
use zookeeper_client::{Acls, Client, CreateMode, Error as ZooError};

use crate::order::{Order, Reply, Value, refused};
use crate::turn::connect;
use crate::{Answer, Check, Failure, Open, Storage, Target, runtime};

const NODE: &str = "/stored";

pub(crate) struct Stored {
    client: Client,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let server = ZooKeeper::builder().fast().start()?;
    let (open, engine) = (Open::Processes("zookeeper", server.addr().to_string()), Some(server.url()));
    Ok(Target { name: "ZooKeeper", writes: 3_000, open, engine, _keeps: Box::new(server) })
}

impl Stored {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        let client = Client::connect(place).await?;
        let anybody = CreateMode::Persistent.with_acls(Acls::anyone_all());
        match client.create(NODE, Value::default().to_string().as_bytes(), &anybody).await {
            Ok(_) | Err(ZooError::NodeExists) => Ok(Self { client, check }),
            Err(error) => Err(error.into()),
        }
    }
}

impl Storage for Stored {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let Some(who) = who else {
                return Ok(match to_write {
                    Some(value) => {
                        self.client.set_data(NODE, value.to_string().as_bytes(), None).await?;
                        Reply::Done
                    }
                    None => Reply::Value(text(self.client.get_data(NODE).await?.0)?.parse()?),
                });
            };
            let entered = match Locks::new().enter(who, self.client.clone()).await {
                Ok(entered) => entered,
                Err(error) => return refused(error),
            };
            match to_write {
                Some(value) => {
                    let written = entered.set(NODE, value.to_string().as_bytes(), None).await;
                    written.map(|()| Reply::Done).or_else(refused)
                }
                None => match entered.get(NODE).await {
                    Ok(found) => Ok(Reply::Value(text(found.ok_or("the node is gone")?.0)?.parse()?)),
                    Err(error) => refused(error),
                },
            }
        })
    }
}

fn text(data: Vec<u8>) -> Result<String, Failure> {
    Ok(String::from_utf8(data)?)
}

/// All that can be done, while the lock is held and afterwards, under names that are spelled in another way than they are,
/// and with locks in another place than the root.
pub(crate) fn commands() -> Result<(), Failure> {
    let server = ZooKeeper::builder().fast().start()?;
    runtime()?.block_on(async {
        let client = Client::connect(&server.addr().to_string()).await?;
        for (chroot, under) in [("", Locks::new()), ("/some/where", Locks::under("/some/where"))] {
            let locks = connect(&format!("{}{chroot}", server.url())).await?;
            for name in crate::NAMES {
                let guard = locks.mutex(name)?.lock().await?;
                let entered = under.enter(&guard, client.clone()).await?;
                let mut writer = entered.writer()?;
                writer.add_create("/a", b"1", &CreateMode::Persistent.with_acls(Acls::anyone_all()))?;
                entered.commit(writer).await?;
                let (data, stat) = entered.get("/a").await?.ok_or("it was made")?;
                entered.set("/a", b"2", Some(stat.version)).await?;
                let raced = entered.set("/a", b"3", Some(stat.version)).await.unwrap_err();
                assert!(!raced.is_refusal() && data == b"1", "{raced}");
                guard.release().await?;
                assert!(entered.set("/a", b"late", None).await.unwrap_err().is_refusal(), "{name}");
                assert!(entered.get("/a").await.unwrap_err().is_refusal());
                assert_eq!(client.get_data("/a").await?.0, b"2");
                client.delete("/a", None).await?;
            }
        }
        let locks = connect(&server.url()).await?;
        let guard = locks.mutex("x")?.lock().await?;
        let entered = Locks::new().enter(&guard, client.clone()).await?;
        assert!(entered.get("/none").await?.is_none());
        let missing = entered.set("/none", b"1", None).await.unwrap_err();
        assert!(missing.to_string().contains(&ZooError::NoNode.to_string()), "{missing}");
        Ok(())
    })
}
