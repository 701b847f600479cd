//! `beds lineage`: the tree of an event in the terminal.
//!
//! Not here: how a tree is read and drawn (crate trail).

use std::process::ExitCode;

use beds_core::{ErrorKind, Templates};
use beds_gateway::lineage::{Format, show};
use clap::{Args, ValueEnum};

use super::connection::Connection;
use super::{ConfigArgs, fail, say};

#[derive(Args)]
pub struct LineageArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The id of any event of the tree: the Beds-Event-Id of an answer, or an id from a log line
    event_id: String,
    #[arg(long, value_enum, default_value_t = Shown::Text)]
    format: Shown,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shown {
    Text,
    Json,
    Dot,
}

pub(super) async fn lineage(args: LineageArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let connection = match Connection::open(&config, "lineage", 1, Templates::of_nodes()).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let tree = connection.reader.tree(&args.event_id).await;
    connection.close().await;
    let format = match args.format {
        Shown::Text => Format::Text,
        Shown::Json => Format::Json,
        Shown::Dot => Format::Dot,
    };
    match tree {
        Ok(tree) => {
            say(show(&tree, format).1.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) if error.kind == ErrorKind::NoSuchRecord => fail(1, &error.message),
        Err(error) => fail(2, &format!("{} {}", error.code(), error.message)),
    }
}
