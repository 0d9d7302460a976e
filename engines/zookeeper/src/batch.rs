//! Contenders made and ended by the dozen: what arrives while a request is under way goes with the next one, in one
//! transaction. Who comes alone gets a plain request.
//!
//! Those who come and those who go are gathered apart, so that a release never waits for others' arrivals.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;

use futures_util::future::join_all;
use leasehold_core::gather::{Gather, Work};
use leasehold_core::ordered::Key;
use tokio::runtime::Handle;
use zookeeper_client::{
    Acls, Client, CreateMode, Error as Cause, MultiWriteError, MultiWriteResult, MultiWriter, Stat,
};

/// The most bytes in one transaction; a server takes a megabyte.
const BYTES_MAX: usize = 200_000;
/// What an operation takes besides its texts.
const BYTES_OVERHEAD: usize = 100;

/// A contender to be made.
#[derive(Clone, Debug)]
pub(crate) struct Create {
    /// The node that it will be a child of.
    pub(crate) parent: String,
    /// Its path, but for the number.
    pub(crate) prefix: String,
    pub(crate) data: Vec<u8>,
}

/// A contender that has been made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) key: Key,
    pub(crate) number: i32,
    /// The transaction that made it.
    pub(crate) zxid: i64,
}

/// A contender to be ended.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) key: Key,
    /// Another one that may come next: whether it is still there when this one goes.
    pub(crate) next: Option<Key>,
}

/// What a session writes.
pub(crate) struct Writes {
    /// `None` does nothing, and is done when all before it is.
    creates: Gather<Option<Create>, Option<Result<Made, Cause>>>,
    deletes: Gather<Delete, Result<bool, Cause>>,
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writes").finish_non_exhaustive()
    }
}

impl Writes {
    pub(crate) fn new(client: &Client, acls: Acls<'static>) -> Self {
        let runtime = Handle::current();
        let orphans = move |rest: Work<()>| drop(runtime.spawn(rest));
        let (creator, deleter) = (client.clone(), client.clone());
        let create = move |creates| -> Work<_> { Box::pin(create_all(creator.clone(), acls, creates)) };
        let delete = move |deletes| -> Work<_> { Box::pin(delete_all(deleter.clone(), deletes)) };
        Self {
            creates: Gather::new(BYTES_MAX, create, orphans.clone()),
            deletes: Gather::new(BYTES_MAX, delete, orphans),
        }
    }

    /// Makes a contender.
    pub(crate) async fn create(&self, create: Create) -> Result<Made, Cause> {
        let size = create.prefix.len() + create.data.len() + BYTES_OVERHEAD;
        let made = self.creates.submit(Some(create), size).await;
        made.expect("what is to be made is answered")
    }

    /// Returns when whatever was to be made before has been sent, and its outcome is known or never will be.
    pub(crate) async fn settled(&self) {
        self.creates.submit(None, 0).await;
    }

    /// Ends a contender; whether the next one was there at that moment.
    pub(crate) async fn delete(&self, delete: Delete) -> Result<bool, Cause> {
        let texts = delete.key.len() + delete.next.as_ref().map_or(0, |next| next.len());
        self.deletes.submit(delete, texts + 2 * BYTES_OVERHEAD).await
    }
}

/// Makes all of these. Each transaction has but one contender for a lock: it gives one number to all that it makes, and
/// the numbers of one lock's contenders must differ.
async fn create_all(
    client: Client,
    acls: Acls<'static>,
    creates: Vec<Option<Create>>,
) -> Vec<Option<Result<Made, Cause>>> {
    let mut answers: Vec<_> = creates.iter().map(|_| None).collect();
    let mut met: HashMap<&str, usize> = HashMap::new();
    let mut transactions: Vec<Vec<(usize, &Create)>> = Vec::new();
    for (at, create) in creates.iter().enumerate().filter_map(|(at, create)| Some((at, create.as_ref()?))) {
        let nth = met.entry(&create.parent).or_default();
        match transactions.get_mut(*nth) {
            Some(transaction) => transaction.push((at, create)),
            None => transactions.push(vec![(at, create)]),
        }
        *nth += 1;
    }
    // All are sent one after the other, before the first is answered.
    let done =
        join_all(transactions.into_iter().map(|creates| create_together(&client, acls, creates))).await;
    for (at, made) in done.into_iter().flatten() {
        answers[at] = Some(made);
    }
    answers
}

async fn create_together(
    client: &Client,
    acls: Acls<'static>,
    mut creates: Vec<(usize, &Create)>,
) -> Vec<(usize, Result<Made, Cause>)> {
    let options = CreateMode::EphemeralSequential.with_acls(acls);
    let mut answers = Vec::with_capacity(creates.len());
    while creates.len() > 1 {
        let written = together(client, &creates, |writer, (_, create)| {
            writer.add_create(&create.prefix, &create.data, &options)
        });
        match written.await {
            Ok(results) => {
                answers.extend(made_together(client, &creates, results).await);
                return answers;
            }
            Err(MultiWriteError::OperationFailed { index, source }) => {
                answers.push((creates.remove(index).0, Err(source)));
            }
            Err(MultiWriteError::RequestFailed { source }) => {
                answers.extend(creates.iter().map(|(at, _)| (*at, Err(source.clone()))));
                return answers;
            }
        }
    }
    for (at, create) in creates {
        let made = client.create(&create.prefix, &create.data, &options).await;
        answers.push((at, made.map(|(stat, number)| of(create, &number.to_string(), stat.czxid))));
    }
    answers
}

/// What one transaction has made. Servers before 3.8.2 do not say its number: they are asked.
async fn made_together(
    client: &Client,
    creates: &[(usize, &Create)],
    results: Vec<MultiWriteResult>,
) -> Vec<(usize, Result<Made, Cause>)> {
    let mut paths = Vec::with_capacity(results.len());
    let mut zxid = None;
    for result in results {
        if let MultiWriteResult::Create { path, stat } = result {
            zxid = zxid.or(Some(stat).filter(|stat| !stat.is_invalid()).map(|stat| stat.czxid));
            paths.push(path);
        }
    }
    let mut asked = paths.iter();
    let zxid = loop {
        match (zxid, asked.next()) {
            (Some(zxid), _) => break Ok(zxid),
            // All are gone already: who made them finds that out.
            (None, None) => break Err(Cause::RuntimeInconsistent),
            (None, Some(path)) => match client.check_stat(path).await {
                Ok(stat) => zxid = stat.map(|stat: Stat| stat.czxid),
                Err(cause) => break Err(cause),
            },
        }
    };
    let made = |((at, create), path): (&(usize, &Create), &String)| {
        (
            *at,
            zxid.clone().map(|zxid| of(create, path.strip_prefix(&create.prefix).unwrap_or_default(), zxid)),
        )
    };
    creates.iter().zip(&paths).map(made).collect()
}

fn of(create: &Create, number: &str, zxid: i64) -> Made {
    let key = format!("{}{number}", create.prefix).into();
    // Servers count in 32 bits.
    Made { key, number: number.parse().unwrap_or(i32::MAX), zxid }
}

/// Ends all of these.
async fn delete_all(client: Client, mut deletes: Vec<Delete>) -> Vec<Result<bool, Cause>> {
    let mut answers: Vec<Option<Result<bool, Cause>>> = deletes.iter().map(|_| None).collect();
    loop {
        let left = || deletes.iter().enumerate().filter(|(at, _)| answers[*at].is_none());
        let steps: Vec<_> = left().flat_map(|(at, delete)| steps(at, delete)).collect();
        if let [(at, Step::Delete(key))] = steps[..] {
            answers[at] = Some(client.delete(key, None).await.map(|()| false));
            break;
        }
        let written = together(&client, &steps, |writer, (_, step)| match step {
            Step::Delete(key) => writer.add_delete(key, None),
            Step::Check(key) => writer.add_check_version(key, -1),
        });
        match written.await {
            Ok(_) => {
                let done: Vec<_> = left().map(|(at, delete)| (at, delete.next.is_some())).collect();
                done.into_iter().for_each(|(at, next)| answers[at] = Some(Ok(next)));
                break;
            }
            Err(MultiWriteError::OperationFailed { index, source }) => match steps[index] {
                (at, Step::Delete(_)) => answers[at] = Some(Err(source)),
                // Nothing comes next, or cannot be seen: without it, then.
                (at, Step::Check(_)) => deletes[at].next = None,
            },
            Err(MultiWriteError::RequestFailed { source }) => {
                answers.iter_mut().filter(|a| a.is_none()).for_each(|a| *a = Some(Err(source.clone())));
                break;
            }
        }
        if answers.iter().all(Option::is_some) {
            break;
        }
    }
    answers.into_iter().map(|answer| answer.expect("all have been answered")).collect()
}

/// A step of a transaction that ends contenders.
#[derive(Clone, Copy)]
enum Step<'a> {
    Delete(&'a Key),
    Check(&'a Key),
}

fn steps(at: usize, delete: &Delete) -> impl Iterator<Item = (usize, Step<'_>)> {
    let check = delete.next.iter().map(Step::Check);
    std::iter::once(Step::Delete(&delete.key)).chain(check).map(move |step| (at, step))
}

/// Does several things in one transaction.
fn together<'a, T>(
    client: &'a Client,
    items: &[T],
    add: impl Fn(&mut MultiWriter<'a>, &T) -> Result<(), Cause>,
) -> Written<'a> {
    let mut writer = client.new_multi_writer();
    match items.iter().try_for_each(|item| add(&mut writer, item)) {
        Ok(()) => Box::pin(writer.commit()),
        Err(source) => Box::pin(ready(Err(MultiWriteError::RequestFailed { source }))),
    }
}

/// The answer to a transaction.
type Written<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<Vec<MultiWriteResult>, MultiWriteError>> + Send + 'a>>;
