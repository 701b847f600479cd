//! [`Certificate`]: the files of the gateway's certificate, read at start and at each reload.
//!
//! Not here: TLS itself (crate gateway).

use std::path::PathBuf;

use beds_core::config::TlsFiles;
use beds_core::{Config, Mistake};
use beds_gateway::{Pem, Tls};

/// The certificate of the gateway, and its files.
pub struct Certificate {
    files: TlsFiles,
    pub tls: Tls,
}

impl Certificate {
    /// Reads the files that `services.appserver.tls` names; none where it names none.
    pub fn read(config: &Config) -> Result<Option<Self>, Vec<Mistake>> {
        let gateway = &config.services.appserver;
        let Some(files) = gateway.tls.clone().filter(|_| gateway.is_local) else { return Ok(None) };
        let unusable = |reason: String| vec![unusable(&files.cert_file, &reason)];
        let tls = Tls::new(&pem(&files)?).map_err(unusable)?;
        Ok(Some(Self { files, tls }))
    }

    /// Reads the files again. With a mistake in them, the certificate of before stays.
    pub fn reload(&self) -> Result<(), Vec<Mistake>> {
        let unusable = |reason: String| vec![unusable(&self.files.cert_file, &reason)];
        self.tls.replace(&pem(&self.files)?).map_err(unusable)
    }
}

fn pem(files: &TlsFiles) -> Result<Pem, Vec<Mistake>> {
    let clients = files.client_ca_file.as_ref().map(read).transpose()?;
    Ok(Pem { chain: read(&files.cert_file)?, key: read(&files.key_file)?, clients })
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Vec<Mistake>> {
    std::fs::read(path).map_err(|error| vec![unusable(path, &format!("cannot be read: {error}"))])
}

fn unusable(path: &std::path::Path, reason: &str) -> Mistake {
    let fix =
        "correct services.appserver.tls: a chain of certificates and its private key, both PEM";
    Mistake::new(path.display().to_string(), 0, reason, fix)
}
