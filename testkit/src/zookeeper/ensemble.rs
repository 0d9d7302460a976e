//! Three servers that elect a leader, and what can come between them.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;

use super::{Builder, Mode, PATIENCE_AT_START, ZooKeeper};
use crate::port::Port;
use crate::proxy::Proxy;
use crate::wait::until;

const MEMBERS: usize = 3;

/// Three servers. One that hears nothing of the others for two seconds gives up.
#[derive(Debug)]
pub struct Ensemble {
    members: Vec<ZooKeeper>,
    // After the members, so that nothing listens on these when others may have them.
    _links: Links,
}

/// The ports on which the members hear each other: for what is agreed, and for elections.
type Links = Vec<Port>;

impl Ensemble {
    /// Starts all, and returns when each follows or leads.
    ///
    /// # Errors
    /// If one does not come up, or they do not find together.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&ZooKeeper::builder())
    }

    /// The same with members of this kind.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(kind: &Builder) -> io::Result<Self> {
        let links = reserve()?;
        let all = Self { members: start_members(kind, |_, other| addresses(&links[other]))?, _links: links };
        all.await_serving()?;
        Ok(all)
    }

    /// The same with proxies between the members, which [`Partition`] breaks.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_partitionable() -> io::Result<(Self, Partition)> {
        Self::start_partitionable_with(ZooKeeper::builder())
    }

    /// The same with members of this kind.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_partitionable_with(kind: Builder) -> io::Result<(Self, Partition)> {
        let links = reserve()?;
        let partition = Partition::between(&links)?;
        // Whoever is taken for connected and is not, is asked again only after a while: up to a minute, by default.
        partition.proxies().try_for_each(Proxy::refuse)?;
        let kind = kind.property("zookeeper.fastleader.maxNotificationInterval", "400");
        let members = start_members(&kind, |from, to| {
            if from == to { addresses(&links[to]) } else { partition.addresses(from, to) }
        })?;
        partition.proxies().try_for_each(Proxy::heal)?;
        let all = Self { members, _links: links };
        all.await_serving()?;
        Ok((all, partition))
    }

    /// The URL for clients: all members.
    pub fn url(&self) -> String {
        url_of(&self.members)
    }

    /// The members, whatever they are.
    pub fn members(&self) -> &[ZooKeeper] {
        &self.members
    }

    /// The number of the member that leads, and it.
    ///
    /// # Errors
    /// If none of those that answer does.
    pub fn leader(&self) -> io::Result<(usize, &ZooKeeper)> {
        self.find(Mode::Leader).ok_or_else(|| io::Error::other("none of the members leads"))
    }

    /// The number of a member that follows, and it.
    ///
    /// # Errors
    /// If none of those that answer does.
    pub fn follower(&self) -> io::Result<(usize, &ZooKeeper)> {
        self.find(Mode::Follower).ok_or_else(|| io::Error::other("none of the members follows"))
    }

    /// Returns when another member than this one leads.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_leader_other_than(&self, old: usize) -> io::Result<(usize, &ZooKeeper)> {
        let leads = |(index, member): (usize, &ZooKeeper)| {
            index != old && member.pid().is_some() && member.mode().is_ok_and(|mode| mode == Mode::Leader)
        };
        until("the others had elected a leader", || {
            let new = self.members.iter().enumerate().find(|&member| leads(member));
            new.ok_or("none of them leads")
        })
    }

    /// Returns when all members follow or lead.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_serving(&self) -> io::Result<()> {
        for member in &self.members {
            until(format_args!("{} served", **member), || member.mode())?;
        }
        Ok(())
    }

    fn find(&self, mode: Mode) -> Option<(usize, &ZooKeeper)> {
        let is = |member: &ZooKeeper| member.pid().is_some() && member.mode().is_ok_and(|now| now == mode);
        self.members.iter().enumerate().find(|(_, member)| is(member))
    }
}

/// Several in one URL.
pub(super) fn url_of<'a>(members: impl IntoIterator<Item = &'a ZooKeeper>) -> String {
    let addresses: Vec<_> = members.into_iter().map(|member| member.addr().to_string()).collect();
    format!("zookeeper://{}", addresses.join(","))
}

fn reserve() -> io::Result<Links> {
    (0..MEMBERS).map(|_| Port::reserve()).collect()
}

/// Where a member hears what is agreed, and elections.
fn addresses(port: &Port) -> [SocketAddr; 2] {
    [port.addr(), (port.addr().ip(), port.companion()).into()]
}

/// Starts all members; `heard_at` says where the first hears the second.
fn start_members(
    kind: &Builder,
    heard_at: impl Fn(usize, usize) -> [SocketAddr; 2],
) -> io::Result<Vec<ZooKeeper>> {
    let start = |me: usize| {
        kind.launch(
            |text, folder| {
                for other in 0..MEMBERS {
                    let [agreed, election] = heard_at(me, other);
                    writeln!(text, "server.{}={agreed}:{}", other + 1, election.port())
                        .expect("a string takes everything");
                }
                fs::write(folder.join("myid"), (me + 1).to_string())
            },
            // The first to come has nobody to follow: it answers, and that is all.
            |addr| super::ask(addr, "ruok", PATIENCE_AT_START).map(drop),
        )
    };
    (0..MEMBERS).map(start).collect()
}

/// What lies between the members: for each pair and way two proxies.
#[derive(Debug)]
pub struct Partition {
    proxies: Vec<(usize, usize, [Proxy; 2])>,
}

impl Partition {
    fn between(links: &Links) -> io::Result<Self> {
        let mut proxies = Vec::new();
        for from in 0..MEMBERS {
            for to in (0..MEMBERS).filter(|&to| to != from) {
                let [agreed, election] = addresses(&links[to]);
                proxies.push((from, to, [Proxy::before(agreed, 1)?, Proxy::before(election, 2)?]));
            }
        }
        Ok(Self { proxies })
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().flat_map(|(_, _, proxies)| proxies)
    }

    fn addresses(&self, from: usize, to: usize) -> [SocketAddr; 2] {
        let between = |&&(f, t, _): &&(usize, usize, _)| (f, t) == (from, to);
        let (_, _, proxies) = self.proxies.iter().find(between).expect("each pair has its proxies");
        [proxies[0].addr(), proxies[1].addr()]
    }

    /// Cuts one member off from the others, who elect without it. What they have agreed on so far is not broken off:
    /// nothing passes, and nobody is told, so a leader goes on believing until it has heard nothing for two seconds.
    ///
    /// # Errors
    /// If a proxy has failed.
    pub fn cut_off(&self, member: usize) -> io::Result<()> {
        self.around(member).try_for_each(|[agreed, election]| {
            agreed.black_hole();
            election.reset();
            // Where new connections are taken and nothing comes, elections last for ever.
            agreed.refuse()?;
            election.refuse()
        })
    }

    /// Ends that.
    ///
    /// # Errors
    /// If a proxy has failed.
    pub fn heal(&self, member: usize) -> io::Result<()> {
        self.around(member).flatten().try_for_each(Proxy::heal)
    }

    fn around(&self, member: usize) -> impl Iterator<Item = &[Proxy; 2]> {
        let touches = move |&&(from, to, _): &&(usize, usize, _)| from == member || to == member;
        self.proxies.iter().filter(touches).map(|(_, _, proxies)| proxies)
    }
}
