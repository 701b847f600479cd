//! `beds run`: a node from start to SIGTERM.
//!
//! Not here: the steps of the start (ipl.rs).

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigArgs, fail};
use crate::{Node, ipl, logging};

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the log as JSON, one object a line
    #[arg(long)]
    json_log: bool,
}

pub(super) async fn run(args: RunArgs) -> ExitCode {
    logging::start(args.json_log);
    logging::note_panics();
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let config = match args.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    logging::name(&config.node.name);
    let (mut terminate, mut interrupt, mut hangup) = match signals() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("cannot listen for signals: {error}")),
    };
    let booting = ipl::boot(config);
    let node = tokio::select! {
        booted = booting => match booted {
            Ok(node) => node,
            Err(error) => return fail(1, &format!("IPL failed: {error}")),
        },
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    wait(&node, &mut terminate, &mut interrupt, &mut hangup).await;
    tracing::info!("Stopping: no new requests; finishing those that were begun.");
    let is_done = node.shutdown().await;
    if is_done {
        tracing::info!("Stopped.");
    } else {
        tracing::error!(
            "Some work did not end within node.shutdown_grace; RabbitMQ hands it out again."
        );
    }
    logging::finish();
    if is_done { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

async fn wait(node: &Node, terminate: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) {
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            // The reload is cut off where the node is to stop.
            _ = hangup.recv() => tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                reloaded = node.reload() => reloaded.mistakes.iter().for_each(|mistake| tracing::warn!("{mistake}")),
            },
        }
    }
}

fn signals() -> std::io::Result<(Signal, Signal, Signal)> {
    Ok((
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ))
}
