//! Progress, for whoever looks at a terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::Load;
use crate::rounds::Step;

/// A line on standard error that says what is running; nothing if that is not a terminal. It is drawn between
/// runs, never during one.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of so many rows.
    pub fn new(rows: usize) -> Self {
        let bar = ProgressBar::new(rows as u64);
        let style = ProgressStyle::with_template("{pos}/{len} {wide_msg}");
        bar.set_style(style.expect("the template is good"));
        Self { bar }
    }

    /// Says what runs now.
    pub fn step(&self, step: &Step<'_>) {
        self.bar.set_message(format!(
            "{}: {}, run {} of {}",
            what(step.load),
            step.entrant,
            step.done + 1,
            step.of
        ));
    }

    /// A row is done.
    pub fn row(&self) {
        self.bar.inc(1);
    }

    /// Takes the line away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// A row's work in words.
fn what(load: &Load) -> String {
    let hold = if load.hold.is_zero() { String::new() } else { format!(", held {:?}", load.hold) };
    format!("{} by {}{hold}", load.case, load.tasks)
}
