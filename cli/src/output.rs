//! How `leasehold` talks: data to stdout, everything else to stderr, colour only where it is wanted.
//!
//! The streams of `anstream` honour NO_COLOR, CLICOLOR and whether a terminal is there.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::exit::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = Style::new().bold();

/// Says why we end.
pub(crate) fn failure(failure: &Failure) {
    tell(format_args!("{ERROR}error:{ERROR:#} {}", failure.message));
}

/// Says what is doubtful but does not stop us.
pub(crate) fn warning(text: impl Display) {
    tell(format_args!("{WARNING}warning:{WARNING:#} {text}"));
}

/// Says what goes on, among whatever the command itself says.
pub(crate) fn note(text: impl Display) {
    tell(format_args!("{NOTE}leasehold:{NOTE:#} {text}"));
}

fn tell(text: impl Display) {
    // Nothing better can be done if stderr is gone, least of all failing the work.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes data. Whoever closes the pipe has seen enough.
pub(crate) fn data(text: impl Display) -> Result<(), Failure> {
    line(text).map(drop)
}

/// Writes one line of many, and says whether anybody still reads them.
pub(crate) fn line(line: impl Display) -> Result<ControlFlow<()>, Failure> {
    match writeln!(anstream::stdout(), "{line}") {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(e) => Err(Failure::internal("stdout")(e)),
    }
}

/// Writes data for programs.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    data(serde_json::to_string_pretty(value).map_err(Failure::internal("JSON"))?)
}

/// Writes data for people, in columns; those in `right` hold numbers.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    data(table.trim_fmt())
}

/// What others say about themselves, with nothing in it that a terminal would obey.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    } else {
        text.into()
    }
}

/// A span as people say it.
pub(crate) fn span(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.as_millis());
    match seconds {
        0 => format!("{millis} ms"),
        1..=9 if millis % 1000 >= 100 => format!("{}.{} s", seconds, millis % 1000 / 100),
        1..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let said =
            [0, 250, 1_000, 9_999, 59_999, 200_000, 7_500_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(said, ["0 ms", "250 ms", "1 s", "9.9 s", "59 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn a_terminal_obeys_nobody_else() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("\u{1b}[31mred\n"), "\\u{1b}[31mred\\n");
    }
}
