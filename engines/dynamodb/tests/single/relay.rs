//! Stands between an engine and a server, takes note of every request, and loses answers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// It runs until its test's process ends.
pub(crate) struct Relay {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    asked: Vec<String>,
    /// Of which operations the next answer is lost.
    lose: VecDeque<String>,
}

impl Relay {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, state) = (listener.local_addr().unwrap(), Arc::<Mutex<State>>::default());
        let kept = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = state.clone();
                // A client that goes away ends its own connection and nothing else.
                thread::spawn(move || serve(client, server, &state));
            }
        });
        Self { addr, state: kept }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What has been asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The next answer to such an operation does not arrive: the server has done it, and the connection breaks.
    pub(crate) fn lose_answer_to(&self, operation: &str) {
        self.state.lock().unwrap().lose.push_back(operation.to_owned());
    }
}

fn serve(mut client: TcpStream, server: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let (head, body) = message(&mut client)?;
        let operation = field(&head, "x-amz-target").unwrap_or_default();
        let operation = operation.rsplit('.').next().unwrap_or_default().to_owned();
        let lost = {
            let mut state = state.lock().unwrap();
            state.asked.push(operation.clone());
            state.lose.front() == Some(&operation) && state.lose.pop_front().is_some()
        };
        let mut server = TcpStream::connect(server)?;
        server.write_all(head.as_bytes())?;
        server.write_all(&body)?;
        let (head, body) = message(&mut server)?;
        if lost {
            return Ok(());
        }
        client.write_all(head.as_bytes())?;
        client.write_all(&body)?;
    }
}

/// A head with its empty line, and the body that it announces.
fn message(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = field(&head, "content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

fn field(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
