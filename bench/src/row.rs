//! Results, for programs and for people.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};

/// One row of results. What was not measured is `null` in JSON.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Row {
    /// The engine's name.
    pub engine: String,
    /// The case.
    pub case: String,
    /// How many tasks, held locks or processes.
    pub tasks: usize,
    /// How long each hold lasted.
    pub hold_us: u64,
    /// Pairs, hand-overs, renewals or whole commands a second.
    pub rate_per_s: Option<f64>,
    /// What the floor came to.
    pub floor_per_s: Option<f64>,
    /// Our rate by the floor's, in the same round.
    pub ratio: Option<f64>,
    /// The same by the processor time that each took: on a machine that others use too, this is the steadier one.
    pub ratio_per_cpu: Option<f64>,
    /// What the peers came to.
    pub peers: BTreeMap<String, f64>,
    /// Half of the waits for the lock were no longer than this.
    pub p50_us: Option<f64>,
    /// Of a hundred waits, 99 were no longer than this.
    pub p99_us: Option<f64>,
    /// The longest wait.
    pub wait_max_us: Option<f64>,
    /// Jain's index over how often each task held the lock.
    pub jain: Option<f64>,
    /// Requests that the engine had a second.
    pub requests_per_s: Option<f64>,
    /// How many processors our process kept busy.
    pub cpu: Option<f64>,
    /// How the floor and the peers treated those who waited.
    pub beside: BTreeMap<String, Beside>,
}

/// How somebody else treated those who waited.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Beside {
    /// Half of the waits were no longer than this.
    pub p50_us: Option<f64>,
    /// Of a hundred waits, 99 were no longer than this.
    pub p99_us: Option<f64>,
    /// The longest wait.
    pub wait_max_us: Option<f64>,
    /// Jain's index.
    pub jain: Option<f64>,
}

/// The rows as a table, which is also Markdown. Columns that no row has a figure for are left out.
pub fn table(rows: &[Row]) -> String {
    let mut columns: Vec<(&str, Vec<Option<String>>)> = vec![
        ("case", each(rows, |row| Some(row.case.clone()))),
        ("tasks", each(rows, |row| Some(row.tasks.to_string()))),
        ("hold", each(rows, |row| (row.hold_us > 0).then(|| micros(row.hold_us as f64)))),
        ("per second", each(rows, |row| row.rate_per_s.map(figure))),
        ("floor", each(rows, |row| row.floor_per_s.map(figure))),
        ("ratio", each(rows, |row| row.ratio.map(|ratio| format!("{ratio:.3}")))),
        ("per cpu", each(rows, |row| row.ratio_per_cpu.map(|ratio| format!("{ratio:.3}")))),
        ("wait p50", each(rows, |row| row.p50_us.map(micros))),
        ("p99", each(rows, |row| row.p99_us.map(micros))),
        ("longest", each(rows, |row| row.wait_max_us.map(micros))),
        ("fairness", each(rows, |row| row.jain.map(|jain| format!("{jain:.3}")))),
        ("requests/s", each(rows, |row| row.requests_per_s.map(figure))),
        ("cpu", each(rows, |row| row.cpu.map(|cpu| format!("{:.1}%", cpu * 100.0)))),
        (
            "beside: rate, wait p50, p99, longest, fairness",
            each(rows, |row| (!row.beside.is_empty()).then(|| beside(row))),
        ),
    ];
    columns.retain(|(_, cells)| cells.iter().any(Option::is_some));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns.iter().map(|(title, _)| *title));
    for at in 0..rows.len() {
        table.add_row(columns.iter().map(|(_, cells)| cells[at].as_deref().unwrap_or("-")));
    }
    for (column, (title, _)) in table.column_iter_mut().zip(&columns).skip(1) {
        if !title.starts_with("beside") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn each(rows: &[Row], cell: impl Fn(&Row) -> Option<String>) -> Vec<Option<String>> {
    rows.iter().map(cell).collect()
}

fn beside(row: &Row) -> String {
    let one = |(name, how): (&String, &Beside)| {
        let rate = row.peers.get(name).copied().or(row.floor_per_s).map_or_else(|| "-".into(), figure);
        let p50 = how.p50_us.map_or_else(|| "-".into(), micros);
        let p99 = how.p99_us.map_or_else(|| "-".into(), micros);
        let longest = how.wait_max_us.map_or_else(|| "-".into(), micros);
        let fairness = how.jain.map_or_else(|| "-".into(), |jain| format!("{jain:.3}"));
        format!("{name} {rate}, {p50}, {p99}, {longest}, {fairness}")
    };
    row.beside.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Three digits or so, and a letter.
fn figure(n: f64) -> String {
    let (n, letter) = match n {
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e4 => (n / 1e3, "k"),
        n => (n, ""),
    };
    digits(n, letter)
}

/// Microseconds in the unit that suits them.
fn micros(us: f64) -> String {
    match us {
        us if us < 1.0 => digits(us * 1e3, " ns"),
        us if us < 1e3 => digits(us, " us"),
        us if us < 1e6 => digits(us / 1e3, " ms"),
        us => digits(us / 1e6, " s"),
    }
}

fn digits(n: f64, unit: &str) -> String {
    let decimals = match n {
        n if n >= 100.0 || n == 0.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{n:.decimals$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        let one =
            Beside { p50_us: Some(1.0), p99_us: Some(900.0), wait_max_us: Some(1200.0), jain: Some(0.5) };
        let two = Beside { p50_us: Some(12.0), p99_us: Some(50.5), wait_max_us: Some(64.0), jain: None };
        let pair = Row {
            engine: "sqlite".into(),
            case: "pair".into(),
            tasks: 64,
            hold_us: 0,
            rate_per_s: Some(123_456.7),
            floor_per_s: Some(50_000.0),
            ratio: Some(2.469),
            ratio_per_cpu: Some(1.25),
            peers: BTreeMap::from([("flock".into(), 999.5)]),
            p50_us: Some(0.25),
            p99_us: Some(15.62),
            wait_max_us: Some(2_500_000.0),
            jain: Some(0.9987),
            requests_per_s: Some(246_913.0),
            cpu: None,
            beside: BTreeMap::from([("flock".into(), one), ("rusqlite".into(), two)]),
        };
        let alone = Row {
            case: "renew".into(),
            tasks: 10_000,
            hold_us: 1000,
            rate_per_s: Some(1e6),
            floor_per_s: None,
            ratio: None,
            ratio_per_cpu: None,
            peers: BTreeMap::new(),
            jain: None,
            cpu: Some(0.0123),
            beside: BTreeMap::new(),
            ..pair.clone()
        };
        [pair, alone]
    }

    #[test]
    fn rows_for_programs() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&rows()).unwrap());
    }

    #[test]
    fn rows_for_people() {
        insta::assert_snapshot!(table(&rows()));
    }

    #[test]
    fn columns_without_figures_are_left_out() {
        insta::assert_snapshot!(table(&rows()[1..]));
    }
}
