//! What members of a cluster call each other through, so that one of them can be taken away from the others.
//!
//! They all call one address of a member, and all from the same address of ours. Who calls is found out from the
//! kernel: whose process has the other end of the connection.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use nix::unistd::Pid;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::port::Port;

/// Who is cut off.
#[derive(Debug, Clone, Copy)]
struct Cut {
    member: usize,
    pid: Pid,
}

/// An address for each member. Gone with all connections when dropped.
#[derive(Debug)]
pub(super) struct Network {
    ports: Vec<Port>,
    cut: watch::Sender<Option<Cut>>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Network {
    /// Starts one before members that will listen on these ports.
    pub(super) fn before(members: &[u16]) -> io::Result<Self> {
        let ports = members.iter().map(|_| Port::reserve()).collect::<io::Result<Vec<_>>>()?;
        let listeners = ports
            .iter()
            .map(|port| {
                let listener = std::net::TcpListener::bind(port.addr())?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let cut = watch::Sender::new(None);
        let (stop, stopped) = oneshot::channel();
        let (members, rules) = (members.to_vec(), cut.subscribe());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("network of members".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                let mut all = JoinSet::new();
                for (member, (listener, port)) in listeners.into_iter().zip(members).enumerate() {
                    all.spawn_local(serve(member, listener, port, rules.clone()));
                }
                // However it is stopped.
                let _ = stopped.await;
            });
        })?;
        Ok(Self { ports, cut, thread: Some((stop, thread)) })
    }

    /// Where the members are to be called.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.ports.iter().map(Port::number).collect()
    }

    /// Whatever goes to or comes from this member vanishes.
    pub(super) fn cut_off(&self, member: usize, pid: Pid) {
        self.cut.send_replace(Some(Cut { member, pid }));
    }

    /// Connections that were cut are closed, and new ones pass.
    pub(super) fn heal(&self) {
        self.cut.send_replace(None);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A panic over there has been printed, and is no reason for one in a drop.
            drop(thread.join());
        }
    }
}

/// Takes the calls to one member.
async fn serve(
    member: usize,
    listener: std::net::TcpListener,
    port: u16,
    rules: watch::Receiver<Option<Cut>>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((caller, from)) = accepted else { continue };
                calls.spawn_local(carry(member, caller, from, port, rules.clone()));
            }
            Some(_) = calls.join_next() => {}
        }
    }
}

/// One connection, until it ends; one that is cut stays open, silent, until that is healed.
async fn carry(
    member: usize,
    mut caller: TcpStream,
    from: SocketAddr,
    port: u16,
    mut rules: watch::Receiver<Option<Cut>>,
) {
    let mut others = rules.clone();
    let mut call = std::pin::pin!(async {
        let mut called = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        called.set_nodelay(true)?;
        caller.set_nodelay(true)?;
        copy_bidirectional(&mut caller, &mut called).await
    });
    tokio::select! {
        biased;
        cut = rules.wait_for(|cut| cut.is_some_and(|cut| cut.member == member || is_of(cut.pid, from))) => {
            if cut.is_ok() {
                drop(cut);
                // Gone with the network, or healed.
                let _ = others.wait_for(Option::is_none).await;
            }
        }
        _ = &mut call => {}
    }
}

/// Whether this process has the socket at this address.
fn is_of(pid: Pid, address: SocketAddr) -> bool {
    let Some(inode) = inode(address) else { return false };
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let socket = format!("socket:[{inode}]");
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str()))
}

/// The kernel's number for the socket of this machine at this address.
fn inode(address: SocketAddr) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{:04X}", address.port());
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1)?.ends_with(&port).then(|| words.get(9).copied().map(str::to_owned))?
    })
}
