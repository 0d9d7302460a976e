//! Who is told of a hand-over: each engine has a datagram socket beside the database, and whoever hands over to
//! its claim sends the claim's id and its token there.
//!
//! Nothing here is certain: a datagram may be lost or late, and costs latency then. Whoever can write the database
//! can also forge one, and could as well write the database.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use leasehold_core::inbox::Inbox;
use leasehold_core::{ClaimId, Hint, Token};
use tokio::task::AbortHandle;

use crate::line::News;
use crate::peers;
use crate::place::Place;

/// The id and the token of one claim.
const ITEM_BYTES: usize = 24;
/// How many go into one datagram.
const ITEMS_MAX: usize = 128;

/// The socket of this engine.
#[derive(Debug)]
pub(crate) struct Post {
    socket: UnixDatagram,
    /// The folder of the sockets, as a short path: a socket's address has room for 108 bytes only.
    folder: PathBuf,
    /// Keeps the short path valid.
    _folder: File,
    reader: AbortHandle,
}

impl Post {
    /// Binds the socket of this peer and reads what comes for its claims.
    pub(crate) fn open(place: &Place, me: i64, inbox: Inbox) -> io::Result<Self> {
        let open_folder = File::open(&place.peers)?;
        let folder = PathBuf::from(format!("/proc/self/fd/{}", open_folder.as_raw_fd()));
        let name = peers::socket_name(me);
        let socket = UnixDatagram::bind(folder.join(&name))?;
        place.share(&place.peers.join(&name))?;
        socket.set_nonblocking(true)?;
        let mail = tokio::net::UnixDatagram::from_std(socket.try_clone()?)?;
        let reader = tokio::spawn(read(mail, inbox)).abort_handle();
        Ok(Self { socket, folder, _folder: open_folder, reader })
    }

    /// Tells a peer, if it can hear.
    pub(crate) fn tell(&self, peer: i64, news: &[News]) {
        let address = self.folder.join(peers::socket_name(peer));
        for news in news.chunks(ITEMS_MAX) {
            let mut letter = Vec::with_capacity(news.len() * ITEM_BYTES);
            for item in news {
                letter.extend_from_slice(&item.id.0.to_be_bytes());
                letter.extend_from_slice(&item.token.get().to_be_bytes());
            }
            // It may be gone, or its socket full: then it finds out when it looks.
            let _ = self.socket.send_to(&letter, &address);
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.reader.abort();
        if let Ok(address) = self.socket.local_addr()
            && let Some(name) = address.as_pathname().and_then(|path| path.file_name())
        {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

async fn read(mail: tokio::net::UnixDatagram, inbox: Inbox) {
    let mut letter = vec![0; ITEM_BYTES * ITEMS_MAX];
    while let Ok(length) = mail.recv(&mut letter).await {
        for (id, hint) in items(&letter[..length]) {
            inbox.deliver(id, hint);
        }
    }
}

fn items(letter: &[u8]) -> impl Iterator<Item = (ClaimId, Hint)> {
    letter.as_chunks::<ITEM_BYTES>().0.iter().filter_map(|item| {
        let (id, token) = item.split_first_chunk::<16>()?;
        let token = u64::from_be_bytes(*token.first_chunk::<8>()?);
        Some((ClaimId(u128::from_be_bytes(*id)), Hint::Held(Token::new(token)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_makes_no_sense_says_nothing() {
        assert_eq!(items(&[0; 23]).count(), 0);
        assert_eq!(items(&[0; 24]).count(), 0, "0 is no token");
        assert_eq!(items(&[0xff; 48]).count(), 0, "nor is 2^64 - 1");
        let mut letter = 7u128.to_be_bytes().to_vec();
        letter.extend_from_slice(&9u64.to_be_bytes());
        letter.push(1);
        let read: Vec<_> = items(&letter).collect();
        assert_eq!(read, [(ClaimId(7), Hint::Held(Token::new(9).unwrap()))]);
    }
}
