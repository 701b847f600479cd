//! MongoDB of a [`World`]. No driver is here, as nowhere outside of the adapters: the developers' tools drop the databases.
//!
//! Not here: documents, which the tests reach through BEDS.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::{World, variable};

/// The address of a database, with the DBA's login.
pub(super) fn url(database: &str) -> Result<String> {
    Ok(variable("BEDS_TEST_MONGO_URL")?.replacen("/?", &format!("/{database}?"), 1))
}

impl World {
    /// The MongoDB databases of the world.
    pub(super) fn documents(&self) -> [String; 3] {
        [self.name.clone(), format!("{}_logs", self.name), format!("{}_beds", self.name)]
    }

    /// Begins to drop them. Nothing waits for it: no later test has a database of the same name.
    pub(super) fn drop_documents(&self) -> Result<()> {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools");
        let mut command = Command::new("python3");
        command.args(["-m", "devkit.mongodb"]).args(self.documents()).current_dir(tools);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(())
    }
}
