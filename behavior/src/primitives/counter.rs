//! A number in a file that is incremented in three steps, so that two at a time lose one.

use std::io::ErrorKind;
use std::path::Path;

use crate::verdict::{Failure, Verdict, ensure};

/// A fresh counter.
pub(crate) fn create(file: &Path) -> Verdict {
    Ok(std::fs::write(file, "0 0")?)
}

/// The number, and the token under which it was written last.
pub(crate) fn read(file: &Path) -> Verdict<(u64, u64)> {
    let text = match std::fs::read_to_string(file) {
        Err(e) if e.kind() == ErrorKind::InvalidData => String::new(),
        read => read?,
    };
    let (count, token) = text
        .split_once(' ')
        .ok_or_else(|| Failure::Violation(format!("read `{text}`: somebody writes at the same time")))?;
    Ok((count.parse()?, token.parse()?))
}

/// One increment: read, let others run, write.
pub(crate) async fn increment(file: &Path, token: u64) -> Verdict {
    let (count, last) = read(file)?;
    ensure!(token > last, "token {token} comes after {last}");
    tokio::task::yield_now().await;
    std::thread::yield_now();
    Ok(std::fs::write(file, format!("{} {token}", count + 1))?)
}

/// The same by one who has no token and does not care what it destroys.
pub(crate) async fn increment_unlocked(file: &Path) -> Verdict {
    let count = read(file).map_or(0, |(count, _)| count);
    tokio::task::yield_now().await;
    std::thread::yield_now();
    Ok(std::fs::write(file, format!("{} 0", count + 1))?)
}
