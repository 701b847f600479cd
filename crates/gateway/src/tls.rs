//! [`Tls`]: the certificate of the gateway. A new one takes the place of the old one while connections go on.
//!
//! Not here: the files, which the binary reads.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate with which a gateway serves.
#[derive(Clone)]
pub struct Tls(pub(crate) RustlsConfig);

impl Tls {
    /// Reads a chain of certificates and its private key, both PEM.
    ///
    /// # Errors
    /// The sentence that says which of them is unusable, and how.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self(RustlsConfig::from_config(config(chain, key)?)))
    }

    /// Serves new connections with another certificate. With a mistake in it, the one of before stays.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), String> {
        self.0.reload_from_config(config(chain, key)?);
        Ok(())
    }
}

fn config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| "the certificate is not PEM".to_owned())?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is not PEM".to_owned())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("the certificate and its key do not go together: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
