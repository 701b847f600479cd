//! `beds check`: does everything fit? The configuration, the templates, and every named object with its parameters.
//!
//! Not here: the rules of fitting (core, adapters).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use beds_adapters::Stores;
use beds_core::config::in_plain_text;
use beds_core::{Config, Mistake, Operation, Store, Template, TemplateDescription};
use beds_transport::Transport;
use clap::Args;
use serde::Serialize;

use super::{ConfigArgs, fail, say, warn};
use crate::callers::{self, Callers};
use crate::certificate::Certificate;
use crate::record_keys::record_keys;
use crate::{schedules, settings};

/// How long RabbitMQ may take to let the login in.
const RABBITMQ_WITHIN: Duration = Duration::from_secs(10);
/// The check itself could not be made: a file cannot be read, or a database is away.
const NOT_CHECKED: u8 = 2;

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Report {
    /// Mistakes: parts that do not work.
    mistakes: Vec<Mistake>,
    /// Warnings: parts that work and should be known.
    warnings: Vec<Mistake>,
    templates: Vec<CheckedTemplate>,
    /// The reason why a part could not be checked.
    not_checked: Vec<String>,
    /// Templates in the folder; `templates` has those of databases for which this node has a login.
    in_folder: usize,
}

#[derive(Serialize)]
struct CheckedTemplate {
    name: String,
    store: Store,
    database: String,
    #[serde(flatten)]
    description: TemplateDescription,
}

pub(super) async fn check(args: CheckArgs) -> ExitCode {
    let mut findings = Report::default();
    match settings::inspect(&args.config.config) {
        Err(mistakes) if !args.config.config.is_file() => {
            findings.not_checked = mistakes.iter().map(ToString::to_string).collect();
        }
        Ok((config, refused)) => {
            findings.take(config).await;
            findings.mistakes.extend(refused);
        }
        Err(mistakes) => findings.mistakes = mistakes,
    }
    findings.sort();
    let code = match (&findings.not_checked[..], &findings.mistakes[..]) {
        ([], []) => 0,
        ([], _) => 1,
        _ => NOT_CHECKED,
    };
    match args.json {
        true => match serde_json::to_string_pretty(&findings) {
            Ok(text) => say(&text),
            Err(error) => return fail(NOT_CHECKED, &error.to_string()),
        },
        false => findings.print(),
    }
    ExitCode::from(code)
}

/// Warnings of files that others can read.
fn modes(config: &Config) -> Vec<Mistake> {
    let key = config
        .services
        .admin
        .signing_key_file
        .iter()
        .map(|p| ("services.admin.signing_key_file", p));
    let seals = config.trust.seal_keys.iter().map(|path| ("trust.seal_keys", path));
    let tls =
        config.services.appserver.tls.iter().map(|tls| ("services.appserver.tls", &tls.key_file));
    let hashes = config.reports.hash_keys.iter().map(|path| ("reports.hash_keys", path));
    let secrets = key.chain(seals).chain(hashes).chain(tls);
    let open = secrets.filter(|(_, path)| is_open_to_others(path)).map(|(name, path)| {
        let message = format!("{} can be read by others", path.display());
        Mistake::new(name, 0, message, "chmod 600, and make a new key if it was seen").as_warning()
    });
    open.collect()
}

fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// The key is made at the first start, and its folder is not.
fn key_folder(config: &Config) -> Option<Mistake> {
    let admin = &config.services.admin;
    let folder = admin.signing_key_file.as_deref().filter(|_| admin.is_local)?.parent()?;
    let is_there = folder.as_os_str().is_empty() || folder.is_dir();
    let message = format!("the folder {} is not there", folder.display());
    (!is_there).then(|| {
        Mistake::new(
            "services.admin.signing_key_file",
            0,
            message,
            "make it, for the login of the node alone (0700)",
        )
    })
}

impl Report {
    async fn take(&mut self, mut config: Config) {
        let (templates, mistakes) = settings::templates(&config.templates.path);
        self.mistakes = mistakes;
        // A gateway needs no database, and must have no login of one.
        let served =
            templates.iter().filter(|template| config.services.store(template.store).is_local);
        let has_database = |t: &Template| config.databases.of(t.store).contains_key(&t.database);
        self.mistakes.extend(settings::without_database(served, has_database));
        self.mistakes.extend(modes(&config));
        self.mistakes.extend(key_folder(&config));
        match Callers::read(&config) {
            Ok(callers) => {
                let door = callers.door.as_ref();
                self.mistakes.extend(schedules::mistakes(&config, &templates, door));
            }
            Err(mistakes) => self.mistakes.extend(mistakes),
        }
        self.mistakes.extend(record_keys(&config).err().unwrap_or_default());
        self.mistakes.extend(callers::lonely(&config));
        self.mistakes.extend(in_plain_text(&config));
        self.mistakes.extend(Certificate::read(&config).err().unwrap_or_default());
        self.in_folder = templates.len();
        if let Err(error) = Transport::probe(&config.amqp, RABBITMQ_WITHIN).await {
            self.not_checked.push(format!("RabbitMQ at {}: {error}", config.amqp.url.address()));
        }
        // Every database that this node has a login for is checked, also one that another node serves.
        config.services.rec.is_local = true;
        config.services.rel.is_local = true;
        let stores = match Stores::new(&config).await {
            Ok(stores) => stores,
            Err(error) => return self.not_checked.push(error.message),
        };
        for (store, name, address) in stores.names() {
            match stores.bind(store, &name, &templates).await {
                Ok((bound, told)) => {
                    self.mistakes.extend(told);
                    for bound in bound {
                        self.mistakes.extend(bound.mistakes);
                        self.templates.push(CheckedTemplate {
                            name: bound.template.name.clone(),
                            store,
                            database: name.clone(),
                            description: bound.adapter.describe(),
                        });
                    }
                }
                Err(error) => {
                    let source =
                        error.source.as_ref().map(|s| format!(" ({s})")).unwrap_or_default();
                    self.not_checked.push(format!(
                        "databases.{store}.{name} at {address}: {}{source}",
                        error.message
                    ));
                }
            }
        }
        stores.close().await;
    }

    fn sort(&mut self) {
        self.mistakes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        self.warnings = self.mistakes.extract_if(.., |mistake| mistake.is_warning()).collect();
    }

    fn print(&self) {
        for template in &self.templates {
            say(&format!("{} ({} {})", template.name, template.store, template.database));
            for operation in &template.description.operations {
                let name = operation
                    .name
                    .as_ref()
                    .map(|name| match operation.operation {
                        Operation::Job => format!(" {name}"),
                        _ => format!(" by/{name}"),
                    })
                    .unwrap_or_default();
                let parameters: Vec<String> = operation
                    .parameters
                    .iter()
                    .map(|(name, kind)| format!("{name}: {kind}"))
                    .collect();
                say(&format!("  {}{name}({})", operation.operation, parameters.join(", ")));
            }
        }
        self.mistakes.iter().chain(&self.warnings).for_each(|mistake| warn(&mistake.to_string()));
        self.not_checked.iter().for_each(|text| warn(&format!("not checked: {text}")));
        let (templates, mistakes, warnings) =
            (self.templates.len(), self.mistakes.len(), self.warnings.len());
        let in_folder = self.in_folder;
        say(&format!(
            "{templates} of {in_folder} templates checked, {mistakes} mistake(s), {warnings} warning(s)"
        ));
    }
}
