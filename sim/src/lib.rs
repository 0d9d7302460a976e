//! Deterministic simulation of leasehold: the real client on simulated time, with faults by seed.
//!
//! # What is simulated
//! The client, its keeper, the locks and their guards are the real code of `leasehold-core`, and so are the ledger
//! and the inbox of the engine. Around them, everything is drawn from the seed:
//!
//! * **time**: it jumps from event to event; which of the ready tasks runs next is drawn ([`executor`]);
//! * **clocks**: each node's and the engine's start anywhere and run fast or slow, changing as they go, together
//!   just within the stated bound ([`DRIFT_PER_MILLE`](leasehold_core::client::rules::DRIFT_PER_MILLE)); wall
//!   clocks jump ([`clock`]);
//! * **network**: delays before and after the effect, lost requests, lost replies (the caller is told after the
//!   transport's time-out, or hangs), requests delivered again at any time or re-sent by the transport, requests
//!   turned away; hints late, doubled, lost, without a token, or none at all ([`network`]);
//! * **engine**: it restarts; what is in flight is lost, queues and tokens are durable;
//! * **nodes**: they pause (also beyond every TTL), crash and start again;
//! * **tasks**: they lock in every way there is, with long and short TTLs, at-least and at-most holds, drop futures
//!   after some polls or some time, hold beyond pauses, drop or release, revoke each other's claims and shut their
//!   client down ([`world`]);
//! * **quorum**: in worlds of their own (`--quorum`) the engine is the real quorum engine over 3 to 5 such
//!   engines, some of which cannot be reached from some nodes. In some of those, leases end early: their clocks jump,
//!   or engines start again without their data. Tokens must be right even then ([`check::tokens`], [`check::fence`]).
//!
//! When the faults have ended, every task must get in once more everywhere.
//!
//! # What is checked
//! [`Rule`](check::Rule) has the list; each file in [`check`] says how. A run is one seed; every seed is run
//! twice, and both runs must have the same events. That a checker notices anything is shown by [`mutation`]: each
//! defect there must be caught, and the same seeds without it must pass.
//!
//! # What is not
//! Threads: the code runs on one, so data races are for other tools. Disks: the engine's durability is assumed.
//! Foreign engines: the conformance suite runs against those. Evicting a holder by hand, which breaks exclusion by
//! design. Clocks beyond the stated bound, where there is one engine.
//!
//! The case that a quorum cannot rule out, two holders at once, is among the four that [`walk`] plays to be looked at.
//!
//! # How to replay
//! A failing seed prints the one command that shows its trace:
//! ```text
//! cargo run -p leasehold-sim --release -- --seed N --trace
//! ```
//! A seed means the same world as long as the code that draws it is the same.

pub mod campaign;
pub mod check;
pub mod clock;
pub mod dice;
pub mod executor;
pub mod mutation;
pub mod network;
pub mod trace;
pub mod walk;
pub mod world;
