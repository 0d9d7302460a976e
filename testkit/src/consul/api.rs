//! The simplest of HTTP clients: one connection a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take to answer; one that is paused takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, 200 if all is well.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body, if all is well.
    ///
    /// # Errors
    /// The body, if not.
    pub fn ok(self) -> io::Result<String> {
        match self.status {
            200 => Ok(self.body),
            status => Err(io::Error::other(format!("{status}: {}", self.body.trim()))),
        }
    }
}

/// Asks, and waits for the answer.
pub(super) fn ask(
    addr: SocketAddr,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let token = token.map_or(String::new(), |token| format!("X-Consul-Token: {token}\r\n"));
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{token}\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP answer: {answer:?}")))?;
    Ok(Answer { status, body: body.to_owned() })
}
