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

/// What a session writes.
pub(crate) struct Writes {
    /// `None` does nothing, and is done when all before it is.
    creates: Gather<Option<Create>, Option<Result<Made, Cause>>>,
    deletes: Gather<Key, Result<(), Cause>>,
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
        let delete = move |keys| -> Work<_> { Box::pin(delete_all(deleter.clone(), keys)) };
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

    /// Ends a contender.
    pub(crate) async fn delete(&self, key: &Key) -> Result<(), Cause> {
        self.deletes.submit(key.clone(), key.len() + BYTES_OVERHEAD).await
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
async fn delete_all(client: Client, keys: Vec<Key>) -> Vec<Result<(), Cause>> {
    let mut answers: Vec<_> = keys.iter().map(|_| Ok(())).collect();
    let mut left: Vec<_> = keys.iter().enumerate().collect();
    while left.len() > 1 {
        match together(&client, &left, |writer, (_, key)| writer.add_delete(key, None)).await {
            Ok(_) => return answers,
            Err(MultiWriteError::OperationFailed { index, source }) => {
                answers[left.remove(index).0] = Err(source);
            }
            Err(MultiWriteError::RequestFailed { source }) => {
                left.iter().for_each(|(at, _)| answers[*at] = Err(source.clone()));
                return answers;
            }
        }
    }
    for (at, key) in left {
        answers[at] = client.delete(key, None).await;
    }
    answers
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
