//! What `leasehold run` and its guardian tell each other, over one pipe each way.
//!
//! A message is nine bytes: what it is, and a number. That is far below what a pipe takes in one piece, so a
//! reader never sees half a message unless the writer's system is broken.

use std::io::{self, ErrorKind, Read, Write};

use leasehold_core::Moment;

const BYTES: usize = 9;

/// From `leasehold run` to the guardian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// The hold lasts until then.
    Deadline(Moment),
    /// Pass this signal on to the command.
    Signal(u8),
    /// The hold is lost: end the command.
    Stop,
}

/// From the guardian to `leasehold run`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// The command could not be started, for this reason (`errno`).
    NotStarted(i32),
    /// The deadline came before the command could be started.
    TooLate,
    /// The command has been asked to end before its time.
    Stopping,
    /// The command has ended, but not all that it started; the rest has been asked to end.
    LeftBehind,
    /// The command and all that it started are gone.
    Ended(Ending),
}

/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

/// A message that fits into nine bytes.
pub(crate) trait Message: Sized {
    /// What it is, and its number.
    fn parts(self) -> (u8, u64);
    /// The message of these parts, if there is one.
    fn from_parts(tag: u8, number: u64) -> Option<Self>;

    /// Its bytes.
    fn bytes(self) -> [u8; BYTES] {
        let (tag, number) = self.parts();
        let mut bytes = [tag; BYTES];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// Writes it in one piece.
    fn send(self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.bytes())
    }
}

impl Message for News {
    fn parts(self) -> (u8, u64) {
        match self {
            Self::Deadline(moment) => (b'd', moment.as_nanos()),
            Self::Signal(signal) => (b's', signal.into()),
            Self::Stop => (b'x', 0),
        }
    }

    fn from_parts(tag: u8, number: u64) -> Option<Self> {
        match tag {
            b'd' => Some(Self::Deadline(Moment::from_nanos(number))),
            b's' => u8::try_from(number).ok().map(Self::Signal),
            b'x' => Some(Self::Stop),
            _ => None,
        }
    }
}

impl Message for Report {
    fn parts(self) -> (u8, u64) {
        match self {
            Self::NotStarted(errno) => (b'n', u64::from(errno.unsigned_abs())),
            Self::TooLate => (b't', 0),
            Self::Stopping => (b's', 0),
            Self::LeftBehind => (b'l', 0),
            Self::Ended(Ending::Exited(code)) => (b'e', code.into()),
            Self::Ended(Ending::Killed(signal)) => (b'k', signal.into()),
        }
    }

    fn from_parts(tag: u8, number: u64) -> Option<Self> {
        Some(match tag {
            b'n' => Self::NotStarted(i32::try_from(number).ok()?),
            b't' => Self::TooLate,
            b's' => Self::Stopping,
            b'l' => Self::LeftBehind,
            b'e' => Self::Ended(Ending::Exited(u8::try_from(number).ok()?)),
            b'k' => Self::Ended(Ending::Killed(u8::try_from(number).ok()?)),
            _ => return None,
        })
    }
}

/// The bytes of messages as they come in.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// Reads what is there; `false` if the other side is gone for good.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<bool> {
        let mut buffer = [0; BYTES * 64];
        match from.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// The next message that has come in whole.
    pub(crate) fn next<M: Message>(&mut self) -> io::Result<Option<M>> {
        let Some((message, _)) = self.bytes.split_first_chunk::<BYTES>() else { return Ok(None) };
        let [tag, number @ ..] = *message;
        self.bytes.drain(..BYTES);
        match M::from_parts(tag, u64::from_le_bytes(number)) {
            Some(message) => Ok(Some(message)),
            None => Err(io::Error::new(
                ErrorKind::InvalidData,
                "an unknown message between leasehold and its guardian",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<M: Message + Copy + PartialEq + std::fmt::Debug>(messages: &[M]) {
        let bytes: Vec<u8> = messages.iter().flat_map(|m| m.bytes()).collect();
        // One byte at a time: no message may depend on how the bytes are cut.
        let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
        for byte in &bytes {
            assert!(incoming.fill(&mut &[*byte][..]).unwrap());
            seen.extend(incoming.next::<M>().unwrap());
        }
        assert_eq!(seen, messages);
        assert!(!incoming.fill(&mut &[][..]).unwrap());
    }

    #[test]
    fn messages_survive_the_pipe() {
        round_trip(&[News::Deadline(Moment::from_nanos(u64::MAX - 1)), News::Signal(15), News::Stop]);
        round_trip(&[
            Report::NotStarted(2),
            Report::TooLate,
            Report::Stopping,
            Report::LeftBehind,
            Report::Ended(Ending::Exited(255)),
            Report::Ended(Ending::Killed(9)),
        ]);
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut incoming = Incoming::default();
        incoming.fill(&mut &[0; BYTES][..]).unwrap();
        incoming.next::<News>().unwrap_err();
        incoming.fill(&mut &Report::Ended(Ending::Exited(0)).bytes().map(|b| b.max(1))[..]).unwrap();
        incoming.next::<Report>().unwrap_err();
    }
}
