//! `beds keys`: keys of programs, in the file `auth.keys_file`. A change is known to the running node before the command ends.
//!
//! Not here: the form of a key (crate auth).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use beds_auth::{KeyFile, StoredKey, new_secret_key};
use beds_core::Config;
use beds_core::actor::Claim;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{ConfigArgs, EX_USAGE, fail, report, say, warn};
use crate::{control, private};

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it; it is kept nowhere
    New(NewArgs),
    /// The keys, without their secrets
    Ls(ConfigArgs),
    /// Take a key away
    Revoke(RevokeArgs),
    /// Make a key with which nodes seal their messages, in a new file; all nodes have the same
    Seal {
        /// The file, which must not be there yet
        file: PathBuf,
    },
    /// Make a key of the hashes that stand for records in the audit trail, in a new file; all nodes have the same
    Hash {
        /// The file, which must not be there yet
        file: PathBuf,
    },
}

#[derive(Args)]
pub struct NewArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name of the program, such as app:loader
    #[arg(long)]
    subject: String,
    /// A role that it has; once for each
    #[arg(long = "role")]
    roles: Vec<String>,
    /// A fact about it, as name=value; a whole number is one
    #[arg(long = "claim")]
    claims: Vec<String>,
    /// The end of the key, such as 2027-01-01T00:00:00Z
    #[arg(long)]
    expires: Option<Timestamp>,
    /// A text for people
    #[arg(long, default_value = "")]
    note: String,
}

#[derive(Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The id of the key, as `beds keys ls` shows it
    id: String,
}

pub(super) async fn keys(command: KeysCommand) -> ExitCode {
    let args = match &command {
        KeysCommand::New(args) => &args.config,
        KeysCommand::Ls(args) => args,
        KeysCommand::Revoke(args) => &args.config,
        KeysCommand::Seal { file } => return new_file(file, "trust.seal_keys"),
        KeysCommand::Hash { file } => return new_file(file, "reports.hash_keys"),
    };
    let config = match args.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Some(path) = config.auth.keys_file.clone() else {
        let text = "auth.keys_file is not set; name a file for the keys, such as secrets/keys.toml";
        return fail(EX_USAGE, text);
    };
    // Of two commands at once, the second reads the first one's file: a key that was revoked must not come back.
    let _turn = match private::lock(&path) {
        Ok(lock) => lock,
        Err(error) => return fail(1, &format!("{} cannot be locked: {error}", path.display())),
    };
    let mut file = match read(&path) {
        Ok(file) => file,
        Err(code) => return code,
    };
    match command {
        KeysCommand::Ls(_) => {
            list(&file);
            ExitCode::SUCCESS
        }
        KeysCommand::New(args) => match add(&mut file, args) {
            Ok((id, key)) => match write(&path, &file) {
                Ok(()) => {
                    say(&key);
                    warn(&format!("beds: the key {id}; keep it now, it is not shown again"));
                    tell(&config).await
                }
                Err(code) => code,
            },
            Err(code) => code,
        },
        KeysCommand::Seal { .. } | KeysCommand::Hash { .. } => ExitCode::SUCCESS,
        KeysCommand::Revoke(RevokeArgs { id, .. }) => match file.key.remove(&id) {
            None => fail(1, &format!("there is no key {id}; `beds keys ls` lists them")),
            Some(_) => match write(&path, &file) {
                Ok(()) => {
                    say(&format!("revoked {id}"));
                    tell(&config).await
                }
                Err(code) => code,
            },
        },
    }
}

/// Writes a new key that all nodes share. One that is there stays: things under it could not be read any more.
fn new_file(file: &Path, named_in: &str) -> ExitCode {
    let shown = file.display();
    let Ok(key) = new_secret_key() else {
        return fail(1, "the operating system gave no random bytes");
    };
    match private::write_new(file, &format!("{key}\n")) {
        Ok(()) => {
            warn(&format!(
                "beds: {shown} is written; give it to all nodes, and name it in {named_in}"
            ));
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fail(1, &format!("{shown} is there already, and stays; name another file"))
        }
        Err(error) => fail(1, &format!("{shown} cannot be written: {error}")),
    }
}

fn read(path: &Path) -> Result<KeyFile, ExitCode> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => KeyFile::parse(&shown, &text).map_err(|mistakes| report(&mistakes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(KeyFile::default()),
        Err(error) => Err(fail(1, &format!("{shown} cannot be read: {error}"))),
    }
}

/// Writes the file whole, or not at all: a node may read it at any moment.
fn write(path: &PathBuf, file: &KeyFile) -> Result<(), ExitCode> {
    let beside = path.with_extension("new");
    let written =
        private::write(&beside, &file.text()).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| fail(1, &format!("{} cannot be written: {error}", path.display())))
}

fn list(file: &KeyFile) {
    for (id, key) in &file.key {
        let claims = key.claims.iter().map(|(name, claim)| match claim {
            Claim::Text(text) => format!("{name}={text}"),
            Claim::Whole(number) => format!("{name}={number}"),
        });
        let words = [
            id.clone(),
            key.subject.clone(),
            format!("roles {}", key.roles.join(",")),
            claims.collect::<Vec<_>>().join(" "),
            key.expires.map(|end| format!("until {end}")).unwrap_or_default(),
            key.note.clone(),
        ];
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        say(&words.join("  "));
    }
}

fn add(file: &mut KeyFile, args: NewArgs) -> Result<(String, String), ExitCode> {
    let claims = args.claims.iter().map(|text| claim(text)).collect::<Result<BTreeMap<_, _>, _>>();
    let claims = claims.map_err(|text| fail(EX_USAGE, &text))?;
    let NewArgs { subject, roles, expires, note, .. } = args;
    let key = StoredKey { sha256: String::new(), subject, roles, claims, expires, note };
    if let Some((text, fix)) = key.identity_mistake() {
        return Err(fail(EX_USAGE, &format!("the key {text}: {fix}")));
    }
    file.add(key).map_err(|_| fail(1, "the operating system gave no random bytes"))
}

fn claim(text: &str) -> Result<(String, Claim), String> {
    let wrong =
        || format!("{text:?} is no claim; write it as name=value, the name in small letters");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    if !beds_core::config::is_claim(name) {
        return Err(wrong());
    }
    let whole = value.parse().map(Claim::Whole);
    Ok((name.to_owned(), whole.unwrap_or_else(|_| Claim::Text(value.to_owned()))))
}

/// Lets the running node read the file, where there is one.
async fn tell(config: &Config) -> ExitCode {
    let Some(socket) = &config.node.control else {
        warn("beds: node.control is not set; send SIGHUP to the node, which reads its keys then");
        return ExitCode::SUCCESS;
    };
    match control::reload(socket).await {
        Ok(reloaded) if reloaded.credentials => ExitCode::SUCCESS,
        Ok(reloaded) => {
            reloaded.mistakes.iter().for_each(|mistake| warn(mistake));
            fail(1, "the file is written, and the running node keeps its credentials of before")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            warn("beds: no node runs here; the next one reads the file at its start");
            ExitCode::SUCCESS
        }
        Err(error) => fail(
            1,
            &format!(
                "the file is written, and the node did not answer: {error}; run `beds reload`"
            ),
        ),
    }
}
