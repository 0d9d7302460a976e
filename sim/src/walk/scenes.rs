//! The four scenes: who does what when. What comes of it is not written here.

use std::sync::Arc;

use leasehold_core::Guard;
use leasehold_core::client::rules::{DRIFT_PER_MILLE, DRIFT_REST, drift};

use super::part;
use super::stage::{A, B, Stage, split_at};
use super::story::Figure;
use crate::executor::{lock, nanos};
use crate::trace::Speaker;

/// A holds and works, while B waits.
pub(super) fn normal(stage: &Arc<Stage>) -> Vec<Figure> {
    let ttl = stage.terms.ttl;
    let (comes, ends) = (part(ttl, 10), part(ttl, 2));
    stage.act(A, async move |stage| {
        let Some(guard) = stage.lock(A).await else { return };
        stage.executor.sleep_until(ends).await;
        release(&stage, guard).await;
    });
    stage.act(B, async move |stage| {
        stage.executor.sleep_until(comes).await;
        let Some(guard) = stage.lock(B).await else { return };
        stage.executor.sleep(ttl / 20).await;
        release(&stage, guard).await;
    });
    // B asks all nodes twice, and lets go of them.
    let rounds = 4 * stage.servers.len() as u64 * nanos(stage.terms.latency);
    stage.play(ends + part(ttl, 10) + rounds);
    let mut figures = Vec::new();
    if let [Some(first), second] = &*lock(&stage.holdings) {
        let elapsed = first.began - first.asked;
        figures.push(Figure::span(
            "elapsed",
            elapsed,
            "from asking the first node to the answer of the last",
        ));
        let rest = super::story::span(nanos(DRIFT_REST));
        let says =
            format!("{DRIFT_PER_MILLE} thousandths of the TTL and {rest}, for clocks that do not run alike");
        figures.push(Figure::span("drift", nanos(drift(ttl)), says));
        figures.push(Figure::span(
            "validity",
            nanos(first.remaining),
            "what is left of the TTL without these: so long A may believe",
        ));
        figures.push(Figure::number("token of A", first.token.get(), "accepted by a majority"));
        if let Some(second) = second {
            figures.push(Figure::number(
                "token of B",
                second.token.get(),
                "above all that were accepted before",
            ));
        }
    }
    figures
}

/// A dies while it holds, and B waits.
pub(super) fn crash(stage: &Arc<Stage>) -> Vec<Figure> {
    let ttl = stage.terms.ttl;
    let (comes, dies) = (part(ttl, 20), part(ttl, 10));
    stage.act(A, async move |stage| {
        if let Some(guard) = stage.lock(A).await {
            still_holding(guard).await;
        }
    });
    stage.act(B, async move |stage| {
        stage.executor.sleep_until(comes).await;
        let Some(guard) = stage.lock(B).await else { return };
        stage.executor.sleep(ttl / 20).await;
        release(&stage, guard).await;
    });
    stage.at(dies, |stage| stage.crash(A));
    stage.play(nanos(ttl) + part(ttl, 8));
    let mut figures = vec![Figure::time("crash", dies, "A is gone, and cannot say so")];
    if let [_, Some(second)] = &*lock(&stage.holdings) {
        figures.push(Figure::time("next holder", second.began, "B is let in when the TTL of A is over"));
        figures.push(Figure::span(
            "nobody held",
            second.began - dies,
            "what a crash costs: no more than the TTL",
        ));
    }
    figures
}

/// The network splits A from a majority of the nodes, and those believe that the time of A is over.
pub(super) fn partition(stage: &Arc<Stage>) -> Vec<Figure> {
    let ttl = stage.terms.ttl;
    let (split, latency) = (split_at(ttl), nanos(stage.terms.latency));
    stage.act(A, async move |stage| {
        let Some(guard) = stage.lock(A).await else { return };
        let Some(read) = stage.read(A, &guard).await else { return };
        // It computes for a while, and looks at its clock before it writes.
        stage.executor.sleep_until(split + 4 * latency).await;
        if guard.is_valid() {
            stage.says(Speaker::Client(A), "looks at its clock: it holds; and writes");
            stage.write(A, &guard, read).await;
        }
        still_holding(guard).await;
    });
    stage.act(B, async move |stage| {
        stage.executor.sleep_until(split + latency).await;
        let Some(guard) = stage.lock(B).await else { return };
        if let Some(read) = stage.read(B, &guard).await {
            stage.write(B, &guard, read).await;
        }
        still_holding(guard).await;
    });
    stage.at(split, |stage| {
        let (nodes, majority) = (stage.servers.len(), stage.majority());
        let to = |from: usize, to: usize| {
            if from == to { format!("node {to}") } else { format!("nodes {from} to {to}") }
        };
        stage.says(
            Speaker::World,
            format!(
                "the network splits: A reaches {}, B reaches {}",
                to(majority + 1, nodes),
                to(1, majority)
            ),
        );
        stage.says(
            Speaker::World,
            format!(
                "the clocks of {} jump ahead by {}: there, A's time is over",
                to(1, majority),
                super::story::span(nanos(stage.terms.ttl))
            ),
        );
        for (nth, server) in stage.servers.iter().enumerate() {
            server.cut(if nth < majority { A } else { B }, true);
            if nth < majority {
                stage.jumps(nth);
            }
        }
    });
    stage.play(nanos(ttl) + part(ttl, 2));
    let mut figures = vec![Figure::time("split", split, "and clocks jump, of which no client can know")];
    if let Some(both) = *lock(&stage.believers) {
        figures.push(Figure::time("two believers", both, "each holds by its own clock"));
    }
    if let [Some(first), Some(second)] = &*lock(&stage.holdings) {
        figures.push(Figure::number("token of A", first.token.get(), "accepted by a majority"));
        figures.push(Figure::number(
            "token of B",
            second.token.get(),
            "by another one, and higher: whatever clocks do",
        ));
    }
    figures.extend(storage(stage));
    figures
}

/// A stands still between its look at the clock and its write, until B has been let in and has written.
pub(super) fn fencing(stage: &Arc<Stage>) -> Vec<Figure> {
    let ttl = stage.terms.ttl;
    let (pauses, comes) = (part(ttl, 10), part(ttl, 5));
    stage.act(A, async move |stage| {
        let Some(guard) = stage.lock(A).await else { return };
        let Some(read) = stage.read(A, &guard).await else { return };
        stage.executor.sleep_until(pauses).await;
        if !guard.is_valid() {
            return;
        }
        // The pause falls between the look at the clock and the write: no look can prevent that.
        let looked = stage.now();
        stage.pause(A);
        stage.executor.sleep(stage.terms.latency).await;
        let ago = super::story::span(stage.now() - looked);
        stage.says(Speaker::Client(A), format!("writes: when it looked at its clock, {ago} ago, it held"));
        stage.write(A, &guard, read).await;
        still_holding(guard).await;
    });
    stage.act(B, async move |stage| {
        stage.executor.sleep_until(comes).await;
        let Some(guard) = stage.lock(B).await else { return };
        if let Some(read) = stage.read(B, &guard).await {
            stage.write(B, &guard, read).await;
        }
        stage.resume(A);
        stage.executor.sleep(ttl / 20).await;
        release(&stage, guard).await;
    });
    stage.play(nanos(ttl) + part(ttl, 8));
    let mut figures = Vec::new();
    if let [Some(first), Some(second)] = &*lock(&stage.holdings) {
        figures.push(Figure::number("token of A", first.token.get(), "of the first hold"));
        figures.push(Figure::number(
            "token of B",
            second.token.get(),
            "of the next, raised at the storage before B reads",
        ));
    }
    figures.extend(storage(stage));
    figures
}

/// Keeps the guard, whatever becomes of it.
async fn still_holding(_guard: Guard) {
    std::future::pending().await
}

async fn release(stage: &Stage, guard: Guard) {
    // Whether it could be released is told by the client's observer.
    if let Err(error) = guard.release().await {
        stage.says(Speaker::World, format!("a release fails: {error}"));
    }
}

/// What has become of the storage.
fn storage(stage: &Stage) -> Vec<Figure> {
    let (fenced, plain) = stage.balances();
    let refused = stage.refused().map(|at| Figure::time("refused", at, "the write with the lower token"));
    let ends = [
        Figure::number("with a fence", fenced, "what is in the storage in the end"),
        Figure::number("without", plain, "what is in one that checks no tokens"),
    ];
    refused.into_iter().chain(ends).collect()
}
