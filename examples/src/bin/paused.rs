//! A holder that is paused past its TTL and writes when it wakes up: without a fence it undoes what the next holder did,
//! with one it is refused.

use std::path::Path;
use std::time::Duration;

use leasehold_examples::{Actor, Outcome, Stage, say, unique, wait_for_cue};
use leasehold_fence::file::Fence;
use nix::sys::signal::{Signal, kill};

const TTL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, engine, file, lock, fenced] = &arguments[..]
        && role == "holder"
    {
        return hold(engine, Path::new(file), lock, fenced == "fenced").await;
    }
    let stage = Stage::new()?;
    let locks = stage.locks().await?;
    for (what, fenced) in [("without a fence", "bare"), ("with a fence", "fenced")] {
        let file = stage.file(fenced);
        std::fs::write(&file, "100")?;
        let (path, name) = (file.to_str().ok_or("a path that is no UTF-8")?, unique(fenced));
        let mut old = Actor::start(&["holder", stage.engine(), path, &name, fenced])?;
        old.says()?;
        kill(old.pid(), Signal::SIGSTOP)?;
        // Its TTL runs out, and the lock passes on.
        let guard = locks.mutex(&name)?.lock().await?;
        add(&file, Some(&guard).filter(|_| fenced == "fenced"), 10)?;
        guard.release().await?;
        kill(old.pid(), Signal::SIGCONT)?;
        old.go_on()?;
        let said = old.says()?;
        say(format_args!(
            "{what}: 100 + 10 + 1 is {}; the paused holder {said}",
            std::fs::read_to_string(&file)?
        ));
    }
    Ok(())
}

/// Adds to the number in the file.
fn add(file: &Path, guard: Option<&leasehold::Guard>, number: u64) -> Outcome {
    let sum = |text: &[u8]| Outcome::Ok((std::str::from_utf8(text)?.parse::<u64>()? + number).to_string());
    match guard {
        None => std::fs::write(file, sum(&std::fs::read(file)?)?)?,
        Some(guard) => {
            let fence = Fence::beside(file)?;
            let inside = fence.enter(guard)?;
            inside.write(sum(&inside.read()?.ok_or("the file is gone")?)?.as_bytes())?;
        }
    }
    Ok(())
}

/// Reads, is paused, and writes, as one that does not look at a clock any more.
async fn hold(engine: &str, file: &Path, lock: &str, fenced: bool) -> Outcome {
    let locks = leasehold::connect(engine).await?;
    let guard = locks.mutex(lock)?.ttl(TTL).lock().await?;
    let fence = Fence::beside(file)?;
    let inside = if fenced { Some(fence.enter(&guard)?) } else { None };
    let sum = (std::fs::read_to_string(file)?.parse::<u64>()? + 1).to_string();
    say("has read");
    wait_for_cue()?;
    match inside.map(|inside| inside.write(sum.as_bytes())) {
        None => {
            std::fs::write(file, sum)?;
            say("wrote");
        }
        Some(Ok(())) => say("wrote"),
        Some(Err(error)) => {
            say(format_args!("was refused ({})", if error.stale().is_some() { "stale" } else { "?" }))
        }
    }
    Ok(())
}
