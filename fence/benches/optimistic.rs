//! Attempts at a versioned row, the lock, and the one with the other to fall back on, in PostgreSQL, where few meet and where
//! all do: `cargo bench -p leasehold-fence --bench optimistic`.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use leasehold::{Client, Guard};
use leasehold_core::Clock;
use leasehold_core::clock::BootClock;
use leasehold_fence::optimistic;
use leasehold_fence::sql::{Dialect, Table, schema};
use leasehold_testkit::postgres::Postgres;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::{NoTls, Statement};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TASKS: u64 = 16;
const TURN: Duration = Duration::from_secs(2);
/// What is done with what was read, before it is written.
const WORK: Duration = Duration::from_millis(1);

/// One of those that write.
struct Task {
    database: tokio_postgres::Client,
    read: Statement,
    write: Statement,
    reads: Arc<AtomicU64>,
}

/// What all of them came to.
#[derive(Default)]
struct Sum {
    updates: u64,
    longest: Duration,
}

#[tokio::main]
async fn main() -> Outcome {
    let server = Postgres::builder().durable().start()?;
    server.sql(&schema::table(Dialect::Postgres, &Table::new()))?;
    server.sql("CREATE TABLE stock (id int PRIMARY KEY, version bigint, amount bigint)")?;
    server.sql("INSERT INTO stock SELECT id, 0, 0 FROM generate_series(0, 999) id")?;
    let locks = leasehold::connect(&server.url()).await?;
    for rows in [1000, 1] {
        for (way, tries) in
            [("attempts alone", u32::MAX), ("3 attempts, then the lock", 3), ("the lock alone", 0)]
        {
            let reads = Arc::new(AtomicU64::new(0));
            let mut running = Vec::new();
            for seed in 0..TASKS {
                let task = Task::connect(&server, Arc::clone(&reads)).await?;
                running.push(tokio::spawn(task.run(locks.clone(), rows, tries, seed)));
            }
            let mut sum = Sum::default();
            for task in running {
                let one = task.await??;
                sum.updates += one.updates;
                sum.longest = sum.longest.max(one.longest);
            }
            println!(
                "{TASKS} tasks, {rows} rows, {way}: {:.0} updates/s, {:.2} reads for each, the longest took {} ms",
                sum.updates as f64 / TURN.as_secs_f64(),
                reads.load(SeqCst) as f64 / sum.updates as f64,
                sum.longest.as_millis()
            );
        }
    }
    Ok(())
}

impl Task {
    async fn connect(server: &Postgres, reads: Arc<AtomicU64>) -> Outcome<Self> {
        let (database, connection) = tokio_postgres::connect(&server.url(), NoTls).await?;
        tokio::spawn(connection);
        let read = database.prepare("SELECT version, amount FROM stock WHERE id = $1").await?;
        let write = "UPDATE stock SET version = version + 1, amount = $3 WHERE id = $1 AND version = $2";
        let write = database.prepare(write).await?;
        Ok(Self { database, read, write, reads })
    }

    async fn run(mut self, locks: Client, rows: i32, tries: u32, seed: u64) -> Outcome<Sum> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut sum, begin) = (Sum::default(), BootClock.now());
        while BootClock.now().since(begin) < TURN {
            let (row, asked) = (rng.random_range(0..rows), BootClock.now());
            let lock = locks.mutex(&format!("stock/{row}"))?;
            let this = tokio::sync::Mutex::new(&mut self);
            let attempt = async || this.lock().await.attempt(row).await;
            let force = async |guard| this.lock().await.force(row, guard).await;
            optimistic(tries, &lock, attempt, force).await?;
            sum.updates += 1;
            sum.longest = sum.longest.max(BootClock.now().since(asked));
        }
        Ok(sum)
    }

    async fn attempt(&self, row: i32) -> Outcome<Option<()>> {
        self.reads.fetch_add(1, SeqCst);
        let found = self.database.query_one(&self.read, &[&row]).await?;
        let (version, amount) = (found.get::<_, i64>(0), found.get::<_, i64>(1));
        BootClock.sleep_until(BootClock.now() + WORK).await;
        let written = self.database.execute(&self.write, &[&row, &version, &(amount + 1)]).await?;
        Ok((written == 1).then_some(()))
    }

    /// Those that attempt it meanwhile do not see the row's lock before they write, and find another version then.
    async fn force(&mut self, row: i32, guard: Guard) -> Outcome {
        self.reads.fetch_add(1, SeqCst);
        let tx = Table::new().enter(&guard, self.database.transaction().await?).await?;
        let found =
            tx.query_one("SELECT version, amount FROM stock WHERE id = $1 FOR UPDATE", &[&row]).await?;
        let (version, amount) = (found.get::<_, i64>(0), found.get::<_, i64>(1));
        BootClock.sleep_until(BootClock.now() + WORK).await;
        tx.execute(&self.write, &[&row, &version, &(amount + 1)]).await?;
        tx.commit().await?;
        Ok(guard.release().await?)
    }
}
