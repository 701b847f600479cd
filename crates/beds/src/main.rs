//! The command line: the command line, and the exit code. Not here: the commands (commands.rs).

use std::process::ExitCode;

use beds::commands::{self, Command};
use clap::Parser;

/// BEDS: a data back end in one binary. Applications speak HTTP or AMQP; only objects that a DBA owns touch data.
#[derive(Parser)]
#[command(name = "beds", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            drop(told.print());
            // Help and the version were asked for.
            return if told.use_stderr() {
                ExitCode::from(commands::EX_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    // One crypto provider for AMQP, MariaDB and MongoDB alike. It can only be installed once, and this is the first time.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return commands::fail(1, &format!("the runtime could not start: {error}")),
    };
    runtime.block_on(commands::run(cli.command))
}
