//! Who lives: each open engine keeps a file beside the database locked, and the kernel frees the lock when the
//! last process that has the file open is gone.
//!
//! A file that can be locked is that of the dead. A file that is missing proves nothing: then claims die by their
//! time to live.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use hashbrown::HashMap;
use leasehold_core::{Env, Moment};

use crate::place::Place;

/// A peer found alive is believed to be so for this long.
const ALIVE_FOR: Duration = Duration::from_millis(200);
/// How many verdicts are remembered.
const VERDICTS_MAX: usize = 4096;

const ALIVE: &str = "alive";
const SOCKET: &str = "sock";

/// The name of a peer's file.
fn file_name(peer: i64, kind: &str) -> String {
    format!("{peer:016x}.{kind}")
}

/// Where a peer is told of hand-overs.
pub(crate) fn socket_name(peer: i64) -> String {
    file_name(peer, SOCKET)
}

/// This engine among its peers.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its number.
    pub id: i64,
    folder: PathBuf,
    file: File,
}

impl Own {
    /// Makes and locks a liveness file under a number that nobody has.
    pub(crate) fn enter(place: &Place, env: &Env) -> io::Result<Self> {
        loop {
            #[expect(clippy::cast_possible_truncation, reason = "63 random bits are enough")]
            let id = (env.rng.next() as u64 >> 1) as i64;
            // Under its final name it is locked from the first moment, or somebody would take it for dead.
            let (new, path) = (file_name(id, "new"), place.peers.join(file_name(id, ALIVE)));
            if id == 0 || path.try_exists()? {
                continue;
            }
            let new = (place.peers.join(&new), place.open_beside(&new)?);
            match new.1.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => return Err(e),
            }
            match fs::hard_link(&new.0, &path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                done => done?,
            }
            fs::remove_file(&new.0)?;
            return Ok(Self { id, folder: place.peers.clone(), file: new.1 });
        }
    }

    /// The file whose lock says that this process lives.
    pub(crate) fn lifeline(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Removes the files of this engine, for it has no claims.
    pub(crate) fn retire(&self) {
        remove(&self.folder, self.id);
    }
}

fn remove(folder: &std::path::Path, peer: i64) {
    // Another user's files cannot be removed in a folder with the sticky bit; their owner's next engine does it.
    for kind in [SOCKET, ALIVE] {
        let _ = fs::remove_file(folder.join(file_name(peer, kind)));
    }
}

/// What is known of the others.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    known: HashMap<i64, Verdict>,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    AliveAt(Moment),
    Dead,
}

impl Verdicts {
    /// Whether a peer is provably dead.
    pub(crate) fn is_dead(&mut self, place: &Place, peer: i64, now: Moment) -> bool {
        match self.known.get(&peer) {
            Some(Verdict::Dead) => return true,
            Some(Verdict::AliveAt(at)) if now.since(*at) < ALIVE_FOR => return false,
            _ => {}
        }
        let dead =
            File::open(place.peers.join(file_name(peer, ALIVE))).is_ok_and(|f| f.try_lock_shared().is_ok());
        if self.known.len() >= VERDICTS_MAX {
            self.known.clear();
        }
        self.known.insert(peer, if dead { Verdict::Dead } else { Verdict::AliveAt(now) });
        dead
    }
}

/// A peer whose death is certain and whose files nobody else removes meanwhile.
#[derive(Debug)]
pub(crate) struct Dead {
    pub id: i64,
    folder: PathBuf,
    /// Locked, so that no other engine buries the same peer.
    _file: File,
}

impl Dead {
    /// Removes its files, after its claims.
    pub(crate) fn bury(self) {
        remove(&self.folder, self.id);
    }
}

/// The dead peers that nobody has buried yet.
pub(crate) fn dead(place: &Place) -> io::Result<Vec<Dead>> {
    let mut dead = Vec::new();
    for file in fs::read_dir(&place.peers)? {
        let file = file?;
        let name = file.file_name();
        let Some(id) = name.to_str().and_then(|n| n.strip_suffix(ALIVE)?.strip_suffix('.')) else { continue };
        let Ok(id) = i64::from_str_radix(id, 16) else { continue };
        let Ok(file) = File::open(file.path()) else { continue };
        if file.try_lock().is_ok() {
            dead.push(Dead { id, folder: place.peers.clone(), _file: file });
        }
    }
    Ok(dead)
}
