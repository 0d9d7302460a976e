//! A key of Redis, and one of a cluster, written by processes.

use leasehold_fence::redis::{Entered, Script, enter};
use leasehold_testkit::redis::{Cluster, Redis};
use redis::AsyncCommands;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;

use crate::order::{Order, Reply, refused, sequencer};
use crate::{Answer, Check, Failure, Open, Storage, Target, runtime};

const KEY: &str = "value:{x}";

pub(crate) struct Stored<C> {
    connection: C,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let server = Redis::start()?;
    let open = Open::Processes("redis", server.url());
    Ok(Target { name: "Redis", writes: 20_000, open, engine: None, _keeps: Box::new(server) })
}

pub(crate) fn cluster() -> Result<Target, Failure> {
    let cluster = Cluster::start()?;
    let nodes: Vec<String> = cluster.nodes().iter().map(Redis::url).collect();
    let open = Open::Processes("redis-cluster", nodes.join(","));
    Ok(Target { name: "Redis Cluster", writes: 3_000, open, engine: None, _keeps: Box::new(cluster) })
}

impl Stored<MultiplexedConnection> {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        let connection = redis::Client::open(place)?.get_multiplexed_async_connection().await?;
        Ok(Self { connection, check })
    }
}

impl Stored<ClusterConnection> {
    pub(crate) async fn open_cluster(place: &str, check: Check) -> Result<Self, Failure> {
        let client = redis::cluster::ClusterClient::new(place.split(',').collect::<Vec<_>>())?;
        Ok(Self { connection: client.get_async_connection().await?, check })
    }
}

impl<C: ConnectionLike + Clone + Send + Sync> Storage for Stored<C> {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let mut connection = self.connection.clone();
            let Some(who) = who else {
                return Ok(match to_write {
                    Some(value) => {
                        let () = connection.set(KEY, value.to_string()).await?;
                        Reply::Done
                    }
                    None => Reply::Value(
                        connection.get::<_, Option<String>>(KEY).await?.unwrap_or_default().parse()?,
                    ),
                });
            };
            let mut entered = match enter(who, connection, KEY).await {
                Ok(entered) => entered,
                Err(error) => return refused(error),
            };
            let answer = match to_write {
                Some(value) => entered.set(KEY, value.to_string()).await.map(|()| Reply::Done),
                None => match entered.get::<Option<String>>(KEY).await {
                    Ok(text) => Ok(Reply::Value(text.unwrap_or_default().parse()?)),
                    Err(error) => Err(error),
                },
            };
            answer.or_else(refused)
        })
    }
}

/// All commands, before and after a later holder has come.
pub(crate) fn commands() -> Result<(), Failure> {
    let server = Redis::start()?;
    runtime()?.block_on(async {
        let connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
        let mut old =
            enter(sequencer(1, leasehold_core::Mode::Exclusive), connection.clone(), "a{x}").await?;
        old.set("a{x}", "1").await?;
        old.hset("h{x}", "field", 2).await?;
        assert_eq!(old.command::<i64>("HGET", "h{x}", "field").await?, 2);
        assert!(old.del("h{x}").await? && !old.del("h{x}").await?);
        old.command::<()>("SET", "a{x}", ("1", "PX", 60_000)).await?;
        let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1]) + #KEYS + #ARGV");
        assert_eq!(old.script::<i64>(&add, &["a{x}"], 5).await?, 8);
        // Its own error is no refusal.
        let wrong = old.command::<()>("HGET", "a{x}", "field").await.unwrap_err();
        assert!(wrong.stale().is_none() && wrong.to_string().contains("WRONGTYPE"), "{wrong}");

        let mut new =
            enter(sequencer(9_007_199_254_740_990, leasehold_core::Mode::Exclusive), connection, "a{x}")
                .await?;
        is_refused(old.set("a{x}", "late").await);
        is_refused(old.hset("h{x}", "field", "late").await);
        is_refused(old.del("a{x}").await);
        is_refused(old.get::<String>("a{x}").await);
        is_refused(old.script::<i64>(&add, &["a{x}"], 5).await);
        assert_eq!(new.get::<i64>("a{x}").await?, 6);
        elsewhere(&mut new).await;
        Ok(())
    })
}

fn is_refused<T: std::fmt::Debug>(answer: Result<T, leasehold_fence::Error<redis::RedisError>>) {
    assert_eq!(answer.unwrap_err().stale().unwrap().seen, 9_007_199_254_740_990);
}

/// A key of another slot is refused before anything is sent.
async fn elsewhere(entered: &mut Entered<MultiplexedConnection>) {
    let error = entered.set("b{y}", "1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key `b{y}` does not have the hash tag `x` that was entered with; enter again for it"
    );
}
