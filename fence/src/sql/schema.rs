//! What to give to the database: the table of marks, and triggers that refuse writes of code that knows no fence.

use leasehold_core::Result;

use super::dialect::identifier;
use super::{Dialect, Table};
use crate::error::invalid;

/// What the triggers on SQLite ask for the token: a function that each connection must define.
#[cfg(feature = "rusqlite")]
pub(super) const SQLITE_FUNCTION: &str = "leasehold_token";

const POSTGRES: &str = include_str!("triggers/postgres.sql");
const MYSQL: &str = include_str!("triggers/mysql.sql");
const SQLITE: &str = include_str!("triggers/sqlite.sql");

/// The statement that makes the table of marks, if it is not there.
pub fn table(dialect: Dialect, table: &Table) -> String {
    let (name, rest) = match dialect {
        // Compared byte by byte, trailing spaces too.
        Dialect::MySql => ("VARBINARY(255)", " ENGINE=InnoDB"),
        Dialect::Postgres | Dialect::Sqlite => ("TEXT", ""),
    };
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n  name {name} NOT NULL PRIMARY KEY,\n  \
         exclusive_token BIGINT NOT NULL DEFAULT 0,\n  shared_token BIGINT NOT NULL DEFAULT 0\n){rest};\n",
        table.name()
    )
}

/// Triggers on a table of yours: a row is written only by a connection that has declared a token which is not stale.
/// `lock` says which lock protects a row, with columns in braces: `inventory/{id}`.
///
/// How a token is declared is said in a comment of each; for rusqlite there is [`declare`](super::declare).
///
/// # Errors
/// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for names that are not plain, and for braces that do not
/// match.
pub fn triggers(dialect: Dialect, marks: &Table, table: &str, lock: &str) -> Result<String> {
    identifier("table", table, 2)?;
    let pattern = Pattern::parse(lock)?;
    let template = match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::MySql => MYSQL,
        Dialect::Sqlite => SQLITE,
    };
    Ok(template
        .replace("{old_lock}", &pattern.expression(dialect, "OLD"))
        .replace("{new_lock}", &pattern.expression(dialect, "NEW"))
        .replace("{trigger}", &format!("leasehold_fence_{}", table.replace('.', "_")))
        .replace("{marks}", marks.name())
        .replace("{table}", table))
}

/// The name of a lock with columns in it.
struct Pattern<'a> {
    parts: Vec<Part<'a>>,
}

enum Part<'a> {
    Text(&'a str),
    Column(&'a str),
}

impl<'a> Pattern<'a> {
    fn parse(lock: &'a str) -> Result<Self> {
        let unmatched =
            || invalid("lock", format!("the braces in `{lock}` do not match; write `inventory/{{id}}`"));
        let mut parts = Vec::new();
        let mut rest = lock;
        while let Some((text, after)) = rest.split_once('{') {
            let (column, after) = after.split_once('}').ok_or_else(unmatched)?;
            identifier("column", column, 1)?;
            parts.extend([Part::Text(text), Part::Column(column)]);
            rest = after;
        }
        parts.push(Part::Text(rest));
        let texts =
            parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(*text) } else { None });
        if texts.clone().any(|text| text.contains('}')) {
            return Err(unmatched());
        }
        if let Some(bad) = texts.flat_map(str::chars).find(|c| c.is_control() || matches!(c, '\\' | '$')) {
            return Err(invalid("lock", format!("a lock's name in a trigger cannot have {bad:?} in it")));
        }
        parts.retain(|part| !matches!(part, Part::Text("")));
        if parts.is_empty() {
            return Err(invalid("lock", "the lock's name is empty; write something like `inventory/{id}`"));
        }
        Ok(Self { parts })
    }

    /// As SQL, with the columns of this row.
    fn expression(&self, dialect: Dialect, row: &str) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|part| match (part, dialect) {
                (Part::Text(text), _) => format!("'{}'", text.replace('\'', "''")),
                (Part::Column(column), Dialect::MySql) => format!("CAST({row}.{column} AS CHAR)"),
                (Part::Column(column), _) => format!("CAST({row}.{column} AS TEXT)"),
            })
            .collect();
        match dialect {
            Dialect::MySql => format!("CONCAT({})", parts.join(", ")),
            _ => parts.join(" || "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_written_as_an_expression_of_the_row() {
        let pattern = Pattern::parse("it's/{id}/{size}").unwrap();
        assert_eq!(
            pattern.expression(Dialect::Postgres, "NEW"),
            "'it''s/' || CAST(NEW.id AS TEXT) || '/' || CAST(NEW.size AS TEXT)"
        );
        assert_eq!(
            pattern.expression(Dialect::MySql, "OLD"),
            "CONCAT('it''s/', CAST(OLD.id AS CHAR), '/', CAST(OLD.size AS CHAR))"
        );
        for bad in ["", "a{", "a}", "{a b}", "{}", "a{b}}", "a\\b", "$$"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_left_open_in_a_template() {
        for dialect in Dialect::ALL {
            let sql = triggers(dialect, &Table::new(), "shop.stock", "inventory/{id}").unwrap();
            assert!(!sql.contains('{') && sql.contains("shop.stock"), "{sql}");
            triggers(dialect, &Table::new(), "stock; DROP", "x").unwrap_err();
        }
    }
}
