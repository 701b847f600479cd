//! `beds schema apply`: the DBA's numbered files, with the DBA's own login. Nodes never have that login.
//!
//! Not here: how a store takes a file, which is the adapters'.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use beds_adapters::apply_schema;
use beds_adapters::schema::{Applied, File, Wishes};
use beds_core::{Store, config};
use clap::Args;

use super::{EX_USAGE, fail, report, say};
use crate::settings;

#[derive(Args)]
pub struct ApplyArgs {
    /// A TOML file with [databases.rel.NAME] and [databases.rec.NAME], each with the DBA's url (or file)
    #[arg(long)]
    credentials: PathBuf,
    /// The folder with rel/NAME/NNNN_*.sql and rec/NAME/NNNN_*.json
    #[arg(long, default_value = "schema")]
    schema: PathBuf,
    /// Apply files again that changed after they were applied
    #[arg(long)]
    redo: bool,
    /// Give the grants and roles of files that are there again: a restored database has lost them
    #[arg(long)]
    grants: bool,
}

pub(super) async fn apply(args: ApplyArgs) -> ExitCode {
    let databases = match credentials(&args.credentials) {
        Ok(databases) => databases,
        Err(mistakes) => return report(&mistakes),
    };
    let wishes = Wishes { redo: args.redo, grants: args.grants };
    let mut count = 0;
    for store in Store::ALL {
        for (name, database) in databases.of(store) {
            let folder = args.schema.join(store.as_str()).join(name);
            let files = match files(&folder, if store == Store::Rel { "sql" } else { "json" }) {
                Ok(files) => files,
                Err(text) => return fail(EX_USAGE, &text),
            };
            count += files.len();
            let applied = apply_schema(store, name, database, &files, wishes, |file, action| {
                let word = match action {
                    Applied::Now => "applied",
                    Applied::Again => "applied again",
                    Applied::AlreadyThere => "already there",
                    Applied::Granted => "already there; its grants were given again",
                };
                say(&format!("{store}/{name}/{}: {word}", file.name));
            });
            if let Err(error) = applied.await {
                return fail(1, &error.message);
            }
        }
    }
    match count {
        0 => fail(
            EX_USAGE,
            &format!(
                "there are no schema files for these databases under {}. Fix: name the folder with --schema",
                args.schema.display()
            ),
        ),
        _ => ExitCode::SUCCESS,
    }
}

/// The same shape as in `beds.toml`; the rest of the file may be absent.
fn credentials(path: &Path) -> Result<config::Databases, Vec<beds_core::Mistake>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        vec![beds_core::Mistake::new(
            &file,
            0,
            format!("cannot be read: {e}"),
            "name it with --credentials",
        )]
    })?;
    let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    // Applying needs no broker, but a configuration without one is incomplete.
    let no_broker = [("BEDS__AMQP__URL".to_owned(), "amqp://unused".to_owned())];
    config::load(&file, &text, &base, no_broker, &|path| std::fs::read_to_string(path))
        .map(|config| config.databases)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<File>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let paths = settings::paths(folder, extension)
        .map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let files =
        paths.into_iter().map(|path| file(path, extension)).collect::<Result<Vec<_>, _>>()?;
    for pair in files.windows(2) {
        if pair[0].name[..4] == pair[1].name[..4] {
            let (one, other) = (&pair[0].name, &pair[1].name);
            return Err(format!(
                "{one} and {other} have one number, so their order is unknown; give one of them another"
            ));
        }
    }
    Ok(files)
}

fn file(path: PathBuf, extension: &str) -> Result<File, String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_numbered = name.len() > 5
        && name.as_bytes()[..4].iter().all(u8::is_ascii_digit)
        && name.as_bytes()[4] == b'_';
    if !is_numbered {
        let shown = path.display();
        return Err(format!(
            "{shown} is not named NNNN_name.{extension}, so its place in the order is unknown"
        ));
    }
    let bytes = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    match String::from_utf8(bytes) {
        // Editors and export tools put a byte order mark in front.
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            Ok(File { name, path, text })
        }
        Err(error) => {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            Err(format!(
                "{}:{line}: not UTF-8; make a dump again with --hex-blob --default-character-set=utf8mb4, and save another file as UTF-8",
                path.display()
            ))
        }
    }
}
