//! The node's own log: on the console, and reported to the admin node. A console that is not read holds up nothing.
//!
//! Not here: which lines are reported, which is `logging/reported`'s.

mod reported;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub use reported::{report_to, report_to_nobody};

/// Lines that wait for the console. Beyond them, lines are dropped: a pipe without a reader must not stop the node.
const MOST_LINES: usize = 16_384;

/// Writes the lines; dropped at the end, it writes those that wait.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);
/// The name of the node, once it is known.
static NODE: OnceLock<String> = OnceLock::new();

/// Writes to standard error, filtered by `RUST_LOG` (default `info`).
pub fn start(json: bool) {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Their own lines can hold whole messages and statements with their values.
    for quiet in ["lapin=off", "mysql_async=off", "mongodb=off"] {
        if let Ok(directive) = quiet.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MOST_LINES)
        .finish(std::io::stderr());
    // Without a filter every line of every library, however fine, would be made for the sake of being left out.
    let own = Targets::new().with_target("beds", LevelFilter::DEBUG);
    let console = fmt::layer().with_ansi(std::io::stderr().is_terminal());
    let console = match json {
        true => console.json().with_writer(Named(writer)).boxed(),
        false => console.with_target(false).with_writer(writer).boxed(),
    };
    let started = registry()
        .with(console.with_filter(filter))
        .with(reported::Reported.with_filter(own))
        .try_init();
    // One that was started before, such as by an earlier test, is running.
    if started.is_ok() {
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    }
}

/// From now on lines as JSON name the node.
pub fn name(node: &str) {
    // The first node of a process gives the name.
    drop(NODE.set(node.to_owned()));
}

/// Writes the lines that wait, unless they are not read.
pub fn finish() {
    let guard = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(guard);
}

/// Where a panic happened becomes a log line; the supervisor reports its effect, once.
pub fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::debug!(place, "A task panicked.");
    }));
}

/// Puts the node and its release in front of each line, which is an object and is written at once.
#[derive(Clone)]
struct Named(NonBlocking);

impl<'w> MakeWriter<'w> for Named {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Write for Named {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let node = serde_json::to_string(NODE.get().map_or("", String::as_str)).unwrap_or_default();
        let mut named = format!("{{\"node\":{node},\"version\":\"{}\",", env!("CARGO_PKG_VERSION"))
            .into_bytes();
        match line.strip_prefix(b"{") {
            Some(rest) => named.extend_from_slice(rest),
            None => named = line.to_vec(),
        }
        self.0.write_all(&named)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
