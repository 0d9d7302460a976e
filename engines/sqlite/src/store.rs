//! One open database: how it is found or made, whether it is still the same file, and how to get in.
//!
//! SQLite alone lets whoever writes keep the others out: it looks again after a sleep, and a busy process has
//! long begun its next transaction by then. So everybody passes a turnstile, a lock on a file of its own, on the
//! way in, and gives it back once the transaction has begun. Whoever waits for the transaction waits in the
//! turnstile, and so in front of those who have just been in.

use std::fs::{self, File, TryLockError};
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result, TOKEN_END};

use crate::place::{Identity, Place, identity};
use crate::wire::{Begun, Head, Sort, VERSION, Wire};
use crate::{boot, failure};

/// How many tokens are made good on the disk at once.
pub(crate) const TOKENS_AHEAD: u64 = 1 << 20;
/// The first pause of one who waits to get in, and the longest.
const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_micros(500);
/// How often one who must not wait tries, and how long it spins in between: 20 to 50 us in all.
const SHORT_TRIES: usize = 12;
const SHORT_SPINS: usize = 64;
/// How much pause is taken before the wait is given up. A transaction takes a millisecond.
const WAIT_MAX: Duration = Duration::from_secs(5);

const TURNSTILE: &str = "turnstile";
/// The end of the name of the write-ahead log.
pub(crate) const LOG: &str = "-wal";
const INDEX: &str = "-shm";

/// An open database.
#[derive(Debug)]
pub(crate) struct Store {
    pub wire: Wire,
    pub identity: Identity,
    place: Arc<Place>,
    /// The log and its index that belong to this file.
    companions: Vec<(&'static str, Identity)>,
    turnstile: File,
}

/// What came of the try to get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A write transaction has begun.
    In,
    /// Somebody else writes, or waits to.
    Busy,
    /// The file has been deleted or replaced.
    Replaced,
}

/// What an engine knows of the world.
#[derive(Debug)]
pub(crate) struct World {
    pub place: Arc<Place>,
    pub env: Env,
    /// Which run of which machine this is.
    pub boot: String,
}

impl World {
    fn fail(&self, cause: rusqlite::Error) -> Error {
        failure::sqlite("open", &self.place.path, cause)
    }

    /// What the clock says to tokens. One that is absurdly far ahead must not use them all up.
    fn token_floor(&self) -> u64 {
        self.env.clock.wall_micros().min(TOKEN_END / 2)
    }
}

impl Store {
    /// Opens the database, makes it if it is missing, and takes note of the time: `before` is what stood there.
    pub(crate) fn open(world: &World, before: Option<&Self>) -> Result<Self> {
        let place = &world.place;
        let io = |e| failure::file("open", &place.path, e);
        place.make_peers().map_err(io)?;
        let turnstile = place.open_beside(TURNSTILE).map_err(io)?;
        wait(|| try_lock(&turnstile)).map_err(io)?.ok_or_else(|| failure::busy("open", &place.path))?;
        if let Some(before) = before {
            before.disown();
        }
        loop {
            let found = fs::metadata(&place.path);
            if found.is_ok_and(|found| found.len() == 0) {
                fs::remove_file(&place.path).map_err(io)?;
            }
            let Some(identity) = place.identity().map_err(io)? else {
                create(world)?;
                continue;
            };
            check(place)?;
            let wire = Wire::open(&place.path).map_err(|e| world.fail(e))?;
            let mut store = Self {
                wire,
                identity,
                place: place.clone(),
                companions: Vec::new(),
                turnstile: turnstile.try_clone().map_err(io)?,
            };
            if place.identity().map_err(io)? != Some(identity) {
                store.disown();
                continue;
            }
            store.arrive(world)?;
            store.companions = [LOG, INDEX]
                .into_iter()
                .filter_map(|suffix| Some((suffix, identity_of(place, suffix)?)))
                .collect();
            turnstile.unlock().map_err(io)?;
            return Ok(store);
        }
    }

    /// A database that is open already once more, for what takes long.
    pub(crate) fn again(world: &World, identity: Identity) -> Result<Self> {
        let place = world.place.clone();
        let turnstile = place.open_beside(TURNSTILE).map_err(|e| failure::file("open", &place.path, e))?;
        let wire = Wire::open(&place.path).map_err(|e| world.fail(e))?;
        Ok(Self { wire, identity, place, companions: Vec::new(), turnstile })
    }

    /// The first transaction, under the turnstile.
    fn arrive(&self, world: &World) -> Result<()> {
        let fail = |e| world.fail(e);
        self.wire.wait_when_busy(WAIT_MAX).map_err(fail)?;
        if !self.wire.is_sound().map_err(fail)? {
            return Err(failure::damaged("open", &self.place.path));
        }
        self.wire.wait_when_busy(Duration::ZERO).map_err(fail)?;
        self.secure(world, 0)
    }

    /// Raises the tokens to the clock, and after a restart above all that may have been used before it, and makes
    /// good on the disk that those up to `wanted` and more may be used. Only who is in the turnstile calls this.
    fn secure(&self, world: &World, wanted: u64) -> Result<()> {
        self.wire.flush_commits(true).map_err(|e| world.fail(e))?;
        let done = self.raise(world, wanted);
        if done.is_err() {
            self.wire.roll_back();
        }
        self.wire.flush_commits(false).map_err(|e| world.fail(e))?;
        done
    }

    fn raise(&self, world: &World, wanted: u64) -> Result<()> {
        let fail = |e| world.fail(e);
        wait(|| Ok(self.wire.begin().map_err(fail)? == Begun::Yes))?
            .ok_or_else(|| failure::busy("open", &self.place.path))?;
        let stored = self.wire.head().map_err(fail)?;
        let mut head = stored.clone();
        if head.boot != world.boot {
            if head.boots.split(' ').any(|boot| boot == world.boot) {
                return Err(boot::two_machines().with("database", self.place.path.display()));
            }
            self.wire.start_anew().map_err(fail)?;
            let mut boots: Vec<&str> = head.boots.split(' ').filter(|boot| !boot.is_empty()).collect();
            boots.push(&stored.boot);
            head.boots = boots[boots.len().saturating_sub(boot::BOOTS_MAX)..].join(" ");
            head.boot.clone_from(&world.boot);
            // The crash may have lost the last counts, but not the ceiling that they were under.
            head.token = head.token.max(head.ceiling);
        }
        head.token = head.token.max(world.token_floor());
        let used = head.token.max(wanted);
        if head.ceiling < used + TOKENS_AHEAD / 2 {
            head.ceiling = used + TOKENS_AHEAD;
        }
        if head != stored {
            self.wire.set_head(&head).map_err(fail)?;
        }
        self.wire.commit().map_err(fail)
    }

    /// Makes tokens up to `wanted` and more good on the disk.
    pub(crate) fn extend(&self, world: &World, wanted: u64) -> Result<()> {
        self.pass_turnstile()?;
        let done = self.secure(world, wanted);
        self.leave_turnstile()?;
        done
    }

    /// Begins a write transaction if that is possible at once, or within about one transaction of another process.
    pub(crate) fn enter_at_once(&self) -> Result<Entry> {
        // Nothing, unless somebody panicked in the middle of one.
        self.wire.roll_back();
        if !self.is_same()? {
            return Ok(Entry::Replaced);
        }
        if !shortly(|| try_lock(&self.turnstile)).map_err(|e| self.io(e))? {
            return Ok(Entry::Busy);
        }
        let begun = shortly(|| self.begin());
        self.leave_turnstile()?;
        Ok(if begun? { Entry::In } else { Entry::Busy })
    }

    /// Begins a write transaction, waiting for those who are in or came before.
    pub(crate) fn enter(&self) -> Result<Entry> {
        self.wire.roll_back();
        self.pass_turnstile()?;
        let begun = wait(|| self.begin());
        self.leave_turnstile()?;
        begun?.ok_or_else(|| failure::busy("request", &self.place.path))?;
        if self.is_same()? {
            return Ok(Entry::In);
        }
        self.wire.roll_back();
        Ok(Entry::Replaced)
    }

    /// Whether the file is still what its name stands for.
    pub(crate) fn is_same(&self) -> Result<bool> {
        Ok(self.place.identity().map_err(|e| self.io(e))? == Some(self.identity))
    }

    /// Does something while nobody else gets in.
    pub(crate) fn undisturbed<T>(&self, work: impl FnOnce(&Wire) -> T) -> Result<T> {
        self.pass_turnstile()?;
        let done = work(&self.wire);
        self.leave_turnstile()?;
        Ok(done)
    }

    fn begin(&self) -> Result<bool> {
        let begun = self.wire.begin().map_err(|e| failure::sqlite("request", &self.place.path, e))?;
        Ok(begun == Begun::Yes)
    }

    fn pass_turnstile(&self) -> Result<()> {
        wait(|| try_lock(&self.turnstile))
            .map_err(|e| self.io(e))?
            .ok_or_else(|| failure::busy("request", &self.place.path))
    }

    fn leave_turnstile(&self) -> Result<()> {
        self.turnstile.unlock().map_err(|e| self.io(e))
    }

    fn io(&self, cause: std::io::Error) -> Error {
        failure::file("request", &self.place.path, cause)
    }

    /// Another file stands in the place of this one: its log must not be taken for that of the new one, nor the
    /// new one's removed when this one is closed.
    fn disown(&self) {
        self.wire.disown();
        for (suffix, was) in &self.companions {
            if identity_of(&self.place, suffix) == Some(*was) {
                let _ = fs::remove_file(self.place.companion(suffix));
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.is_same().unwrap_or(false) {
            self.wire.disown();
        }
    }
}

fn identity_of(place: &Place, suffix: &str) -> Option<Identity> {
    identity(&place.companion(suffix)).ok().flatten()
}

/// Makes the database: whole, beside its place, and then put there, so that nobody ever sees half of it.
fn create(world: &World) -> Result<()> {
    let place = &world.place;
    let io = |e| failure::file("open", &place.path, e);
    for suffix in [LOG, INDEX] {
        // What is left of a database that has been deleted would be read as part of this one.
        match fs::remove_file(place.companion(suffix)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
    }
    let new = place.peers.join("new.db");
    for leftover in ["new.db", "new.db-journal", "new.db-wal", "new.db-shm"] {
        let _ = fs::remove_file(place.peers.join(leftover));
    }
    let token = world.token_floor();
    let head = Head { boot: world.boot.clone(), boots: String::new(), token, ceiling: token + TOKENS_AHEAD };
    Wire::create(&new, &head).map_err(|e| failure::sqlite("open", &new, e))?;
    place.share(&new).map_err(io)?;
    let put = fs::hard_link(&new, &place.path);
    fs::remove_file(&new).map_err(io)?;
    match put {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(io(e)),
        _ => {
            // Until the folder is on the disk too, the ceiling is not.
            let folder = place.path.parent().unwrap_or(&place.peers);
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
        }
    }
}

/// Refuses files that are not ours.
fn check(place: &Place) -> Result<()> {
    match Wire::inspect_file(&place.path).map_err(|e| failure::sqlite("open", &place.path, e))? {
        Sort::Ours => Ok(()),
        Sort::Foreign(0) => Err(failure::not_ours("open", &place.path, "it is a SQLite database of something else")),
        Sort::Foreign(id) => {
            let why = format!("its application id is {id:#x}");
            Err(failure::not_ours("open", &place.path, &why))
        }
        Sort::Later(version) => Err(Error::new(
            ErrorKind::Unsupported,
            "open",
            format!(
                "the database has schema {version}, and this release of leasehold knows {VERSION}; update it, or \
                 name another file"
            ),
        )
        .with("file", place.path.display())),
    }
}

fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Tries until it is done, for as long as a transaction takes: less than a hop to another thread would.
fn shortly<E>(mut done: impl FnMut() -> std::result::Result<bool, E>) -> std::result::Result<bool, E> {
    for _ in 0..SHORT_TRIES {
        if done()? {
            return Ok(true);
        }
        for _ in 0..SHORT_SPINS {
            std::hint::spin_loop();
        }
    }
    Ok(false)
}

/// Tries until it is done; `None` if it is not for too long. A blocking wait for the lock of a file could never
/// be given up.
fn wait<E>(mut done: impl FnMut() -> std::result::Result<bool, E>) -> std::result::Result<Option<()>, E> {
    let (mut pause, mut waited) = (PAUSE_MIN, Duration::ZERO);
    while !done()? {
        if waited >= WAIT_MAX {
            return Ok(None);
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
    Ok(Some(()))
}
