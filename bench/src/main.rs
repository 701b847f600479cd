//! `beds-bench`: BEDS against programs that do the same by hand, in one run, with a report.
//!
//! Without a subcommand it is the whole run. The subcommands are the processes that the run starts: the rivals and the
//! load generator. How to run it and the meaning of the figures stand in bench/README.md; nothing here is part of BEDS.

mod bulkhead;
mod callers;
mod contender;
mod http_once;
mod kept_alive;
mod load;
mod measure;
mod neighbours;
mod options;
mod process;
mod report;
mod rival;
mod services;
mod sessions;
mod setup;
mod subjects;
mod tickets;
mod trees;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use contender::{Contender, Kind};
use load::{LoadOptions, Path};
use options::{RunOptions, Settings};
use rival::RivalOptions;
use services::Services;

#[derive(Parser)]
#[command(name = "beds-bench", about = "Measures BEDS against programs that do the same by hand")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Reads by hand: HTTP, one AMQP request and reply, one CALL.
    ServeByHand(RivalOptions),
    /// Reads without AMQP: HTTP, one CALL.
    ServeDirect(RivalOptions),
    /// Writes by hand, with BEDS's guarantees.
    ServeWriteByHand(RivalOptions),
    /// Writes without any guarantee.
    ServeWriteBare(RivalOptions),
    /// Taking long work by hand.
    ServeSubmitByHand(RivalOptions),
    /// The load generator.
    Load(LoadOptions),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => whole_run(cli.run),
        Some(command) => child(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "beds-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The report goes to standard output when everything is measured; the progress, to standard error.
fn whole_run(options: RunOptions) -> Result<()> {
    let settings = Settings::new(options)?;
    let services = Services::find(settings.services.processes.as_deref());
    let mut running: Vec<(Kind, setup::Running, std::net::SocketAddr)> = Vec::new();
    if let Some(beds) = &settings.beds {
        note("starting BEDS and loading the flights");
        let templates = sessions::prepare(&settings, beds)?;
        let mut environment = vec![
            ("BEDS__REPORTS__LINEAGE", "false"),
            ("BEDS__REPORTS__AUDIT", "false"),
            ("BEDS__TEMPLATES__PATH", templates.as_str()),
        ];
        if let Some(second) = &settings.second {
            bulkhead::prepare(beds, second, &templates)?;
            environment.push(("BEDS__DATABASES__REL__SECOND__URL", second.maria.as_str()));
        }
        let issuer =
            if settings.options.callers.is_some() { callers::issuer(beds)? } else { Vec::new() };
        environment.extend(issuer.iter().map(|(name, value)| (*name, value.as_str())));
        let started = setup::start(beds, &environment)?;
        note(&format!("BEDS was ready after {} ms", started.start.as_millis()));
        setup::load_flights(&settings, beds)?;
        running.push((Kind::Beds, started, beds.listen));
        // On a vhost of its own, so that the two do not take each other's events.
        let recording = beds.beside()?;
        let address = recording.listen.to_string();
        let environment = [
            ("BEDS__AMQP__URL", settings.services.recording_amqp.as_str()),
            ("BEDS__SERVICES__APPSERVER__LISTEN", address.as_str()),
            ("BEDS__NODE__CONTROL", "recording.sock"),
        ];
        running.push((Kind::Recording, setup::start(&recording, &environment)?, recording.listen));
    }
    let (mut text, mut all) = (String::new(), Vec::new());
    for path in [Path::Read, Path::Write] {
        if settings.options.only.is_some_and(|only| only != path) {
            continue;
        }
        note(&format!("measuring the {} path", if path == Path::Read { "read" } else { "write" }));
        let beds = running
            .iter()
            .map(|(kind, r, listen)| Contender::beds(*kind, *listen, r.process.id(), r.idle_bytes));
        let beds = beds.collect();
        let measured = measure::path(path, &settings, &services, beds)?;
        text.push_str(&report::path(path, &settings, &measured));
        all.extend(measured);
    }
    if let Some((kind, running, listen)) = running.iter().find(|(kind, ..)| *kind == Kind::Beds)
        && matches!(settings.options.only, None | Some(Path::Read))
    {
        note("measuring sessions");
        let contender = Contender::beds(*kind, *listen, running.process.id(), running.idle_bytes);
        text.push_str(&sessions::measure(&settings, &contender)?);
        note("measuring quick reads beside slow ones");
        text.push_str(&neighbours::measure(&settings, &contender)?);
        if let Some(second) = &settings.second {
            note("measuring quick reads while another server is stopped");
            text.push_str(&bulkhead::measure(&settings, &contender, second)?);
        }
    }
    if let Some(events) = settings.options.trees
        && let Some((kind, running, listen)) =
            running.iter().find(|(kind, ..)| *kind == Kind::Recording)
    {
        note("measuring trees");
        let contender = Contender::beds(*kind, *listen, running.process.id(), running.idle_bytes);
        text.push_str(&trees::measure(events, &settings, &contender)?);
    }
    if let (Some(rounds), Some(beds)) = (settings.options.callers, &settings.beds)
        && let Some((kind, running, listen)) = running.iter().find(|(kind, ..)| *kind == Kind::Beds)
    {
        note("measuring the cost of credentials, rights and seals");
        let known = Contender::beds(*kind, *listen, running.process.id(), running.idle_bytes);
        let (open, process) = setup::open(&settings, beds)?;
        text.push_str(&callers::measure(&settings, beds, &services, &known, &open, rounds)?);
        drop(process);
    }
    if let (Some(acts), Some(beds)) = (settings.options.subjects, &settings.beds) {
        note("measuring the search for a record in the trail");
        text.push_str(&subjects::measure(acts, beds)?);
    }
    if let (true, Some(beds)) = (settings.options.tickets, &settings.beds) {
        running.clear();
        text.push_str(&tickets::measure(&settings, beds, &services)?);
    }
    text.push_str(report::legend());
    text.push_str(&report::memory(&all).unwrap_or_default());
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn child(command: Command) -> Result<()> {
    // One thread is plenty for the load generator and leaves the processors to the measured program.
    let mut builder = match command {
        Command::Load(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(async {
        match command {
            Command::ServeByHand(options) => rival::read_by_hand::serve(&options).await,
            Command::ServeDirect(options) => rival::read_direct::serve(&options).await,
            Command::ServeWriteByHand(options) => rival::write_by_hand::serve(&options).await,
            Command::ServeSubmitByHand(options) => rival::submit_by_hand::serve(&options).await,
            Command::ServeWriteBare(options) => rival::write_bare::serve(&options).await,
            Command::Load(options) => load::run(options).await,
        }
    })
}

/// Says how far the run is.
fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
