//! A client that adds nothing to etcd's API: for what tests do beside us, and to measure us by.

use std::io;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Status};
use tonic_prost::ProstCodec;

use super::messages::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeRequest, LockRequest, LockResponse, Nothing, PutRequest, RequestOp, TxnRequest, TxnResponse,
    UnlockRequest,
};

/// A connection to one node, without passwords or TLS; clones share it.
#[derive(Debug, Clone)]
pub struct Bare {
    grpc: Grpc<Channel>,
}

fn refused(status: Status) -> io::Error {
    io::Error::other(status)
}

impl Bare {
    /// Connects to the node at this address, which is a host and a port.
    ///
    /// # Errors
    /// If it does not listen.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let endpoint = Endpoint::try_from(format!("http://{address}")).map_err(io::Error::other)?;
        let channel = endpoint.tcp_nodelay(true).connect().await.map_err(io::Error::other)?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    async fn ask<M, R>(&self, path: &'static str, message: M) -> io::Result<R>
    where
        M: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(io::Error::other)?;
        let codec = ProstCodec::<M, R>::default();
        let answer = grpc.unary(message.into_request(), PathAndQuery::from_static(path), codec).await;
        Ok(answer.map_err(refused)?.into_inner())
    }

    /// A lease that lasts so many seconds.
    ///
    /// # Errors
    /// The node's.
    pub async fn grant(&self, seconds: i64) -> io::Result<i64> {
        let request = LeaseGrantRequest { ttl: seconds };
        let granted: LeaseGrantResponse = self.ask("/etcdserverpb.Lease/LeaseGrant", request).await?;
        Ok(granted.id)
    }

    /// Ends a lease and its keys.
    ///
    /// # Errors
    /// The node's.
    pub async fn revoke(&self, lease: i64) -> io::Result<()> {
        let Nothing {} =
            self.ask("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest { id: lease }).await?;
        Ok(())
    }

    /// Puts a key that is not there; whether it was not.
    ///
    /// # Errors
    /// The node's.
    pub async fn put_if_absent(&self, key: &str, value: &str, lease: i64) -> io::Result<bool> {
        let put = PutRequest { key: key.into(), value: value.into(), lease };
        let absent = Compare { target: 1, key: key.into(), create_revision: Some(0) };
        let request = TxnRequest { compare: vec![absent], success: vec![RequestOp { put: Some(put) }] };
        let done: TxnResponse = self.ask("/etcdserverpb.KV/Txn", request).await?;
        Ok(done.succeeded)
    }

    /// Puts a key.
    ///
    /// # Errors
    /// The node's.
    pub async fn put(&self, key: &str, value: &str) -> io::Result<()> {
        let request = PutRequest { key: key.into(), value: value.into(), lease: 0 };
        let Nothing {} = self.ask("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    /// Deletes a key; whether it was there.
    ///
    /// # Errors
    /// The node's.
    pub async fn delete(&self, key: &str) -> io::Result<bool> {
        let request = DeleteRangeRequest { key: key.into() };
        let done: DeleteRangeResponse = self.ask("/etcdserverpb.KV/DeleteRange", request).await?;
        Ok(done.deleted > 0)
    }

    /// etcd's own lock service: waits for the lock of this name, and tells the key to [`unlock`](Self::unlock).
    ///
    /// # Errors
    /// The node's.
    pub async fn lock(&self, name: &str, lease: i64) -> io::Result<Vec<u8>> {
        let request = LockRequest { name: name.into(), lease };
        let held: LockResponse = self.ask("/v3lockpb.Lock/Lock", request).await?;
        Ok(held.key)
    }

    /// Ends a lock of the service.
    ///
    /// # Errors
    /// The node's.
    pub async fn unlock(&self, key: Vec<u8>) -> io::Result<()> {
        let Nothing {} = self.ask("/v3lockpb.Lock/Unlock", UnlockRequest { key }).await?;
        Ok(())
    }
}
