//! What a service says to those that it does not let in.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

use super::HEADER;
use crate::Stale;

/// What gRPC wants escaped in its messages.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// In the metadata of a gRPC status: the token that was refused, and the one that it would have had to reach.
const PRESENTED: &str = "fencing-token-presented";
const SEEN: &str = "fencing-token-seen";

/// Why a request is not let in.
#[derive(Debug)]
pub(super) enum Refusal {
    Missing,
    Malformed(leasehold_core::Error),
    OtherLock { presented: String, expected: String },
    Stale(Stale),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Missing => StatusCode::PRECONDITION_REQUIRED,
            Self::Malformed(_) | Self::OtherLock { .. } => StatusCode::BAD_REQUEST,
            Self::Stale(_) => StatusCode::CONFLICT,
        }
    }

    /// In the form that the request came in.
    pub(super) fn respond<B: From<String>>(&self, asked: &HeaderMap) -> Response<B> {
        let form = asked.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !form.starts_with("application/grpc") {
            return self.problem();
        }
        self.grpc::<String>().map(B::from)
    }

    fn problem<B: From<String>>(&self) -> Response<B> {
        let status = self.status();
        let mut problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        if let Self::Stale(stale) = self {
            // As text too: not every language keeps all digits of a number.
            problem["presented"] = json!(stale.presented.to_string());
            problem["seen"] = json!(stale.seen.to_string());
        }
        let mut response = Response::new(B::from(problem.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }

    /// A response of headers alone, as gRPC has it.
    ///
    /// Who comes too late has to begin again with the lock and a fresh read, which is what `ABORTED` says and 409 is
    /// mapped to; `FAILED_PRECONDITION` is for who has no lock at all.
    pub(super) fn grpc<B: Default>(&self) -> Response<B> {
        const INVALID_ARGUMENT: &str = "3";
        const FAILED_PRECONDITION: &str = "9";
        const ABORTED: &str = "10";
        let code = match self {
            Self::Missing => FAILED_PRECONDITION,
            Self::Malformed(_) | Self::OtherLock { .. } => INVALID_ARGUMENT,
            Self::Stale(_) => ABORTED,
        };
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(code));
        let text = self.to_string();
        let text = utf8_percent_encode(&text, ESCAPED).to_string();
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert("grpc-message", text);
        }
        if let Self::Stale(stale) = self {
            headers.insert(PRESENTED, HeaderValue::from(stale.presented.get()));
            headers.insert(SEEN, HeaderValue::from(stale.seen));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                write!(f, "this needs a lock: send its token as `{HEADER}: exclusive:34:inventory/42`")
            }
            Self::Malformed(why) => write!(f, "{HEADER}: {why}"),
            Self::OtherLock { presented, expected } => {
                write!(f, "this is under the lock `{expected}`, and the token is of `{presented}`")
            }
            Self::Stale(stale) => stale.fmt(f),
        }
    }
}
