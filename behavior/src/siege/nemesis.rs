//! Who makes trouble: one member at a time, by a seed, so that a majority is always there or about to be.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::ensemble::Ensemble;

/// What is done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Fault {
    /// It is killed (-9), and started again later.
    Kill,
    /// It stands still (SIGSTOP), and goes on later.
    Pause,
    /// The others do not hear it, nor it them, for a while.
    CutOff,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) kills: usize,
    pub(crate) pauses: usize,
    pub(crate) cuts: usize,
    /// How many of them hit the leader.
    pub(crate) leaders: usize,
}

/// How long there is peace between two deeds, and how long each lasts, in milliseconds.
const PEACE_MS: std::ops::Range<u64> = 1_500..4_000;
const TROUBLE_MS: std::ops::Range<u64> = 500..3_000;

/// Makes trouble until it is told to stop, which is when the sender is dropped; then everybody is well again.
pub(crate) fn rage(
    ensemble: &Arc<dyn Ensemble>,
    faults: &[Fault],
    seed: u64,
    stop: &Receiver<()>,
) -> io::Result<Deeds> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut deeds = Deeds::default();
    let wait =
        |ms| !matches!(stop.recv_timeout(Duration::from_millis(ms)), Err(RecvTimeoutError::Disconnected));
    while wait(rng.random_range(PEACE_MS)) {
        let Some(&fault) = faults.choose(&mut rng) else { continue };
        // Mostly the leader, if there is one: that is where it hurts.
        let anyone = rng.random_range(0..ensemble.members().len());
        let leader = ensemble.leader().ok();
        let victim = leader.filter(|_| rng.random_bool(0.7)).unwrap_or(anyone);
        deeds.leaders += usize::from(leader == Some(victim));
        let span = rng.random_range(TROUBLE_MS);
        strike(&**ensemble, fault, victim, &mut deeds, || wait(span))?;
    }
    Ok(deeds)
}

/// One deed, and its end.
fn strike(
    ensemble: &dyn Ensemble,
    fault: Fault,
    victim: usize,
    deeds: &mut Deeds,
    wait: impl FnOnce() -> bool,
) -> io::Result<()> {
    let members = ensemble.members();
    let member = members[victim];
    match fault {
        Fault::Kill => {
            deeds.kills += 1;
            member.kill()?;
            wait();
            member.launch()?;
            member.await_ready()
        }
        Fault::Pause => {
            deeds.pauses += 1;
            member.pause()?;
            wait();
            member.resume()
        }
        Fault::CutOff => {
            if ensemble.cut_off(victim)? {
                deeds.cuts += 1;
                wait();
                ensemble.join_again(victim)?;
            }
            Ok(())
        }
    }
}
