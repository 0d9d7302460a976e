use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::task::noop_waker;
use tokio::sync::oneshot;

use super::*;

/// The batches that have started, each with what lets it go.
type Started = Arc<Mutex<Vec<(Vec<u32>, Option<oneshot::Sender<()>>)>>>;

/// A gatherer whose batches wait until the test lets them go, and what it has seen.
struct Rig {
    gather: Gather<u32, u32>,
    started: Started,
    left: Arc<Mutex<Vec<Work<()>>>>,
}

impl Rig {
    fn new() -> Self {
        let started = Started::default();
        let left: Arc<Mutex<Vec<Work<()>>>> = Arc::default();
        let (log, orphans) = (started.clone(), left.clone());
        let gather = Gather::new(
            8,
            move |ops: Vec<u32>| {
                let (go, gone) = oneshot::channel();
                log.lock().unwrap().push((ops.clone(), Some(go)));
                Box::pin(async move {
                    let _ = gone.await;
                    ops.iter().map(|op| op * 10).collect()
                })
            },
            move |work| orphans.lock().unwrap().push(work),
        );
        Self { gather, started, left }
    }

    fn submit(&self, op: u32) -> Submitted<u32, u32> {
        self.gather.submit(op, 1)
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.started.lock().unwrap().iter().map(|(ops, _)| ops.clone()).collect()
    }

    /// Lets the last batch that started end.
    fn let_go(&self) {
        let go = self.started.lock().unwrap().last_mut().and_then(|(_, go)| go.take());
        go.expect("a batch is under way").send(()).unwrap();
    }

    fn idle(&self) -> bool {
        let state = self.gather.0.lock();
        state.flight.is_none() && state.line.is_empty() && state.slots.are_free()
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(waker))
}

/// Polls once or twice: a caller among many lets the others come first.
fn press<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let waker = noop_waker();
    match poll(future, &waker) {
        Poll::Pending => poll(future, &waker),
        ready => ready,
    }
}

#[test]
fn a_lone_callers_batch_runs_in_its_own_first_poll() {
    let gather: Gather<u32, u32> =
        Gather::new(8, |ops| Box::pin(std::future::ready(ops)), |_| panic!("nobody went away"));
    for op in 0..3 {
        assert_eq!(poll(&mut gather.submit(op, 1), &noop_waker()), Poll::Ready(op));
    }
}

#[test]
fn what_arrives_meanwhile_is_the_next_batch() {
    let rig = Rig::new();
    let mut first = rig.submit(1);
    assert!(press(&mut first).is_pending());
    let mut others: Vec<_> = (2..5).map(|op| rig.submit(op)).collect();
    for other in &mut others {
        assert!(press(other).is_pending());
    }
    assert_eq!(rig.batches(), [vec![1]]);
    rig.let_go();
    assert_eq!(press(&mut first), Poll::Ready(10));
    assert!(press(&mut others[1]).is_pending());
    assert_eq!(rig.batches(), [vec![1], vec![2, 3, 4]]);
    rig.let_go();
    // Whoever is polled first does it for all.
    assert_eq!(press(&mut others[2]), Poll::Ready(40));
    assert_eq!(press(&mut others[0]), Poll::Ready(20));
    assert_eq!(press(&mut others[1]), Poll::Ready(30));
    assert!(rig.idle());
}

#[test]
fn a_batch_is_no_larger_than_it_may_be() {
    let rig = Rig::new();
    let mut all: Vec<_> = (0..5).map(|op| rig.gather.submit(op, 3)).collect();
    assert!(press(&mut all[0]).is_pending());
    rig.let_go();
    assert_eq!(press(&mut all[0]), Poll::Ready(0));
    assert!(press(&mut all[4]).is_pending());
    assert_eq!(rig.batches(), [vec![0, 1, 2], vec![3, 4]]);
    rig.let_go();
    for (op, one) in all.iter_mut().enumerate().skip(1) {
        assert_eq!(press(one), Poll::Ready(op as u32 * 10));
    }
}

#[test]
fn a_leader_that_goes_away_passes_the_baton() {
    let rig = Rig::new();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut leader = rig.submit(1);
    assert!(press(&mut leader).is_pending());
    let mut follower = rig.submit(2);
    assert!(poll(&mut follower, &waker).is_pending());
    // Half-way through its batch.
    drop(leader);
    assert_eq!(bell.0.swap(0, Ordering::Relaxed), 1, "the baton is passed");
    assert!(poll(&mut follower, &waker).is_pending());
    rig.let_go();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1, "the end of the batch wakes who is left");
    while rig.batches().len() == 1 {
        assert!(poll(&mut follower, &waker).is_pending());
    }
    assert_eq!(rig.batches(), [vec![1], vec![2]]);
    rig.let_go();
    assert_eq!(poll(&mut follower, &waker), Poll::Ready(20));
    assert!(rig.idle());
}

#[test]
fn a_leader_dropped_after_it_was_woken_wakes_another() {
    let rig = Rig::new();
    let (bell, other) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let mut leader = rig.submit(1);
    assert!(poll(&mut leader, &Waker::from(bell.clone())).is_pending());
    rig.let_go();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    let mut late = rig.submit(2);
    let waker = Waker::from(other.clone());
    // The late one ends the batch of the first, yields once to the others, then leads its own.
    assert!(poll(&mut late, &waker).is_pending());
    drop(leader);
    assert!(other.0.load(Ordering::Relaxed) >= 1);
    assert!(poll(&mut late, &waker).is_pending());
    rig.let_go();
    assert_eq!(poll(&mut late, &waker), Poll::Ready(20));
    assert!(rig.idle());
}

#[test]
fn what_a_dropped_follower_submitted_is_done_all_the_same() {
    let rig = Rig::new();
    let mut leader = rig.submit(1);
    assert!(press(&mut leader).is_pending());
    let unpolled = rig.submit(2);
    let mut polled = rig.submit(3);
    assert!(press(&mut polled).is_pending());
    drop((unpolled, polled));
    let mut last = rig.submit(4);
    rig.let_go();
    assert_eq!(press(&mut leader), Poll::Ready(10));
    assert!(press(&mut last).is_pending());
    assert_eq!(rig.batches(), [vec![1], vec![2, 3, 4]]);
    rig.let_go();
    assert_eq!(press(&mut last), Poll::Ready(40));
    assert!(rig.idle());
}

#[test]
fn when_the_last_caller_goes_the_rest_is_handed_on() {
    for polls in 0..3 {
        let rig = Rig::new();
        let mut only = rig.submit(1);
        for _ in 0..polls {
            assert!(poll(&mut only, &noop_waker()).is_pending());
        }
        let waits = rig.submit(2);
        drop(only);
        drop(waits);
        let mut left = rig.left.lock().unwrap().pop().expect("what is left was handed on");
        assert!(rig.left.lock().unwrap().is_empty(), "once");
        while press(&mut left).is_pending() {
            rig.let_go();
        }
        assert_eq!(rig.batches().concat(), [1, 2], "after {polls} polls");
        drop(left);
        assert!(rig.idle());
    }
}

#[test]
fn a_dropped_driver_leaves_the_rest_to_the_next_caller() {
    let rig = Rig::new();
    let mut only = rig.submit(1);
    assert!(press(&mut only).is_pending());
    drop(only);
    let mut left = rig.left.lock().unwrap().pop().unwrap();
    assert!(press(&mut left).is_pending());
    // As when its runtime shuts down: it must not be handed on again and again.
    drop(left);
    assert!(rig.left.lock().unwrap().is_empty());
    rig.let_go();
    let mut next = rig.submit(2);
    assert!(press(&mut next).is_pending());
    rig.let_go();
    assert_eq!(press(&mut next), Poll::Ready(20));
    assert_eq!(rig.batches(), [vec![1], vec![2]]);
    assert!(rig.idle());
}

#[test]
fn a_batch_that_panics_breaks_its_callers_and_nobody_else() {
    let gather: Gather<u32, u32> = Gather::new(
        8,
        |ops| {
            Box::pin(async move {
                assert!(!ops.contains(&13), "thirteen");
                ops
            })
        },
        |_| {},
    );
    let mut fine = gather.submit(1, 1);
    let mut unlucky = gather.submit(13, 1);
    let catch = |f: &mut Submitted<u32, u32>| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| press(f))).is_err()
    };
    assert!(catch(&mut fine), "the leader sees the panic itself");
    assert!(catch(&mut unlucky));
    assert!(catch(&mut fine), "and so does everybody in the batch");
    assert_eq!(press(&mut gather.submit(2, 1)), Poll::Ready(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_few_batches_and_each_gets_its_own_answer() {
    let batches = Arc::new(AtomicUsize::new(0));
    let count = batches.clone();
    let gather: Gather<u32, u32> = Gather::new(
        1024,
        move |ops| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::task::yield_now().await;
                ops
            })
        },
        |work| drop(tokio::spawn(work)),
    );
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let gather = gather.clone();
            tokio::spawn(async move {
                for round in 0..100 {
                    let op = task * 1000 + round;
                    assert_eq!(gather.submit(op, 1).await, op);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let batches = batches.load(Ordering::Relaxed);
    assert!(batches < 3200, "6400 items took {batches} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_and_go_lose_nothing() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let gather: Gather<usize, usize> = Gather::new(
        16,
        move |ops| {
            let count = count.clone();
            Box::pin(async move {
                for _ in 0..ops[0] % 3 {
                    tokio::task::yield_now().await;
                }
                count.fetch_add(ops.len(), Ordering::SeqCst);
                ops
            })
        },
        |work| drop(tokio::spawn(work)),
    );
    let tasks: Vec<_> = (0..32)
        .map(|task: usize| {
            let gather = gather.clone();
            tokio::spawn(async move {
                for round in 0..200 {
                    let mut call = gather.submit(task + round, 1);
                    // Some are awaited, others dropped after none, one or two polls.
                    match (task + round) % 4 {
                        0 => assert_eq!(call.await, task + round),
                        polls => {
                            let mut polls = 1..polls;
                            let some = |cx: &mut Context<'_>| match polls.next() {
                                Some(_) if call.poll_unpin(cx).is_pending() => Poll::Pending,
                                _ => Poll::Ready(()),
                            };
                            std::future::poll_fn(some).await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    while done.load(Ordering::SeqCst) < 6400 {
        tokio::task::yield_now().await;
    }
    assert_eq!(done.load(Ordering::SeqCst), 6400);
}

/// A batch asks for another turn when its task has had enough. It would ask for ever if it got it in the same poll, as
/// here in the main task of a runtime of several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_task_of_many_callers_goes_on_when_it_has_had_enough() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let run = move |ops: Vec<u32>| -> Work<Vec<u32>> {
        let polls = counted.clone();
        Box::pin(async move {
            let mut much = std::pin::pin!(async {
                for _ in 0..100 {
                    coop::consume_budget().await;
                }
            });
            std::future::poll_fn(|cx| {
                assert!(polls.fetch_add(1, Ordering::Relaxed) < 100_000, "it is polled for ever");
                much.as_mut().poll(cx)
            })
            .await;
            ops
        })
    };
    let gather = Gather::new(100, run, |_| panic!("nothing is left"));
    let all = futures_util::future::join_all((0..5000).map(|n| gather.submit(n, 1))).await;
    assert_eq!(all, (0..5000).collect::<Vec<_>>());
}
