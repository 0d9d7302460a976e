//! What is told of a walk-through: its lines, and what there is to draw, all of it from what was heard while it was played.

use std::collections::BTreeMap;

use leasehold_core::ClaimId;
use leasehold_core::observe::What;
use serde::{Serialize, Serializer};

use super::Walk;
use super::stage::{A, B, Holding, Stage, name};
use crate::executor::{NodeId, True, lock, nanos};
use crate::trace::{Event, Seen, Speaker, Told};

/// A walk-through as it was played.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Which one.
    pub walk: &'static str,
    /// What it is about, in a line.
    pub title: &'static str,
    /// What keeps the lock, and how far away it is.
    pub setting: String,
    /// The time to live.
    #[serde(rename = "ttl_ms", serialize_with = "millis")]
    pub ttl: True,
    /// How many nodes keep the lock.
    pub nodes: usize,
    /// How long a request to a node and its answer take.
    #[serde(rename = "latency_ms", serialize_with = "millis")]
    pub latency: True,
    /// What is worth remembering of it.
    pub figures: Vec<Figure>,
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// What lasted.
    pub spans: Vec<Span>,
    /// What was sent.
    pub messages: Vec<Message>,
    /// When it ends.
    #[serde(rename = "ends_ms", serialize_with = "millis")]
    pub ends: True,
}

/// A number with its name.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// The number.
    #[serde(flatten)]
    pub value: Value,
    /// What it is.
    pub says: String,
}

/// What kind of number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// How long, in nanoseconds.
    #[serde(rename = "ms", serialize_with = "millis")]
    Span(u64),
    /// When.
    #[serde(rename = "at_ms", serialize_with = "millis")]
    At(True),
    /// How many, or which.
    Number(u64),
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// When.
    #[serde(rename = "at_ms", serialize_with = "millis")]
    pub at: True,
    /// To whom.
    pub who: Who,
    /// What, in words.
    pub what: String,
}

/// Who is on the stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    /// Nobody of these: the network, the clocks.
    World,
    /// A client.
    Client(NodeId),
    /// A node, from 1; the only one is 0.
    Node(usize),
    /// Several nodes, from one to another, at the same time.
    Nodes(usize, usize),
    /// What the lock protects.
    Storage,
}

/// Something that lasted.
#[derive(Clone, Debug, Serialize)]
pub struct Span {
    /// Who.
    pub who: Who,
    /// From when.
    #[serde(rename = "from_ms", serialize_with = "millis")]
    pub from: True,
    /// Until when.
    #[serde(rename = "to_ms", serialize_with = "millis")]
    pub to: True,
    /// What.
    pub what: Lasts,
}

/// What lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasts {
    /// A client waits.
    Waits,
    /// It holds, and may believe it.
    Holds,
    /// Its time is over, and it has not looked yet.
    Overdue,
    /// Its process stands still.
    Paused,
    /// Its process is no more.
    Dead,
    /// A node keeps the lock for A.
    LeaseOfA,
    /// A node keeps the lock for B.
    LeaseOfB,
}

/// A request to a node.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// Who asks.
    pub from: Who,
    /// Whom.
    pub to: Who,
    /// For what.
    pub verb: &'static str,
    /// When it left.
    #[serde(rename = "sent_ms", serialize_with = "millis")]
    pub sent: True,
    /// When it arrived.
    #[serde(rename = "applied_ms", serialize_with = "maybe_millis")]
    pub applied: Option<True>,
    /// When its answer did.
    #[serde(rename = "answered_ms", serialize_with = "maybe_millis")]
    pub answered: Option<True>,
}

impl Figure {
    pub(super) fn span(name: &'static str, nanos: u64, says: impl Into<String>) -> Self {
        Self { name, value: Value::Span(nanos), says: says.into() }
    }

    pub(super) fn time(name: &'static str, at: True, says: impl Into<String>) -> Self {
        Self { name, value: Value::At(at), says: says.into() }
    }

    pub(super) fn number(name: &'static str, number: u64, says: impl Into<String>) -> Self {
        Self { name, value: Value::Number(number), says: says.into() }
    }
}

impl Value {
    /// As people read it.
    pub fn text(self) -> String {
        match self {
            Self::Span(nanos) | Self::At(nanos) => span(nanos),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::World => f.pad("world"),
            Self::Client(who) => f.pad(name(*who)),
            Self::Node(0) => f.pad("engine"),
            Self::Node(nth) => f.pad(&format!("node {nth}")),
            Self::Nodes(from, to) => f.pad(&format!("nodes {from}-{to}")),
            Self::Storage => f.pad("storage"),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Milliseconds, to a tenth where they are not whole.
pub fn span(nanos: u64) -> String {
    let tenths = (nanos + 50_000) / 100_000;
    let whole = thousands(tenths / 10);
    if tenths.is_multiple_of(10) { format!("{whole} ms") } else { format!("{whole}.{} ms", tenths % 10) }
}

/// A number with commas.
fn thousands(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{},{:03}", thousands(number / 1000), number % 1000)
}

fn millis<S: Serializer>(nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*nanos as f64 / 1e6)
}

fn maybe_millis<S: Serializer>(nanos: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match nanos {
        Some(nanos) => millis(nanos, serializer),
        None => serializer.serialize_none(),
    }
}

/// How a client stands, as far as its own words tell.
#[derive(Default)]
struct State {
    waits: Option<True>,
    holds: Option<True>,
    /// Until when its hold may be believed in.
    until: True,
    paused: Option<True>,
    dead: Option<True>,
    /// It has said that it cannot renew.
    failing: bool,
}

/// A lease at a node, as far as it has told.
struct Lease {
    of: NodeId,
    from: True,
    until: True,
}

/// Listens to what was logged.
struct Listener {
    alone: bool,
    lines: Vec<Line>,
    spans: Vec<Span>,
    messages: BTreeMap<u64, Message>,
    owners: BTreeMap<u128, NodeId>,
    holdings: [Option<Holding>; 2],
    states: [State; 2],
    leases: BTreeMap<usize, Lease>,
}

/// Tells what was played.
pub(super) fn tell(stage: &Stage, walk: Walk, figures: Vec<Figure>) -> Story {
    let ends = stage.now();
    let mut listener = Listener {
        alone: stage.servers.len() == 1,
        lines: Vec::new(),
        spans: Vec::new(),
        messages: BTreeMap::new(),
        owners: BTreeMap::new(),
        holdings: lock(&stage.holdings).clone(),
        states: Default::default(),
        leases: BTreeMap::new(),
    };
    for (at, event) in std::mem::take(&mut *lock(&stage.heard)) {
        listener.run_out(at);
        listener.hear(at, event);
    }
    listener.run_out(ends);
    listener.end(ends);
    let nodes = stage.servers.len();
    let (name, title) = match walk {
        Walk::Normal => ("normal", "All goes well: A locks, renews and releases; B waits and follows"),
        Walk::Crash => ("crash", "The holder crashes, and the next gets in when its time is over"),
        Walk::Partition => ("partition", "Two believe that they hold, and the storage knows better"),
        Walk::Fencing => ("fencing", "A holder sleeps through its time and writes; the fence refuses it"),
    };
    let kept = match (nodes, walk) {
        (1, _) => "one engine".to_owned(),
        (_, Walk::Normal) => format!("Redlock on {nodes} nodes, asked one by one"),
        _ => format!("Redlock on {nodes} nodes, asked all at once"),
    };
    let (ttl, latency) = (nanos(stage.terms.ttl), nanos(stage.terms.latency));
    Story {
        walk: name,
        title,
        setting: format!("{kept}; TTL {}, {} a request", span(ttl), span(latency)),
        ttl,
        nodes,
        latency,
        figures,
        lines: listener.lines,
        spans: listener.spans,
        messages: listener.messages.into_values().collect(),
        ends,
    }
}

impl Listener {
    fn node(&self, nth: usize) -> Who {
        Who::Node(if self.alone { 0 } else { nth + 1 })
    }

    fn line(&mut self, at: True, who: Who, what: impl Into<String>) {
        let what = what.into();
        // What the next node does at the same time needs no line of its own.
        if let (Some(last), Who::Node(nth)) = (self.lines.last_mut(), who)
            && (last.at, &last.what) == (at, &what)
            && let Who::Node(from) | Who::Nodes(from, _) = last.who
            && last.who == (if from + 1 == nth { Who::Node(from) } else { Who::Nodes(from, nth - 1) })
        {
            last.who = Who::Nodes(from, nth);
            return;
        }
        self.lines.push(Line { at, who, what });
    }

    fn span(&mut self, who: Who, from: Option<True>, to: True, what: Lasts) {
        if let Some(from) = from.filter(|from| *from < to) {
            self.spans.push(Span { who, from, to, what });
        }
    }

    fn hear(&mut self, at: True, event: Event) {
        match event {
            Event::Says(who, what) => {
                let who = match who {
                    Speaker::Client(who) => Who::Client(who),
                    Speaker::Storage => Who::Storage,
                    Speaker::World => Who::World,
                };
                self.line(at, who, what);
            }
            Event::Sends(from, number, verb, ids) => {
                // The nodes of a quorum see an id for each try.
                self.owners.extend(ids.iter().map(|id| (id.0 >> 16, from)));
                let to = self.node(node_of(number));
                let message =
                    Message { from: Who::Client(from), to, verb, sent: at, applied: None, answered: None };
                self.messages.insert(number, message);
            }
            Event::Applies(number, id, seen) => self.applies(at, number, id, seen),
            Event::Answers(number) => {
                if let Some(message) = self.messages.get_mut(&number) {
                    message.answered = Some(at);
                }
            }
            Event::Hints(id, _) => {
                if let Some(&who) = self.owners.get(&(id.0 >> 16)) {
                    self.line(at, Who::Client(who), "is told that it is its turn");
                }
            }
            Event::Tells(who, _, Told::What(what)) => self.tells(at, who, what),
            Event::Nemesis(what, which) => self.nemesis(at, what, which),
            _ => {}
        }
    }

    /// A node has done what it was asked for.
    fn applies(&mut self, at: True, number: u64, id: ClaimId, seen: Seen) {
        let nth = node_of(number);
        if let Some(message) = self.messages.get_mut(&number) {
            message.applied = Some(at);
        }
        let Some(&of) = self.owners.get(&(id.0 >> 16)) else { return };
        let mine = self.leases.get_mut(&nth).filter(|lease| lease.of == of);
        match (seen, mine) {
            (Seen::Held(_, ttl), Some(lease)) => lease.until = at + nanos(ttl),
            (Seen::Held(_, ttl), None) => {
                self.leases.insert(nth, Lease { of, from: at, until: at + nanos(ttl) });
                self.line(at, self.node(nth), format!("{} is let in", name(of)));
            }
            (Seen::Left, Some(_)) => self.lease_ends(nth, at),
            _ => {}
        }
    }

    /// What a client knows of its claim.
    fn tells(&mut self, at: True, who: NodeId, what: What) {
        let (me, state) = (Who::Client(who), &mut self.states[who]);
        if state.dead.is_some() {
            return;
        }
        match what {
            What::Queued { ahead } => {
                state.waits = Some(at);
                self.line(at, me, format!("waits behind {ahead}"));
            }
            What::Acquired { .. } => {
                state.holds = Some(at);
                let remaining = self.holdings[who].as_ref().map(|holding| nanos(holding.remaining));
                state.until = at + remaining.unwrap_or_default();
                let waited = state.waits.take();
                self.span(me, waited, at, Lasts::Waits);
            }
            What::Renewed { remaining } => {
                // Of the answer by which it holds it tells itself.
                state.failing = false;
                let again = state.holds.is_some_and(|since| since < at);
                state.until = at + nanos(remaining);
                if again {
                    self.line(at, me, format!("has renewed: it holds for {}", span(nanos(remaining))));
                }
            }
            What::RenewalFailed { remaining } => {
                let said = std::mem::replace(&mut state.failing, true);
                if !said {
                    self.line(at, me, format!("cannot renew: it holds for {} more", span(nanos(remaining))));
                }
            }
            What::AtRisk { remaining } => {
                let left = span(nanos(remaining));
                self.line(
                    at,
                    me,
                    format!("is at risk: nobody has confirmed it for half of its time, {left} are left"),
                );
            }
            What::Lost { .. } => {
                self.line(at, me, "learns that it has lost the lock");
                self.hold_ends(who, at);
            }
            What::Released { .. } => {
                self.line(at, me, "releases");
                self.hold_ends(who, at);
            }
            _ => {}
        }
    }

    /// What is done to those on the stage.
    fn nemesis(&mut self, at: True, what: &str, which: usize) {
        match what {
            "jump" => self.lease_over(which, at),
            "crash" => {
                self.line(at, Who::Client(which), "crashes, and cannot say so");
                self.hold_ends(which, at);
                self.states[which].dead = Some(at);
            }
            "pause" => {
                self.line(at, Who::Client(which), "is paused: it does nothing, and sees no clock");
                self.states[which].paused = Some(at);
            }
            "resume" => {
                self.line(at, Who::Client(which), "goes on, and knows nothing of it");
                let paused = self.states[which].paused.take();
                self.span(Who::Client(which), paused, at, Lasts::Paused);
            }
            _ => {}
        }
    }

    fn hold_ends(&mut self, who: NodeId, at: True) {
        let state = &mut self.states[who];
        let (since, until) = (state.holds.take(), state.until.min(at));
        self.span(Who::Client(who), since, until, Lasts::Holds);
        self.span(Who::Client(who), since.map(|since| since.max(until)), at, Lasts::Overdue);
    }

    fn lease_ends(&mut self, nth: usize, at: True) {
        if let Some(Lease { of, from, .. }) = self.leases.remove(&nth) {
            let what = if of == A { Lasts::LeaseOfA } else { Lasts::LeaseOfB };
            self.span(self.node(nth), Some(from), at, what);
        }
    }

    /// The time of a lease is over.
    fn lease_over(&mut self, nth: usize, at: True) {
        if let Some(lease) = self.leases.get(&nth) {
            let of = name(lease.of);
            self.line(at, self.node(nth), format!("the time of {of} is over"));
            self.lease_ends(nth, at);
        }
    }

    /// Leases whose time is over by now have ended, though nobody asked.
    fn run_out(&mut self, now: True) {
        let mut over: Vec<(True, usize)> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.until <= now)
            .map(|(nth, lease)| (lease.until, *nth))
            .collect();
        over.sort_unstable();
        over.into_iter().for_each(|(at, nth)| self.lease_over(nth, at));
    }

    /// The curtain falls.
    fn end(&mut self, ends: True) {
        for who in [A, B] {
            let state = &mut self.states[who];
            let (waits, paused, dead) = (state.waits, state.paused, state.dead);
            self.span(Who::Client(who), waits, ends, Lasts::Waits);
            self.span(Who::Client(who), paused, ends, Lasts::Paused);
            self.span(Who::Client(who), dead, ends, Lasts::Dead);
            self.hold_ends(who, ends);
        }
        let nodes: Vec<usize> = self.leases.keys().copied().collect();
        nodes.into_iter().for_each(|nth| self.lease_ends(nth, ends));
    }
}

/// Which node a request goes to: their numbers tell.
fn node_of(number: u64) -> usize {
    usize::try_from(number / crate::network::server::NUMBERS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_commas_and_to_a_tenth() {
        let said = [0, 500_000, 1_000_000, 9_973_000_000, 10_000_949_999, 1_234_567_049_999].map(span);
        assert_eq!(said, ["0 ms", "0.5 ms", "1 ms", "9,973 ms", "10,000.9 ms", "1,234,567 ms"]);
    }
}
