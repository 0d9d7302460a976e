//! The same requests to the ledger and to the engine, and the same answers.

mod common;

use common::*;
use leasehold_core::claim::Manner;
use leasehold_core::ledger::Ledger;
use leasehold_core::{Claim, ClaimId, Meta, Name, Standing};
use std::time::Duration;

/// The answer without what the ledger cannot know: the number of the token.
fn shape(standing: Standing, base: &mut Option<u64>, at: u64) -> String {
    match standing {
        Standing::Held { token, ttl } => {
            let base = *base.get_or_insert(token.get() - at);
            format!("held #{} for {ttl:?}", token.get() - base)
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn random_requests_are_answered_as_the_ledger_answers_them() {
    for seed in 1..=8u64 {
        let rig = Rig::new();
        let engine = rig.open().await;
        let mut ledger = Ledger::new(0);
        let (mut base, mut random) = (None, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut tokens = 0;
        for step in 0..400 {
            rig.clock.advance(Duration::from_millis(draw(400)));
            let now = rig.clock.moment();
            let name = Name::new(["a", "b"][draw(2) as usize]).unwrap();
            let id = ClaimId(1 + u128::from(draw(12)));
            let ttl = Duration::from_millis(100 + 100 * draw(20));
            let key = leasehold_core::ClaimRef { name: name.clone(), id };
            let (ours, theirs) = match draw(4) {
                0 => {
                    let claim = Claim {
                        name,
                        id,
                        capacity: 3,
                        weight: 1 + draw(3) as u32,
                        ttl,
                        at_least: Duration::from_millis([0, 0, 300][draw(3) as usize]),
                        raise: None,
                        meta: Meta::default(),
                    };
                    (engine.join_one(claim.clone()).await, ledger.join(now, &claim))
                }
                1 | 2 => (
                    engine.refresh_one(&key, ttl).await,
                    ledger.refresh(now, &leasehold_core::Refresh { claim: key, ttl, raise: None }),
                ),
                _ => {
                    let manner = [Manner::Release, Manner::Revoke, Manner::Evict][draw(3) as usize];
                    engine.leave_one(&key, manner).await;
                    ledger.leave(now, &leasehold_core::Leave { claim: key, manner });
                    (Standing::Gone, Standing::Gone)
                }
            };
            if let Standing::Held { token, .. } = &theirs {
                tokens = token.get();
            }
            let theirs = shape(theirs, &mut Some(0), 0);
            assert_eq!(shape(ours, &mut base, tokens), theirs, "seed {seed}, step {step}");
            drop(ledger.hand_overs());
        }
    }
}
