//! What is said to `leasehold_work` and its small sisters, and what they answer.

use std::fmt::Write;
use std::time::Duration;

use leasehold_core::claim::{Claim, ClaimId, Leave, Manner, Refresh};
use leasehold_core::{Name, Token};
use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Error, Row};

/// One thing that a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Join(&'a Claim),
    Refresh(&'a Refresh),
    Leave(&'a Leave),
}

impl Item<'_> {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Join(claim) => &claim.name,
            Self::Refresh(ask) => &ask.claim.name,
            Self::Leave(ask) => &ask.claim.name,
        }
    }

    fn id(&self) -> ClaimId {
        match self {
            Self::Join(claim) => claim.id,
            Self::Refresh(ask) => ask.claim.id,
            Self::Leave(ask) => ask.claim.id,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Refresh(_) => "refresh",
            Self::Leave(ask) => match ask.manner {
                Manner::Release => "release",
                Manner::Revoke => "revoke",
                Manner::Evict => "evict",
            },
        }
    }
}

/// What to do about a row that somebody else has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Skip,
    Wait,
}

/// How the database says that a claim stands.
#[derive(Clone, Debug)]
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
    Gone,
    /// Somebody else has the row in hand.
    Busy,
}

/// A claim of this engine's own that waited and holds now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heir {
    pub(crate) id: ClaimId,
    pub(crate) token: Token,
}

/// What came of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// One for each item.
    pub(crate) stands: Vec<Stands>,
    pub(crate) heirs: Vec<Heir>,
}

/// Does what is asked in one transaction and one round trip. Items of one name stand together.
pub(crate) async fn work(
    conn: &mut Conn,
    me: ClaimId,
    patience: Patience,
    items: &[Item<'_>],
) -> Result<Told, Error> {
    let mut sql = String::with_capacity(256 * items.len());
    for of_one in items.chunk_by(|one, other| one.name() == other.name()) {
        match (patience, of_one) {
            (Patience::Skip, [one]) => call_alone(&mut sql, me, one),
            // What is asked of one name stays in its order, also if the row is let go meanwhile.
            _ => of_one.iter().enumerate().for_each(|(at, item)| {
                call(&mut sql, me, if at == 0 { patience.word() } else { "same" }, item);
            }),
        }
    }
    sql.push_str("COMMIT");
    match told(conn, sql).await {
        Ok(told) if told.stands.len() == items.len() => Ok(told),
        Ok(_) => Err(Error::Other("it did not answer each item".into())),
        Err(e @ Error::Server(_)) => {
            // What was done before it in the same transaction.
            conn.query_drop("ROLLBACK").await?;
            Err(e)
        }
        Err(e) => Err(e),
    }
}

impl Patience {
    fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Wait => "wait",
        }
    }
}

async fn told(conn: &mut Conn, sql: String) -> Result<Told, Error> {
    let mut told = Told::default();
    for row in rows(conn, sql).await? {
        told.hear(&row)?;
    }
    Ok(told)
}

/// All rows of all statements, once all of them have been done.
pub(crate) async fn rows(conn: &mut Conn, sql: String) -> Result<Vec<Row>, Error> {
    let mut answers = conn.query_iter(sql).await?;
    let mut rows = Vec::new();
    while !answers.is_empty() {
        rows.extend(answers.collect::<Row>().await?);
    }
    // A statement that failed looks like the end of the answers until this is asked.
    answers.drop_result().await?;
    Ok(rows)
}

/// Renews at once those of these that hold alone, each of a name of its own: the token of each that was renewed.
pub(crate) async fn renew(conn: &mut Conn, asks: &[&Refresh]) -> Result<Vec<Option<Token>>, Error> {
    let mut sql = "CALL leasehold_renew('[".to_owned();
    for (at, ask) in asks.iter().enumerate() {
        let (comma, name, id) = (if at == 0 { "" } else { "," }, hex(ask.claim.name.as_str()), ask.claim.id);
        let _ = write!(sql, "{comma}[\"{name}\",\"{id}\",{}]", micros(ask.ttl));
    }
    sql.push_str("]'); COMMIT");
    let mut tokens = vec![None; asks.len()];
    let answer = rows(conn, sql).await;
    if let Err(e @ Error::Server(_)) = answer {
        // What was done before it in the same transaction.
        conn.query_drop("ROLLBACK").await?;
        return Err(e);
    }
    for row in answer? {
        let (nth, token): (usize, u64) = (get(&row, 0)?, get(&row, 1)?);
        if let Some(slot) = tokens.get_mut(nth.wrapping_sub(1)) {
            *slot = Token::new(token);
        }
    }
    Ok(tokens)
}

/// All that is asked of its name: mostly it is of no concern to anybody else.
fn call_alone(sql: &mut String, me: ClaimId, item: &Item<'_>) {
    let (name, id) = (hex(item.name().as_str()), item.id());
    let _ = match item {
        Item::Join(claim) => write!(sql, "CALL leasehold_lock(x'{me}',x'{name}',x'{id}',{});", wishes(claim)),
        Item::Leave(Leave { manner: Manner::Release, .. }) => {
            write!(sql, "CALL leasehold_unlock(x'{me}',x'{name}',x'{id}');")
        }
        Item::Refresh(_) | Item::Leave(_) => return call(sql, me, Patience::Skip.word(), item),
    };
}

fn call(sql: &mut String, me: ClaimId, patience: &str, item: &Item<'_>) {
    let (verb, name, id) = (item.verb(), hex(item.name().as_str()), item.id());
    let _ = write!(sql, "CALL leasehold_work('{verb}','{patience}',x'{me}',x'{name}',x'{id}',");
    let _ = match item {
        Item::Join(claim) => write!(sql, "{});", wishes(claim)),
        Item::Refresh(ask) => write!(sql, "{},0,0,0,NULL,NULL);", micros(ask.ttl)),
        Item::Leave(_) => write!(sql, "0,0,0,0,NULL,NULL);"),
    };
}

/// What a claim is to be. Names and what people write are sent as numbers: no setting of the server gives them another
/// meaning.
fn wishes(Claim { ttl, capacity, weight, at_least, meta, .. }: &Claim) -> String {
    let (ttl, at_least, owner) = (micros(*ttl), micros(*at_least), hex(&meta.owner));
    let payload =
        meta.payload.as_ref().map_or("NULL".to_owned(), |text| format!("_utf8mb4 x'{}'", hex(text)));
    format!("{ttl},{capacity},{weight},{at_least},_utf8mb4 x'{owner}',{payload}")
}

/// As the digits of a hexadecimal literal.
pub(crate) fn hex(text: &str) -> String {
    let mut digits = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        for digit in [byte >> 4, byte & 15] {
            digits.push(char::from_digit(digit.into(), 16).expect("four bits"));
        }
    }
    digits
}

impl Told {
    fn hear(&mut self, row: &Row) -> Result<(), Error> {
        let kind: String = get(row, 0)?;
        let (number, span): (Option<u64>, Option<i64>) = (get(row, 1)?, get(row, 2)?);
        let number = number.unwrap_or_default();
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        self.stands.push(match kind.as_str() {
            "held" => Stands::Held(Token::new(number).ok_or_else(|| {
                Error::Other("the fencing tokens of this database have run out: the next of `leasehold_claim` is 2^53 or more".into())
            })?),
            "queued" | "behind" => {
                Stands::Queued { ahead: small, look_again: self::span(span), foreign: kind == "behind" }
            }
            "capacity" => Stands::Capacity(small),
            "full" => Stands::Full,
            "busy" => Stands::Busy,
            _ => Stands::Gone,
        });
        let heirs: Option<String> = get(row, 3)?;
        self.heirs.extend(heirs.iter().flat_map(|list| heirs_of(list)));
        Ok(())
    }
}

/// `ID:TOKEN ID:TOKEN ...`
pub(crate) fn heirs_of(list: &str) -> impl Iterator<Item = Heir> {
    list.split_whitespace().filter_map(|heir| {
        let (id, token) = heir.split_once(':')?;
        Some(Heir { id: id.parse().ok()?, token: Token::new(token.parse().ok()?)? })
    })
}

/// A column of a row.
pub(crate) fn get<T: FromValue>(row: &Row, column: usize) -> Result<T, Error> {
    match row.get_opt(column) {
        Some(Ok(value)) => Ok(value),
        _ => Err(Error::Other(format!("column {column} of its answer cannot be read").into())),
    }
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// From microseconds; nothing ahead can die before now.
pub(crate) fn span(micros: Option<i64>) -> Duration {
    Duration::from_micros(micros.unwrap_or_default().max(0).unsigned_abs())
}
