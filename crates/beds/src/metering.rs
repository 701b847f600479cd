//! The metrics of a node: for Prometheus at `/metrics`, and as a record every minute, so that the past can be read without
//! Prometheus. Not here: the counters, which stand where the counted things happen.

use std::sync::LazyLock;
use std::time::Duration;

use beds_trail::span::to_millis;
use beds_transport::{Reports, Transport};
use jiff::Timestamp;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Map, Value, json};

/// How often a snapshot is recorded, and collected samples are put into their histograms.
const SNAPSHOT: Duration = Duration::from_secs(60);
/// How often RabbitMQ is asked how long the queues are, and the samples are taken out of their buffers.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the histograms, in seconds.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// One for the process: that is how the `metrics` crate works.
static HANDLE: LazyLock<Option<PrometheusHandle>> = LazyLock::new(|| {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS);
    builder.ok()?.install_recorder().ok()
});

/// Figures of the process, as Prometheus's own clients have them.
static PROCESS: LazyLock<metrics_process::Collector> =
    LazyLock::new(metrics_process::Collector::default);

/// Begins to count. Safe to repeat.
pub fn start() {
    LazyLock::force(&HANDLE);
    PROCESS.describe();
    describe();
    gauge!("beds_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn describe() {
    for (name, help) in HELP {
        match name {
            name if name.ends_with("_total") => metrics::describe_counter!(*name, *help),
            name if name.ends_with("_seconds") && !name.contains("clock") => {
                metrics::describe_histogram!(*name, *help)
            }
            name => metrics::describe_gauge!(*name, *help),
        }
    }
}

/// The metrics of BEDS, as `docs/operations.md` explains them.
const HELP: &[(&str, &str)] = &[
    ("beds_build_info", "1; the label names the release."),
    ("beds_clock_ahead_seconds", "How far the clock of a database is ahead of this node's."),
    ("beds_consumers", "Consumers that this node has at a queue."),
    ("beds_consumers_wanted", "Consumers that this node should have at a queue."),
    ("beds_database_call_seconds", "One call of a database object."),
    ("beds_dead_letters_total", "Messages that this node made dead letters."),
    ("beds_event_seconds", "From a worker's taking a message to its end."),
    ("beds_events_total", "Messages worked on; code is ok, or that of the error."),
    (
        "beds_queue_messages",
        "Messages that wait in a queue, as RabbitMQ says; all nodes say the same.",
    ),
    ("beds_queue_wait_seconds", "From an event's issue until a worker began."),
    ("beds_ready", "1 where a service that /readyz names is there, 0 where it is not."),
    ("beds_records_dropped_total", "Records that found no room on their way to the admin node."),
    ("beds_replays_total", "Dead letters that were sent again and worked on."),
    ("beds_request_seconds", "From the arrival of a request to its answer."),
    ("beds_requests_in_flight", "Requests that are worked on now."),
    ("beds_requests_total", "Requests answered; status is the class of the answer."),
    ("beds_task_restarts_total", "Broker tasks that were replaced after a panic."),
    ("beds_tasks", "Broker tasks there are."),
    ("beds_tasks_busy", "Broker tasks that work on a message now."),
];

/// Everything as Prometheus reads it.
pub fn render() -> String {
    PROCESS.collect();
    HANDLE.as_ref().map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps the gauges true, the buffers small, and a record a minute. Runs for as long as the node.
pub async fn serve(reports: Reports, transport: Transport) {
    let mut ticks = tokio::time::interval(UPKEEP);
    let mut last = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        for (queue, messages) in transport.queue_lengths() {
            gauge!("beds_queue_messages", "queue" => queue.to_string()).set(f64::from(messages));
        }
        for (queue, of) in transport.consumers() {
            gauge!("beds_consumers", "queue" => queue.to_string()).set(of.open as f64);
            gauge!("beds_consumers_wanted", "queue" => queue.to_string()).set(of.wanted as f64);
        }
        counter!("beds_records_dropped_total").absolute(reports.dropped());
        // Without a scraper, samples would pile up.
        if let Some(handle) = HANDLE.as_ref() {
            handle.run_upkeep();
        }
        if last.elapsed() >= SNAPSHOT {
            last = tokio::time::Instant::now();
            reports.metrics(snapshot(&reports));
        }
    }
}

fn snapshot(reports: &Reports) -> Value {
    let values: Map<String, Value> = values(&render()).collect();
    json!({ "_id": reports.event_id(), "at": to_millis(Timestamp::now()), "node": reports.node(), "values": values })
}

/// The samples of Prometheus's text, without the buckets of histograms: their sum and count say enough afterwards.
fn values(text: &str) -> impl Iterator<Item = (String, Value)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    lines.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        // A dot would be a path in the database.
        Some((name.replace('.', "_"), json!(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_sums_and_counts_but_no_buckets() {
        let text = "# TYPE a counter\na{queue=\"rec.read\"} 3\nb_bucket{le=\"1\"} 2\nb_sum 0.5\n\n";
        let values: Vec<_> = values(text).collect();
        assert_eq!(
            values,
            [("a{queue=\"rec_read\"}".to_owned(), json!(3.0)), ("b_sum".to_owned(), json!(0.5))]
        );
    }
}
