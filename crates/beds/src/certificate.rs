//! [`Certificate`]: the files of the gateway's certificate, read at start and at each reload.
//!
//! Not here: TLS itself (crate gateway).

use std::path::PathBuf;

use beds_core::{Config, Mistake};
use beds_gateway::Tls;

/// The certificate of the gateway, and its files.
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    pub tls: Tls,
}

impl Certificate {
    /// Reads the files that `services.appserver.tls` names; none where it names none.
    pub fn read(config: &Config) -> Result<Option<Self>, Vec<Mistake>> {
        let gateway = &config.services.appserver;
        let Some(files) = gateway.tls.clone().filter(|_| gateway.is_local) else { return Ok(None) };
        let (chain, key) = (files.cert_file, files.key_file);
        let texts = (read(&chain)?, read(&key)?);
        let tls = Tls::new(&texts.0, &texts.1).map_err(|reason| vec![unusable(&chain, &reason)])?;
        Ok(Some(Self { chain, key, tls }))
    }

    /// Reads the files again. With a mistake in them, the certificate of before stays.
    pub fn reload(&self) -> Result<(), Vec<Mistake>> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        self.tls.replace(&chain, &key).map_err(|reason| vec![unusable(&self.chain, &reason)])
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Vec<Mistake>> {
    std::fs::read(path).map_err(|error| vec![unusable(path, &format!("cannot be read: {error}"))])
}

fn unusable(path: &std::path::Path, reason: &str) -> Mistake {
    let fix =
        "correct services.appserver.tls: a chain of certificates and its private key, both PEM";
    Mistake::new(path.display().to_string(), 0, reason, fix)
}
