//! How a hold is renewed: by a majority that has had it since it was let in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::engine::Standing;
use leasehold_core::{Batch, ClaimRef, Leave, Manner, Moment, Refresh, Result, Token};

use crate::join::Known;
use crate::round::{PerNode, Round};
use crate::shared::Shared;
use crate::tally::{self, Renewal, Vote};

/// A hold that is to be renewed: where it stands in the request, and its token.
struct Item<'a> {
    at: usize,
    ask: &'a Refresh,
    token: Token,
    /// What is sent, by node.
    keys: PerNode<ClaimRef>,
    /// The token that it has at each node, as far as that is known.
    lives: PerNode<Option<Token>>,
}

impl Shared {
    /// Renews claims, held and waiting ones alike. Those that are held go together.
    pub(crate) async fn refresh(self: &Arc<Self>, asks: &[Refresh]) -> Batch<Result<Standing>> {
        let mut answers: Batch<Option<Result<Standing>>> = asks.iter().map(|_| None).collect();
        let mut held: Batch<Item<'_>> = Batch::new();
        let mut waiting: Batch<usize> = Batch::new();
        for (at, ask) in asks.iter().enumerate() {
            let known = self.roll.with(ask.claim.id, |entry| {
                entry.until = entry.until.max(self.env.now() + ask.ttl);
                let keys = (0..self.nodes.len()).map(|node| entry.key(node)).collect();
                (Known::of(entry), keys, entry.lives.clone())
            });
            match known {
                Some((Known::Held(token), keys, lives)) => held.push(Item { at, ask, token, keys, lives }),
                Some((Known::Waits(..) | Known::Fresh, ..)) => waiting.push(at),
                // Claims belong to the process that joined them.
                Some((Known::Leaving, ..)) | None => answers[at] = Some(Ok(Standing::Gone)),
            }
        }
        let looks = join_all(waiting.iter().map(|&at| self.look(&asks[at].claim, asks[at].ttl)));
        if held.is_empty() {
            for (at, answer) in waiting.iter().zip(looks.await) {
                answers[*at] = Some(answer);
            }
        } else {
            let (renewed, looked) = futures_util::future::join(self.renew(&held), looks).await;
            for (item, answer) in held.iter().zip(renewed) {
                answers[item.at] = Some(answer);
            }
            for (at, answer) in waiting.iter().zip(looked) {
                answers[*at] = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.expect("each was one of those")).collect()
    }

    /// Renews a hold.
    pub(crate) async fn renew_one(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Standing> {
        let ask = Refresh { claim: key.clone(), ttl, raise: None };
        let known = self.roll.with(key.id, |entry| {
            let keys = (0..self.nodes.len()).map(|node| entry.key(node)).collect();
            (entry.accepted, keys, entry.lives.clone())
        });
        let Some((Some(token), keys, lives)) = known else { return Ok(Standing::Gone) };
        let mut answers = self.renew(&[Item { at: 0, ask: &ask, token, keys, lives }]).await;
        answers.pop().expect("an answer for each")
    }

    /// One request to each node, with all of them.
    async fn renew(self: &Arc<Self>, items: &[Item<'_>]) -> Batch<Result<Standing>> {
        let sent = self.env.now();
        let longest = items.iter().map(|item| item.ask.ttl).max().unwrap_or_default();
        let mut round = Round::new();
        let mut batch: Batch<Refresh> = Batch::with_capacity(items.len());
        for (node, asked) in self.nodes.iter().enumerate() {
            batch.clear();
            batch.extend(items.iter().map(|item| Refresh {
                claim: item.keys[node].clone(),
                ttl: item.ask.ttl,
                raise: None,
            }));
            round.ask(node, asked.engine.refresh(&batch));
        }
        let decided: Option<Batch<Renewal>> = round
            .until(self, self.config.patience(longest), self.majority(), |round| {
                let settled = round.timed_out || round.is_answered();
                let decide = |(at, item): (usize, &Item<'_>)| {
                    tally::renewal(&tally::votes(round, at, self.nodes.len()), &item.lives, settled)
                };
                items.iter().enumerate().map(decide).collect()
            })
            .await;
        let decided = decided.expect("when the time is up it is decided");
        let mut answers = Batch::with_capacity(items.len());
        for (at, (item, renewal)) in items.iter().zip(decided).enumerate() {
            answers.push(match renewal {
                Renewal::Held(ttl) => {
                    self.learn(&item.ask.claim, &tally::votes(&round, at, self.nodes.len()));
                    Ok(Standing::Held { token: item.token, ttl })
                }
                Renewal::Unknown => Err(self.failure("refresh", &round, at)),
                Renewal::Gone => {
                    let until = sent + item.ask.ttl;
                    self.leave_rest(
                        &item.ask.claim,
                        &item.keys,
                        &tally::votes(&round, at, self.nodes.len()),
                        until,
                    );
                    Ok(Standing::Gone)
                }
            });
        }
        answers
    }

    /// Leaves the nodes that still have a claim. Who says that it is gone may be keeping its place until the end of
    /// its time, as for a claim that has been revoked; so may who says nothing.
    fn leave_rest(self: &Arc<Self>, claim: &ClaimRef, keys: &[ClaimRef], votes: &[Vote], until: Moment) {
        self.roll.with(claim.id, |entry| entry.leaving = true);
        for (node, vote) in votes.iter().enumerate().rev() {
            if matches!(vote, Vote::Said(Standing::Held { .. } | Standing::Queued { .. })) {
                self.let_go(node, Leave { claim: keys[node].clone(), manner: Manner::Release }, until);
            }
        }
    }

    /// Takes note of the tokens of nodes that had not answered yet when the hold began.
    fn learn(&self, claim: &ClaimRef, votes: &[Vote]) {
        self.roll.with(claim.id, |entry| {
            for (life, token) in entry.lives.iter_mut().zip(tally::tokens(votes)) {
                *life = life.or(token);
            }
        });
    }
}
