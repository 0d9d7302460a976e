//! A stand-in for S3: moto, which keeps its objects in memory.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;

use crate::server::{Recipe, Server};
use crate::tools;

/// The bucket that everybody uses.
const BUCKET: &str = "leasehold";

/// It looks at the condition of a write first and writes then, with nothing to keep another thread out: two requests at the
/// same time may both succeed, however seldom, where S3 lets one. So it is run without threads, one request at a time.
const PROGRAM: &str = "
import sys
from werkzeug.serving import run_simple
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
run_simple(
    '127.0.0.1',
    int(sys.argv[1]),
    DomainDispatcherApplication(create_backend_app),
    request_handler=MotoRequestHandler,
)
";

/// A server that runs. It takes any credentials, and knows conditional writes.
#[derive(Debug)]
pub struct S3 {
    server: Server,
}

impl S3 {
    /// Starts one, with a bucket.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> io::Result<Self> {
        let server = Server::start(|port, _| {
            let number = port.number();
            let addr = SocketAddr::from(([127, 0, 0, 1], number));
            Ok(Recipe {
                name: "moto",
                program: tools::python()?,
                arguments: vec!["-c".to_owned(), PROGRAM.to_owned(), number.to_string()],
                fake_clock: false,
                ready: Box::new(move |_| make_bucket(addr)),
            })
        })?;
        Ok(Self { server })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The name of its bucket.
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }
}

/// All that a server can.
impl Deref for S3 {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Makes the bucket, or finds that it is there.
fn make_bucket(addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    // As a client signs that has credentials for the region in which a bucket needs no further word.
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request";
    write!(stream, "PUT /{BUCKET} HTTP/1.0\r\nHost: {addr}\r\n{signed}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split(' ').nth(1) {
        Some("200" | "409") => Ok(()),
        _ => Err(io::Error::other(format!("no bucket: {answer}"))),
    }
}
