//! The node's own log on the console.

use tracing_subscriber::EnvFilter;

/// Writes to standard error, filtered by `RUST_LOG` (default `info`). Panics become log lines too.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,lapin=off"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::debug!(place, "A task panicked.");
        }));
    }
}
