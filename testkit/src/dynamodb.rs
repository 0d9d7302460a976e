//! Stand-ins for DynamoDB: dynalite, and as a second opinion moto.
//!
//! They say nothing of DynamoDB's speed, and each leaves something out. dynalite does one thing at a time, as DynamoDB
//! does it for one item, but does not tell what is there when a condition is not met. moto tells, but looks at the
//! condition first and writes then, so that two requests at the same time may both succeed: it is for one client at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;

use serde_json::{Value, json};

use crate::server::{Recipe, Server};
use crate::tools;
use crate::wait::until;

/// The table for locks that every server has.
const TABLE: &str = "leasehold";

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// dynalite, from npm.
    Dynalite,
    /// moto, from PyPI.
    Moto,
}

/// A server that runs, with a table that has the key of leasehold's locks. It takes any credentials.
#[derive(Debug)]
pub struct DynamoDb {
    server: Server,
}

impl DynamoDb {
    /// Starts dynalite.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> io::Result<Self> {
        Self::start_kind(Kind::Dynalite)
    }

    /// Starts one of these.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_kind(kind: Kind) -> io::Result<Self> {
        let server = Server::start(|port, _| {
            let (host, number) = ("127.0.0.1".to_owned(), port.number().to_string());
            let (name, program, arguments) = match kind {
                Kind::Dynalite => {
                    let script = tools::node_module("dynalite/cli.js")?;
                    let words =
                        ["--createTableMs", "0", "--deleteTableMs", "0", "--host", &host, "--port", &number];
                    let words = words.map(str::to_owned);
                    let arguments = [script.display().to_string()].into_iter().chain(words).collect();
                    ("dynalite", tools::program("node")?, arguments)
                }
                Kind::Moto => {
                    let words = ["-m", "moto.server", "-H", &host, "-p", &number].map(str::to_owned);
                    ("moto", tools::python()?, words.into())
                }
            };
            let addr = SocketAddr::from(([127, 0, 0, 1], port.number()));
            Ok(Recipe {
                name,
                program,
                arguments,
                fake_clock: false,
                ready: Box::new(move |_| make(addr, TABLE, &["lock_name"])),
            })
        })?;
        Ok(Self { server })
    }

    /// The URL of the engine on it.
    pub fn url(&self) -> String {
        self.url_of(TABLE, self.addr())
    }

    /// The same of another table, or by way of a proxy.
    pub fn url_of(&self, table: &str, by: SocketAddr) -> String {
        format!("dynamodb://key:secret@{table}?endpoint=http://{by}")
    }

    /// The table that everybody uses.
    pub fn table(&self) -> &'static str {
        TABLE
    }

    /// Makes another table with these keys, all of them text.
    ///
    /// # Errors
    /// The server's own words.
    pub fn make_table(&self, table: &str, keys: &[&str]) -> io::Result<()> {
        until(format_args!("there was a table `{table}`"), || make(self.addr(), table, keys))
    }

    /// Does what an operation of DynamoDB's says.
    ///
    /// # Errors
    /// The server's own words.
    pub fn ask(&self, operation: &str, request: &Value) -> io::Result<Value> {
        let (status, answer) = ask(self.addr(), operation, request)?;
        if status == 200 { Ok(answer) } else { Err(io::Error::other(format!("{status}: {answer}"))) }
    }
}

/// All that a server can.
impl Deref for DynamoDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn make(addr: SocketAddr, table: &str, keys: &[&str]) -> io::Result<()> {
    let schema: Vec<Value> = keys
        .iter()
        .zip(["HASH", "RANGE"])
        .map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind }))
        .collect();
    let types: Vec<Value> =
        keys.iter().map(|key| json!({ "AttributeName": key, "AttributeType": "S" })).collect();
    let request = json!({
        "TableName": table, "KeySchema": schema, "AttributeDefinitions": types, "BillingMode": "PAY_PER_REQUEST",
    });
    let (status, answer) = ask(addr, "CreateTable", &request)?;
    let there = answer["__type"].as_str().is_some_and(|kind| kind.ends_with("ResourceInUseException"));
    if status != 200 && !there {
        return Err(io::Error::other(format!("no table: {answer}")));
    }
    let (_, answer) = ask(addr, "DescribeTable", &json!({ "TableName": table }))?;
    match answer["Table"]["TableStatus"].as_str() {
        Some("ACTIVE") => Ok(()),
        status => Err(io::Error::other(format!("the table is {status:?}"))),
    }
}

fn ask(addr: SocketAddr, operation: &str, request: &Value) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(addr)?;
    let body = request.to_string();
    // Neither looks whether the signature is right.
    let credential = "x/20260101/us-east-1/dynamodb/aws4_request";
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=x\r\n\
         X-Amz-Date: 20260101T000000Z\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let odd = || io::Error::other(format!("no answer of DynamoDB's: {answer}"));
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
    // Both send the body as one piece.
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(odd)?;
    Ok((status, serde_json::from_str(body).map_err(|_| odd())?))
}
