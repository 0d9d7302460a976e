//! `leasehold schema`: what to give to a database before it is used.

use leasehold::Env;
use leasehold::dynamodb::{self, Config};
use leasehold::url::EngineUrl;

use leasehold_fence::sql::{Dialect, Table, schema};

use crate::args::{Schema, SchemaArgs, SchemaDynamodbArgs, SchemaFenceArgs};
use crate::engine::runtime;
use crate::exit::{End, Failure, USAGE};
use crate::output::{data, note};

/// Prints it, or does it.
pub(crate) fn schema(url: &str, args: &SchemaArgs) -> Result<End, Failure> {
    match &args.what {
        Schema::Dynamodb(args) => dynamodb(url, args)?,
        Schema::Fence(args) => fence(args)?,
        Schema::Mysql => data(leasehold::mysql::SCHEMA.trim_end())?,
        Schema::Postgres => data(leasehold::postgres::SCHEMA.trim_end())?,
    }
    Ok(End::Code(0))
}

fn dynamodb(url: &str, args: &SchemaDynamodbArgs) -> Result<(), Failure> {
    let parsed = EngineUrl::parse(url)?;
    if parsed.scheme() != "dynamodb" {
        let message =
            format!("`{url}` names no table; write `--engine 'dynamodb://TABLE?region=eu-central-1'`");
        return Err(Failure::new(USAGE, message));
    }
    let config = Config::from_url(parsed)?;
    if !args.apply {
        return data(dynamodb::schema(&config)?.trim_end());
    }
    runtime()?.block_on(dynamodb::create(&config, Env::system()))?;
    note(format!("the table `{}` can be used", config.table));
    Ok(())
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
