//! The item of a lock and the requests about it, as DynamoDB has them.
//!
//! | attribute | type | what |
//! |---|---|---|
//! | `lock_name` | S | the key |
//! | `revision` | S | random, another one with every change: the condition of the next |
//! | `token` | N | the last token; stays when nobody holds |
//! | `capacity` | N | of the resource, while somebody stands in its queue |
//! | `claims` | L | the queue: a map a claim; absent when it is empty |
//! | `forget_after` | N | where the URL says `forget`: when DynamoDB may delete the item, in seconds since 1970 |
//!
//! With `layout=aws` also those of [`aws`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{ClaimId, Meta, Name, Token};
use serde_json::{Map, Value, json};

use crate::aws::{self, Other};
use crate::config::Layout;

/// The key of a table of ours.
pub(crate) const KEY: &str = "lock_name";
/// The attribute by which DynamoDB deletes what has not been used for long.
pub(crate) const FORGET: &str = "forget_after";

/// The token of a claim that came to an empty queue without a look at it: that of the whole item, which is the last one
/// until somebody else changes the item and writes it out.
const LAST: &str = "last";

/// A lock as it is stored.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Item {
    /// Empty if there is no item.
    pub(crate) revision: String,
    pub(crate) token: u64,
    pub(crate) capacity: u32,
    /// Another client that holds is the first of them.
    pub(crate) claims: Vec<Record>,
    /// If it is another client's item.
    pub(crate) other: Option<Other>,
}

/// A claim as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Record {
    pub(crate) id: ClaimId,
    pub(crate) weight: u32,
    /// Rises with each renewal: who sees it unchanged for `life` knows that its owner is gone.
    pub(crate) beat: u64,
    pub(crate) life: Duration,
    pub(crate) at_least: Duration,
    pub(crate) token: Option<Token>,
    pub(crate) revoked: bool,
    /// When it came by the wall clock of its owner, in milliseconds since 1970: to be shown, and for nothing else.
    pub(crate) since: u64,
    pub(crate) meta: Meta,
}

pub(crate) fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key]["S"].as_str().map(str::to_owned).ok_or_else(|| format!("its `{key}` is no text"))
}

fn number(value: &Value, key: &'static str) -> Result<u64, String> {
    let digits = value[key]["N"].as_str().and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| format!("its `{key}` is no number"))
}

/// An attribute that may be missing.
pub(crate) fn maybe<T: Default>(
    value: &Value,
    key: &'static str,
    read: impl Fn(&Value, &'static str) -> Result<T, String>,
) -> Result<T, String> {
    if value.get(key).is_some() { read(value, key) } else { Ok(T::default()) }
}

fn small(value: &Value, key: &'static str) -> Result<u32, String> {
    number(value, key)?.try_into().map_err(|_| format!("its `{key}` is too large"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Item {
    /// Reads what DynamoDB has.
    pub(crate) fn read(value: &Value, revision: String) -> Result<Self, String> {
        let token = maybe(value, "token", number)?;
        let claims = match value.get("claims") {
            None => Vec::new(),
            Some(claims) => {
                let claims = claims["L"].as_array().ok_or("its `claims` are no list")?;
                claims.iter().map(|claim| Record::read(&claim["M"], token)).collect::<Result<_, _>>()?
            }
        };
        let capacity = maybe(value, "capacity", small)?;
        Ok(Self { revision, token, capacity, claims, other: None })
    }
}

impl Record {
    fn read(value: &Value, last: u64) -> Result<Self, String> {
        let token = match value.get("token") {
            None => None,
            Some(token) if token["S"] == LAST => Some(last),
            Some(_) => Some(number(value, "token")?),
        };
        let token = token.map(|token| Token::new(token).ok_or("a token of it is too large")).transpose()?;
        let payload = value.get("payload").map(|_| text(value, "payload")).transpose()?;
        Ok(Self {
            id: text(value, "id")?.parse().map_err(|_| "the id of a claim is none")?,
            weight: small(value, "weight")?,
            beat: number(value, "beat")?,
            life: Duration::from_millis(number(value, "life_ms")?),
            at_least: Duration::from_millis(maybe(value, "at_least_ms", number)?),
            token,
            revoked: value.get("revoked").is_some(),
            since: number(value, "since_ms")?,
            meta: Meta { owner: Arc::from(text(value, "owner")?), payload: payload.map(Arc::from) },
        })
    }

    fn write(&self, token: Option<Value>) -> Value {
        let mut map = Map::new();
        let number = |n: u64| json!({ "N": n.to_string() });
        map.insert("id".into(), json!({ "S": self.id.to_string() }));
        map.insert("weight".into(), number(self.weight.into()));
        map.insert("beat".into(), number(self.beat));
        map.insert("life_ms".into(), number(millis(self.life)));
        map.insert("since_ms".into(), number(self.since));
        map.insert("owner".into(), json!({ "S": &*self.meta.owner }));
        if !self.at_least.is_zero() {
            map.insert("at_least_ms".into(), number(millis(self.at_least)));
        }
        if let Some(token) = token.or_else(|| Some(number(self.token?.get()))) {
            map.insert("token".into(), token);
        }
        if self.revoked {
            map.insert("revoked".into(), json!({ "BOOL": true }));
        }
        if let Some(payload) = &self.meta.payload {
            map.insert("payload".into(), json!({ "S": &**payload }));
        }
        json!({ "M": map })
    }
}

/// The second key of locks in a table that has one; python-dynamodb-lock has it so if nothing is said.
const NO_SORT: &str = "-";

/// What requests are about.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// The attribute of the key.
    pub(crate) hash: String,
    /// That of the second one, in tables of other clients.
    pub(crate) range: Option<String>,
    pub(crate) layout: Layout,
    /// After how long without use an item may be deleted.
    pub(crate) forget: Option<Duration>,
}

impl Table {
    fn key(&self, name: &str) -> Value {
        let mut key = json!({ &self.hash: { "S": name } });
        if let Some(range) = &self.range {
            key[range] = json!({ "S": NO_SORT });
        }
        key
    }

    /// The name of the lock whose item this is; `None` if it is none that we could have.
    pub(crate) fn name_of(&self, value: &Value) -> Result<Option<Name>, String> {
        let ours = self.range.as_ref().is_none_or(|range| value[range]["S"] == NO_SORT);
        Ok(Name::new(&text(value, &self.hash)?).ok().filter(|_| ours))
    }

    /// Reads what DynamoDB has.
    pub(crate) fn read(&self, value: &Value) -> Result<Item, String> {
        match self.layout {
            Layout::Own => Item::read(value, text(value, "revision")?),
            Layout::Aws => aws::read(value),
        }
    }

    /// The last token of an item, or what comes before the first one. Other clients take tokens away with the items
    /// that they replace: what follows is above them as far as wall clocks go.
    pub(crate) fn last(&self, token: u64, wall: Duration) -> u64 {
        match self.layout {
            Layout::Aws if token == 0 => u64::try_from(wall.as_micros()).unwrap_or(0),
            _ => token,
        }
    }

    pub(crate) fn get(&self, name: &Name) -> Value {
        json!({ "TableName": self.name, "Key": self.key(name.as_str()), "ConsistentRead": true })
    }

    /// Puts the first claim into a queue that is empty, whatever the last token was, and says which one this is.
    pub(crate) fn enter(
        &self,
        name: &Name,
        revision: &str,
        capacity: u32,
        record: &Record,
        wall: Duration,
    ) -> Value {
        let mut update = Update::default();
        update.only_if("attribute_not_exists(#claims)".into());
        update.set("token", "if_not_exists(#token, :last) + :one");
        update.value("last", json!({ "N": self.last(0, wall).to_string() }));
        update.value("one", json!({ "N": "1" }));
        update.put("revision", json!({ "S": revision }));
        update.put("capacity", json!({ "N": capacity.to_string() }));
        update.put("claims", json!({ "L": [record.write(Some(json!({ "S": LAST })))] }));
        if self.layout == Layout::Aws {
            aws::free(&mut update, &self.hash);
            aws::tell(&mut update, revision, Some((&record.meta, record.life)));
        }
        self.remember(&mut update, wall);
        update.request(self, name, "UPDATED_NEW")
    }

    /// The token that [`enter`](Self::enter) gave.
    pub(crate) fn entered(answer: &Value) -> Result<Token, String> {
        Token::new(number(&answer["Attributes"], "token")?).ok_or_else(|| "its token is too large".into())
    }

    /// Makes one state into another, unless it is a third meanwhile.
    pub(crate) fn change(&self, name: &Name, from: &Item, to: &Item, wall: Duration) -> Value {
        let mut update = Update::default();
        match from.revision.as_str() {
            "" => update.only_if("attribute_not_exists(#revision)".into()),
            seen => {
                update.value("seen", json!({ "S": seen }));
                update.only_if("#revision = :seen".into());
            }
        }
        if self.layout == Layout::Aws {
            aws::unchanged(&mut update, from, &self.hash);
            // In another client's item only the queue is ours.
            if to.other.is_none() {
                aws::tell(&mut update, &to.revision, aws::holder_of(&to.claims));
            }
        }
        update.put("revision", json!({ "S": to.revision }));
        update.put("token", json!({ "N": to.token.to_string() }));
        let ours = to.claims.iter().filter(|record| !record.is_foreign());
        let claims: Vec<Value> = ours.map(|record| record.write(None)).collect();
        if claims.is_empty() {
            update.remove("claims");
            update.remove("capacity");
        } else {
            update.put("capacity", json!({ "N": to.capacity.to_string() }));
            update.put("claims", json!({ "L": claims }));
        }
        self.remember(&mut update, wall);
        update.request(self, name, "NONE")
    }

    fn remember(&self, update: &mut Update, wall: Duration) {
        if let Some(forget) = self.forget {
            update.put(FORGET, json!({ "N": (wall + forget).as_secs().to_string() }));
        }
    }

    /// A page of all items whose names begin so and in whose queues somebody stands.
    pub(crate) fn scan(&self, prefix: &str, from: Option<&Value>) -> Value {
        let (filter, attribute) = match self.layout {
            Layout::Own => ("attribute_exists(#held)", "claims"),
            Layout::Aws => ("attribute_not_exists(#held)", aws::RELEASED),
        };
        let mut scan = json!({
            "TableName": self.name,
            "ConsistentRead": true,
            "FilterExpression": filter,
            "ExpressionAttributeNames": { "#held": attribute },
        });
        if !prefix.is_empty() {
            scan["FilterExpression"] = json!(format!("{filter} AND begins_with(#key, :prefix)"));
            scan["ExpressionAttributeNames"]["#key"] = json!(self.hash);
            scan["ExpressionAttributeValues"] = json!({ ":prefix": { "S": prefix } });
        }
        if let Some(from) = from {
            scan["ExclusiveStartKey"] = from.clone();
        }
        scan
    }
}

/// An `UpdateItem` in the making.
#[derive(Default)]
pub(crate) struct Update {
    /// All of these.
    conditions: Vec<String>,
    set: Vec<String>,
    remove: Vec<String>,
    names: HashMap<String, String>,
    values: Map<String, Value>,
}

impl Update {
    pub(crate) fn only_if(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    pub(crate) fn name(&mut self, attribute: &'static str) {
        self.name_as(attribute, attribute);
    }

    pub(crate) fn name_as(&mut self, placeholder: &str, attribute: &str) {
        self.names.insert(format!("#{placeholder}"), attribute.to_owned());
    }

    pub(crate) fn value(&mut self, placeholder: &str, value: Value) {
        self.values.insert(format!(":{placeholder}"), value);
    }

    fn set(&mut self, attribute: &'static str, to: &str) {
        self.name(attribute);
        self.set.push(format!("#{attribute} = {to}"));
    }

    pub(crate) fn put(&mut self, attribute: &'static str, value: Value) {
        self.set(attribute, &format!(":{attribute}"));
        self.value(attribute, value);
    }

    pub(crate) fn remove(&mut self, attribute: &'static str) {
        self.name(attribute);
        self.remove.push(format!("#{attribute}"));
    }

    fn request(self, table: &Table, name: &Name, returns: &str) -> Value {
        let mut expression = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&self.remove.join(", "));
        }
        json!({
            "TableName": table.name,
            "Key": table.key(name.as_str()),
            "UpdateExpression": expression,
            "ConditionExpression": self.conditions.join(" AND "),
            "ExpressionAttributeNames": self.names,
            "ExpressionAttributeValues": self.values,
            "ReturnValues": returns,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_as_it_was_written() {
        let table =
            Table { name: "locks".into(), hash: KEY.into(), range: None, layout: Layout::Own, forget: None };
        let claim = |id: u128, token: u32| Record {
            id: ClaimId(id),
            weight: 3,
            beat: 7,
            life: Duration::from_millis(1500),
            at_least: Duration::from_secs(u64::from(token)),
            token: Token::new(token.into()),
            revoked: token == 2,
            since: 12,
            meta: Meta { owner: "me".into(), payload: (token == 2).then(|| "x".into()) },
        };
        let item = Item {
            revision: "r".into(),
            token: 2,
            capacity: 5,
            claims: [(1u128, 2u32), (2, 0)].map(|(id, token)| claim(id, token)).into(),
            other: None,
        };
        let request = table.change(&Name::new("n").unwrap(), &Item::default(), &item, Duration::ZERO);
        let values = request["ExpressionAttributeValues"].as_object().unwrap();
        let stored = values.iter().map(|(key, value)| (key[1..].to_owned(), value.clone())).collect();
        assert_eq!(table.read(&Value::Object(stored)).unwrap(), item);
    }

    #[test]
    fn what_is_not_ours_is_told() {
        let table =
            Table { name: "locks".into(), hash: KEY.into(), range: None, layout: Layout::Own, forget: None };
        for odd in [
            json!({}),
            json!({ "revision": { "N": "1" } }),
            json!({ "revision": { "S": "r" }, "claims": { "S": "none" } }),
            json!({ "revision": { "S": "r" }, "claims": { "L": [{ "M": { "id": { "S": "x" } } }] } }),
        ] {
            table.read(&odd).unwrap_err();
        }
    }
}
