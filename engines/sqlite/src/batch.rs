//! One transaction: what was asked, done by the rule on the queues that it names, and the difference written.

use hashbrown::HashMap;
use leasehold_core::claim::{Leave, Manner, Refresh};
use leasehold_core::ledger::HandOver;
use leasehold_core::{Batch, Claim, Error, Mint, Moment, Name, Outcome, Result, Standing};
use std::time::Duration;

use crate::line::{Line, News};
use crate::peers::Verdicts;
use crate::store::{Store, TOKENS_AHEAD, World};
use crate::{boot, failure};

/// Who waits behind another process looks at least this often whether that process lives.
const LOOK_FOR_DEATH: Duration = Duration::from_millis(400);
/// How many queues are remembered from one transaction to the next.
const LINES_MAX: usize = 4096;

/// What a caller asks.
#[derive(Debug)]
pub(crate) enum Op {
    Join(Batch<Claim>),
    Refresh(Batch<Refresh>),
    Leave(Batch<Leave>),
}

/// What it is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Standings(Batch<Result<Standing>>),
    Left(Batch<Result<()>>),
}

impl Op {
    /// The same answer for all of it.
    pub(crate) fn fail(&self, why: &Error) -> Answer {
        match self {
            Self::Join(claims) => Answer::Standings(claims.iter().map(|_| Err(why.clone())).collect()),
            Self::Refresh(claims) => Answer::Standings(claims.iter().map(|_| Err(why.clone())).collect()),
            Self::Leave(claims) => Answer::Left(claims.iter().map(|_| Err(why.clone())).collect()),
        }
    }
}

/// What came of a transaction.
#[derive(Debug)]
pub(crate) struct Done {
    pub answers: Vec<Answer>,
    pub news: Vec<News>,
    /// Whether more tokens should be made good on the disk soon.
    pub tokens_low: bool,
}

/// Why a transaction was not made.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Tokens up to this one must be made good on the disk first.
    OutOfTokens(u64),
    Failed(Error),
}

/// An open database, and what is known of it as long as nobody else writes.
#[derive(Debug)]
pub(crate) struct Desk {
    pub store: Store,
    lines: HashMap<Name, Line>,
    /// The state of the database that `lines`, `last` and `ceiling` are true for.
    version: Option<i64>,
    last: u64,
    ceiling: u64,
    pub verdicts: Verdicts,
    /// The number of this process among its peers.
    me: i64,
}

/// The work of one transaction.
struct Shift<'a> {
    store: &'a Store,
    lines: &'a mut HashMap<Name, Line>,
    verdicts: &'a mut Verdicts,
    world: &'a World,
    me: i64,
    now: Moment,
    mint: Mint,
    told: Vec<HandOver>,
    touched: Vec<Name>,
}

impl Desk {
    pub(crate) fn new(store: Store, me: i64) -> Self {
        Self {
            store,
            lines: HashMap::new(),
            version: None,
            last: 0,
            ceiling: 0,
            verdicts: Verdicts::default(),
            me,
        }
    }

    /// Does what is asked in the transaction that has begun, and ends it.
    pub(crate) fn work(&mut self, world: &World, ops: &[Op]) -> std::result::Result<Done, Trouble> {
        self.transact(world, |shift| ops.iter().map(|op| shift.answer(op)).collect())
    }

    /// Ends the claims of a dead peer, in the transaction that has begun.
    pub(crate) fn release_all(&mut self, world: &World, dead: i64) -> std::result::Result<Done, Trouble> {
        self.transact(world, |shift| {
            let fail = |e| failure::sqlite("release", &shift.world.place.path, e);
            for name in shift.store.wire.names_of(dead).map_err(fail)? {
                let name = Name::new(&name)?;
                shift.release(&name, dead)?;
                shift.touched.push(name);
            }
            Ok(Vec::new())
        })
    }

    fn transact(
        &mut self,
        world: &World,
        work: impl FnOnce(&mut Shift<'_>) -> Result<Vec<Answer>>,
    ) -> std::result::Result<Done, Trouble> {
        let done = self.attempt(world, work);
        if done.is_err() {
            self.store.wire.roll_back();
        }
        done
    }

    fn attempt(
        &mut self,
        world: &World,
        work: impl FnOnce(&mut Shift<'_>) -> Result<Vec<Answer>>,
    ) -> std::result::Result<Done, Trouble> {
        let fail = |e| Trouble::Failed(failure::sqlite("request", &world.place.path, e));
        let wire = &self.store.wire;
        let version = wire.data_version().map_err(fail)?;
        // Whatever stops this half-way, nothing is believed afterwards.
        if self.version.take() != Some(version) || self.lines.len() > LINES_MAX {
            self.lines.clear();
            let head = wire.head().map_err(fail)?;
            if head.boot != world.boot {
                // Ours was written when this engine opened, and this machine still runs.
                let error = boot::two_machines().with("database", world.place.path.display());
                return Err(Trouble::Failed(error));
            }
            (self.last, self.ceiling) = (head.token, head.ceiling);
        }
        let mut shift = Shift {
            store: &self.store,
            lines: &mut self.lines,
            verdicts: &mut self.verdicts,
            world,
            me: self.me,
            // Within the transaction, so later ones of other processes see a later time.
            now: world.env.now(),
            mint: Mint::above(self.last),
            told: Vec::new(),
            touched: Vec::new(),
        };
        let answers = work(&mut shift).map_err(Trouble::Failed)?;
        let news = shift.write().map_err(fail)?;
        let last = shift.mint.last();
        if last > self.ceiling {
            return Err(Trouble::OutOfTokens(last));
        }
        if last > self.last {
            wire.set_token(last).map_err(fail)?;
        }
        wire.commit().map_err(|e| {
            let error = failure::sqlite("commit", &world.place.path, e);
            Trouble::Failed(error.with_outcome(Outcome::Unknown))
        })?;
        self.last = last;
        self.version = Some(version);
        Ok(Done { answers, news, tokens_low: self.ceiling - last < TOKENS_AHEAD / 2 })
    }
}

impl Shift<'_> {
    fn answer(&mut self, op: &Op) -> Result<Answer> {
        Ok(match op {
            Op::Join(claims) => {
                Answer::Standings(claims.iter().map(|claim| self.join(claim).map(Ok)).collect::<Result<_>>()?)
            }
            Op::Refresh(asks) => {
                Answer::Standings(asks.iter().map(|ask| self.refresh(ask).map(Ok)).collect::<Result<_>>()?)
            }
            Op::Leave(asks) => {
                Answer::Left(asks.iter().map(|ask| self.leave(ask).map(Ok)).collect::<Result<_>>()?)
            }
        })
    }

    fn join(&mut self, claim: &Claim) -> Result<Standing> {
        let now = self.now;
        self.on(&claim.name, true, |line, mint, told| line.queue.join(now, claim, mint, told))
    }

    fn refresh(&mut self, ask: &Refresh) -> Result<Standing> {
        let now = self.now;
        self.on(&ask.claim.name, true, |line, mint, told| {
            line.queue.refresh(now, ask.claim.id, (ask.ttl, ask.raise), mint, told)
        })
    }

    fn leave(&mut self, ask: &Leave) -> Result<()> {
        let now = self.now;
        self.on(&ask.claim.name, false, |line, mint, told| {
            line.queue.leave(now, ask.claim.id, ask.manner, mint, told);
            Standing::Gone
        })
        .map(|_| ())
    }

    /// Does something with a queue; `look` is whether the dead in it are looked for first.
    fn on(
        &mut self,
        name: &Name,
        look: bool,
        work: impl FnOnce(&mut Line, &mut Mint, &mut Vec<HandOver>) -> Standing,
    ) -> Result<Standing> {
        let me = self.me;
        let shared = self.line(name)?.is_shared(me);
        if shared && look {
            self.pass_over_dead(name)?;
        }
        let Self { lines, mint, told, .. } = self;
        let line = lines.get_mut(name.as_str()).expect("it has just been loaded");
        let mut standing = work(line, mint, told);
        if let Standing::Queued { ahead, look_again, .. } = &mut standing
            && shared
            && line.waits_for_others(me, *ahead)
        {
            *look_again = (*look_again).min(LOOK_FOR_DEATH);
        }
        self.touched.push(name.clone());
        Ok(standing)
    }

    fn line(&mut self, name: &Name) -> Result<&mut Line> {
        if !self.lines.contains_key(name.as_str()) {
            let fail = |e| failure::sqlite("request", &self.world.place.path, e);
            let line = Line::load(&self.store.wire, name).map_err(fail)?;
            self.lines.insert(name.clone(), line);
        }
        Ok(self.lines.get_mut(name.as_str()).expect("it is there or has just been put there"))
    }

    /// Ends the claims of those in a queue whose processes are provably dead.
    fn pass_over_dead(&mut self, name: &Name) -> Result<()> {
        let me = self.me;
        for peer in self.line(name)?.others(me) {
            if self.verdicts.is_dead(&self.world.place, peer, self.now) {
                self.release(name, peer)?;
            }
        }
        Ok(())
    }

    /// As if a peer had released its claims in a queue itself: an at-least hold goes on.
    fn release(&mut self, name: &Name, peer: i64) -> Result<()> {
        let now = self.now;
        self.line(name)?;
        let Self { lines, mint, told, .. } = self;
        let line = lines.get_mut(name.as_str()).expect("it has just been loaded");
        for id in line.claims_of(peer) {
            line.queue.leave(now, id, Manner::Release, mint, told);
        }
        Ok(())
    }

    /// Writes what has changed, and says who is to hear of it.
    fn write(&mut self) -> rusqlite::Result<Vec<News>> {
        self.told.sort_unstable_by_key(|h| h.id);
        if self.touched.len() > 1 {
            self.touched.sort_unstable();
            self.touched.dedup();
        }
        let mut news = Vec::new();
        for name in &self.touched {
            let line = self.lines.get_mut(name.as_str()).expect("what was touched is there");
            line.store(&self.store.wire, name, self.now, self.me, &self.told, &mut news)?;
        }
        Ok(news)
    }
}
