//! `leasehold schema`: what to give to a database before it is used.

use leasehold_fence::sql::{Dialect, Table, schema};

use crate::args::{Schema, SchemaArgs, SchemaFenceArgs};
use crate::exit::{End, Failure, USAGE};
use crate::output::data;

/// Prints it.
pub(crate) fn schema(args: &SchemaArgs) -> Result<End, Failure> {
    match &args.what {
        Schema::Fence(args) => fence(args)?,
        Schema::Postgres => data(leasehold::postgres::SCHEMA.trim_end())?,
    }
    Ok(End::Code(0))
}

fn fence(args: &SchemaFenceArgs) -> Result<(), Failure> {
    let usage = |error: leasehold::Error| Failure::new(USAGE, error.to_string());
    let dialect: Dialect = args.dialect.parse().map_err(usage)?;
    let marks = Table::named(&args.marks).map_err(usage)?;
    let mut statements = schema::table(dialect, &marks);
    if let (Some(table), Some(lock)) = (&args.table, &args.lock) {
        statements.push('\n');
        statements.push_str(&schema::triggers(dialect, &marks, table, lock).map_err(usage)?);
    }
    data(statements.trim_end())
}
