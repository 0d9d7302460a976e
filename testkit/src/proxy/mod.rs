//! A TCP proxy before a server, that does to connections what networks do.

mod pump;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use self::pump::Lost;
use crate::port::Port;
use crate::wait::{Asked, until};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What clients say.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// What becomes of the bytes of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// They arrive.
    #[default]
    Arrive,
    /// They are held back, and arrive when this ends: what was sent is late, not lost.
    Wait,
    /// They vanish, and so does the end of a connection: neither side is told anything. A connection that has lost
    /// bytes is reset when this ends, for nobody could make sense of the rest.
    Vanish,
}

/// What is done to one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// What becomes of the bytes.
    pub fate: Fate,
    /// How long they take at least.
    pub delay: Duration,
    /// How much longer they may take; drawn for each piece. They never overtake each other.
    pub jitter: Duration,
    /// How many pass a second, in each connection.
    pub bytes_per_second: Option<u32>,
}

/// What is done to connections; all may change while they are open.
#[derive(Debug, Clone, Default)]
struct Rules {
    to_server: Rule,
    to_client: Rule,
    /// Whose connections they are for; none: everybody's.
    only: Vec<IpAddr>,
    refuse: bool,
}

/// One way of the connections from one address.
#[derive(Debug, Clone, Copy)]
struct Lane {
    way: Way,
    from: IpAddr,
}

impl Rules {
    fn way(&self, way: Way) -> Rule {
        match way {
            Way::ToServer => self.to_server,
            Way::ToClient => self.to_client,
        }
    }

    fn concern(&self, from: IpAddr) -> bool {
        self.only.is_empty() || self.only.contains(&from)
    }

    fn of(&self, lane: Lane) -> Rule {
        if self.concern(lane.from) { self.way(lane.way) } else { Rule::default() }
    }
}

/// A proxy. Everything passes until a rule is set. Gone with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    rules: watch::Sender<Rules>,
    resets: broadcast::Sender<Vec<IpAddr>>,
    vanished: Arc<AtomicBool>,
    /// The next word of the thread: it listens again, or no longer.
    listening: std::sync::Mutex<std::sync::mpsc::Receiver<io::Result<bool>>>,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Proxy {
    /// Starts one before `server`. What is drawn is drawn from the seed and the number of the connection.
    ///
    /// # Errors
    /// If no port is free.
    pub fn before(server: SocketAddr, seed: u64) -> io::Result<Self> {
        let port = Port::reserve()?;
        let rules = watch::Sender::new(Rules::default());
        let resets = broadcast::Sender::new(1);
        let (stop, stopped) = mpsc::channel(1);
        let (tell, listening) = std::sync::mpsc::channel();
        let vanished = Arc::new(AtomicBool::new(false));
        let service = Service {
            addr: port.addr(),
            server,
            seed,
            rules: rules.subscribe(),
            resets: resets.clone(),
            vanished: vanished.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("proxy".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, service.run(tell, stopped));
        })?;
        let proxy =
            Self { port, rules, resets, vanished, listening: listening.into(), thread: Some((stop, thread)) };
        proxy.await_listening(true)?;
        Ok(proxy)
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Sets the rule of one way, for connections that are open as well.
    pub fn set(&self, way: Way, rule: Rule) {
        self.rules.send_modify(|rules| {
            self.vanished.store(false, Ordering::SeqCst);
            match way {
                Way::ToServer => rules.to_server = rule,
                Way::ToClient => rules.to_client = rule,
            }
        });
    }

    /// From now on all rules are only for connections from these addresses; none: for all. But whoever is
    /// [refused](Self::refuse) is so wherever it comes from.
    pub fn only(&self, from: &[IpAddr]) {
        self.rules.send_modify(|rules| rules.only = from.to_vec());
    }

    /// Returns when something has vanished since a rule was last set: bytes, or the end of a connection.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_loss(&self) -> io::Result<()> {
        until("something vanished in the proxy", || match self.vanished.load(Ordering::SeqCst) {
            true => Asked::Yes(()),
            false => Asked::NotYet("everything arrived, or nothing was sent".to_owned()),
        })
    }

    /// Both ways take so long, each.
    pub fn delay(&self, delay: Duration, jitter: Duration) {
        for way in [Way::ToServer, Way::ToClient] {
            self.set(way, Rule { delay, jitter, ..self.rule(way) });
        }
    }

    /// What goes this way vanishes; the other way is as it was.
    pub fn drop_way(&self, way: Way) {
        self.set(way, Rule { fate: Fate::Vanish, ..self.rule(way) });
    }

    /// What goes this way arrives late: when this ends.
    pub fn hold_way(&self, way: Way) {
        self.set(way, Rule { fate: Fate::Wait, ..self.rule(way) });
    }

    /// Both ways vanish: connections look open and nothing comes. New ones are accepted, as by a firewall.
    pub fn black_hole(&self) {
        self.drop_way(Way::ToServer);
        self.drop_way(Way::ToClient);
    }

    /// Resets all connections that are open (RST, to both sides). New ones are taken.
    pub fn reset(&self) {
        // Nobody listens: there is no connection.
        drop(self.resets.send(self.rules.borrow().only.clone()));
    }

    /// Returns when nobody listens any more: new connections are refused. Those that are open stay.
    ///
    /// # Errors
    /// If the proxy has failed.
    pub fn refuse(&self) -> io::Result<()> {
        self.listen(false)
    }

    /// Ends all rules, for whomever they were. What was held back or delayed arrives, in order; connections that have lost bytes are reset.
    ///
    /// # Errors
    /// If it cannot listen on its port again.
    pub fn heal(&self) -> io::Result<()> {
        self.set(Way::ToServer, Rule::default());
        self.set(Way::ToClient, Rule::default());
        self.only(&[]);
        self.listen(true)
    }

    fn rule(&self, way: Way) -> Rule {
        self.rules.borrow().way(way)
    }

    fn listen(&self, listen: bool) -> io::Result<()> {
        let changed =
            self.rules.send_if_modified(|rules| std::mem::replace(&mut rules.refuse, !listen) == listen);
        if changed { self.await_listening(listen) } else { Ok(()) }
    }

    fn await_listening(&self, expected: bool) -> io::Result<()> {
        let words = self.listening.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while words.recv().map_err(io::Error::other)?? != expected {}
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic over there has been printed, and is no reason for one in a drop.
            drop(thread.join());
        }
    }
}

/// What the proxy's thread knows.
struct Service {
    addr: SocketAddr,
    server: SocketAddr,
    seed: u64,
    rules: watch::Receiver<Rules>,
    resets: broadcast::Sender<Vec<IpAddr>>,
    vanished: Arc<AtomicBool>,
}

impl Service {
    async fn run(self, tell: std::sync::mpsc::Sender<io::Result<bool>>, mut stopped: mpsc::Receiver<()>) {
        tokio::select! {
            () = self.serve(&tell) => {}
            _ = stopped.recv() => {}
        }
    }

    /// Takes connections, or none, as the rules say.
    async fn serve(&self, tell: &std::sync::mpsc::Sender<io::Result<bool>>) {
        let mut rules = self.rules.clone();
        let mut connections = JoinSet::new();
        let mut number = 0;
        loop {
            let listener = match listen(self.addr) {
                Ok(listener) => listener,
                Err(error) => return drop(tell.send(Err(error))),
            };
            drop(tell.send(Ok(true)));
            loop {
                tokio::select! {
                    biased;
                    refused = rules.wait_for(|rules| rules.refuse) => if refused.is_err() { return } else { break },
                    accepted = listener.accept() => {
                        let Ok((client, from)) = accepted else { continue };
                        number += 1;
                        connections.spawn_local(self.connection(client, from.ip(), number));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
            drop(listener);
            drop(tell.send(Ok(false)));
            if rules.wait_for(|rules| !rules.refuse).await.is_err() {
                return;
            }
        }
    }

    /// One connection, until both sides have ended it, or it is reset.
    fn connection(
        &self,
        mut client: TcpStream,
        from: IpAddr,
        number: u64,
    ) -> impl Future<Output = ()> + 'static {
        let (server, rules, mut reset) = (self.server, self.rules.clone(), self.resets.subscribe());
        let (lost_there, lost_back) = (Lost::new(&self.vanished), Lost::new(&self.vanished));
        let dice = |way| Xoshiro256PlusPlus::seed_from_u64(self.seed ^ (2 * number + way));
        let (to_server, to_client) = (dice(0), dice(1));
        async move {
            let Ok(mut server) = TcpStream::connect(server).await else { return reset_now(client) };
            // Else the proxy itself delays what is small.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ended = {
                let ((from_client, into_client), (from_server, into_server)) =
                    (client.split(), server.split());
                let (up, down) = (Lane { way: Way::ToServer, from }, Lane { way: Way::ToClient, from });
                let there = pump::pump(up, from_client, into_server, rules.clone(), to_server, lost_there);
                let back = pump::pump(down, from_server, into_client, rules, to_client, lost_back);
                let concerned = async {
                    // Who lags behind has missed one, perhaps its own.
                    while reset.recv().await.is_ok_and(|only| !only.is_empty() && !only.contains(&from)) {}
                };
                tokio::select! {
                    both = async { tokio::try_join!(there, back) } => both.is_ok(),
                    () = concerned => false,
                }
            };
            if !ended {
                reset_now(client);
                reset_now(server);
            }
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = StdListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Closes with a RST, not a FIN.
fn reset_now(stream: TcpStream) {
    // Where that fails the other side has closed already.
    drop(stream.set_zero_linger());
}
