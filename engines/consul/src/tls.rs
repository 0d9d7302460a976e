//! Encryption: whom to trust, and who we are.

use std::path::Path;
use std::sync::Arc;

use leasehold_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Tls;

/// The settings of the library; of `None` nothing is ever encrypted.
pub(crate) fn settings(tls: Option<&Tls>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| refuse(format!("cannot set up TLS: {why}")))?;
    let Some(tls) = tls else {
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    };
    let builder = match &tls.ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|why| unusable(ca, &why))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_root_certificates(trusted_by_the_system()),
    };
    match &tls.identity {
        Some((cert, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable(key, &why))?;
            builder.with_client_auth_cert(certificates(cert)?, secret).map_err(|why| unusable(cert, &why))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn trusted_by_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Where there are none, a server's certificate is refused, and that says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|why| unusable(file, &why))?;
    if all.is_empty() {
        return Err(refuse(format!("`{}` holds no certificate in PEM", file.display())));
    }
    Ok(all)
}

fn unusable(file: &Path, why: &dyn std::fmt::Display) -> Error {
    refuse(format!("cannot use `{}` for TLS: {why}", file.display()))
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}
