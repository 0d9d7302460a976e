//! One resource: its queue, and which of it is stored under which number.

use leasehold_core::ledger::{Entry, HandOver, Queue};
use leasehold_core::{ClaimId, Hint, Moment, Name, Token};
use rusqlite::Result;

use crate::wire::{Stored, Wire};

/// A queue and its rows.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub queue: Queue,
    /// What the database has, in the order of the queue.
    rows: Vec<Row>,
}

/// What can change of a stored claim, as it is stored.
#[derive(Clone, Copy, Debug)]
struct Row {
    seq: i64,
    id: ClaimId,
    peer: i64,
    deadline: Moment,
    keep_until: Moment,
    token: Option<Token>,
    revoked: bool,
}

impl Row {
    fn of(seq: i64, peer: i64, entry: &Entry) -> Self {
        Self {
            seq,
            peer,
            id: entry.id,
            deadline: entry.deadline,
            keep_until: entry.keep_until,
            token: entry.token,
            revoked: entry.revoked,
        }
    }

    fn says(&self, entry: &Entry) -> bool {
        self.deadline == entry.deadline
            && self.keep_until == entry.keep_until
            && self.token == entry.token
            && self.revoked == entry.revoked
    }
}

/// A hint for a claim and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub peer: i64,
    pub id: ClaimId,
    pub token: Token,
}

impl News {
    pub(crate) fn hint(&self) -> Hint {
        Hint::Held(self.token)
    }
}

impl Line {
    pub(crate) fn load(wire: &Wire, name: &Name) -> Result<Self> {
        let stored = wire.claims(name)?;
        let rows = stored.iter().map(|s| Row::of(s.seq, s.peer, &s.entry)).collect();
        Ok(Self { queue: Queue::from_entries(stored.into_iter().map(|s| s.entry)), rows })
    }

    /// Whether anybody else than this process, or nobody, stands here.
    pub(crate) fn is_shared(&self, me: i64) -> bool {
        self.rows.iter().any(|row| row.peer != me && row.peer != 0)
    }

    /// The other processes that stand here.
    pub(crate) fn others(&self, me: i64) -> Vec<i64> {
        let mut others: Vec<i64> = self.rows.iter().map(|r| r.peer).filter(|&p| p != me && p != 0).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// The stored claims of a process.
    pub(crate) fn claims_of(&self, peer: i64) -> Vec<ClaimId> {
        self.rows.iter().filter(|row| row.peer == peer).map(|row| row.id).collect()
    }

    /// Whether a claim of another living process is among the first `ahead`.
    pub(crate) fn waits_for_others(&self, me: i64, ahead: u32) -> bool {
        let mut rows = self.rows.iter();
        self.queue.entries().take(ahead as usize).any(|entry| {
            let row = rows.find(|row| row.id == entry.id);
            row.is_some_and(|row| row.peer != me && row.peer != 0)
        })
    }

    /// Writes what has changed, and adds to `news` what others are to hear of it: those in `told`, which is
    /// sorted.
    pub(crate) fn store(
        &mut self,
        wire: &Wire,
        name: &Name,
        now: Moment,
        me: i64,
        told: &[HandOver],
        news: &mut Vec<News>,
    ) -> Result<()> {
        let mut kept = Vec::with_capacity(self.queue.entries().len());
        let mut tell = |peer: i64, entry: &Entry| {
            if let Some(token) = entry.token
                && told.binary_search_by_key(&entry.id, |h| h.id).is_ok()
            {
                news.push(News { peer, id: entry.id, token });
            }
        };
        let mut rows = self.rows.iter();
        let mut seq = self.rows.last().map_or(0, |row| row.seq);
        for entry in self.queue.entries() {
            // Claims join at the end and never change places, so what is stored before this one and is not it
            // has gone.
            let mut row = rows.next();
            while let Some(gone) = row.filter(|row| row.id != entry.id) {
                wire.delete(name, gone.seq)?;
                row = rows.next();
            }
            let (seq, peer) = match row {
                Some(row) if row.says(entry) => {
                    kept.push(*row);
                    continue;
                }
                Some(row) => {
                    wire.update(name, row.seq, entry, now)?;
                    (row.seq, row.peer)
                }
                None => {
                    seq += 1;
                    let entry = entry.clone();
                    wire.insert(name, &Stored { seq, peer: me, written: now, entry })?;
                    (seq, me)
                }
            };
            tell(peer, entry);
            kept.push(Row::of(seq, peer, entry));
        }
        for gone in rows {
            wire.delete(name, gone.seq)?;
        }
        self.rows = kept;
        Ok(())
    }
}
