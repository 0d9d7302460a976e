//! etcd: every access is a transaction that fails unless the lock, in the same cluster, is still held.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! let channel = tonic::transport::Channel::from_static("http://localhost:2379").connect().await?;
//! let mut stock = leasehold_fence::etcd::Locks::new().enter(guard, channel).await?;
//! let left = stock.get("stock/42").await?;
//! stock.put("stock/42", "6").await?;
//! # Ok(()) }
//! ```
//! The token is the create revision of the key by which the holder stands in the lock's line, and that key is there as long
//! as the lock is held. So the comparison of each transaction is that this key still has this create revision, and there
//! is no mark to raise: whoever comes next comes after that key has gone, and reads what was written while it was there.
//!
//! Where etcd knows users, this one must be allowed to read the keys of the lock.
//!
//! A client of your own, such as etcd-client, does the same in a transaction of any size with the comparison that
//! [`Entered::contender`] tells: `Compare::create_revision(key, CompareOp::Equal, revision)`.
//!
//! # What it costs
//! Entering is one read, of a member that asks the majority. An access is one transaction instead of one request, with one
//! more key to look at.
//!
//! # What it sees
//! The end of the lock, however it came: released, its lease run out, revoked with `--force`, deleted by hand, or forgotten by a
//! cluster that was restored. Nobody else need have the lock for that.
//!
//! # What it cannot see
//! * Locks in another cluster, and of other engines: use one of the storages with marks.
//! * Writes that are not sent through it, and reads of others that a member answers alone (`serializable`).
//! * That a lock was revoked without `--force`: it is held until its lease runs out.

mod messages;

use leasehold_core::{Name, Token};
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{self, Bytes, StdError, http::uri::PathAndQuery};
use tonic::{Request as Asked, Status};
use tonic_prost::ProstCodec;

use self::messages::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, Request, RequestOp, Response,
    TxnRequest, TxnResponse,
};
use crate::{Error, Sequencer};

/// What the engine puts before the names of locks if it is told nothing else.
const PREFIX: &str = "lock/";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
/// Of comparisons, equality; of what is compared, the create revision.
const EQUAL: i32 = 0;
const CREATE_REVISION: i32 = 1;

/// Where the locks are.
#[derive(Clone, Debug)]
pub struct Locks {
    prefix: String,
}

/// Data under a lock, entered: read and write through it.
#[derive(Debug)]
pub struct Entered<C> {
    grpc: Grpc<C>,
    contender: Vec<u8>,
    token: Token,
}

/// A connection: tonic's `Channel`, or one with an interceptor, which adds the `token` of a user where there are such.
pub trait Connection:
    GrpcService<Body, ResponseBody: codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static>
{
}

impl<C> Connection for C where
    C: GrpcService<
            Body,
            ResponseBody: codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        >
{
}

impl Locks {
    /// Where the engine keeps them, if its URL says nothing else.
    pub fn new() -> Self {
        Self::under(PREFIX)
    }

    /// Under the prefix of the engine's URL.
    pub fn under(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Finds the holder's place in the lock's line. Read and write through what it returns.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has none any more; else what the server says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn enter<C: Connection>(
        &self,
        who: impl Into<Sequencer>,
        connection: C,
    ) -> Result<Entered<C>, Error<Status>> {
        let who = who.into();
        let mut grpc = Grpc::new(connection);
        let line = self.line(who.name());
        let request = RangeRequest {
            // After the slash at its end comes the zero.
            range_end: [&line[..line.len() - 1], b"0"].concat(),
            key: line,
            keys_only: true,
            min_create_revision: revision(who.token()),
            max_create_revision: revision(who.token()),
        };
        let found: RangeResponse = ask(&mut grpc, RANGE, request).await.map_err(Error::Storage)?;
        let contender = found.kvs.into_iter().next().ok_or(Error::Gone(who.token()))?.key;
        Ok(Entered { grpc, contender, token: who.token() })
    }

    /// What the keys of a lock begin with. As the engine writes it: no lock's keys are within another's.
    fn line(&self, name: &Name) -> Vec<u8> {
        let name = name.as_str().replace('%', "%25").replace('/', "%2F");
        format!("{}{name}/", self.prefix).into_bytes()
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Entered<C> {
    /// The key by which the holder stands in the lock's line, and the create revision that it has as long as the lock is
    /// held: for a transaction of your own.
    pub fn contender(&self) -> (&[u8], i64) {
        (&self.contender, revision(self.token))
    }
}

impl<C: Connection> Entered<C> {
    /// What the key holds; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what the server says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get(&mut self, key: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error<Status>> {
        let get = RangeRequest { key: key.into(), ..RangeRequest::default() };
        match self.transact(Request::Range(get)).await? {
            Response::Range(found) => Ok(found.kvs.into_iter().next().map(|kv| kv.value)),
            _ => Err(Error::Storage(odd())),
        }
    }

    /// Writes the key.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what the server or the connection says, and then the outcome
    /// may be unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be written.
    pub async fn put(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<(), Error<Status>> {
        let put = PutRequest { key: key.into(), value: value.into() };
        self.transact(Request::Put(put)).await.map(drop)
    }

    /// Deletes the key; whether it was there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be deleted.
    pub async fn delete(&mut self, key: impl Into<Vec<u8>>) -> Result<bool, Error<Status>> {
        match self.transact(Request::Delete(DeleteRangeRequest { key: key.into() })).await? {
            Response::Delete(done) => Ok(done.deleted > 0),
            _ => Err(Error::Storage(odd())),
        }
    }

    /// Does this if the lock is still held.
    async fn transact(&mut self, request: Request) -> Result<Response, Error<Status>> {
        let still_held = Compare {
            result: EQUAL,
            target: CREATE_REVISION,
            key: self.contender.clone(),
            create_revision: revision(self.token),
        };
        let txn =
            TxnRequest { compare: vec![still_held], success: vec![RequestOp { request: Some(request) }] };
        let mut answer: TxnResponse = ask(&mut self.grpc, TXN, txn).await.map_err(Error::Storage)?;
        if !answer.succeeded {
            return Err(Error::Gone(self.token));
        }
        answer.responses.pop().and_then(|op| op.response).ok_or_else(|| Error::Storage(odd()))
    }
}

async fn ask<C, Q, A>(grpc: &mut Grpc<C>, path: &'static str, request: Q) -> Result<A, Status>
where
    C: Connection,
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<Q, A>::default();
    Ok(grpc.unary(Asked::new(request), PathAndQuery::from_static(path), codec).await?.into_inner())
}

/// A token as etcd has it: it is below 2^53.
fn revision(token: Token) -> i64 {
    token.get().cast_signed()
}

fn odd() -> Status {
    Status::internal("the answer is not one to what was asked")
}
