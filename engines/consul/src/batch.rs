//! Small transactions that come together are sent as one: a request costs Consul more than what is in it.

use std::sync::Arc;

use hashbrown::HashMap;
use leasehold_core::Name;
use leasehold_core::gather::Gather;
use tokio::runtime::Handle;

use crate::wire::{Api, Entry, OPS_MAX, Op, Undone, Why};

/// The most steps of an item that is gathered with others; larger ones go alone.
const ITEM_MAX: usize = 8;

type Done = Result<Vec<Entry>, Undone>;

/// A transaction about one resource.
#[derive(Debug)]
struct Item {
    name: Name,
    ops: Vec<Op>,
}

/// An item, and which of those that came it is.
type Numbered = (usize, Item);

/// What sends transactions. Each is done whole or not at all, whatever becomes of those beside it.
#[derive(Debug)]
pub(crate) struct Batches {
    api: Arc<Api>,
    gather: Gather<Item, Done>,
}

impl Batches {
    pub(crate) fn new(api: &Arc<Api>, runtime: &Handle) -> Self {
        let (worker, runtime) = (Arc::clone(api), runtime.clone());
        let gather = Gather::new(
            // A batch takes one more item if it is not yet full.
            OPS_MAX - ITEM_MAX + 1,
            move |items| {
                let api = Arc::clone(&worker);
                Box::pin(async move { run(&api, items).await })
            },
            move |rest| drop(runtime.spawn(rest)),
        );
        Self { api: Arc::clone(api), gather }
    }

    /// Does all of it or nothing, in its order.
    ///
    /// # Cancel safety
    /// What is small is done even if nobody waits for the answer; what is not may be.
    pub(crate) async fn transact(&self, operation: &'static str, name: &Name, ops: Vec<Op>) -> Done {
        match ops.len() {
            size @ 0..=ITEM_MAX => self.gather.submit(Item { name: name.clone(), ops }, size).await,
            _ => self.api.transact(operation, &ops).await,
        }
    }
}

/// Those that can go now, and those that must wait. Who comes to a line is told it, and whoever comes by the same
/// transaction would be of the same age, so there is one of them at a time. Answers are told apart by their keys: behind
/// an item that ends with a line, a key of that line would be taken for one of its answer.
fn together(items: Vec<Numbered>) -> (Vec<Numbered>, Vec<Numbered>) {
    // Whether anything may follow that is about the same resource.
    let mut read: HashMap<Name, bool> = HashMap::new();
    items.into_iter().partition(|(_, item)| {
        let reads = item.ops.iter().any(Op::is_tree);
        let goes = read.get(&item.name).is_none_or(|open| *open && !reads);
        if reads || !goes {
            let open = goes && !item.ops.last().is_some_and(Op::is_tree);
            read.insert(item.name.clone(), open);
        }
        goes
    })
}

/// Sends items, until all have been answered. Those that are refused go out, and the others are sent again.
async fn run(api: &Api, items: Vec<Item>) -> Vec<Done> {
    let mut done: Vec<Option<Done>> = items.iter().map(|_| None).collect();
    let mut left: Vec<Numbered> = items.into_iter().enumerate().collect();
    while !left.is_empty() {
        let (now, later) = together(left);
        left = later;
        let ops: Vec<Op> = now.iter().flat_map(|(_, item)| item.ops.iter().cloned()).collect();
        match api.transact("lock", &ops).await {
            Ok(entries) => {
                let mut entries = entries.into_iter().peekable();
                for (nth, item) in now {
                    done[nth] = Some(Ok(answer(&item.ops, &mut entries)));
                }
            }
            Err(Undone::Refused(steps)) => left.splice(0..0, refuse(now, &steps, &mut done)).for_each(drop),
            Err(failed) => now.iter().for_each(|(nth, _)| done[*nth] = Some(Err(failed.clone()))),
        }
    }
    done.into_iter().flatten().collect()
}

/// Tells those whose steps are to blame; what is left are the others.
fn refuse(items: Vec<Numbered>, steps: &[(usize, Why)], done: &mut [Option<Done>]) -> Vec<Numbered> {
    let mut end = 0;
    let mut left = Vec::new();
    let mut blamed = false;
    for (nth, item) in items {
        let begin = end;
        end += item.ops.len();
        let own: Vec<_> = steps
            .iter()
            .filter(|(step, _)| (begin..end).contains(step))
            .map(|(step, why)| (step - begin, why.clone()))
            .collect();
        if own.is_empty() {
            left.push((nth, item));
        } else {
            blamed = true;
            done[nth] = Some(Err(Undone::Refused(own)));
        }
    }
    if !blamed {
        // Steps that were not sent: nobody is left without an answer for it.
        left.drain(..).for_each(|(nth, _)| done[nth] = Some(Err(Undone::Refused(steps.to_vec()))));
    }
    left
}

/// What of the entries answers these steps, which come first.
fn answer(ops: &[Op], entries: &mut std::iter::Peekable<impl Iterator<Item = Entry>>) -> Vec<Entry> {
    let mut own = Vec::new();
    for op in ops {
        let mut before = 0;
        while let Some(entry) = entries.next_if(|entry| op.answers(entry, before)) {
            own.push(entry);
            before += 1;
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str) -> Entry {
        let (value, session) = (None, None);
        Entry { key: key.into(), value, flags: 0, session, create_index: 1, modify_index: 1, lock_index: 0 }
    }

    #[test]
    fn the_blamed_go_and_the_others_stay() {
        let item =
            |name: &str| Item { name: Name::new(name).unwrap(), ops: vec![Op::get(name), Op::get(name)] };
        let items = ["a", "b", "c"].map(item).into_iter().enumerate().collect();
        let mut done = vec![None, None, None];
        let left = refuse(items, &[(2, Why::Delayed), (3, Why::Moved)], &mut done);
        assert_eq!(left.iter().map(|(nth, _)| *nth).collect::<Vec<_>>(), [0, 2]);
        assert!(
            matches!(&done[1], Some(Err(Undone::Refused(own))) if own[..] == [(0, Why::Delayed), (1, Why::Moved)])
        );
        assert!(
            refuse(left, &[(9, Why::Moved)], &mut done).is_empty() && done[0].is_some() && done[2].is_some()
        );
    }

    #[test]
    fn of_one_lock_only_one_comes_at_a_time_and_nothing_follows_a_line() {
        let item = |name: &str, ops| Item { name: Name::new(name).unwrap(), ops };
        let comes = |name| item(name, vec![Op::lock(name, "s", 0, ""), Op::tree(name), Op::get("lock")]);
        let ends = |name| item(name, vec![Op::tree(name)]);
        let goes = |name| item(name, vec![Op::get("lock")]);
        let all = [goes("a"), comes("a"), goes("a"), comes("b"), comes("b"), goes("b"), ends("c"), goes("c")];
        let (now, later) = together(all.into_iter().enumerate().collect());
        let nth = |some: &[(usize, Item)]| some.iter().map(|(nth, _)| *nth).collect::<Vec<_>>();
        assert_eq!((nth(&now), nth(&later)), (vec![0, 1, 2, 3, 6], vec![4, 5, 7]));
    }

    #[test]
    fn each_gets_its_own_answer() {
        let join = |name: &str| {
            let lock = format!("{name}/.lock");
            vec![Op::absent(&lock), Op::lock(&lock, "s", 0, ""), Op::tree(&format!("{name}/.leasehold/"))]
        };
        let told = ["a/.lock", "a/.leasehold/1", "a/.leasehold/2", "a/b/.lock", "c/.lock", "c/.leasehold/1"];
        let mut entries = told.map(entry).into_iter().peekable();
        let mut keys =
            |name| answer(&join(name), &mut entries).into_iter().map(|e| e.key).collect::<Vec<_>>();
        assert_eq!(keys("a"), &told[..3]);
        assert_eq!(keys("a/b"), &told[3..4]);
        assert_eq!(keys("c"), &told[4..]);
    }
}
