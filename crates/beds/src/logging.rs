//! The node's own log: on the console, and reported to the admin node.

mod reported;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub use reported::{report_to, report_to_nobody};

/// Writes to standard error, filtered by `RUST_LOG` (default `info`).
pub fn start(json: bool) {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Their own lines can hold whole messages and statements with their values.
    for quiet in ["lapin=off", "mysql_async=off", "mongodb=off"] {
        if let Ok(directive) = quiet.parse() {
            filter = filter.add_directive(directive);
        }
    }
    // Without a filter every line of every library, however fine, would be made for the sake of being left out.
    let own = Targets::new().with_target("beds", LevelFilter::DEBUG);
    let console = fmt::layer().with_target(false).with_writer(std::io::stderr);
    let console = if json { console.json().boxed() } else { console.boxed() };
    let started = registry().with(console.with_filter(filter)).with(reported::Reported.with_filter(own)).try_init();
    // Whoever started one before, such as an earlier test, has it running.
    drop(started);
}

/// Where a panic happened becomes a log line; what follows from it is the supervisor's to report, once.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::debug!(place, "A task panicked.");
    }));
}
