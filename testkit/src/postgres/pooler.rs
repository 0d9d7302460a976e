//! PgBouncer, which hands out a server by transactions.

use std::io;
use std::ops::Deref;

use super::builder::{own, unprivileged};
use super::{ADMINISTRATOR, DATABASE, Postgres};
use crate::server::{Recipe, Server};
use crate::tools;

/// A pooler that runs, in front of a server; all that [`Server`] can.
#[derive(Debug)]
pub struct Pooler {
    server: Server,
}

impl Pooler {
    /// Starts one in front of this server.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn before(postgres: &Postgres) -> io::Result<Self> {
        let behind = postgres.port();
        let server = Server::start(|port, folder| {
            let configuration = format!(
                "[databases]\n* = host=127.0.0.1 port={behind} user={ADMINISTRATOR}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = transaction\n",
                port.number()
            );
            std::fs::write(folder.join("pgbouncer.ini"), configuration)?;
            std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            own(folder)?;
            let command = unprivileged(&tools::program("pgbouncer")?.display().to_string())?;
            let mut arguments: Vec<String> =
                command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            arguments.push("pgbouncer.ini".to_owned());
            let addr = port.addr();
            Ok(Recipe {
                name: "pgbouncer",
                program: command.get_program().into(),
                arguments,
                fake_clock: false,
                ready: Box::new(move |_| std::net::TcpStream::connect(addr).map(drop)),
            })
        })?;
        Ok(Self { server })
    }

    /// The URL of the server behind it.
    pub fn url(&self) -> String {
        format!("postgres://{ADMINISTRATOR}@{}/{DATABASE}", self.addr())
    }
}

/// All that a server can.
impl Deref for Pooler {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
