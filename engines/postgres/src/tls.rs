//! Encryption by rustls, with one provider of cryptography.

use std::path::Path;
use std::sync::Arc;

use leasehold_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::Tls;

/// What connections are encrypted with; where they are not, it is not asked.
pub(crate) fn connector(tls: Option<&Tls>) -> Result<MakeRustlsConnect> {
    let tls = tls.cloned().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|e| bad(file, &e))?;
            }
        }
        None => {
            // Some that the system trusts may be of a kind that rustls does not know; the others do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the versions that rustls takes for safe")
        .with_root_certificates(roots);
    let config = match &tls.identity {
        Some((cert, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| bad(key, &e))?;
            config.with_client_auth_cert(certificates(cert)?, secret).map_err(|e| bad(cert, &e))?
        }
        None => config.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).map_err(|e| bad(file, &e))?;
    let all: Vec<_> = all.collect::<std::result::Result<_, _>>().map_err(|e| bad(file, &e))?;
    if all.is_empty() { Err(bad(file, &"there is none in it")) } else { Ok(all) }
}

fn bad(file: &Path, why: &dyn std::fmt::Display) -> Error {
    let message = format!("cannot use `{}` as a certificate or key in PEM: {why}", file.display());
    Error::new(ErrorKind::InvalidInput, "connect", message)
}
