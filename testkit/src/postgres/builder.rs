//! How a server is to be started.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::unistd::{User, geteuid};

use super::{ADMINISTRATOR, DATABASE, Postgres, program, psql, succeed};
use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::{Recipe, Server};

/// What a server is to be like. By default: without passwords or TLS, and not waiting for its disk: what it has
/// written survives a kill, but not a power cut.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Vec<(String, String)>,
    access: Vec<String>,
    tls: bool,
    durable: bool,
    fake_clock: bool,
}

impl Builder {
    /// With this setting: `option("max_connections", "10")`. A later one wins.
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

    /// With this line in `pg_hba.conf`, before the one that lets everybody in:
    /// `access("host all guest all scram-sha-256")`.
    #[must_use]
    pub fn access(mut self, line: &str) -> Self {
        self.access.push(line.to_owned());
        self
    }

    /// With TLS: [`Postgres::certificates`].
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
    /// If it does not come up; the error ends with the end of its log.
    pub fn start(&self) -> io::Result<Postgres> {
        self.start_on(|folder| {
            let mut initdb = unprivileged(&program("initdb")?.display().to_string())?;
            initdb.args(["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", ADMINISTRATOR]);
            run_in(folder, initdb.args(["-D", "data"]))
        })
    }

    /// Starts a standby of this server, which follows it and takes no writes.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_standby_of(&self, primary: &Postgres) -> io::Result<Postgres> {
        let from = primary.port().to_string();
        self.start_on(|folder| {
            let mut copy = unprivileged(&program("pg_basebackup")?.display().to_string())?;
            copy.args(["--no-sync", "-c", "fast", "-R", "-X", "stream", "-h", "127.0.0.1", "-p", &from]);
            run_in(folder, copy.args(["-U", ADMINISTRATOR, "-D", "data"]))
        })
    }

    fn start_on(&self, make_data: impl Fn(&Path) -> io::Result<()>) -> io::Result<Postgres> {
        let server = Server::start(|port, folder| {
            // The server is another user's, and wants its data for that user alone.
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
            let data = folder.join("data");
            std::fs::create_dir(&data)?;
            std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700))?;
            own(&data)?;
            own(folder)?;
            make_data(folder)?;
            let lines: String = self.access.iter().map(|line| format!("{line}\n")).collect();
            let everybody = "local all all trust\nhost all all all trust\nhost replication all all trust\n";
            std::fs::write(data.join("pg_hba.conf"), lines + everybody)?;
            self.recipe(port, folder)
        })?;
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        Ok(Postgres { server, certificates })
    }

    fn recipe(&self, port: &Port, folder: &Path) -> io::Result<Recipe> {
        let mut settings = vec![
            ("port", port.number().to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", folder.display().to_string()),
            ("fsync", if self.durable { "on" } else { "off" }.to_owned()),
            // What a killed server leaves behind shall be in its folder.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
        ];
        if self.tls {
            Certificates::of(folder).make()?;
            let key = folder.join("server.key");
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
            own(&key)?;
            settings.push(("ssl", "on".to_owned()));
            settings.push(("ssl_ca_file", "../ca.pem".to_owned()));
            settings.push(("ssl_cert_file", "../server.pem".to_owned()));
            settings.push(("ssl_key_file", "../server.key".to_owned()));
        }
        let command = unprivileged(&program("postgres")?.display().to_string())?;
        let mut arguments: Vec<String> =
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        arguments.extend(["-D".to_owned(), "data".to_owned()]);
        let theirs = self.options.iter().map(|(name, value)| (name.as_str(), value.clone()));
        for (name, value) in settings.into_iter().chain(theirs) {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        let (socket, number) = (folder.display().to_string(), port.number());
        Ok(Recipe {
            name: DATABASE,
            program: command.get_program().into(),
            arguments,
            fake_clock: self.fake_clock,
            ready: Box::new(move |_| psql(&socket, number, "SELECT 1").map(drop)),
        })
    }
}

/// The user that the server runs as, if it must not be this one: it refuses to run as root.
fn stand_in() -> io::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name(DATABASE)?;
    user.map(Some).ok_or_else(|| io::Error::other("there is no user `postgres` to run PostgreSQL as"))
}

/// A command for a program, run by that user, that ends with this process.
pub(super) fn unprivileged(program: &str) -> io::Result<Command> {
    if stand_in()?.is_none() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", DATABASE, "--regid", DATABASE, "--init-groups", "--pdeathsig", "KILL", "--"]);
    command.arg(program);
    Ok(command)
}

/// Gives a file to that user.
pub(super) fn own(file: &Path) -> io::Result<()> {
    match stand_in()? {
        Some(user) => chown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
        None => Ok(()),
    }
}

fn run_in(folder: &Path, command: &mut Command) -> io::Result<()> {
    succeed(command.current_dir(folder)).map(drop)
}
