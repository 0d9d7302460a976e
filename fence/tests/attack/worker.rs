//! Writers: tasks of this process, or processes of their own that can be killed.

use std::process::ExitCode;

use leasehold_testkit::Worker;

use crate::order::{Order, Reply};
use crate::sqlite::Sqlite;
use crate::{Check, Failure, Open, Storage, Target, runtime};
use crate::{column, consul, etcd, file, mysql, object, postgres, redis, service, triggers, turn, zookeeper};

/// The first argument of a worker.
pub(crate) const ARGUMENT: &str = "worker";

/// How often a task that is killed is polled before.
const POLLS_BEFORE_DEATH: u32 = 3;

/// One writer.
pub(crate) enum Writer {
    Task(Box<dyn Storage>),
    Process(Worker),
}

impl Writer {
    pub(crate) fn new(target: &Target, check: Check) -> Result<Self, Failure> {
        Ok(match &target.open {
            Open::Tasks(open) => Self::Task(open(check)),
            Open::Processes(kind, place) => {
                Self::Process(Worker::reexec([ARGUMENT, kind, place, &format!("{check:?}")])?)
            }
        })
    }

    /// Orders, and waits for the answer.
    pub(crate) async fn ask(&mut self, order: Order) -> Result<Reply, Failure> {
        match self {
            Self::Task(storage) => storage.obey(order).await,
            Self::Process(worker) => {
                worker.say(&order.to_string())?;
                worker.line().await?.parse()
            }
        }
    }

    /// Orders, and kills it somewhere on the way: nobody knows what it did.
    pub(crate) async fn ask_and_kill(mut self, order: Order) -> Result<(), Failure> {
        match &mut self {
            Self::Task(storage) => {
                let mut answer = storage.obey(order);
                for _ in 0..POLLS_BEFORE_DEATH {
                    if futures_util::poll!(&mut answer).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Self::Process(worker) => {
                worker.say(&order.to_string())?;
                tokio::task::yield_now().await;
                worker.kill()?;
            }
        }
        Ok(())
    }
}

/// What a worker process does: it obeys lines, until there are no more.
pub(crate) fn work(kind: &str, place: &str, check: &str) -> ExitCode {
    let check = match check {
        "Always" => Check::Always,
        "Writes" => Check::Writes,
        _ => Check::Never,
    };
    let obeyed = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut storage = open(kind, place, check).await?;
            let mut orders = leasehold_testkit::die_with_parent();
            let mut held = Vec::new();
            while let Some(line) = orders.recv().await {
                let reply = match line.parse()? {
                    Order::Hold(url) => turn::hold(&url).await.map(|guard| {
                        held.push(guard);
                        Reply::Held(held[0].token().get())
                    }),
                    order => storage.obey(order).await,
                };
                match reply {
                    Ok(reply) => println!("{reply}"),
                    Err(error) => println!("failed: {}", error.to_string().replace('\n', " ")),
                }
            }
            Ok(())
        })
    });
    match obeyed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The storages that processes can share.
async fn open(kind: &str, place: &str, check: Check) -> Result<Box<dyn Storage>, Failure> {
    Ok(match kind {
        "http" => Box::new(service::Remote::open(place, check)?),
        "sqlite" => Box::new(Sqlite::open(place, check)?),
        "file" => Box::new(file::Stored::open(place, check)?),
        "postgres" => Box::new(postgres::Native::open(place, check).await?),
        "postgres-sqlx" => Box::new(postgres::Sqlx::open(place, check).await?),
        "mysql" => Box::new(mysql::Native::open(place, check)?),
        "mysql-sqlx" => Box::new(mysql::Sqlx::open(place, check).await?),
        "redis" => Box::new(redis::Stored::open(place, check).await?),
        "redis-cluster" => Box::new(redis::Stored::open_cluster(place, check).await?),
        "sqlite-column" | "postgres-column-sqlx" | "mysql-column" => {
            Box::new(column::Row::open(kind, place, check).await?)
        }
        "sqlite-triggers" | "postgres-triggers" | "mysql-triggers" => {
            Box::new(triggers::Row::open(kind, place, check).await?)
        }
        "object-local" => Box::new(object::Stored::open_local(place, check)?),
        "s3" => Box::new(object::Stored::open_s3(place, check)?),
        "etcd" => Box::new(etcd::Stored::open(place, check).await?),
        "zookeeper" => Box::new(zookeeper::Stored::open(place, check).await?),
        "consul" => Box::new(consul::Stored::open(place, check)?),
        _ => return Err(format!("`{kind}` is no storage").into()),
    })
}
