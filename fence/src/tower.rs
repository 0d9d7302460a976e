//! HTTP and gRPC: a service that refuses stale requests, and a client that says under which lock it asks.
//!
//! ```
//! # #[cfg(feature = "tower")]
//! # fn example<S>(router: S) {
//! use leasehold_fence::tower::FenceLayer;
//! use tower_layer::Layer;
//!
//! // With axum: `Router::new().route(...).layer(FenceLayer::new(...))`.
//! let service = FenceLayer::new(leasehold_fence::Memory::new()).lock("inventory/42").layer(router);
//! # }
//! ```
//! A request carries its [`Sequencer`](crate::Sequencer) in the header `Fencing-Token: exclusive:34:inventory/42`. A stale one is answered
//! 409, one without the header 428, one whose header is none of ours or is about another lock 400, each as
//! `application/problem+json`. gRPC requests get `ABORTED` (begin again: lock, read, write), `FAILED_PRECONDITION` and
//! `INVALID_ARGUMENT` in their own form; the status of a stale one has `fencing-token-seen` in its metadata.
//!
//! With tonic, [`FenceLayer::grpc`] is the layer of the server. It cannot be an interceptor, for those do not wait, and
//! see nothing of the response. The client's side is one, with the feature `tonic`, and is a layer without:
//! ```
//! # #[cfg(feature = "tonic")]
//! # fn example(guard: &leasehold_core::Guard) -> impl tonic::service::Interceptor + use<> {
//! use leasehold_fence::tower::{AddTokenLayer, FenceLayer};
//!
//! // The server: `Server::builder().layer(fence).add_service(...)`.
//! let fence = FenceLayer::new(leasehold_fence::Memory::new()).lock("inventory/42").grpc();
//! // The client: `StockClient::with_interceptor(channel, add)`.
//! let add = AddTokenLayer::new(guard);
//! # drop(fence);
//! # add
//! # }
//! ```
//!
//! A request stays inside the fence until its response begins, so that between its check and its effect none slips in
//! that has overtaken it. What a handler does after that, in a body that it streams or in a task of its own, is outside.
//!
//! # What it costs
//! A header to read and a look into a map. Requests under one lock run one after the other, those of readers together.
//!
//! # What it cannot see
//! What [`Memory`](crate::Memory) cannot: requests to another replica of the service, and what was before a restart. Where the data
//! outlives the service, have the handler show its [`Sequencer`](crate::Sequencer), which is in the request's extensions, to the fence of
//! its storage as well.

mod add;
mod fence;
mod refusal;

pub use add::{AddToken, AddTokenLayer};
pub use fence::{FenceLayer, Fenced, GrpcFenceLayer, GrpcFenced, HEADER};
