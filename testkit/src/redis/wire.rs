//! As much of the Redis protocol as a test needs: one command, one reply, blocking.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for so long is paused or hangs; the test must not.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// There is nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A status or a string. What is not UTF-8 is replaced.
    Text(String),
    /// An error inside a list. One that is all there is comes as an [`io::Error`] with the server's words.
    Error(String),
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// The string.
    ///
    /// # Panics
    /// If it is something else.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("expected a string, got {other:?}"),
        }
    }

    /// The number, also one that is sent as a string.
    ///
    /// # Panics
    /// If it is something else.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => other.text().parse().unwrap_or_else(|_| panic!("expected a number, got {other:?}")),
        }
    }

    /// The list.
    ///
    /// # Panics
    /// If it is something else.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            other => panic!("expected a list, got {other:?}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("(nil)"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) | Self::Error(text) => f.write_str(text),
            Self::List(list) => f.debug_list().entries(list).finish(),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, REPLY_PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The server's own words if it answers with an error; else whatever the connection came to.
    pub fn command<W: AsRef<[u8]>>(&mut self, words: impl IntoIterator<Item = W>) -> io::Result<Reply> {
        let words: Vec<W> = words.into_iter().collect();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        match self.reply()? {
            Reply::Error(words) => Err(io::Error::other(words)),
            reply => Ok(reply),
        }
    }

    /// Waits for the next reply or, after a subscription, for the next message.
    ///
    /// # Errors
    /// Whatever the connection came to.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let nonsense = || io::Error::new(io::ErrorKind::InvalidData, format!("not a Redis reply: {line:?}"));
        let (kind, rest) = line.split_at_checked(1).ok_or_else(nonsense)?;
        let number = || rest.parse::<i64>().map_err(|_| nonsense());
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Nil,
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    Reply::Text(String::from_utf8_lossy(&bytes[..length]).into_owned())
                }
            },
            "*" => match number()? {
                -1 => Reply::Nil,
                length => Reply::List((0..length).map(|_| self.reply()).collect::<io::Result<_>>()?),
            },
            _ => return Err(nonsense()),
        })
    }
}
