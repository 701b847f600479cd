//! The commands: one file each. Standard output is for results, standard error for everything else.
//!
//! Not here: the work of a command (commands/*.rs).

mod audit;
mod check;
mod connection;
mod dead;
mod keys;
mod lineage;
mod load;
mod reload;
mod run;
mod schema;
mod tickets;

use std::path::PathBuf;
use std::process::ExitCode;

use beds_core::text::printable;
use beds_core::{Config, Mistake};
use clap::{Args, Subcommand};

/// Exit code of a mistake in a file or on the command line (sysexits.h: `EX_USAGE`).
pub const EX_USAGE: u8 = 64;

#[derive(Subcommand)]
pub enum Command {
    /// Start a node and run it until SIGTERM
    Run(run::RunArgs),
    /// Check the configuration, the templates and every named object. Exit code 0: fine; 1: mistakes; 2: not checked
    Check(check::CheckArgs),
    /// Apply the DBA's schema files
    Schema {
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// Send a CSV or NDJSON file as creates, the way an application would
    Load(load::LoadArgs),
    /// Show the tree of an event: the whole tree that it belongs to, given any event of it
    Lineage(lineage::LineageArgs),
    /// The audit trail: the acts of all actors, and the check of the trail
    Audit {
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Dead letters: messages that could not be worked on
    Dead {
        #[command(subcommand)]
        command: dead::DeadCommand,
    },
    /// Tickets: work that takes long, of all callers
    Tickets {
        #[command(subcommand)]
        command: tickets::TicketsCommand,
    },
    /// Keys of programs that call this node
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Make a running node read its templates and its credentials again
    Reload(ConfigArgs),
    /// Print every key of beds.toml with its default
    Defaults,
}

#[derive(Subcommand)]
pub enum SchemaCommand {
    /// Apply the numbered files that were not applied yet, with the DBA's own login
    Apply(schema::ApplyArgs),
}

#[derive(Args)]
pub struct ConfigArgs {
    /// The node's configuration
    #[arg(long, default_value = "beds.toml", env = "BEDS_CONFIG")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// The configuration, or the exit code after every mistake in it was printed.
    fn load(&self) -> Result<Config, ExitCode> {
        crate::settings::load(&self.config).map_err(|mistakes| report(&mistakes))
    }
}

pub async fn run(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::check(args).await,
        Command::Schema { command: SchemaCommand::Apply(args) } => schema::apply(args).await,
        Command::Load(args) => load::load(args).await,
        Command::Lineage(args) => lineage::lineage(args).await,
        Command::Audit { command } => audit::audit(command).await,
        Command::Dead { command } => dead::dead(command).await,
        Command::Tickets { command } => tickets::tickets(command).await,
        Command::Keys { command } => keys::keys(command).await,
        Command::Reload(args) => reload::reload(args).await,
        Command::Defaults => {
            say(beds_core::config::DEFAULTS.trim_end());
            ExitCode::SUCCESS
        }
    }
}

/// Says why a command failed, and gives its exit code.
pub fn fail(code: u8, text: &str) -> ExitCode {
    warn(&format!("beds: {text}"));
    ExitCode::from(code)
}

fn report(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        warn(&mistake.to_string());
    }
    fail(EX_USAGE, &format!("{} mistake(s) in the configuration", mistakes.len()))
}

#[expect(clippy::print_stdout, reason = "this is where commands answer")]
fn say(text: &str) {
    println!("{}", printable(text));
}

/// A line on a terminal that the next one replaces.
fn in_place(line: &str) {
    use std::io::Write as _;
    // A terminal that cannot be written to is no reason to end.
    drop(write!(std::io::stderr(), "\r\x1b[K{line}"));
}

#[expect(clippy::print_stderr, reason = "this is where commands report")]
fn warn(text: &str) {
    eprintln!("{}", printable(text));
}
