//! What a user sees while `leasehold run` waits: who holds the lock, and how many are ahead.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use leasehold::{Client, Name};

use crate::engine::owner;
use crate::output::note;
use crate::view::{View, look};

/// How long to be silent: most waits are shorter.
const SILENT: Duration = Duration::from_secs(1);
/// How often a terminal is told anew.
const LOOK: Duration = Duration::from_secs(2);
/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// Tells, for as long as it is polled. It never ends by itself.
pub(super) async fn tell(client: &Client, name: &Name) -> Infallible {
    let clock = client.clock();
    clock.sleep_until(clock.now() + SILENT).await;
    if !(std::io::stderr().is_terminal() && motion_wanted()) {
        note(sentence(client, name).await);
        return std::future::pending().await;
    }
    let spinner = Spinner::new();
    loop {
        spinner.0.set_message(sentence(client, name).await);
        let again = clock.now() + LOOK;
        while clock.now() < again {
            spinner.0.tick();
            clock.sleep_until(clock.now() + TURN).await;
        }
    }
}

/// Whether anything that moves or has colour is welcome.
fn motion_wanted() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

async fn sentence(client: &Client, name: &Name) -> String {
    match look(client, name).await {
        Ok(view) => described(&view, &owner()),
        // The wait goes on as long as the client has hope; only we do not know more.
        Err(failure) => format!("waiting for `{name}`; its queue cannot be seen: {}", failure.message),
    }
}

fn described(view: &View, us: &str) -> String {
    let name = &view.name;
    let ahead = view.waiting.iter().take_while(|claim| &*claim.meta.owner != us).count();
    let holders = view.holders();
    let held = if holders.is_empty() { String::new() } else { format!(", held by {holders}") };
    let inside = std::env::var("LEASEHOLD_NAME").is_ok_and(|outer| outer == name.as_str());
    let hint = if inside { "; this runs inside a command that holds it" } else { "" };
    format!("waiting for `{name}`{held}; {ahead} ahead in the queue{hint}")
}

/// Cleans up after itself.
struct Spinner(ProgressBar);

impl Spinner {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner().with_elapsed(SILENT);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
