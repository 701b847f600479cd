//! The folder of a [`World`]: its `beds.toml`, templates and schema files, and the commands that run there.
//!
//! Not here: nodes (nodes.rs).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use super::{World, callers, mongo, variable};

impl World {
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("beds.toml")
    }

    /// Runs `beds` with arguments in the world's folder.
    pub(crate) fn beds(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(arguments)
            .current_dir(&self.folder)
            .output()?)
    }

    /// Applies the schema files of the world.
    pub(crate) fn apply(&self) -> Result<()> {
        let output =
            self.beds(&["schema", "apply", "--credentials", "dba.toml", "--schema", "schema"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Writes a file of the world's.
    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder.join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Adds a domain: the DBA's SQL, applied as a schema file, and templates by the names of their files.
    pub(crate) fn domain(&self, sql: &str, templates: &[(&str, &str)]) -> Result<()> {
        for (name, text) in templates {
            self.template(name, text)?;
        }
        self.write("schema/rel/main/0950_domain.sql", sql)?;
        self.apply()
    }

    /// Writes a template. Where it does not say for whom it is, it is for the callers of the tests.
    pub(crate) fn template(&self, name: &str, text: &str) -> Result<()> {
        let access = "\n[access]\nread = [\"tester\"]\nwrite = [\"tester\"]\n";
        let access = if text.contains("[access]") { "" } else { access };
        self.write(&format!("templates/{name}.toml"), format!("{text}{access}"))
    }

    /// Runs `beds check` and answers its exit code and everything that it said.
    pub(crate) fn check(&self) -> Result<(i32, String)> {
        let output = self.beds(&["check"])?;
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        Ok((output.status.code().context("an exit code")?, said))
    }

    /// Lets nodes of the world take tickets and do their work.
    pub(crate) fn with_tickets(self) -> Result<Self> {
        let of = |is_local: bool| format!("[services.calgon]\nis_local = {is_local}");
        self.change_config(&of(false), &of(true))?;
        Ok(self)
    }

    /// Replaces a text in the world's beds.toml.
    pub(crate) fn change_config(&self, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.config_file())?;
        ensure!(text.contains(from), "beds.toml does not name what is to be replaced");
        Ok(std::fs::write(self.config_file(), text.replace(from, to))?)
    }

    pub(super) fn write_files(&self) -> Result<()> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/domain");
        for (from, to) in [
            (repository.join("schema/rel/main"), "schema/rel/main"),
            (repository.join("schema/rec/main"), "schema/rec/main"),
            (repository.join("schema/rec/msLogs"), "schema/rec/msLogs"),
            (repository.join("schema/rec/beds"), "schema/rec/beds"),
            (domain.join("rel"), "schema/rel/main"),
            (domain.join("rec"), "schema/rec/main"),
            (domain.join("rec_logs"), "schema/rec/msLogs"),
            (repository.join("templates"), "templates"),
            (domain.join("templates"), "templates"),
        ] {
            copy(&from, &self.folder.join(to))?;
        }
        let [main, logs, tickets] = self.documents();
        // No template may write into the reports, so those that attack them call their database by another name.
        let logs = mongo::url(&logs)?;
        let databases = format!(
            "[databases.rel.main]\nurl = \"{}/{}\"\n[databases.rec.main]\nurl = \"{}\"\n\
             [databases.rec.msLogs]\nurl = \"{logs}\"\n[databases.rec.attacks]\nurl = \"{logs}\"\n\
             [databases.rec.beds]\nurl = \"{}\"\n",
            self.maria,
            self.name,
            mongo::url(&main)?,
            mongo::url(&tickets)?,
        );
        std::fs::write(self.folder.join("dba.toml"), &databases)?;
        let node = format!(
            "[node]\ncontrol = \"ms.sock\"\nshutdown_grace = \"10s\"\n[amqp]\nurl = \"{}/{}\"\n\
             [services.appserver]\nis_local = true\nlisten = \"127.0.0.1:0\"\nmax_in_flight = 64\n\
             [services.rec]\nis_local = true\ninstances = {{ read = 2, write = 3 }}\n\
             [services.rel]\nis_local = true\ninstances = {{ read = 2, write = 3 }}\n\
             [services.admin]\nis_local = true\n[services.calgon]\nis_local = false\n[auth]\nkeys_file = \"keys.toml\"\n[trust]\nseal_keys = [\"seal.key\"]\n[reports]\nhash_keys = [\"hash.key\"]\n{databases}",
            variable("BEDS_TEST_AMQP_URL")?,
            self.name,
        );
        std::fs::write(self.folder.join("beds.toml"), node)?;
        std::fs::write(self.folder.join("keys.toml"), callers::key_file())?;
        std::fs::write(self.folder.join("seal.key"), callers::SEAL_KEY)?;
        std::fs::write(self.folder.join("hash.key"), callers::HASH_KEY)?;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        std::fs::copy(&path, to.join(path.file_name().context("a file has a name")?))?;
    }
    Ok(())
}
