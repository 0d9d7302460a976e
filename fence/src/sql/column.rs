//! A mark in a column of the user's own table, for one statement at a time.

use leasehold_core::{Mode, Result};

use super::dialect;
use crate::Sequencer;
use crate::error::invalid;

/// A column of your own that keeps the highest token beside the data, one row at a time: for code that does not want
/// a transaction, and for tables that many programs write to.
///
/// It is one register, so readers cannot be told apart: only exclusive guards fit.
/// ```
/// # fn example(guard: &leasehold_core::Guard) -> leasehold_core::Result<()> {
/// let fence = leasehold_fence::sql::Column::new("fence")?;
/// let (set, only_if) = (fence.assignment(guard)?, fence.condition(guard)?);
/// // First raise; no row changed means that a later holder has been there, or that there is no such row.
/// let raise = format!("UPDATE stock SET {set} WHERE id = 42 AND {only_if}");
/// // Then read, then write, and look at the number of rows again.
/// let write = format!("UPDATE stock SET amount = 7 WHERE id = 42 AND {only_if}");
/// # Ok(()) }
/// ```
/// # What it costs
/// One comparison in a statement that you would send anyway, and one more statement a holder for raising.
///
/// # What it cannot see
/// * Statements without the condition, and rows that nobody has raised: a row that is inserted begins at 0.
/// * On MySQL and MariaDB, whether a statement that changed nothing was refused, unless the client asks to be told of rows
///   that were found and not of those that were changed. sqlx does; mysql_async must be told (`client_found_rows=true`).
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
}

impl Column {
    /// A column of type `BIGINT NOT NULL DEFAULT 0`.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) if it is no plain name.
    pub fn new(name: &str) -> Result<Self> {
        dialect::identifier("column", name, 2)?;
        Ok(Self { name: name.to_owned() })
    }

    /// `fence = 34`: what to set to raise the mark.
    ///
    /// # Errors
    /// As [`condition`](Self::condition).
    pub fn assignment(&self, who: impl Into<Sequencer>) -> Result<String> {
        let token = exclusive(&who.into())?;
        // The left side of an assignment has no table before it.
        let column = self.name.rsplit('.').next().unwrap_or(&self.name);
        Ok(format!("{column} = {token}"))
    }

    /// `fence <= 34`: what to add to the WHERE of each statement.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for a shared guard.
    pub fn condition(&self, who: impl Into<Sequencer>) -> Result<String> {
        Ok(format!("{} <= {}", self.name, exclusive(&who.into())?))
    }
}

fn exclusive(who: &Sequencer) -> Result<u64> {
    match who.mode() {
        Mode::Exclusive => Ok(who.token().get()),
        Mode::Shared => Err(invalid(
            "fence",
            "a shared guard cannot use a fence of one column, which would refuse other valid readers; use `sql::Table`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Name, Token};

    use super::*;

    #[test]
    fn the_words_of_the_statement() {
        let who = |mode| Sequencer::new(Name::new("x").unwrap(), Token::new(34).unwrap(), mode);
        let fence = Column::new("stock.fence").unwrap();
        assert_eq!(fence.assignment(who(Mode::Exclusive)).unwrap(), "fence = 34");
        assert_eq!(fence.condition(who(Mode::Exclusive)).unwrap(), "stock.fence <= 34");
        assert!(fence.condition(who(Mode::Shared)).unwrap_err().to_string().contains("sql::Table"));
        for bad in ["", "a b", "1a", "a;b", "a.b.c", "a.", "\"a\""] {
            Column::new(bad).unwrap_err();
        }
    }
}
