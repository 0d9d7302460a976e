//! The connection that all requests share: to one member, and to another one when that fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result};
use tonic::transport::Endpoint;

use crate::config::Config;
use crate::failure::{self, Cure};
use crate::member::Member;
use crate::messages::{Call, RangeRequest, WatchCreateRequest, revision};
use crate::place::Places;
use crate::watch::{Watches, Watching};
use crate::{connect, wire};

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) places: Places,
    endpoints: Vec<Endpoint>,
    current: Mutex<Option<Arc<Member>>>,
    /// Whoever connects has it: whose turn it is.
    turn: tokio::sync::Mutex<usize>,
    /// The latest revision that has been heard of.
    seen: AtomicU64,
}

impl Link {
    pub(crate) fn new(config: Config, env: Env) -> Result<Self> {
        let endpoints = connect::endpoints(&config)?;
        let places = Places::new(&config.prefix);
        let (turn, seen) = (tokio::sync::Mutex::new(0), AtomicU64::new(0));
        Ok(Self { config, env, places, endpoints, current: Mutex::default(), turn, seen })
    }

    /// Asks, and says who we are again if that has been forgotten. What is not answered in time may have been done.
    pub(crate) async fn ask<C: Call>(&self, operation: &'static str, request: C) -> Result<C::Answer> {
        let member = self.member().await?;
        let mut late = self.pause(self.config.timeout);
        let mut logged_in = false;
        loop {
            let token = member.token();
            let answer = tokio::select! {
                biased;
                answer = member.send(request.clone()) => answer,
                () = &mut late => {
                    self.leave(&member);
                    return Err(failure::timed_out(operation, &member.address, self.config.timeout));
                }
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match (failure::cure(&status), &self.config.login) {
                (Cure::Login, Some(login)) if !logged_in => {
                    logged_in = true;
                    let again = member.log_in(login, token.as_ref()).await;
                    again.map_err(|status| failure::request("log in", &member.address, status))?;
                    continue;
                }
                (Cure::Move, _) => self.leave(&member),
                _ => {}
            }
            return Err(failure::request(operation, &member.address, status));
        }
    }

    /// A watch on the member that is connected.
    pub(crate) async fn watch(&self, what: WatchCreateRequest) -> Result<Watching> {
        let member = self.member().await?;
        Ok(Watches::watch(&member, what))
    }

    /// A watch of what happens from now on, and the revision after which it hears of everything.
    pub(crate) async fn watch_from_now(&self, what: WatchCreateRequest) -> Option<(Watching, u64)> {
        let member = self.member().await.ok()?;
        Watches::watch_from_now(&member, what).await
    }

    /// The latest revision that has been heard of.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// A revision has been heard of.
    pub(crate) fn see(&self, revision: u64) -> u64 {
        self.seen.fetch_max(revision, Ordering::Relaxed);
        revision
    }

    /// The member there is, or the next one that can be reached in time.
    async fn member(&self) -> Result<Arc<Member>> {
        if let Some(member) = &*self.current() {
            return Ok(Arc::clone(member));
        }
        let late = self.pause(self.config.timeout);
        tokio::select! {
            biased;
            made = self.connect() => made,
            () = late => Err(failure::not_connected(&self.config.members.join(","), self.config.timeout)),
        }
    }

    async fn connect(&self) -> Result<Arc<Member>> {
        let mut turn = self.turn.lock().await;
        if let Some(member) = &*self.current() {
            return Ok(Arc::clone(member));
        }
        let mut trouble = None;
        for _ in 0..self.endpoints.len() {
            let nth = *turn % self.endpoints.len();
            // Before it is tried: if this is given up, the next one has its turn.
            *turn = nth + 1;
            match self.connect_to(nth).await {
                Ok(member) => {
                    let member = Arc::new(member);
                    *self.current() = Some(Arc::clone(&member));
                    return Ok(member);
                }
                Err(error) if error.is_transient() => trouble = Some(error),
                Err(error) => return Err(error),
            }
        }
        let none = || Error::new(ErrorKind::InvalidInput, "connect", "no member of the cluster is named");
        Err(trouble.unwrap_or_else(none))
    }

    /// One that does not answer must leave time for another.
    async fn connect_to(&self, nth: usize) -> Result<Member> {
        let (address, timeout) = (&self.config.members[nth], self.config.timeout / 2);
        let late = self.pause(timeout);
        let tls = self.config.tls.as_ref();
        let not_met = |operation, status| failure::not_met(operation, address, tls, status);
        let made = async {
            let channel = connect::channel(&self.endpoints[nth], address, tls).await?;
            let member = Member::new(address, channel);
            if let Some(login) = &self.config.login {
                member.log_in(login, None).await.map_err(|status| not_met("log in", status))?;
            }
            // One that is cut off from the others, or behind them, is of no use until it is not.
            let first = RangeRequest { keys_only: true, ..wire::one(&self.places.session(0)) };
            let first = member.send(first).await.map_err(|status| not_met("connect", status))?;
            self.see(revision(first.header));
            Ok(member)
        };
        tokio::select! {
            biased;
            made = made => made,
            () = late => Err(failure::not_connected(address, timeout)),
        }
    }

    /// It is of no more use. Whoever watches there looks elsewhere.
    fn leave(&self, member: &Arc<Member>) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, member)) {
            *current = None;
        }
        drop(current);
        drop(member.watches().take());
    }

    pub(crate) fn pause(&self, span: Duration) -> leasehold_core::clock::Sleep {
        self.env.clock.sleep_until(self.env.now() + span)
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Member>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
