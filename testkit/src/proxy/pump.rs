//! One way of one connection.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_core::Clock;
use leasehold_core::clock::{BootClock, Moment};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

use super::{Fate, Lane, Rule, Rules};

/// How much is read at once, at most.
const PIECE: usize = 16 * 1024;

/// How many pieces may be under way; then the sender waits, as it does for a network.
const PIECES: usize = 256;

/// Some bytes and when they may arrive; none at all for the end of the stream.
type Piece = (Moment, Vec<u8>);

/// Whether something has vanished.
#[derive(Debug)]
pub(super) struct Lost {
    /// On this way of this connection.
    here: Cell<bool>,
    /// Anywhere in the proxy.
    anywhere: Arc<AtomicBool>,
}

impl Lost {
    pub(super) fn new(anywhere: &Arc<AtomicBool>) -> Self {
        Self { here: Cell::new(false), anywhere: anywhere.clone() }
    }

    fn note(&self) {
        self.here.set(true);
        self.anywhere.store(true, Ordering::SeqCst);
    }
}

/// Carries bytes until the stream ends. An error means that the connection is to be reset.
pub(super) async fn pump(
    lane: Lane,
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    rules: watch::Receiver<Rules>,
    dice: Xoshiro256PlusPlus,
    lost: Lost,
) -> io::Result<()> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let mut healed = rules.clone();
    tokio::select! {
        done = async { tokio::try_join!(take(lane, from, rules.clone(), dice, sender, &lost), give(lane, to, rules, pieces, &lost)) } => {
            done.map(drop)
        }
        error = hole(lane, &mut healed, &lost) => Err(error),
    }
}

/// Resolves when bytes no longer vanish and some have.
async fn hole(lane: Lane, rules: &mut watch::Receiver<Rules>, lost: &Lost) -> io::Error {
    match rules.wait_for(|rules| rules.of(lane).fate != Fate::Vanish && lost.here.get()).await {
        Ok(_) => io::ErrorKind::ConnectionReset.into(),
        Err(_) => gone(),
    }
}

/// Reads, and says when each piece may arrive.
async fn take(
    lane: Lane,
    mut from: ReadHalf<'_>,
    rules: watch::Receiver<Rules>,
    mut dice: Xoshiro256PlusPlus,
    sender: mpsc::Sender<Piece>,
    lost: &Lost,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut last = Moment::BOOT;
    loop {
        let read = from.read(&mut buffer).await;
        let rule = rules.borrow().of(lane);
        let length = match read {
            // Whether it closed or broke off: in a black hole nobody hears of it.
            Ok(0) | Err(_) if rule.fate == Fate::Vanish => {
                lost.note();
                return std::future::pending().await;
            }
            Ok(_) if rule.fate == Fate::Vanish => {
                lost.note();
                continue;
            }
            read => read?,
        };
        let jitter = Duration::from_nanos(dice.random_range(0..=rule.jitter.as_nanos() as u64));
        last = last.max(BootClock.now() + rule.delay + jitter) + passage(rule, length);
        if sender.send((last, buffer[..length].to_vec())).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

/// How long so many bytes take to pass.
fn passage(rule: Rule, bytes: usize) -> Duration {
    rule.bytes_per_second.map_or(Duration::ZERO, |limit| {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / u64::from(limit.max(1)))
    })
}

/// Writes each piece when it is due and nothing holds it back.
async fn give(
    lane: Lane,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    mut pieces: mpsc::Receiver<Piece>,
    lost: &Lost,
) -> io::Result<()> {
    while let Some((due, bytes)) = pieces.recv().await {
        let slow = |rules: &Rules| rules.of(lane) != Rule { fate: rules.of(lane).fate, ..Rule::default() };
        tokio::select! {
            () = BootClock.sleep_until(due) => {}
            // Without delay or limit nothing is late any more.
            _ = rules.wait_for(|rules| !slow(rules)) => {}
        }
        let fate = rules
            .wait_for(|rules| rules.of(lane).fate != Fate::Wait)
            .await
            .map_err(|_| gone())?
            .of(lane)
            .fate;
        match (fate, bytes.is_empty()) {
            (Fate::Vanish, _) => lost.note(),
            (_, true) => return to.shutdown().await,
            (_, false) => to.write_all(&bytes).await?,
        }
    }
    Ok(())
}

fn gone() -> io::Error {
    io::Error::other("the proxy is gone")
}
