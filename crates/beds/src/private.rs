//! Files that only their owner may read: they hold values, keys or the acts of users.
//!
//! Not here: their content, which is each writer's.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Result, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Opens a file to write behind its end; makes it if it is not there. Mode 0600, also where it was another.
pub(crate) fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    // The mode above counts only where the file is made.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Writes a whole file, in the place of an older one. Mode 0600.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// Waits for a lock beside a file, and holds it for as long as the value lives: other processes wait likewise.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let lock = append(&path.with_extension("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Writes a new file. One that is there, or a link of that name, stays. Mode 0600.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
