//! redis-py's Lock, in a Python process of its own with a thread for each task. Whoever finds a lock held sleeps
//! 100 ms and tries again.

use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::{Worker, python};
use redis::{Client, ConnectionAddr};
use serde::Deserialize;
use serde_json::json;

use crate::entrant::{Entrant, Role};
use crate::floor::redis::servers::{Master, Servers};
use crate::load::Load;
use crate::measure::{Measured, Waits};
use crate::site::Site;

const SCRIPT: &str = include_str!("redis_py.py");
/// How the server is passed: a password has no place among arguments, which everybody can read.
const SERVER_VARIABLE: &str = "LEASEHOLD_BENCH_SERVER";
/// What the process says when it is.
const READY: &str = "ready";
/// What it says from time to time while it works.
const BUSY: &str = "busy";

/// What it says at the end.
#[derive(Deserialize)]
struct Report {
    rate_per_s: f64,
    held: Vec<u64>,
    waits: Vec<u64>,
}

/// `None` where redis-py has no lock for such servers, or is not installed; the latter is said.
#[expect(clippy::print_stderr, reason = "who reads the figures must know which are missing")]
pub(super) fn entrant(servers: &Servers, site: &Site<'_>) -> Option<Entrant> {
    static SAID: Once = Once::new();
    let server = match servers {
        Servers::One(client) => Server::Known(client.clone()),
        Servers::Sentinel(master) => Server::Master(master.clone()),
        Servers::Cluster(_) | Servers::Many(_) => return None,
    };
    let python = python().inspect_err(|why| SAID.call_once(|| eprintln!("without redis-py: {why}"))).ok()?;
    let prefix = site.prefix();
    Some(Entrant::new("redis-py", Role::Peer, move |load| {
        let (server, python, prefix) = (server.clone(), python.clone(), prefix.clone());
        Box::pin(async move { run(&python, &server.find().await?, &prefix, load).await })
    }))
}

/// A single server, or how to find it.
#[derive(Clone)]
enum Server {
    Known(Client),
    Master(Master),
}

impl Server {
    /// How redis-py is told of it.
    async fn find(&self) -> Result<String> {
        let client = match self {
            Self::Known(client) => client.clone(),
            Self::Master(master) => master.find().await?,
        };
        let info = client.get_connection_info();
        let mut server = match info.addr() {
            ConnectionAddr::Tcp(host, port) => json!({ "host": host, "port": port }),
            ConnectionAddr::TcpTls { host, port, .. } => json!({ "host": host, "port": port, "ssl": true }),
            ConnectionAddr::Unix(path) => json!({ "unix_socket_path": path }),
            other => return Err(failed(format!("cannot be told of {other}"))),
        };
        let settings = info.redis_settings();
        server["db"] = json!(settings.db());
        server["username"] = json!(settings.username());
        server["password"] = json!(settings.password());
        Ok(server.to_string())
    }
}

fn failed(how: String) -> Error {
    Error::new(ErrorKind::Unexpected, "peer", format!("redis-py {how}"))
}

async fn run(python: &Path, server: &str, prefix: &str, load: Load) -> Result<Measured> {
    let numbers = [load.tasks as u128, load.span.as_nanos(), load.hold.as_nanos(), load.ttl.as_nanos()];
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT, &load.case.to_string(), prefix]).args(numbers.map(|n| n.to_string()));
    command.env(SERVER_VARIABLE, server);
    let mut process =
        Worker::spawn(&mut command).map_err(|e| failed("did not start".into()).with_source(e))?;
    let said = line(&mut process).await?;
    if said != READY {
        return Err(failed(format!("said `{said}` in place of `{READY}`")));
    }
    process.say("go").map_err(|e| failed("ended early".into()).with_source(e))?;
    let mut said = line(&mut process).await?;
    while said == BUSY {
        said = line(&mut process).await?;
    }
    let report: Report = serde_json::from_str(&said)
        .map_err(|e| failed(format!("reported `{said}`, which is no report")).with_source(e))?;
    let mut waits = Waits::default();
    report.waits.iter().for_each(|&nanos| waits.record(Duration::from_nanos(nanos)));
    Ok(Measured {
        rate_per_s: report.rate_per_s,
        waits,
        shares: report.held,
        requests_per_s: None,
        cpu: None,
    })
}

async fn line(process: &mut Worker) -> Result<String> {
    process.line().await.map_err(|e| failed("ended early; its errors are above".into()).with_source(e))
}
