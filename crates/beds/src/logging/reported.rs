//! Log lines on their way to the admin node. The lines of the modules that carry them are left out, or they would feed on
//! themselves; the console has them.
//!
//! Not here: the console (logging.rs), how reports travel (`transport::reports`).

use std::sync::LazyLock;

use arc_swap::ArcSwapOption;
use beds_core::config::LogLevel;
use beds_trail::span::to_millis;
use beds_transport::Reports;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The node that log lines of this process belong to: the last one that started.
static REPORTS: LazyLock<ArcSwapOption<Reports>> = LazyLock::new(ArcSwapOption::empty);

/// A module that carries log lines must not make more of them.
const CARRIERS: &[&str] = &["beds_transport", "lapin", "beds_broker::pool::scribe"];

/// The longest text of a line and of a field, in characters.
const MOST: usize = 1000;

/// From now on log lines are reported, too.
pub fn report_to(reports: &Reports) {
    REPORTS.store(Some(std::sync::Arc::new(reports.clone())));
}

/// Log lines are not reported any more.
pub fn report_to_nobody() {
    REPORTS.store(None);
}

/// Reports log lines. Never waits: a line that finds no room is counted and dropped.
pub(super) struct Reported;

impl<S: Subscriber> Layer<S> for Reported {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let reports = REPORTS.load();
        let Some(reports) = reports.as_deref() else { return };
        let is_wanted = rank(*metadata.level()) <= reports.enabled().log_level;
        if !is_wanted || CARRIERS.iter().any(|carrier| metadata.target().starts_with(carrier)) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        reports.log(json!({
            "_id": reports.event_id(),
            "at": to_millis(Timestamp::now()),
            "level": metadata.level().as_str(),
            "node": reports.node(),
            "event": line.event,
            "message": line.message,
            "fields": line.fields,
        }));
    }
}

fn rank(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        // Finer than debug is never reported.
        _ => LogLevel::Debug,
    }
}

#[derive(Default)]
struct Line {
    message: String,
    event: String,
    fields: Map<String, Value>,
}

impl Line {
    fn take(&mut self, field: &Field, text: String) {
        let text: String = text.chars().take(MOST).collect();
        match field.name() {
            "message" => self.message = text,
            "event.id" => self.event = text,
            // A dot would be a path in the database.
            name => drop(self.fields.insert(name.replace('.', "_"), Value::from(text))),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}
