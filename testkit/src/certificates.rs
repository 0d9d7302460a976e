//! Certificates for one server, made when it starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// The certificates of a server that was started with TLS, for `127.0.0.1` and `localhost`, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those in this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The authority that signed the server's certificate and the client's.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's certificate and its key.
    pub(crate) fn server(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("server.pem"), self.folder.join("server.key"))
    }

    /// A certificate for a client, for servers that ask for one, and its key.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("client.pem"), self.folder.join("client.key"))
    }

    /// Makes them.
    pub(crate) fn make(&self) -> io::Result<()> {
        let mut params = named("leasehold test authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = params.self_signed(&key).map_err(io::Error::other)?;
        fs::write(self.authority(), authority.pem())?;
        let issuer = Issuer::new(params, key);
        self.sign(&issuer, "server", &["127.0.0.1", "localhost"])?;
        self.sign(&issuer, "client", &[])
    }

    fn sign(&self, issuer: &Issuer<'_, KeyPair>, name: &str, hosts: &[&str]) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = named(name, hosts)?.signed_by(&key, issuer).map_err(io::Error::other)?;
        fs::write(self.folder.join(format!("{name}.pem")), certificate.pem())?;
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem())
    }
}

fn named(name: &str, hosts: &[&str]) -> io::Result<CertificateParams> {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
