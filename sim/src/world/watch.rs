//! Which guards are valid when, by true time: looked at after every poll of their node, for only then can a
//! deadline have changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use leasehold_core::{ClaimId, Clock, Lease, Moment};

use crate::check::history::Grant;
use crate::check::{Rule, Verdict, Violation};
use crate::clock::SimClock;
use crate::executor::{Executor, NodeId, lock};
use crate::trace::CallId;
use crate::world::plan::Plan;
use crate::world::want::Want;

/// A guard that is out.
struct Live {
    grant: usize,
    lease: Lease,
    deadline: Moment,
    /// The end of its at-most hold.
    ends: Moment,
    /// It may be lost early: its client shuts down.
    shut: bool,
}

#[derive(Default)]
struct Inner {
    grants: Vec<Grant>,
    /// By node.
    live: Vec<Vec<Live>>,
    /// Claims that an operator has revoked, without the bits by which a quorum tells its tries apart.
    revoked: BTreeSet<u128>,
}

/// The watch. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Watch {
    executor: Executor,
    clocks: Arc<[SimClock]>,
    verdict: Verdict,
    calm: bool,
    /// Leases may end early.
    lossy: bool,
    inner: Arc<Mutex<Inner>>,
}

/// Ends the watch over one guard when it is dropped: just before the guard is let go.
pub struct Watched {
    watch: Watch,
    node: NodeId,
    grant: usize,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.ended(self.node, self.grant);
    }
}

impl Watch {
    /// A watch over so many nodes.
    pub fn new(executor: &Executor, clocks: Arc<[SimClock]>, verdict: &Verdict, plan: &Plan) -> Self {
        let live = clocks.iter().map(|_| Vec::new()).collect();
        let inner = Arc::new(Mutex::new(Inner { live, ..Inner::default() }));
        Self {
            executor: executor.clone(),
            clocks,
            verdict: verdict.clone(),
            calm: plan.is_calm(),
            lossy: plan.is_lossy(),
            inner,
        }
    }

    /// All guards that have been handed out.
    pub fn grants(&self) -> Vec<Grant> {
        lock(&self.inner).grants.clone()
    }

    /// A guard has just been handed out.
    pub fn begins(&self, node: NodeId, call: CallId, want: &Want, lease: &Lease) -> Watched {
        let (now, clock) = (self.executor.now(), &self.clocks[node]);
        let deadline = lease.deadline();
        if !lease.is_valid() {
            let late = clock.now().since(deadline);
            self.violated(
                Rule::HandedOutValid,
                format!("call {call} is handed a guard {late:?} after its deadline"),
            );
        }
        let mut inner = lock(&self.inner);
        let grant = inner.grants.len();
        inner.grants.push(Grant {
            call,
            claim: lease.id(),
            node,
            resource: want.resource,
            weight: want.weight,
            capacity: want.kind.capacity(),
            token: lease.token(),
            spans: vec![(now, clock.course().true_at(deadline).max(now))],
            at_least: !want.at_least.is_zero(),
        });
        let ends = want.at_most.map_or(Moment::NEVER, |most| clock.now() + most);
        inner.live[node].push(Live { grant, lease: lease.clone(), deadline, ends, shut: false });
        drop(inner);
        self.look(node);
        Watched { watch: self.clone(), node, grant }
    }

    /// Looks at all guards of a node.
    pub fn look(&self, node: NodeId) {
        let (now, clock) = (self.executor.now(), &self.clocks[node]);
        let mut inner = lock(&self.inner);
        let Inner { grants, live, revoked } = &mut *inner;
        for live in &mut live[node] {
            let grant = &mut grants[live.grant];
            let last = grant.spans.last_mut().expect("a grant has a span from the beginning");
            if !live.lease.is_valid() {
                if now < last.1 {
                    last.1 = now;
                    if !live.shut && !self.lossy && !revoked.contains(&(grant.claim.0 >> 16)) {
                        let left = live.deadline.since(clock.now());
                        let what =
                            format!("call {} loses its guard {left:?} before its deadline", grant.call);
                        self.violated(Rule::NotLostEarly, what);
                    }
                }
                continue;
            }
            let deadline = live.lease.deadline();
            if deadline < live.deadline {
                self.violated(Rule::NotLostEarly, format!("a deadline of call {} goes back", grant.call));
            }
            if deadline > live.ends {
                self.violated(Rule::AtMost, format!("call {} may hold beyond its at-most", grant.call));
            }
            live.deadline = deadline;
            let until = clock.course().true_at(deadline);
            if now < last.1 {
                last.1 = until;
            } else {
                grant.spans.push((now, until));
            }
        }
    }

    /// Whether a guard is over, by its node's clock.
    fn ended(&self, node: NodeId, grant: usize) {
        let now = self.executor.now();
        let mut inner = lock(&self.inner);
        let Inner { grants, live, revoked } = &mut *inner;
        let Some(at) = live[node].iter().position(|l| l.grant == grant) else { return };
        let live = live[node].swap_remove(at);
        let grant = &mut grants[grant];
        let last = grant.spans.last_mut().expect("a grant has a span from the beginning");
        if now < last.1 {
            last.1 = now;
        } else if self.calm && live.ends == Moment::NEVER && !revoked.contains(&(grant.claim.0 >> 16)) {
            self.violated(Rule::Kept, format!("call {} was not renewed in time", grant.call));
        }
    }

    /// The client of these guards shuts down.
    pub fn shut(&self, node: NodeId) {
        lock(&self.inner).live[node].iter_mut().for_each(|live| live.shut = true);
    }

    /// An operator revokes a claim.
    pub fn revoked(&self, claim: ClaimId) {
        lock(&self.inner).revoked.insert(claim.0 >> 16);
    }

    fn violated(&self, rule: Rule, what: String) {
        self.verdict.violated(Violation::at(self.executor.now(), rule, what));
    }
}
