//! What the check costs beside the same write without it, in turns within one run: `cargo bench -p leasehold-fence`.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use leasehold_core::clock::BootClock;
use leasehold_core::{Clock, Moment};
use leasehold_fence::sql::{Dialect, Table, schema};
use leasehold_fence::tower::{FenceLayer, HEADER};
use leasehold_fence::{Memory, Sequencer};
use leasehold_testkit::consul::Consul;
use leasehold_testkit::etcd::{Bare, Etcd};
use leasehold_testkit::postgres::Postgres;
use leasehold_testkit::redis::Redis;
use leasehold_testkit::zookeeper::ZooKeeper;
use redis::AsyncCommands;
use tonic::transport::Endpoint;
use tower::{Layer, ServiceExt, service_fn};
use zookeeper_client::{Acls, Client, CreateMode};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TURN: Duration = Duration::from_millis(500);
const TURNS: u32 = 8;

/// How often a thing was done, and for how long.
#[derive(Default)]
struct Count {
    done: u64,
    spent: Duration,
}

impl Count {
    /// Does it for one turn.
    async fn turn<E>(&mut self, mut once: impl AsyncFnMut() -> Result<(), E>) -> Result<(), E> {
        let begin: Moment = BootClock.now();
        loop {
            once().await?;
            self.done += 1;
            let spent = BootClock.now().since(begin);
            if spent >= TURN {
                self.spent += spent;
                return Ok(());
            }
        }
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.spent.as_secs_f64()
    }
}

fn report(what: &str, bare: &Count, fenced: &Count) {
    println!(
        "{what}: {:.0}/s bare, {:.0}/s fenced, {:.2}",
        bare.rate(),
        fenced.rate(),
        fenced.rate() / bare.rate()
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let who: Sequencer = "exclusive:34:stock".parse()?;
    service(&who).await?;
    in_redis(&who).await?;
    in_postgres(&who).await?;
    in_etcd().await?;
    in_zookeeper().await?;
    in_consul().await
}

async fn service(who: &Sequencer) -> Outcome {
    let bare = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let fenced = FenceLayer::new(Memory::new()).lock("stock").layer(bare);
    let request = || {
        let mut request = Request::new(());
        request.headers_mut().insert(HEADER, HeaderValue::from(who));
        request
    };
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without.turn(async || bare.oneshot(request()).await.map(drop)).await?;
        with.turn(async || fenced.clone().oneshot(request()).await.map(drop)).await?;
    }
    let nanos = |count: &Count| 1e9 / count.rate();
    println!(
        "a request: {:.0} ns bare, {:.0} ns more with the layer",
        nanos(&without),
        nanos(&with) - nanos(&without)
    );
    Ok(())
}

async fn in_redis(who: &Sequencer) -> Outcome {
    let server = Redis::start()?;
    let connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let mut bare = connection.clone();
    let mut fenced = leasehold_fence::redis::enter(who, connection, "stock").await?;
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without.turn(async || bare.set::<_, _, ()>("stock", "7").await).await?;
        with.turn(async || fenced.set("stock", "7").await).await?;
    }
    report("Redis, SET, one client", &without, &with);
    Ok(())
}

async fn in_postgres(who: &Sequencer) -> Outcome {
    let server = Postgres::builder().durable().start()?;
    server.sql(&schema::table(Dialect::Postgres, &Table::new()))?;
    server
        .sql("CREATE TABLE stock (id int PRIMARY KEY, left_over bigint); INSERT INTO stock VALUES (42, 0)")?;
    let (mut client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let write = client.prepare("UPDATE stock SET left_over = left_over + 1 WHERE id = 42").await?;
    let fence = Table::new();
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without
            .turn(async || {
                let tx = client.transaction().await?;
                tx.execute(&write, &[]).await?;
                tx.commit().await
            })
            .await?;
        with.turn(async || {
            let tx = fence
                .enter(who, client.transaction().await.map_err(leasehold_fence::Error::Storage)?)
                .await?;
            tx.execute(&write, &[]).await.map_err(leasehold_fence::Error::Storage)?;
            tx.commit().await.map_err(leasehold_fence::Error::Storage)
        })
        .await?;
    }
    report("PostgreSQL, a transaction with one UPDATE, one connection", &without, &with);
    Ok(())
}

/// Under a lock that is held for as long as it takes.
async fn held(url: &str) -> leasehold::Result<leasehold::Guard> {
    let locks = leasehold::connect(url).ttl(Duration::from_secs(10)).await?;
    locks.mutex("stock")?.lock().await
}

async fn in_etcd() -> Outcome {
    let server = Etcd::builder().durable().start()?;
    let guard = held(&server.url()).await?;
    let bare = Bare::connect(&server.addr().to_string()).await?;
    let channel = Endpoint::try_from(server.endpoint())?.tcp_nodelay(true).connect().await?;
    let mut fenced = leasehold_fence::etcd::Locks::new().enter(&guard, channel).await?;
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without.turn(async || bare.put("stock", "7").await).await?;
        with.turn(async || fenced.put("stock", "7").await).await?;
    }
    report("etcd, a put, one client", &without, &with);
    Ok(())
}

async fn in_zookeeper() -> Outcome {
    let server = ZooKeeper::start()?;
    let guard = held(&server.url()).await?;
    let bare = Client::connect(&server.addr().to_string()).await?;
    bare.create("/of-stock", b"0", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await?;
    let fenced = leasehold_fence::zookeeper::Locks::new().enter(&guard, bare.clone()).await?;
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without.turn(async || bare.set_data("/of-stock", b"7", None).await.map(drop)).await?;
        with.turn(async || fenced.set("/of-stock", b"7", None).await).await?;
    }
    report("ZooKeeper, data of a node, one client", &without, &with);
    Ok(())
}

async fn in_consul() -> Outcome {
    drop(rustls::crypto::ring::default_provider().install_default());
    let server = Consul::builder().durable().start()?;
    let (guard, bare) = (held(&server.url()).await?, reqwest::Client::new());
    let url = format!("http://{}", server.addr());
    let mut fenced = leasehold_fence::consul::Locks::new().enter(&guard, bare.clone(), &url).await?;
    let key = format!("{url}/v1/kv/of-stock");
    let (mut without, mut with) = (Count::default(), Count::default());
    for _ in 0..TURNS {
        without.turn(async || bare.put(&key).body("7").send().await?.bytes().await.map(drop)).await?;
        with.turn(async || fenced.set("of-stock", "7").await).await?;
    }
    report("Consul, a key, one client", &without, &with);
    Ok(())
}
