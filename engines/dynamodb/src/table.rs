//! The table: what it must be, and how it is made.

use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::config::{Config, Layout};
use crate::failure::{self, Fault};
use crate::http::{Http, plain};
use crate::wire::{FORGET, KEY};

/// The commands by which somebody who may makes the table.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is another client's to make.
pub fn schema(config: &Config) -> Result<String> {
    ours_to_make(config)?;
    let region = config.region.as_ref().map_or_else(String::new, |region| format!(" --region {region}"));
    let mut commands =
        format!("aws dynamodb create-table{region} --cli-input-json '{:#}'\n", to_make(config));
    if config.forget.is_some() {
        let request = to_forget(config);
        commands += &format!("aws dynamodb update-time-to-live{region} --cli-input-json '{request:#}'\n");
    }
    Ok(commands)
}

fn ours_to_make(config: &Config) -> Result<()> {
    match config.layout {
        Layout::Own => Ok(()),
        Layout::Aws => Err(Error::new(
            ErrorKind::InvalidInput,
            MAKING,
            "with `layout=aws` the table is that of the other clients, which know what its keys are called; have one of \
             them make it, or whoever set them up",
        )),
    }
}

fn to_make(config: &Config) -> Value {
    json!({
        "TableName": config.table,
        "AttributeDefinitions": [{ "AttributeName": KEY, "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": KEY, "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    })
}

fn to_forget(config: &Config) -> Value {
    json!({
        "TableName": config.table,
        "TimeToLiveSpecification": { "AttributeName": FORGET, "Enabled": true },
    })
}

/// Makes the table, unless it is there and as it must be, and waits until it can be used.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is there with another key, and then it is left as it is, or if it is another
/// client's to make;
/// [`ErrorKind::Denied`] for a user who may not make it; [`ErrorKind::Unavailable`] if DynamoDB does not answer.
///
/// # Cancel safety
/// Dropped on the way, the table may have been made, and can be asked for again.
pub async fn create(config: &Config, env: Env) -> Result<()> {
    ours_to_make(config)?;
    let http = Http::new(config, env)?;
    match http.ask("CreateTable", &to_make(config)).await {
        Ok(_) => {}
        // Or an earlier attempt has made it; what it is like is looked at below.
        Err(Fault::Failed(error)) if failure::is_there_already(&error) => {}
        Err(fault) => return Err(plain(fault)),
    }
    // What has just been made is not known everywhere at once.
    let known_by = http.env.now() + KNOWN_BY;
    loop {
        match check(&http, config).await {
            Ok(_) => break,
            Err(error)
                if error.operation() == MAKING
                    || failure::is_not_there(&error) && http.env.now() < known_by =>
            {
                http.env.clock.sleep_until(http.env.now() + POLL).await;
            }
            Err(error) => return Err(error),
        }
    }
    if config.forget.is_some() {
        match http.ask("UpdateTimeToLive", &to_forget(config)).await {
            Ok(_) => {}
            Err(Fault::Failed(error)) if failure::is_enabled_already(&error) => {}
            Err(fault) => return Err(plain(fault)),
        }
    }
    Ok(())
}

/// How long a table that was made may seem not to be there.
const KNOWN_BY: Duration = Duration::from_secs(30);
/// How often to look whether a table can be used.
const POLL: Duration = Duration::from_millis(500);
/// The operation of whoever finds a table that is still being made.
const MAKING: &str = "make the table";

/// Whether the table is what it must be: its keys, and what of its set-up puts something at risk.
pub(crate) async fn check(http: &Http, config: &Config) -> Result<(String, Option<String>, Vec<String>)> {
    let name = &config.table;
    let answer = http.ask("DescribeTable", &json!({ "TableName": name })).await.map_err(plain)?;
    let table = &answer["Table"];
    let (Some(keys), Some(types)) = (table["KeySchema"].as_array(), table["AttributeDefinitions"].as_array())
    else {
        return Err(failure::odd("connect", "it describes no table"));
    };
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let keys: Vec<(String, String, String)> = keys
        .iter()
        .map(|key| {
            let of = types.iter().find(|of| of["AttributeName"] == key["AttributeName"]);
            let of = of.map_or_else(|| "?".to_owned(), |of| word(&of["AttributeType"]));
            (word(&key["AttributeName"]), word(&key["KeyType"]), of)
        })
        .collect();
    let is_text = |(_, kind, of): &(String, String, String), what| kind == what && of == "S";
    let fits = match (config.layout, &keys[..]) {
        (Layout::Own, [hash]) => is_text(hash, "HASH") && hash.0 == KEY,
        (Layout::Aws, [hash]) => is_text(hash, "HASH"),
        (Layout::Aws, [hash, range]) => is_text(hash, "HASH") && is_text(range, "RANGE"),
        _ => false,
    };
    if !fits {
        let is: Vec<String> = keys.iter().map(|(key, kind, of)| format!("`{key}` ({of}, {kind})")).collect();
        let must = match config.layout {
            Layout::Own => format!(
                "and must be `{KEY}` (S, HASH) alone; it was left as it is: use another table, `leasehold schema dynamodb \
                 --apply` makes one, or `layout=aws` if it is that of AWS's lock client"
            ),
            Layout::Aws => "and must be text (S, HASH), with or without a second one (S, RANGE)".to_owned(),
        };
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "connect",
            format!("the key of the table `{name}` is {}, {must}", is.join(" and ")),
        ));
    }
    match table["TableStatus"].as_str() {
        Some("CREATING") => {
            Err(Error::new(ErrorKind::Unavailable, MAKING, format!("the table `{name}` is still being made")))
        }
        Some("DELETING") => Err(Error::new(
            ErrorKind::InvalidInput,
            "connect",
            format!("the table `{name}` is being deleted"),
        )),
        _ => {
            let mut keys = keys.into_iter().map(|(key, ..)| key);
            Ok((keys.next().unwrap_or_default(), keys.next(), warnings(table)))
        }
    }
}

fn warnings(table: &Value) -> Vec<String> {
    let others = table["Replicas"].as_array().map_or(0, Vec::len);
    let mut warnings = Vec::new();
    if others > 0 && table["MultiRegionConsistency"] != "STRONG" {
        warnings.push(
            "the table is replicated to other regions with eventual consistency, so two regions may hold a lock at the same \
             time; use it from one region only, or with strong consistency"
                .to_owned(),
        );
    }
    warnings
}
