//! Every workload once, on the memory engine, with everybody who enters it. No figure is checked for its size:
//! only what must hold on any machine.

use std::sync::Arc;
use std::time::Duration;

use leasehold_bench::{Case, Entrant, Load, Ours, Role, Row, rounds, runtime};
use leasehold_core::{Env, Memory};

fn load(case: Case, tasks: usize, millis: u64) -> Load {
    let (span, ttl) = (Duration::from_millis(millis), Duration::from_secs(30));
    Load { case, tasks, hold: Duration::ZERO, span, ttl }
}

fn ours(env: &Env) -> Entrant {
    Ours::entrant(Arc::new(Memory::new(env.clone())), env)
}

/// Runs a load by everybody; the row, and how many runs there were.
fn run(load: &Load, entrants: &[Entrant]) -> (Row, u32) {
    let mut steps = 0;
    let row = runtime().unwrap().block_on(async {
        rounds::run("memory", load, 2, entrants, &mut |step| {
            assert_eq!(step.done, steps);
            steps += 1;
        })
        .await
        .unwrap()
    });
    (row, steps)
}

#[test]
fn pair() {
    let (row, runs) = run(&load(Case::Pair, 3, 100), &[ours(&Env::system())]);
    assert_eq!(runs, 2);
    assert!(row.rate_per_s.unwrap() > 0.0);
    // Each pair is one join and one leave.
    assert!(row.requests_per_s.unwrap() >= row.rate_per_s.unwrap());
    assert!(row.p50_us <= row.p99_us && row.p99_us.unwrap() <= row.wait_max_us.unwrap() * 1.01);
    assert!((1.0 / 3.0..=1.0).contains(&row.jain.unwrap()));
    assert_eq!((row.floor_per_s, row.ratio, row.beside.len()), (None, None, 0));
}

#[test]
fn handoff() {
    let held = Load { hold: Duration::from_millis(1), ..load(Case::Handoff, 3, 200) };
    for load in [load(Case::Handoff, 3, 100), held] {
        let (row, _) = run(&load, &[ours(&Env::system())]);
        assert!(row.rate_per_s.unwrap() > 0.0);
        assert!((1.0 / 3.0..=1.0).contains(&row.jain.unwrap()));
    }
}

#[test]
fn one_task_hands_over_to_nobody() {
    let (row, _) = run(&load(Case::Handoff, 1, 20), &[ours(&Env::system())]);
    assert_eq!(row.rate_per_s, Some(0.0));
}

#[test]
fn renew() {
    let load = Load { ttl: Duration::from_secs(3), ..load(Case::Renew, 100, 1) };
    let (row, runs) = run(&load, &[ours(&Env::system())]);
    assert_eq!(runs, 1);
    let (renewals, requests) = (row.rate_per_s.unwrap(), row.requests_per_s.unwrap());
    assert!(requests > 0.0 && renewals > requests, "renewals go together: {renewals}/s in {requests}/s");
    assert_eq!(row.jain, None);
}

#[cfg(feature = "floors")]
#[test]
fn floors_and_peers() {
    use leasehold_bench::{Site, floor, peers};

    let env = Env::system();
    let scratch = tempfile::tempdir().unwrap();
    for engine in ["memory", "sqlite"] {
        let site = Site { url: engine, folder: scratch.path(), env: &env };
        for case in [Case::Pair, Case::Handoff] {
            let mut entrants = vec![ours(&env)];
            entrants.extend(floor::of(&site, case).unwrap());
            entrants.extend(peers::of(&site, case).unwrap());
            assert_eq!(entrants.iter().filter(|e| e.role() == Role::Floor).count(), 1, "{engine} {case}");
            let (row, runs) = run(&load(case, 2, 20), &entrants);
            assert_eq!(runs as usize, 2 * entrants.len());
            assert!(row.floor_per_s.is_some(), "{engine} {case}");
            assert_eq!(row.peers.len(), 2, "{engine} {case}");
            assert_eq!(row.beside.len(), 3, "{engine} {case}");
        }
    }
}

#[test]
fn a_lock_that_does_not_lock_is_noticed() {
    use leasehold_bench::{Locker, Seat};
    use leasehold_core::Result;

    struct Open;
    impl Locker for Open {
        type Seat = Self;

        async fn seat(&self, _name: &str) -> Result<Self> {
            Ok(Self)
        }

        fn requests(&self) -> Option<u64> {
            None
        }
    }
    impl Seat for Open {
        async fn acquire(&mut self) -> Result<()> {
            Ok(())
        }

        async fn release(&mut self) -> Result<()> {
            Ok(())
        }
    }

    let env = Env::system();
    let held = Load { hold: Duration::from_millis(1), ..load(Case::Handoff, 2, 1000) };
    let broken = Entrant::of("open", Role::Ours, &env, Open);
    let error = runtime().unwrap().block_on(broken.run(held)).unwrap_err();
    assert!(error.to_string().contains("the lock is broken"), "{error}");
}
