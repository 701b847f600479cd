//! The metrics of a node: for Prometheus at `/metrics`, and as a record every minute, so that the past can be read without
//! Prometheus. What is counted is said where it happens.

use std::sync::LazyLock;
use std::time::Duration;

use beds_core::lineage::to_millis;
use beds_transport::{Recorder, Transport};
use jiff::Timestamp;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Map, Value, json};

/// How often a snapshot is recorded, and collected samples are put into their histograms.
const SNAPSHOT: Duration = Duration::from_secs(60);
/// How often RabbitMQ is asked how long the queues are, and the samples are taken out of their buffers.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds of the histograms, in seconds.
const BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// One for the process: that is how the `metrics` crate works.
static HANDLE: LazyLock<Option<PrometheusHandle>> = LazyLock::new(|| {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS);
    builder.ok()?.install_recorder().ok()
});

/// Begins to count. Safe to repeat.
pub fn start() {
    LazyLock::force(&HANDLE);
}

/// Everything as Prometheus reads it.
pub fn render() -> String {
    HANDLE.as_ref().map(PrometheusHandle::render).unwrap_or_default()
}

/// Keeps the gauges true, the buffers small, and a record a minute. Runs for as long as the node.
pub async fn serve(recorder: Recorder, transport: Transport) {
    let mut ticks = tokio::time::interval(UPKEEP);
    let mut last = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        for (queue, messages) in transport.queue_lengths().await {
            gauge!("beds_queue_messages", "queue" => queue).set(f64::from(messages));
        }
        counter!("beds_records_dropped_total").absolute(recorder.dropped());
        // With nobody scraping, samples would pile up.
        if let Some(handle) = HANDLE.as_ref() {
            handle.run_upkeep();
        }
        if last.elapsed() >= SNAPSHOT {
            last = tokio::time::Instant::now();
            recorder.metrics(snapshot(&recorder));
        }
    }
}

fn snapshot(recorder: &Recorder) -> Value {
    let values: Map<String, Value> = values(&render()).collect();
    json!({ "_id": recorder.event_id(), "at": to_millis(Timestamp::now()), "node": recorder.node(), "values": values })
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
        assert_eq!(values, [("a{queue=\"rec_read\"}".to_owned(), json!(3.0)), ("b_sum".to_owned(), json!(0.5))]);
    }
}
