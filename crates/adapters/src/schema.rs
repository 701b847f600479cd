//! Schema files: numbered, applied in order, recorded.
//!
//! Not here: their content, which is the DBA's; how a store takes them, which is `rel::schema`'s and `rec::schema`'s.

use std::path::PathBuf;
use std::time::Duration;

use beds_core::digest::hex;
use beds_core::{BedsError, ErrorKind, Result};
use sha2::{Digest, Sha256};

/// How long a run waits for another one to end.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Another run is at work.
pub(crate) fn busy(database: &str) -> BedsError {
    let text = format!(
        "another `beds schema apply` has been at work on {database} for {} s; wait for it, then run this again",
        LOCK_PATIENCE.as_secs()
    );
    BedsError::new(ErrorKind::Internal, text)
}

/// One file, read.
#[derive(Debug, Clone)]
pub struct File {
    /// The name without folders: the name that is recorded.
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

/// The result for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Now,
    AlreadyThere,
    /// Applied again, because it changed and that was asked for.
    Again,
    /// Its grants and roles only: it is there already.
    Granted,
}

/// The options of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// Files that changed are applied again.
    pub redo: bool,
    /// The grants and roles of files that are there are given again: a restored database has lost them.
    pub grants: bool,
}

impl File {
    pub(crate) fn digest(&self) -> String {
        hex(&Sha256::digest(self.text.as_bytes()))
    }

    /// The step for this file, by the digest that was recorded for its name.
    pub(crate) fn action(&self, recorded: Option<&str>, wishes: Wishes) -> Result<Applied> {
        match recorded {
            None => Ok(Applied::Now),
            Some(digest) if digest == self.digest() && wishes.grants => Ok(Applied::Granted),
            Some(digest) if digest == self.digest() => Ok(Applied::AlreadyThere),
            Some(_) if wishes.redo => Ok(Applied::Again),
            Some(_) => {
                let text = format!(
                    "{} was changed after it was applied; put the change into a new numbered file, or pass --redo to apply it again",
                    self.path.display()
                );
                Err(BedsError::new(ErrorKind::Internal, text))
            }
        }
    }
}
