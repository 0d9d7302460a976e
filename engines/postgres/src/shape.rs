//! Whether `distributed_locks`, which may be somebody else's, is of the shape that all its users rely on.

use leasehold_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;

/// `leasehold:` and the id of a claim.
const OWNER_CHARS: usize = 42;

const COLUMNS: &str = "
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef
      FROM pg_attribute a WHERE a.attrelid = 'distributed_locks'::regclass AND a.attnum > 0 AND NOT a.attisdropped";

const KEYED: &str = "
    SELECT EXISTS (
        SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
         WHERE i.indrelid = 'distributed_locks'::regclass AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL
           AND a.attname = 'lock_name')";

/// Looks the table over, and tells how many characters a name may have in it. It is never altered.
pub(crate) async fn check(
    client: &Client,
    place: &str,
    fail: impl Fn(tokio_postgres::Error) -> Error,
) -> Result<Option<usize>> {
    let rows = client.query_typed(COLUMNS, &[]).await.map_err(&fail)?;
    let mut columns: Vec<(String, String, bool)> = Vec::new();
    for row in &rows {
        columns.push((
            row.try_get(0).map_err(&fail)?,
            row.try_get(1).map_err(&fail)?,
            row.try_get(2).map_err(&fail)?,
        ));
    }
    let row = client.query_typed_one(KEYED, &[]).await.map_err(&fail)?;
    let mut wrong = wrongs(&columns);
    if !row.try_get::<_, bool>(0).map_err(&fail)? {
        wrong.push("`lock_name` alone is not its primary key".to_owned());
    }
    if !wrong.is_empty() {
        let message = format!(
            "the table `distributed_locks` is not of the shape that its users agree on, and was left as it is: {}; see \
             what `leasehold schema postgres` prints, or use another database or schema",
            wrong.join("; ")
        );
        return Err(Error::new(ErrorKind::Corrupt, "connect", message).with("database", place));
    }
    Ok(columns.iter().find(|(name, ..)| name == "lock_name").and_then(|(_, kind, _)| limit(kind)))
}

/// How many characters a type takes, if it is one of text and has a limit.
fn limit(kind: &str) -> Option<usize> {
    kind.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok()
}

fn wrongs(columns: &[(String, String, bool)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, wants) in [
        ("lock_name", "text"),
        ("owner_id", "text"),
        ("expires_at", "timestamp with time zone"),
        ("created_at", "timestamp with time zone"),
    ] {
        let Some((_, kind, _)) = columns.iter().find(|(column, ..)| column == name) else {
            wrong.push(format!("there is no column `{name}` ({wants})"));
            continue;
        };
        let fits = match wants {
            "text" => kind == "text" || kind.starts_with("character varying"),
            wants => kind == wants,
        };
        if !fits {
            wrong.push(format!("`{name}` is {kind} and not {wants}"));
        } else if name == "owner_id" && limit(kind).is_some_and(|most| most < OWNER_CHARS) {
            wrong.push(format!("`owner_id` is {kind} and too short: an owner has {OWNER_CHARS} characters"));
        }
    }
    let known = |name: &str| ["lock_name", "owner_id", "expires_at", "created_at"].contains(&name);
    for (name, ..) in columns.iter().filter(|(name, _, must)| *must && !known(name)) {
        wrong.push(format!("`{name}` must be given and has no default"));
    }
    wrong
}
