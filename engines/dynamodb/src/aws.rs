//! What a lock's item says to other clients: to the lock client of AWS, and to python-dynamodb-lock, which has the same
//! in other words. Of ours, each finds its own.
//!
//! | of AWS | for Python | what |
//! |---|---|---|
//! | `ownerName` (S) | `owner_name` (S) | who holds |
//! | `leaseDuration` (S), in ms | `lease_duration` (N), in s | whose version is the same for so long is gone |
//! | `recordVersionNumber` (S) | `record_version_number` (S) | random, another one with every renewal: the condition of every write |
//! | `isReleased` (S), `1` | | nobody holds |
//! | | `expiry_time` (N) | when DynamoDB may delete the item |
//!
//! While we hold, both versions are our own `revision`; a version that is not belongs to another client. Our attributes
//! stand in its item as well, as long as that client leaves them there: it does when it renews, and takes them away
//! when it takes the lock, or deletes it.

use std::time::Duration;

use leasehold_core::{ClaimId, Meta, Token};
use serde_json::{Value, json};

use crate::wire::{Item, Record, Update, maybe, text};

/// The id of a claim of another client.
const FOREIGN: ClaimId = ClaimId(0);

/// Where other clients keep the version.
const VERSIONS: [&str; 2] = ["recordVersionNumber", "record_version_number"];
/// That nobody holds, as the client of AWS has it.
pub(crate) const RELEASED: &str = "isReleased";
/// Their items are deleted then, ours are to stay: the end of the year 9999.
const NEVER: u64 = 253_402_300_799;

/// Somebody else's item.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Other {
    attribute: &'static str,
    version: String,
}

/// Reads an item that may be another client's. One that holds is the first claim of the queue.
pub(crate) fn read(value: &Value) -> Result<Item, String> {
    let mut item = Item::read(value, maybe(value, "revision", text)?)?;
    let versions = VERSIONS.map(|attribute| (attribute, value[attribute]["S"].as_str()));
    let mut versions = versions.into_iter().filter_map(|(attribute, version)| Some((attribute, version?)));
    match versions.find(|(_, version)| *version != item.revision) {
        Some((attribute, version)) => {
            if value[RELEASED]["S"] != "1" {
                item.claims.insert(0, holder(value, version)?);
            }
            item.other = Some(Other { attribute, version: version.to_owned() });
        }
        None if item.revision.is_empty() => {
            return Err("it has neither `recordVersionNumber` nor `record_version_number`".into());
        }
        None => {}
    }
    Ok(item)
}

fn holder(value: &Value, version: &str) -> Result<Record, String> {
    let lease = match value["leaseDuration"]["S"].as_str() {
        Some(millis) => millis.parse().ok().map(Duration::from_millis),
        None => value["lease_duration"]["N"]
            .as_str()
            .and_then(|seconds| seconds.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    let owner = ["ownerName", "owner_name"].iter().find_map(|name| value[*name]["S"].as_str());
    Ok(Record {
        id: FOREIGN,
        // All of it, whatever that is.
        weight: u32::MAX,
        // Tells one version from another.
        beat: version.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
        life: lease.ok_or("its `leaseDuration` or `lease_duration` is no time")?,
        at_least: Duration::ZERO,
        // It holds; of tokens it knows nothing.
        token: Token::new(1),
        revoked: false,
        since: u64::MAX,
        meta: Meta { owner: owner.unwrap_or("?").into(), payload: None },
    })
}

impl Record {
    /// Whether it is another client's, and nothing of it ours to write.
    pub(crate) fn is_foreign(&self) -> bool {
        self.id == FOREIGN
    }
}

/// The condition that other clients have not touched this since.
pub(crate) fn unchanged(update: &mut Update, from: &Item, hash: &str) {
    match &from.other {
        Some(other) => {
            update.name(other.attribute);
            update.value("version", json!({ "S": other.version }));
            update.only_if(format!("#{} = :version", other.attribute));
        }
        None if from.revision.is_empty() => {
            update.name_as("key", hash);
            update.only_if("attribute_not_exists(#key)".into());
        }
        None => {
            update.name(VERSIONS[0]);
            update.only_if(format!("#{} = :seen", VERSIONS[0]));
        }
    }
}

/// The condition that nobody holds, for who has looked at nothing.
pub(crate) fn free(update: &mut Update, hash: &str) {
    update.name_as("key", hash);
    update.name(RELEASED);
    update.value("released", json!({ "S": "1" }));
    update.only_if(format!("(attribute_not_exists(#key) OR #{RELEASED} = :released)"));
}

/// Tells other clients who holds from now on, and for how long, or that nobody does.
pub(crate) fn tell(update: &mut Update, revision: &str, holder: Option<(&Meta, Duration)>) {
    let owner = holder.map_or("-", |(meta, _)| &*meta.owner);
    let lease = holder.map_or(0, |(_, lease)| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    update.put("ownerName", json!({ "S": owner }));
    update.put("owner_name", json!({ "S": owner }));
    update.put("leaseDuration", json!({ "S": lease.to_string() }));
    update.put("lease_duration", json!({ "N": format!("{}.{:03}", lease / 1000, lease % 1000) }));
    update.put("expiry_time", json!({ "N": NEVER.to_string() }));
    update.put(VERSIONS[0], json!({ "S": revision }));
    if holder.is_some() {
        update.put(VERSIONS[1], json!({ "S": revision }));
        update.remove(RELEASED);
    } else {
        // python-dynamodb-lock knows no such word as `isReleased`. It takes over from whoever has not changed the version
        // for the lease: at once, if there is neither.
        update.put(VERSIONS[1], json!({ "NULL": true }));
        update.put(RELEASED, json!({ "S": "1" }));
    }
}

/// Of these claims, who holds as far as others need to know: until all are gone.
pub(crate) fn holder_of(claims: &[Record]) -> Option<(&Meta, Duration)> {
    let held = claims.iter().filter(|record| record.token.is_some());
    // What others see from now on ends later than what was seen before.
    held.map(|record| (&record.meta, record.life)).max_by_key(|(_, life)| *life)
}
