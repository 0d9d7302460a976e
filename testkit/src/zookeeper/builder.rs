//! How a server is to be started.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::{PATIENCE_AT_START, TICK, ZooKeeper, java};
use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::{Recipe, Server};
use crate::tools;

/// The program, as a class.
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// What makes it start quickly and stay small.
const QUICK: [&str; 3] = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// What its own log is to tell, and that nobody manages it.
const PROPERTIES: [&str; 2] =
    ["org.slf4j.simpleLogger.defaultLogLevel=warn", "zookeeper.jmx.log4j.disable=true"];

/// A server to be started: [`ZooKeeper::builder`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Vec<(String, String)>,
    properties: Vec<(String, String)>,
    tls: bool,
    fast: bool,
}

impl Builder {
    /// With a line of its configuration file: `option("minSessionTimeout", "100")`. A later one wins.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a property of its Java: `property("readonlymode.enabled", "true")`.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With TLS on a second port, by certificates made for it, and only for clients that have one:
    /// [`ZooKeeper::tls_url`], [`ZooKeeper::certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Slower to start and faster later, for those who measure it.
    #[must_use]
    pub fn fast(mut self) -> Self {
        self.fast = true;
        self
    }

    /// Starts it, and returns when it takes requests.
    ///
    /// # Errors
    /// If it does not come up; the error ends with the end of its log.
    pub fn start(&self) -> io::Result<ZooKeeper> {
        self.launch(|_, _| Ok(()), |addr| super::mode(addr, PATIENCE_AT_START).map(drop))
    }

    /// Starts it with more in its configuration, and returns when it is as wanted.
    pub(super) fn launch(
        &self,
        more: impl Fn(&mut String, &Path) -> io::Result<()>,
        ready: fn(SocketAddr) -> io::Result<()>,
    ) -> io::Result<ZooKeeper> {
        let server = Server::start(|port, folder| {
            let mut configuration = self.configuration(port, folder)?;
            more(&mut configuration, folder)?;
            fs::write(folder.join("zoo.cfg"), configuration)?;
            self.recipe(port, ready)
        })?;
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        Ok(ZooKeeper { server, certificates })
    }

    fn recipe(&self, port: &Port, ready: fn(SocketAddr) -> io::Result<()>) -> io::Result<Recipe> {
        let quick = QUICK.iter().map(|&word| word.to_owned());
        let properties = PROPERTIES.iter().map(|property| format!("-D{property}"));
        let own = self.properties.iter().map(|(name, value)| format!("-D{name}={value}"));
        let class_path = java::class_path(&java::SERVER)?;
        let rest = ["-cp".to_owned(), class_path, MAIN.to_owned(), "./zoo.cfg".to_owned()];
        let addr = port.addr();
        Ok(Recipe {
            name: "zookeeper",
            program: tools::program("java")?,
            arguments: quick
                .take(if self.fast { 1 } else { QUICK.len() })
                .chain(properties)
                .chain(own)
                .chain(rest)
                .collect(),
            fake_clock: false,
            ready: Box::new(move |_| ready(addr)),
        })
    }

    fn configuration(&self, port: &Port, folder: &Path) -> io::Result<String> {
        let mut text = format!(
            "tickTime={}\ninitLimit=5\nsyncLimit=4\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
            TICK.as_millis(),
            folder.display(),
            port.number()
        );
        if self.tls {
            tls(&mut text, port.companion(), folder)?;
        }
        for (name, value) in &self.options {
            writeln!(text, "{name}={value}").expect("a string takes everything");
        }
        Ok(text)
    }
}

/// Makes the certificates of a server, and says where they are.
fn tls(text: &mut String, port: u16, folder: &Path) -> io::Result<()> {
    let certificates = Certificates::of(folder);
    certificates.make()?;
    let (certificate, key) = certificates.server();
    let both = fs::read_to_string(key)? + &fs::read_to_string(certificate)?;
    fs::write(folder.join("server-with-key.pem"), both)?;
    writeln!(
        text,
        "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location=server-with-key.pem\nssl.trustStore.location={}\nssl.clientAuth=need",
        certificates.authority().display()
    )
    .expect("a string takes everything");
    Ok(())
}
