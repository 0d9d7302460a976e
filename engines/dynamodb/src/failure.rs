//! What goes wrong with DynamoDB, in the words of our users.

use std::error::Error as StdError;
use std::fmt;

use hyper::StatusCode;
use leasehold_core::{Error, ErrorKind, Outcome};
use reqsign_core::ErrorKind as Signing;
use serde_json::Value;

use crate::config::Place;

/// How the error of a table begins that is not there.
const NOT_THERE: &str = "there is no such table";
/// How that of a table begins that is there.
const IN_USE: &str = "the table is there already, or in use";

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The condition was not met; the item as it is, if the server says so.
    Condition(Option<Value>),
    /// Asking again may help.
    Again(Error),
    /// It does not.
    Failed(Error),
}

/// No answer in time.
pub(crate) fn late(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "DynamoDB does not answer in time")
        .with_outcome(Outcome::Unknown)
}

/// No server was reached, so nothing was sent.
pub(crate) fn not_reached(operation: &'static str, why: impl StdError + Send + Sync + 'static) -> Error {
    let message =
        "DynamoDB cannot be reached; check `region=` or `endpoint=` in the engine URL, and the network";
    Error::new(ErrorKind::Unavailable, operation, message).with_source(why)
}

/// The connection ended before the answer did.
pub(crate) fn broken(operation: &'static str, why: impl StdError + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the connection to DynamoDB broke")
        .with_outcome(Outcome::Unknown)
        .with_source(why)
}

/// Others were faster again and again.
pub(crate) fn restless(operation: &'static str) -> Error {
    let message = "others changed the lock's queue again and again meanwhile; there is too much contention for DynamoDB";
    Error::new(ErrorKind::Unavailable, operation, message)
}

/// Encryption cannot be set up.
pub(crate) fn tls(why: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Unexpected, "connect", format!("cannot set up TLS: {why}"))
}

/// Nobody says who we are; `Unavailable` if somebody who could was not to be reached.
fn no_credentials(operation: &'static str, kind: ErrorKind, why: reqsign_core::Error) -> Error {
    Error::new(
        kind,
        operation,
        "there are no AWS credentials: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a profile in ~/.aws, nor a \
         role that this container or machine tells; for a server of your own, any will do: `dynamodb://KEY:SECRET@TABLE`",
    )
    .with_source(why)
}

/// A request that cannot be built.
pub(crate) fn unsigned(operation: &'static str, why: &str) -> Error {
    Error::new(ErrorKind::Unexpected, operation, format!("the request cannot be signed: {why}"))
}

/// A request that could not be signed.
pub(crate) fn signing(operation: &'static str, why: reqsign_core::Error) -> Fault {
    match why.kind() {
        _ if why.is_retryable() => Fault::Again(no_credentials(operation, ErrorKind::Unavailable, why)),
        Signing::CredentialInvalid => Fault::Failed(no_credentials(operation, ErrorKind::Denied, why)),
        Signing::PermissionDenied | Signing::ConfigInvalid => {
            let message = format!("the AWS credentials cannot be used: {why}");
            Fault::Failed(Error::new(ErrorKind::Denied, operation, message).with_source(why))
        }
        _ => Fault::Failed(unsigned(operation, &why.to_string())),
    }
}

/// An answer that is not what was asked for.
pub(crate) fn refused(operation: &'static str, status: StatusCode, mut said: Value, place: &Place) -> Fault {
    let code = said["__type"].as_str().unwrap_or_default();
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code).to_owned();
    let words =
        ["message", "Message"].iter().find_map(|key| said[*key].as_str()).unwrap_or_default().to_owned();
    let new = |kind, message: String| Error::new(kind, operation, message);
    let error = match code.as_str() {
        "ConditionalCheckFailedException" => {
            return Fault::Condition(Some(said["Item"].take()).filter(Value::is_object));
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TransactionConflictException" => {
            let message = format!("DynamoDB takes no more requests for this table or lock now: {words}");
            return Fault::Again(new(ErrorKind::Unavailable, message));
        }
        "ResourceNotFoundException" => new(
            ErrorKind::InvalidInput,
            format!("{NOT_THERE} in {}; `leasehold schema dynamodb --apply` makes it", place.region),
        ),
        "ResourceInUseException" => new(ErrorKind::InvalidInput, format!("{IN_USE}: {words}")),
        "AccessDeniedException" => new(
            ErrorKind::Denied,
            format!(
                "this user may not do that; it needs dynamodb:DescribeTable, GetItem, UpdateItem, and Scan to look at all \
                 locks ({words})"
            ),
        ),
        "ExpiredTokenException" | "ExpiredToken" => {
            new(ErrorKind::Denied, format!("the AWS credentials have expired; log in again ({words})"))
        }
        "InvalidSignatureException"
            if words.contains("Signature expired") || words.contains("not yet current") =>
        {
            new(ErrorKind::Denied, format!("this machine's clock is too far off for AWS; set it ({words})"))
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId" => new(
            ErrorKind::Denied,
            format!(
                "AWS does not know these credentials in {}; check them, and `region=` in the engine URL ({words})",
                place.region
            ),
        ),
        _ if status.is_server_error() => {
            let message = format!("DynamoDB cannot do it now: {} {words}", status.as_u16());
            return Fault::Again(new(ErrorKind::Unavailable, message).with_outcome(Outcome::Unknown));
        }
        "" => odd(operation, "it speaks otherwise").with("status", status.as_u16()),
        code => new(ErrorKind::Unexpected, format!("DynamoDB says {code}: {words}")),
    };
    Fault::Failed(error)
}

/// What a server has answered makes no sense to us.
pub(crate) fn odd(operation: &'static str, why: impl fmt::Display) -> Error {
    let message = format!("the answer is not one of DynamoDB's: {why}; check `endpoint=` in the engine URL");
    Error::new(ErrorKind::Unexpected, operation, message).with_outcome(Outcome::Unknown)
}

/// An item of the table is not one of ours. It has not been touched.
pub(crate) fn not_ours(operation: &'static str, key: &str, why: impl fmt::Display) -> Error {
    let message = format!(
        "the item `{key}` of the table is not a lock of leasehold's ({why}), and was left as it is; use a table of its own"
    );
    Error::new(ErrorKind::Corrupt, operation, message)
}

/// Whether there is no such table.
pub(crate) fn is_not_there(error: &Error) -> bool {
    error.to_string().starts_with(NOT_THERE)
}

/// Whether a table cannot be made because it is there.
pub(crate) fn is_there_already(error: &Error) -> bool {
    error.to_string().starts_with(IN_USE)
}

/// Whether a table deletes by this attribute already.
pub(crate) fn is_enabled_already(error: &Error) -> bool {
    error.to_string().contains("TimeToLive is already enabled")
}
