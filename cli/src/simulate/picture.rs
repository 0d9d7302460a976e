//! A walk-through to be looked at: a lane for each client, each node and the storage, and time from left to right.
//!
//! Between milliseconds and seconds lie three powers of ten, so the axis is not to scale: each span between two things that
//! happen is as wide as its logarithm.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_sim::walk::story::{Lasts, Message, Story, Who, span};

use super::svg::Svg;

const MARGIN: f64 = 24.0;
/// Where the time begins: left of it are the names of the lanes.
const LEFT: f64 = 96.0;
/// Below the title.
const TOP: f64 = 84.0;
/// The height of a lane.
const LANE: f64 = 46.0;
/// The height of a line of text below.
const ROW: f64 = 19.0;
/// How wide a picture may be, and how wide a power of ten is in it if it can.
const WIDTH: (f64, f64) = (980.0, 1700.0);
const POWER: f64 = 34.0;
/// What every span between two things gets besides.
const LEAST: f64 = 0.3;
/// The least space between two times on the axis.
const TICK: f64 = 17.0;

const STYLE: &str = r##"<style>
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1f2430; }
.title { font-size: 19px; font-weight: 600; }
.soft { fill: #5b6375; }
.name { font-weight: 600; text-anchor: end; }
.tick { font-size: 11px; fill: #5b6375; text-anchor: end; }
.mark { stroke: #fff; stroke-width: 1.5; }
.number { font-size: 10px; font-weight: 600; fill: #fff; text-anchor: middle; }
.right { text-anchor: end; }
.value { font-weight: 600; text-anchor: end; }
.page { fill: #fff; }
.lane { fill: #f4f5f8; }
.grid { stroke: #e0e3ea; }
.world { stroke: #c22f3d; stroke-dasharray: 5 4; }
.a { fill: #2b62c9; } .b { fill: #b0409b; } .storage { fill: #2e7d46; } .of-world { fill: #c22f3d; } .node { fill: #5b6375; }
.waits-a { fill: url(#waits-a); stroke: #2b62c9; } .waits-b { fill: url(#waits-b); stroke: #b0409b; }
.overdue { fill: url(#overdue); stroke: #c22f3d; }
.paused { fill: #8a91a1; } .dead { fill: #343a48; }
.lease-a { fill: #a9c1ee; } .lease-b { fill: #e3b5d9; }
.message { stroke-width: 1; fill: none; } .from-a { stroke: #2b62c9; } .from-b { stroke: #b0409b; }
.aside { opacity: .28; } .lost { stroke-dasharray: 2 3; }
</style>
<defs>
<pattern id="waits-a" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#e9effb"/><rect width="2" height="7" fill="#a9c1ee"/></pattern>
<pattern id="waits-b" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#f9ecf6"/><rect width="2" height="7" fill="#e3b5d9"/></pattern>
<pattern id="overdue" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#fbe3e5"/><rect width="3" height="7" fill="#e2737d"/></pattern>
</defs>
"##;

/// The axis: where a time is.
struct Axis {
    /// Times at which something happens, and where they are.
    points: Vec<(u64, f64)>,
}

impl Axis {
    /// From the times at which something happens.
    fn new(times: &BTreeSet<u64>, unit: u64) -> Self {
        let mut at = 0.0;
        let mut last = None;
        let mut points = Vec::with_capacity(times.len());
        for &time in times {
            if let Some(last) = last.replace(time) {
                at += LEAST + (1.0 + (time - last) as f64 / unit.max(1) as f64).log10();
            }
            points.push((time, at));
        }
        let width = (at * POWER).clamp(WIDTH.0, WIDTH.1) - LEFT - 2.0 * MARGIN;
        let scale = if at > 0.0 { width / at } else { 0.0 };
        points.iter_mut().for_each(|(_, x)| *x = MARGIN + LEFT + *x * scale);
        Self { points }
    }

    fn x(&self, time: u64) -> f64 {
        let after = self.points.partition_point(|(at, _)| *at < time);
        let (next, last) = (self.points.get(after), after.checked_sub(1).map(|before| self.points[before]));
        match (last, next) {
            (Some((from, left)), Some(&(to, right))) => {
                left + (right - left) * (time - from) as f64 / (to - from) as f64
            }
            // Before the first, or after the last.
            (None, Some(&(_, x))) | (Some((_, x)), None) => x,
            (None, None) => MARGIN + LEFT,
        }
    }

    fn right(&self) -> f64 {
        self.points.last().map_or(MARGIN + LEFT, |(_, x)| *x)
    }
}

/// The lanes, from top to bottom.
struct Lanes(Vec<Who>);

impl Lanes {
    fn of(story: &Story) -> Self {
        let mut lanes: BTreeSet<Who> = [Who::Client(0), Who::Client(1)].into();
        let speaks = |who: Who| story.lines.iter().any(|line| line.who == who);
        lanes.extend([Who::World, Who::Storage].into_iter().filter(|who| speaks(*who)));
        lanes.extend(story.messages.iter().map(|message| message.to));
        Self(lanes.into_iter().collect())
    }

    /// The middle of a lane.
    fn y(&self, who: Who) -> f64 {
        let who = if let Who::Nodes(from, _) = who { Who::Node(from) } else { who };
        let at = self.0.iter().position(|lane| *lane == who).unwrap_or_default();
        TOP + LANE * (at as f64 + 0.5)
    }

    fn bottom(&self) -> f64 {
        TOP + LANE * self.0.len() as f64
    }
}

/// Draws it.
pub(super) fn of(story: &Story) -> String {
    let told: BTreeSet<u64> = story.lines.iter().map(|line| line.at).collect();
    let shown = |message: &&Message| is_told(message, &told);
    let mut times = told.clone();
    times.extend([0, story.ends]);
    for message in story.messages.iter().filter(shown) {
        times.extend([Some(message.sent), message.applied, message.answered].into_iter().flatten());
    }
    let (axis, lanes) = (Axis::new(&times, story.latency), Lanes::of(story));
    let mut svg = Svg::default();
    background(&mut svg, story, &axis, &lanes);
    spans(&mut svg, story, &axis, &lanes);
    for message in &story.messages {
        arrows(&mut svg, message, if shown(&message) { "" } else { " aside" }, &axis, &lanes);
    }
    marks(&mut svg, story, &axis, &lanes);
    let below = ticks(&mut svg, &told, &axis, &lanes);
    let below = legend(&mut svg, story, below);
    let below = figures(&mut svg, story, below);
    let height = words(&mut svg, story, below) + MARGIN;
    let width = (axis.right() + MARGIN).max(WIDTH.0);
    let mut page = Svg::default();
    page.rect("page", (0.0, 0.0), (width, height));
    page.append(svg);
    page.document((width, height), story.title, STYLE)
}

/// Whether a message is one of those that the lines are about; the others renew, or repeat.
fn is_told(message: &Message, told: &BTreeSet<u64>) -> bool {
    let about = |at: Option<u64>| at.is_some_and(|at| told.contains(&at));
    about(Some(message.sent)) || about(message.applied) || about(message.answered)
}

fn background(svg: &mut Svg, story: &Story, axis: &Axis, lanes: &Lanes) {
    svg.text("title", (MARGIN, MARGIN + 14.0), story.title);
    svg.text("soft", (MARGIN, MARGIN + 36.0), &story.setting);
    let (left, width) = (MARGIN + LEFT, axis.right() - MARGIN - LEFT);
    for who in &lanes.0 {
        let y = lanes.y(*who);
        svg.rect("lane", (left, y - LANE / 2.0 + 3.0), (width, LANE - 6.0));
        svg.text("name", (left - 12.0, y + 4.5), who);
    }
}

fn spans(svg: &mut Svg, story: &Story, axis: &Axis, lanes: &Lanes) {
    for span in &story.spans {
        let (class, above, height) = match (span.what, span.who) {
            (Lasts::Holds, Who::Client(0)) => ("a", 9.0, 18.0),
            (Lasts::Holds, _) => ("b", 9.0, 18.0),
            (Lasts::Waits, Who::Client(0)) => ("waits-a", 9.0, 18.0),
            (Lasts::Waits, _) => ("waits-b", 9.0, 18.0),
            (Lasts::Overdue, _) => ("overdue", 9.0, 18.0),
            (Lasts::Paused, _) => ("paused", -11.0, 5.0),
            (Lasts::Dead, _) => ("dead", 2.5, 5.0),
            (Lasts::LeaseOfA, _) => ("lease-a", 7.0, 14.0),
            (Lasts::LeaseOfB, _) => ("lease-b", 7.0, 14.0),
        };
        let (from, to) = (axis.x(span.from), axis.x(span.to));
        svg.rect(class, (from, lanes.y(span.who) - above), ((to - from).max(1.0), height));
    }
}

/// A request and its answer; one that never arrives ends half-way.
fn arrows(svg: &mut Svg, message: &Message, aside: &str, axis: &Axis, lanes: &Lanes) {
    let from = if message.from == Who::Client(0) { "from-a" } else { "from-b" };
    let (client, node) = (lanes.y(message.from), lanes.y(message.to));
    let sent = (axis.x(message.sent), client);
    let missed = || ((sent.0 + 6.0).min(axis.right()), f64::midpoint(client, node));
    match message.applied {
        Some(applied) => {
            let there = (axis.x(applied), node);
            svg.line(&format!("message {from}{aside}"), sent, there);
            if let Some(answered) = message.answered {
                svg.line(&format!("message {from}{aside}"), there, (axis.x(answered), client));
            }
        }
        None => svg.line(&format!("message {from} lost{aside}"), sent, missed()),
    }
}

/// The numbers of the lines, where they happen. Those of one place and time share a mark.
fn marks(svg: &mut Svg, story: &Story, axis: &Axis, lanes: &Lanes) {
    let mut places: BTreeMap<(u64, Who), Vec<usize>> = BTreeMap::new();
    for (nth, line) in story.lines.iter().enumerate() {
        places.entry((line.at, line.who)).or_default().push(nth + 1);
    }
    for ((at, who), numbers) in places {
        let (x, y) = (axis.x(at), lanes.y(who));
        if who == Who::World {
            svg.line("world", (x, y), (x, lanes.bottom()));
        }
        let said = ranges(&numbers);
        let width = 10.0 + 6.0 * said.len() as f64;
        let class = format!("mark {}", class_of(who));
        let place = [("x", x - width / 2.0), ("y", y - 8.0), ("width", width), ("height", 16.0), ("rx", 8.0)];
        svg.shape("rect", &class, &place);
        svg.text("number", (x, y + 3.5), said);
    }
}

/// Numbers that rise, those in a row together.
fn ranges(numbers: &[usize]) -> String {
    let rows = numbers.chunk_by(|one, next| one + 1 == *next).map(|row| match row {
        [first, .., last] => format!("{first}-{last}"),
        _ => row[0].to_string(),
    });
    rows.collect::<Vec<_>>().join(", ")
}

fn class_of(who: Who) -> &'static str {
    match who {
        Who::World => "of-world",
        Who::Client(0) => "a",
        Who::Client(_) => "b",
        Who::Node(_) | Who::Nodes(..) => "node",
        Who::Storage => "storage",
    }
}

/// The times below the lanes, as many as have room; where they end.
fn ticks(svg: &mut Svg, told: &BTreeSet<u64>, axis: &Axis, lanes: &Lanes) -> f64 {
    let bottom = lanes.bottom();
    let mut free = f64::MIN;
    for &time in told {
        let x = axis.x(time);
        if x < free {
            continue;
        }
        free = x + TICK;
        svg.line("grid", (x, bottom), (x, bottom + 6.0));
        svg.leaning("tick", (x + 4.0, bottom + 16.0), span(time));
    }
    bottom + 78.0
}

/// What the bars mean, of those that there are; where it ends.
fn legend(svg: &mut Svg, story: &Story, mut top: f64) -> f64 {
    let all = [
        (Lasts::Waits, "waits-a", "waits"),
        (Lasts::Holds, "a", "holds, by its own clock"),
        (Lasts::Overdue, "overdue", "its time is over, and it does not know"),
        (Lasts::Paused, "paused", "paused"),
        (Lasts::Dead, "dead", "dead"),
        (Lasts::LeaseOfA, "lease-a", "kept for A"),
        (Lasts::LeaseOfB, "lease-b", "kept for B"),
    ];
    let mut x = MARGIN + LEFT;
    for (what, class, says) in all {
        if story.spans.iter().any(|span| span.what == what) {
            let width = 56.0 + 6.8 * says.len() as f64;
            if x + width > WIDTH.0 {
                (x, top) = (MARGIN + LEFT, top + ROW);
            }
            svg.rect(class, (x, top - 10.0), (22.0, 12.0));
            svg.text("soft", (x + 28.0, top), says);
            x += width;
        }
    }
    svg.text(
        "soft",
        (MARGIN + LEFT, top + ROW),
        "Time runs from left to right, not to scale: spans are as wide as their logarithms.",
    );
    top + 2.0 * ROW
}

fn figures(svg: &mut Svg, story: &Story, top: f64) -> f64 {
    let mut y = top + ROW;
    for figure in &story.figures {
        svg.text("right", (MARGIN + LEFT - 12.0, y), figure.name);
        svg.text("value", (MARGIN + LEFT + 80.0, y), figure.value.text());
        svg.text("soft", (MARGIN + LEFT + 94.0, y), &figure.says);
        y += ROW;
    }
    y
}

/// The lines in words.
fn words(svg: &mut Svg, story: &Story, top: f64) -> f64 {
    let mut y = top + ROW;
    for (nth, line) in story.lines.iter().enumerate() {
        svg.text("right soft", (MARGIN + 14.0, y), nth + 1);
        svg.text("right soft", (MARGIN + LEFT + 6.0, y), span(line.at));
        svg.text(class_of(line.who), (MARGIN + LEFT + 18.0, y), line.who);
        svg.text("", (MARGIN + LEFT + 94.0, y), &line.what);
        y += ROW;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_keeps_the_order_and_shows_short_spans_beside_long_ones() {
        let axis = Axis::new(&[0, 1_000_000, 5_000_000_000].into(), 1_000_000);
        let x = [0, 500_000, 1_000_000, 2_000_000_000, 5_000_000_000, 6_000_000_000].map(|at| axis.x(at));
        assert!(x.is_sorted() && x[0] < x[1] && x[4] == x[5] && x[5] == axis.right(), "{x:?}");
        assert!(x[2] - x[0] > (x[4] - x[2]) / 20.0, "a millisecond can be seen: {x:?}");
    }

    #[test]
    fn numbers_in_a_row_go_together() {
        assert_eq!(ranges(&[11, 12, 13, 15, 17, 18]), "11-13, 15, 17-18");
    }
}
