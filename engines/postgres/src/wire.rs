//! What is said to `leasehold_work`, and what it answers.

use std::time::Duration;

use futures_util::future::try_join3;
use hashbrown::HashMap;
use leasehold_core::claim::{Claim, ClaimId, Leave, Manner, Refresh};
use leasehold_core::{Name, Token};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

/// The one statement that everything is done by.
const WORK: &str =
    "SELECT * FROM leasehold_work($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const TYPES: [Type; 16] = [
    Type::BOOL,
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
    Type::INT4_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT4_ARRAY,
];

/// The same for what is asked of one lock alone, and mostly is simple.
const LOCK: &str = "SELECT * FROM leasehold_lock($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const UNLOCK: &str = "SELECT * FROM leasehold_unlock($1, $2, $3)";

/// One thing that a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Join(&'a Claim),
    Refresh(&'a Refresh),
    Leave(&'a Leave),
}

impl Item<'_> {
    pub(crate) fn id(&self) -> ClaimId {
        match self {
            Self::Join(claim) => claim.id,
            Self::Refresh(ask) => ask.claim.id,
            Self::Leave(ask) => ask.claim.id,
        }
    }

    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Join(claim) => &claim.name,
            Self::Refresh(ask) => &ask.claim.name,
            Self::Leave(ask) => &ask.claim.name,
        }
    }
}

/// How the database says that a claim stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stands {
    Held(Token),
    Queued {
        ahead: u32,
        look_again: Duration,
        /// Whether another client's lock is in the way, and nobody tells when that goes.
        foreign: bool,
    },
    Capacity(u32),
    Full,
}

/// A claim that waited and holds now.
#[derive(Clone, Debug)]
pub(crate) struct Heir {
    pub(crate) id: ClaimId,
    pub(crate) token: Token,
    /// Whose engine is to be told.
    pub(crate) peer: String,
}

/// What came of one statement. A claim that is not in it is gone.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) stands: HashMap<ClaimId, Stands>,
    /// Names whose row somebody else has in hand.
    pub(crate) busy: Vec<String>,
    pub(crate) heirs: Vec<Heir>,
}

/// The statements, prepared.
pub(crate) struct Statements {
    work: Statement,
    lock: Statement,
    unlock: Statement,
}

impl Statements {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let work = client.prepare_typed(WORK, &TYPES);
        let (work, lock, unlock) = try_join3(work, client.prepare(LOCK), client.prepare(UNLOCK)).await?;
        Ok(Self { work, lock, unlock })
    }
}

/// Does what is asked. Without prepared statements all of it is sent, for a pooler may hand each to another session.
pub(crate) async fn work(
    client: &Client,
    statements: Option<&Statements>,
    (patient, me): (bool, &str),
    items: &[Item<'_>],
) -> Result<Told, tokio_postgres::Error> {
    let rows = match (statements, items) {
        (Some(statements), [Item::Join(claim)]) if !patient => {
            let (ttl, at_least) = (micros(claim.ttl), micros(claim.at_least));
            let parameters: [&(dyn ToSql + Sync); 9] = [
                &me,
                &claim.name.as_str(),
                &claim.id.to_string(),
                &claim.capacity.cast_signed(),
                &claim.weight.cast_signed(),
                &ttl,
                &at_least,
                &&*claim.meta.owner,
                &claim.meta.payload.as_deref(),
            ];
            client.query(&statements.lock, &parameters).await?
        }
        (Some(statements), [Item::Leave(Leave { claim, manner: Manner::Release })]) if !patient => {
            let (name, id) = (claim.name.as_str(), claim.id.to_string());
            client.query(&statements.unlock, &[&me, &name, &id]).await?
        }
        _ => {
            let arrays = Arrays::of(items);
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&patient, &me];
            parameters.extend(arrays.parameters());
            match statements {
                Some(statements) => client.query(&statements.work, &parameters).await?,
                None => {
                    let typed: Vec<_> = parameters.into_iter().zip(TYPES).collect();
                    client.query_typed(WORK, &typed).await?
                }
            }
        }
    };
    let mut told = Told::default();
    for row in &rows {
        told.hear(row)?;
    }
    Ok(told)
}

/// The items as the database takes them.
#[derive(Default)]
struct Arrays<'a> {
    join_names: Vec<&'a str>,
    join_ids: Vec<String>,
    join_capacities: Vec<i32>,
    join_weights: Vec<i32>,
    join_ttls: Vec<i64>,
    join_at_leasts: Vec<i64>,
    join_owners: Vec<&'a str>,
    join_payloads: Vec<Option<&'a str>>,
    refresh_names: Vec<&'a str>,
    refresh_ids: Vec<String>,
    refresh_ttls: Vec<i64>,
    leave_names: Vec<&'a str>,
    leave_ids: Vec<String>,
    leave_manners: Vec<i32>,
}

impl<'a> Arrays<'a> {
    fn of(items: &[Item<'a>]) -> Self {
        let mut arrays = Self::default();
        for item in items {
            match item {
                Item::Join(claim) => arrays.join(claim),
                Item::Refresh(ask) => {
                    arrays.refresh_names.push(ask.claim.name.as_str());
                    arrays.refresh_ids.push(ask.claim.id.to_string());
                    arrays.refresh_ttls.push(micros(ask.ttl));
                }
                Item::Leave(ask) => {
                    arrays.leave_names.push(ask.claim.name.as_str());
                    arrays.leave_ids.push(ask.claim.id.to_string());
                    arrays.leave_manners.push(match ask.manner {
                        Manner::Release => 0,
                        Manner::Revoke => 1,
                        Manner::Evict => 2,
                    });
                }
            }
        }
        arrays
    }

    fn join(&mut self, claim: &'a Claim) {
        self.join_names.push(claim.name.as_str());
        self.join_ids.push(claim.id.to_string());
        self.join_capacities.push(claim.capacity.cast_signed());
        self.join_weights.push(claim.weight.cast_signed());
        self.join_ttls.push(micros(claim.ttl));
        self.join_at_leasts.push(micros(claim.at_least));
        self.join_owners.push(&claim.meta.owner);
        self.join_payloads.push(claim.meta.payload.as_deref());
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 14] {
        [
            &self.join_names,
            &self.join_ids,
            &self.join_capacities,
            &self.join_weights,
            &self.join_ttls,
            &self.join_at_leasts,
            &self.join_owners,
            &self.join_payloads,
            &self.refresh_names,
            &self.refresh_ids,
            &self.refresh_ttls,
            &self.leave_names,
            &self.leave_ids,
            &self.leave_manners,
        ]
    }
}

impl Told {
    fn hear(&mut self, row: &Row) -> Result<(), tokio_postgres::Error> {
        let kind: &str = row.try_get(0)?;
        if kind == "busy" {
            self.busy.push(row.try_get(4)?);
            return Ok(());
        }
        let (id, number): (&str, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
        let Ok(id) = id.parse::<ClaimId>() else { return Ok(()) };
        let number = number.unwrap_or_default().unsigned_abs();
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        let stands = match kind {
            "heir" => {
                let heir = token(number).map(|token| Heir { id, token, peer: String::new() });
                let peer: String = row.try_get(4)?;
                self.heirs.extend(heir.map(|heir| Heir { peer, ..heir }));
                return Ok(());
            }
            "held" => match token(number) {
                Some(token) => Stands::Held(token),
                None => return Ok(()),
            },
            "capacity" => Stands::Capacity(small),
            "full" => Stands::Full,
            _ => {
                Stands::Queued { ahead: small, look_again: span(row.try_get(3)?), foreign: kind == "behind" }
            }
        };
        self.stands.insert(id, stands);
        Ok(())
    }
}

/// The sequence ends below 2^53.
fn token(number: u64) -> Option<Token> {
    Token::new(number)
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// From microseconds; nothing ahead can die before now.
pub(crate) fn span(micros: Option<i64>) -> Duration {
    Duration::from_micros(micros.unwrap_or_default().max(0).unsigned_abs())
}
