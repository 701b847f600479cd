//! Reads `beds.toml`, the environment and the template files from the disk.
//!
//! Not here: their meaning (core/config.rs).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beds_core::{Config, Mistake, Template, Templates, config};

/// The configuration of a node, or every mistake in it.
pub fn load(path: &Path) -> Result<Config, Vec<Mistake>> {
    let (config, refused) = inspect(path)?;
    if refused.is_empty() { Ok(config) } else { Err(refused) }
}

/// The same, with the combinations that keep a node from its start beside it.
pub fn inspect(path: &Path) -> Result<(Config, Vec<Mistake>), Vec<Mistake>> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        let fix = "name the file with --config; `beds defaults` prints one to start from";
        vec![Mistake::new(&file, 0, format!("cannot be read: {e}"), fix)]
    })?;
    let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let read = |path: &Path| std::fs::read_to_string(path);
    let (config, refused) = config::inspect(&file, &text, &base, std::env::vars(), &read)?;
    Ok((Config { file: path.to_path_buf(), ..config }, refused))
}

/// The templates of a folder. Files with mistakes are left out and reported.
pub fn templates(folder: &Path) -> (Templates, Vec<Mistake>) {
    match read_folder(folder, "toml") {
        Ok(files) => Templates::parse(&files),
        Err(error) => {
            let file = folder.display().to_string();
            let mistake = Mistake::new(
                file,
                0,
                format!("cannot be read: {error}"),
                "correct templates.path in beds.toml",
            );
            (Templates::default(), vec![mistake])
        }
    }
}

/// A mistake for each of these templates whose database `beds.toml` does not have.
pub fn without_database<'t>(
    templates: impl Iterator<Item = &'t Arc<Template>>,
    has_database: impl Fn(&Template) -> bool,
) -> Vec<Mistake> {
    // A node that does not store reports needs no place for them.
    let lost = templates.filter(|template| !template.is_of_nodes && !has_database(template)).map(
        |template| {
            let path = format!("databases.{}.{}", template.store, template.database);
            let fix = format!("add [{path}] to beds.toml, or correct the name");
            template.mistake("database", format!("there is no [{path}]"), fix)
        },
    );
    lost.collect()
}

/// Path and text of the files of a folder that end in `.extension`, in the order of their names.
pub fn read_folder(folder: &Path, extension: &str) -> std::io::Result<Vec<(String, String)>> {
    let read = |path: PathBuf| Ok((path.display().to_string(), std::fs::read_to_string(&path)?));
    paths(folder, extension)?.into_iter().map(read).collect()
}

/// The files of a folder that end in `.extension`, in the order of their names.
pub fn paths(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == extension) {
            paths.push(path);
        }
    }
    // A folder answers in no order, and schema files have one.
    paths.sort();
    Ok(paths)
}
