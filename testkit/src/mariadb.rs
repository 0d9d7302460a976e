//! MariaDB: one server.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::{Recipe, Server};
use crate::tools;

/// The database that everybody uses.
const DATABASE: &str = "leasehold";
const SOCKET: &str = "socket";

/// What a server is to be like. By default it does not wait for its disk: what it has written survives a kill, but not a
/// power cut.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Vec<(String, String)>,
    durable: bool,
    fake_clock: bool,
    tls: bool,
}

impl Builder {
    /// With this setting: `option("max-connections", "10")`. A later one wins.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With every commit on the disk before it is answered.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// With TLS: [`MariaDb::url`] asks for it.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With a wall clock that can be shifted: [`Server::shift_clock`].
    #[must_use]
    pub fn fake_clock(mut self) -> Self {
        self.fake_clock = true;
        self
    }

    /// Starts it, and returns when it takes requests.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(&self) -> io::Result<MariaDb> {
        let server = Server::start(|port, folder| self.recipe(port, folder))?;
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        let server = MariaDb { server, certificates };
        server.sql(&format!("CREATE DATABASE {DATABASE}"), "mysql")?;
        Ok(server)
    }
}

/// A server that runs: all that [`Server`] can, and to be talked to.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
    certificates: Option<Certificates>,
}

impl MariaDb {
    /// Starts one as it comes, but for not waiting for its disk.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// One that is to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its URL, as the superuser, who needs no password.
    pub fn url(&self) -> String {
        let url = format!("mysql://root@{}/{DATABASE}", self.addr());
        match &self.certificates {
            Some(certificates) => {
                format!("{url}?sslmode=verify-full&ca={}", certificates.authority().display())
            }
            None => url,
        }
    }

    /// Gives these statements to its own client, which knows `DELIMITER` and stops at the first that fails.
    ///
    /// # Errors
    /// The server's own words.
    pub fn run(&self, statements: &str) -> io::Result<String> {
        self.sql(statements, DATABASE)
    }

    fn sql(&self, statements: &str, database: &str) -> io::Result<String> {
        client(&self.folder().join(SOCKET), statements, database)
    }
}

/// All that a server can.
impl Deref for MariaDb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Builder {
    fn recipe(&self, port: &Port, folder: &Path) -> io::Result<Recipe> {
        let myself =
            User::from_uid(Uid::effective())?.ok_or_else(|| io::Error::other("this user has no name"))?;
        // It refuses to be root by accident.
        let data = format!("--datadir={}", folder.join("data").display());
        // Two that are made at once would meet in a common place for temporary files.
        let scratch = format!("--tmpdir={}", folder.display());
        let common = ["--no-defaults".to_owned(), format!("--user={}", myself.name), data, scratch];
        let mut install = Command::new(tools::program("mariadb-install-db")?);
        install.args(&common).args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        succeed(install.current_dir(folder))?;
        let socket = folder.join(SOCKET);
        let mut arguments = Vec::from(common);
        arguments.extend([
            format!("--port={}", port.number()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--socket={}", socket.display()),
            "--pid-file=pid".to_owned(),
            "--skip-name-resolve".to_owned(),
            format!("--innodb-flush-log-at-trx-commit={}", if self.durable { 1 } else { 2 }),
            "--innodb-buffer-pool-size=16M".to_owned(),
        ]);
        if self.tls {
            let certificates = Certificates::of(folder);
            certificates.make()?;
            let (cert, key) = certificates.server();
            for (option, file) in [("ca", certificates.authority()), ("cert", cert), ("key", key)] {
                arguments.push(format!("--ssl-{option}={}", file.display()));
            }
        }
        arguments.extend(self.options.iter().map(|(name, value)| format!("--{name}={value}")));
        Ok(Recipe {
            name: "mariadb",
            program: server()?,
            arguments,
            fake_clock: self.fake_clock,
            ready: Box::new(move |_| client(&socket, "SELECT 1", "mysql").map(drop)),
        })
    }
}

/// Debian keeps it where the path of a plain user does not lead.
fn server() -> io::Result<PathBuf> {
    let file = PathBuf::from("/usr/sbin/mariadbd");
    if file.is_file() { Ok(file) } else { tools::program("mariadbd") }
}

fn client(socket: &Path, statements: &str, database: &str) -> io::Result<String> {
    let mut command = Command::new(tools::program("mariadb")?);
    command.args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"]);
    command.arg(format!("--socket={}", socket.display())).arg(format!("--database={database}"));
    succeed(command.arg("--execute").arg(statements))
}

fn succeed(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(io::Error::other(String::from_utf8_lossy(&said).trim().to_owned()))
}
