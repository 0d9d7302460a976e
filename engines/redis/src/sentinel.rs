//! Which server is the master, by what the Sentinels say, and when that changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, Value};
use tokio::sync::Notify;

use crate::config::{Access, Address, Config};
use crate::connect;
use crate::failure;
use crate::link::Shared;

/// The pauses between two tries to reach a Sentinel.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often a Sentinel is asked that says nothing: it may not be heard any more.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// A master as one Sentinel knows it. Of two that disagree, the one with the later epoch is right.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) struct Master {
    epoch: u64,
    pub(crate) address: Address,
}

/// The master of this name: of what a majority of the Sentinels say, or all that can be reached, the latest.
///
/// # Errors
/// If no Sentinel answers, or none knows a master of this name.
pub(crate) async fn master(config: &Config, sentinels: &[Address], name: &str) -> Result<Master> {
    let mut asked: FuturesUnordered<_> = sentinels.iter().map(|s| ask(config, s, name)).collect();
    let (mut known, mut trouble) = (Vec::new(), None);
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(master) => known.push(master),
            // That the name is wrong says more than that another Sentinel is not there.
            Err(error) if trouble.as_ref().is_none_or(Error::is_transient) => trouble = Some(error),
            Err(_) => {}
        }
        if known.len() > sentinels.len() / 2 {
            break;
        }
    }
    match known.into_iter().max() {
        Some(master) => Ok(master),
        None => Err(trouble.expect("there is at least one Sentinel")),
    }
}

async fn connection(
    config: &Config,
    sentinel: &Address,
    hook: Option<connect::Hook>,
) -> Result<MultiplexedConnection> {
    let failed = |error| failure::request("connect", &format!("Sentinel {sentinel}"), error);
    let (user, password) = match &config.access.sentinel {
        Some((user, password)) => (user.clone(), Some(password.clone())),
        None => (None, None),
    };
    let access = Access { user, password, tls: config.access.tls.clone(), ..Access::default() };
    let plain = Config { access, ..config.clone() };
    let address = connect::address_of(sentinel, config.access.tls.is_some());
    let client = connect::client(&plain, address, 0).map_err(failed)?;
    let mut settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.timeout))
        .set_response_timeout(Some(config.timeout));
    if let Some(hook) = hook {
        settings = settings.set_push_sender(hook);
    }
    client.get_multiplexed_async_connection_with_config(&settings).await.map_err(failed)
}

async fn ask(config: &Config, sentinel: &Address, name: &str) -> Result<Master> {
    let mut connection = connection(config, sentinel, None).await?;
    query(&mut connection, sentinel, name).await
}

async fn query(connection: &mut MultiplexedConnection, sentinel: &Address, name: &str) -> Result<Master> {
    let unknown = || {
        Error::new(
            ErrorKind::InvalidInput,
            "connect",
            format!("the Sentinel {sentinel} knows no master `{name}`; `SENTINEL masters` lists the names"),
        )
    };
    // While a switch is under way, the first says where it leads to and the second where it comes from.
    let mut both = redis::Pipeline::with_capacity(2);
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).cmd("SENTINEL").arg("MASTER").arg(name);
    let answers = connection.send_packed_commands(&both, 0, 2).await;
    let mut answers =
        answers.map_err(|e| failure::request("connect", &format!("Sentinel {sentinel}"), e))?.into_iter();
    let text = |value: Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Value::SimpleString(text) => text,
        _ => String::new(),
    };
    let Some(Value::Array(address)) = answers.next() else { return Err(unknown()) };
    let [host, port] = <[Value; 2]>::try_from(address).map_err(|_| unknown())?;
    let port = text(port).parse().map_err(|_| unknown())?;
    let facts = answers.next().and_then(|facts| facts.into_map_iter().ok()).ok_or_else(unknown)?;
    let epoch = facts
        .map(|(key, value)| (text(key), text(value)))
        .find_map(|(key, value)| (key == "config-epoch").then(|| value.parse().ok())?)
        .unwrap_or(0);
    Ok(Master { epoch, address: Address { host: text(host), port } })
}

/// Listens to one Sentinel for as long as it runs, and notes whenever another master is announced. It is asked as
/// well: when it can be heard again after a while, and now and then.
pub(crate) async fn listen(shared: Arc<Shared>, sentinel: Address, name: String) {
    let clock = &shared.env.clock;
    let mut pause = PAUSE.0;
    loop {
        let news = Arc::new(Notify::new());
        let tell = Arc::clone(&news);
        let hook: connect::Hook = Arc::new(move |_: PushInfo| {
            tell.notify_one();
            Ok::<(), redis::aio::SendError>(())
        });
        if let Ok(mut connection) = connection(&shared.config, &sentinel, Some(hook)).await
            && connection.subscribe("+switch-master").await.is_ok()
        {
            while let Ok(master) = query(&mut connection, &sentinel, &name).await {
                pause = PAUSE.0;
                shared.announce(master);
                tokio::select! {
                    () = news.notified() => {}
                    () = clock.sleep_until(clock.now() + ASK_EVERY) => {}
                }
            }
        }
        clock.sleep_until(clock.now() + pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
