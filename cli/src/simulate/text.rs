//! A walk-through to be read.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use leasehold_sim::walk::story::{Line, Story, Who, span};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// In which colour a line is; what is refused or lost stands out.
fn style(line: &Line) -> Style {
    match line.who {
        Who::Storage if line.what.starts_with("refuses") => AnsiColor::Green.on_default().bold(),
        Who::Storage => AnsiColor::Green.on_default(),
        Who::Client(0) => AnsiColor::Blue.on_default(),
        Who::Client(_) => AnsiColor::Magenta.on_default(),
        Who::Node(_) | Who::Nodes(..) => DIM,
        Who::World => AnsiColor::Red.on_default(),
    }
}

/// The time line, and the figures.
pub(super) fn of(story: &Story) -> String {
    let mut text = String::new();
    // Nothing that is written into a string fails.
    let _ = writeln!(text, "{BOLD}{}{BOLD:#}\n{}\n", story.title, story.setting);
    for line in &story.lines {
        let (style, time) = (style(line), span(line.at));
        let _ = writeln!(text, "{time:>12}  {style}{:<9} {}{style:#}", line.who, line.what);
    }
    let _ = writeln!(text);
    let name = story.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
    for figure in &story.figures {
        let value = figure.value.text();
        let _ = writeln!(text, "{:<name$}  {BOLD}{value:>10}{BOLD:#}  {}", figure.name, figure.says);
    }
    text.truncate(text.trim_end().len());
    text
}
