//! [`Callers`]: the credentials and seals that this node accepts, read from its files at start and at each reload.
//!
//! Not here: the check of a credential (crate auth), its header (crate gateway).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beds_auth::{Door, Files, has_shared_secret};
use beds_core::config::{Auth, Environment, NodeAccess, Trust};
use beds_core::{Config, Mistake};

use crate::settings;

/// The door of a node, and the file that says how it is kept.
pub struct Callers {
    file: PathBuf,
    environment: Environment,
    pub door: Arc<Door>,
}

impl Callers {
    /// Reads the files of `[auth]`, or reports every mistake in them.
    pub fn read(config: &Config) -> Result<Self, Vec<Mistake>> {
        let environment = config.node.environment;
        let files = files(&config.auth, &config.trust, environment)?;
        let door = Arc::new(Door::new(&config.auth, &config.trust, files)?);
        Ok(Self { file: config.file.clone(), environment, door })
    }

    /// Reads `[auth]` of beds.toml and its files again, and answers `[access]`, which stands beside it. With a mistake in them,
    /// the credentials of before stay.
    pub fn reload(&self) -> Result<NodeAccess, Vec<Mistake>> {
        let Config { auth, trust, access, node, .. } = settings::load(&self.file)?;
        if node.environment != self.environment {
            let text = "node.environment is another one than at the start";
            let fix = "restart the node: production demands more of its credentials";
            return Err(vec![Mistake::new(self.file.display().to_string(), 0, text, fix)]);
        }
        let files = files(&auth, &trust, self.environment)?;
        self.door.replace(&auth, &trust, files)?;
        Ok(access)
    }
}

/// A warning where a gateway lets in no caller at all.
pub fn lonely(config: &Config) -> Option<Mistake> {
    let auth = &config.auth;
    let is_lonely = auth.required
        && auth.keys_file.is_none()
        && auth.issuers.is_empty()
        && auth.certificates.is_empty();
    let text = "the gateway accepts no credential, so each request is 401";
    let fix = "set auth.keys_file and make a key with `beds keys new`, or add [auth.issuers.NAME]";
    (config.services.appserver.is_local && is_lonely).then(|| {
        let file = config.file.display().to_string();
        Mistake::new(file, 0, text, fix).as_warning()
    })
}

/// The texts of the files that `[auth]` and `[trust]` name.
fn files(auth: &Auth, trust: &Trust, environment: Environment) -> Result<Files, Vec<Mistake>> {
    let (mut files, mut mistakes) = (Files::default(), Vec::new());
    let mut read = |path: &Path, fix: &str| match std::fs::read_to_string(path) {
        Ok(text) => Some((path.display().to_string(), text)),
        Err(error) => {
            let file = path.display().to_string();
            mistakes.push(Mistake::new(file, 0, format!("cannot be read: {error}"), fix));
            None
        }
    };
    if let Some(path) = &auth.keys_file {
        files.keys = read(path, "make it with `beds keys new`, or correct auth.keys_file");
    }
    for (name, issuer) in &auth.issuers {
        let fix = "put the issuer's public keys there, or correct jwks_file";
        files.jwks.extend(read(&issuer.jwks_file, fix).map(|read| (name.clone(), read)));
    }
    for path in &trust.seal_keys {
        let fix =
            "make it with `beds keys seal FILE`, give it to all nodes, or correct trust.seal_keys";
        files.seals.extend(read(path, fix));
    }
    if trust.require_seal && trust.seal_keys.is_empty() {
        let text = "trust.seal_keys is not set, so no node could prove its events";
        let fix = "make a key with `beds keys seal secrets/seal.key`, give it to all nodes, and name it in trust.seal_keys";
        mistakes.push(Mistake::new("trust.seal_keys", 0, text, fix));
    }
    if environment == Environment::Production {
        for (file, _) in files.jwks.values().filter(|(_, text)| has_shared_secret(text)) {
            let fix = "use keys of EdDSA, ES256 or RS256: a secret of both sides lets this node make tokens";
            mistakes.push(Mistake::new(file, 0, "HS256 is for development only", fix));
        }
    }
    if mistakes.is_empty() { Ok(files) } else { Err(mistakes) }
}
