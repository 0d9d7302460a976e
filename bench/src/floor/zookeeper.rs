//! Under the ZooKeeper engine: an ephemeral node made and deleted, by the bare client. Nobody waits for anybody. Where
//! somebody must, it is the client's own recipe: a numbered node, a list, and a watch of the one just ahead.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error as Cause, LockOptions, LockPrefix, OwnedLockClient};

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::load::{Case, Load};
use crate::site::Site;

const ACLS: Acls<'static> = Acls::anyone_all();

/// The floor, if this URL names a ZooKeeper.
pub(super) fn of(site: &Site<'_>, case: Case) -> Option<Entrant> {
    let servers = servers(site)?;
    match case {
        Case::Pair => {
            let prefix = prefix(site);
            Some(Entrant::opened("create + delete", Role::Floor, site.env, move |load| {
                Nodes::open(servers.clone(), prefix.clone(), load)
            }))
        }
        Case::Handoff => Some(recipe(site, servers, Role::Floor)),
        Case::Renew => None,
    }
}

/// The servers of this URL, if it names a ZooKeeper, without what only we have.
pub(crate) fn servers(site: &Site<'_>) -> Option<String> {
    let hosts = site.url.strip_prefix("zookeeper://")?;
    Some(hosts.split(['?', '/']).next().unwrap_or(hosts).to_owned())
}

/// A node for all of an entrant's, under no other.
pub(crate) fn prefix(site: &Site<'_>) -> String {
    format!("/{}", site.prefix().replace('/', "-"))
}

/// The client's own recipe as a floor or a peer.
pub(crate) fn recipe(site: &Site<'_>, servers: String, role: Role) -> Entrant {
    let prefix = prefix(site);
    Entrant::opened("zookeeper-client lock", role, site.env, move |load| {
        Recipe::open(servers.clone(), prefix.clone(), load)
    })
}

fn refused(error: Cause) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare ZooKeeper failed").with_source(error)
}

async fn connect(servers: &str, ttl: Duration) -> Result<Client> {
    Client::connector().with_session_timeout(ttl).connect(servers).await.map_err(refused)
}

/// One session for all tasks.
#[derive(Debug)]
struct Nodes {
    client: Client,
    prefix: String,
}

impl Nodes {
    async fn open(servers: String, prefix: String, load: Load) -> Result<Self> {
        let client = connect(&servers, load.ttl).await?;
        client.mkdir(&prefix, &CreateMode::Container.with_acls(ACLS)).await.map_err(refused)?;
        Ok(Self { client, prefix })
    }
}

impl Locker for Nodes {
    type Seat = Node;

    async fn seat(&self, name: &str) -> Result<Node> {
        let path = format!("{}/{}", self.prefix, name.replace('/', "-"));
        Ok(Node { client: self.client.clone(), path })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's node.
#[derive(Debug)]
struct Node {
    client: Client,
    path: String,
}

impl Seat for Node {
    async fn acquire(&mut self) -> Result<()> {
        let options = CreateMode::Ephemeral.with_acls(ACLS);
        self.client.create(&self.path, b"", &options).await.map(drop).map_err(refused)
    }

    async fn release(&mut self) -> Result<()> {
        self.client.delete(&self.path, None).await.map_err(refused)
    }
}

/// The recipe, with one session for all tasks.
#[derive(Debug)]
struct Recipe {
    client: Client,
    prefix: String,
}

impl Recipe {
    async fn open(servers: String, prefix: String, load: Load) -> Result<Self> {
        Ok(Self { client: connect(&servers, load.ttl).await?, prefix })
    }
}

impl Locker for Recipe {
    type Seat = Turn;

    async fn seat(&self, name: &str) -> Result<Turn> {
        let folder = format!("{}/{}", self.prefix, name.replace('/', "-"));
        let parents = CreateMode::Container.with_acls(ACLS);
        let options = LockOptions::new(ACLS).with_ancestor_options(parents).map_err(refused)?;
        Ok(Turn { client: self.client.clone(), folder, options: Arc::new(options), held: None })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's turn.
#[derive(Debug)]
struct Turn {
    client: Client,
    folder: String,
    options: Arc<LockOptions<'static>>,
    held: Option<OwnedLockClient>,
}

impl Seat for Turn {
    async fn acquire(&mut self) -> Result<()> {
        let prefix = LockPrefix::new_curator(&self.folder, "lock-").map_err(refused)?;
        let held = self.client.lock(prefix, b"", LockOptions::clone(&self.options)).await.map_err(refused)?;
        self.held = Some(held.into_owned());
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        let held = self
            .held
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "floor", "released before it was acquired"))?;
        self.client.delete(held.lock_path(), None).await.map_err(refused)?;
        // Dropped, it would be deleted once more, in the background, where nobody knows when that is done.
        std::mem::forget(held);
        Ok(())
    }
}
