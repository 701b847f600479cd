//! Lineage told to a tracing system as OTLP spans: the same tree, for users that have one. Best effort; `msLogs` is the
//! authority. Only in a build with the feature `otel`.
//!
//! Not here: the spans that are stored (crate trail).

use std::time::{Duration, SystemTime};

use beds_core::EventId;
use beds_core::Outcome;
use beds_trail::span::{LineageReport, Span};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

/// Records that wait for the collector. Spans that come when they are full are not exported.
pub const ROOM: usize = 8_192;
/// Records in one request to the collector.
const MOST: usize = 512;
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends spans to a collector over HTTP.
pub struct Exporter(opentelemetry_otlp::SpanExporter);

impl Exporter {
    /// `endpoint` is the whole address, such as `http://127.0.0.1:4318/v1/traces`.
    pub fn new(endpoint: &str, node: &str) -> Result<Self, ExporterBuildError> {
        let builder =
            opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint);
        let mut exporter = builder.with_timeout(PATIENCE).build()?;
        let resource = Resource::builder()
            .with_service_name("beds")
            .with_attribute(KeyValue::new("beds.node", node.to_owned()));
        exporter.set_resource(&resource.build());
        Ok(Self(exporter))
    }

    /// Sends spans for as long as the node runs.
    pub async fn serve(self, mut records: mpsc::Receiver<LineageReport>) {
        let mut batch = Vec::new();
        while records.recv_many(&mut batch, MOST).await > 0 {
            let spans: Vec<SpanData> = batch.drain(..).flat_map(spans).collect();
            if let Err(error) = self.0.export(spans).await {
                tracing::debug!(%error, "The tracing system did not take the spans.");
            }
        }
    }
}

/// The spans of a record; none while it runs.
fn spans(record: LineageReport) -> Vec<SpanData> {
    let root = record.root_id();
    let spans = record.into_spans();
    let caller = spans.iter().find_map(|node| node.traceparent.clone());
    let (trace, caller) = match caller.as_deref().and_then(of_caller) {
        Some((trace, span)) => (trace, Some(span)),
        None => (trace_of(&root), None),
    };
    let is_over = |node: &Span| node.outcome != Outcome::Running;
    spans.into_iter().filter(is_over).map(|node| span(node, trace, caller)).collect()
}

fn span(node: Span, trace: TraceId, caller: Option<SpanId>) -> SpanData {
    let kind = word(&node.kind);
    let start = SystemTime::from(node.start);
    let name = match (node.operation, &node.label) {
        (Some(operation), _) => format!("{kind} {}.{operation}", node.template),
        (None, Some(label)) => format!("{kind} {label}"),
        (None, None) => kind,
    };
    let texts = [
        ("beds.event_id", node.event_id.0.clone()),
        ("beds.template", node.template),
        ("beds.label", node.label.unwrap_or_default()),
        ("beds.actor", node.actor),
        ("beds.node", node.seen_by),
        ("beds.queue", node.queue),
        ("beds.worker", node.worker),
        ("beds.code", node.code.clone().unwrap_or_default()),
    ];
    let mut attributes: Vec<KeyValue> = texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| KeyValue::new(name, text))
        .collect();
    if let Some(wait) = node.queue_wait_us {
        attributes
            .push(KeyValue::new("beds.queue_wait_us", i64::try_from(wait).unwrap_or(i64::MAX)));
    }
    let is_root = node.parent_id.is_none();
    SpanData {
        span_context: SpanContext::new(
            trace,
            span_of(&node.event_id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: if is_root {
            caller.unwrap_or(SpanId::INVALID)
        } else {
            span_of(&node.parent_id)
        },
        parent_span_is_remote: is_root && caller.is_some(),
        span_kind: if is_root { SpanKind::Server } else { SpanKind::Internal },
        name: name.into(),
        start_time: start,
        end_time: start + Duration::from_micros(node.duration_us.unwrap_or(0)),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match node.outcome {
            Outcome::Ok => Status::Ok,
            Outcome::Failed => Status::error(node.code.unwrap_or_default()),
            Outcome::Running | Outcome::Unknown => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder("beds").build(),
    }
}

fn word(kind: &impl serde::Serialize) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Trace and span of the caller. The text was checked where it came in.
fn of_caller(traceparent: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = traceparent.split('-').skip(1);
    Some((TraceId::from_hex(parts.next()?).ok()?, SpanId::from_hex(parts.next()?).ok()?))
}

/// The UUID in the root's id, where it has one: a person can look for it in both systems.
fn trace_of(root: &EventId) -> TraceId {
    let last = root.0.rsplit('.').next().unwrap_or_default();
    let uuid =
        Some(last).filter(|text| text.len() == 32).and_then(|text| TraceId::from_hex(text).ok());
    uuid.unwrap_or_else(|| TraceId::from_bytes(digest(root)))
}

fn span_of(event: &EventId) -> SpanId {
    SpanId::from_bytes(digest(event))
}

fn digest<const N: usize>(id: &EventId) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&Sha256::digest(id.0.as_bytes())[..N]);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use beds_trail::span::SpanKind as Kind;

    use super::*;

    const ROOT: &str = "ms.test.01a20b2e46f97190af0a449bc891681f";

    fn record(traceparent: Option<&str>) -> LineageReport {
        let root = EventId(ROOT.to_owned());
        let mut event = Span::new(root.clone(), "ms", Kind::Http, Outcome::Ok);
        event.traceparent = traceparent.map(str::to_owned);
        let mut call = Span::new(EventId(":1".to_owned()), "ms", Kind::Call, Outcome::Failed);
        (call.parent_id, call.label) = (EventId::of_same_record(), Some("users_create".to_owned()));
        LineageReport::ended(root, vec![event, call], None)
    }

    #[test]
    fn a_child_span_has_its_parent_and_the_trace_is_the_roots_uuid() {
        let spans = spans(record(None));
        assert_eq!(
            spans[0].span_context.trace_id().to_string(),
            "01a20b2e46f97190af0a449bc891681f"
        );
        assert_eq!(spans[0].parent_span_id, SpanId::INVALID);
        assert_eq!(spans[1].parent_span_id, spans[0].span_context.span_id());
        assert_eq!(spans[1].name, "call users_create");
    }

    #[test]
    fn a_callers_trace_goes_on() {
        let spans = spans(record(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
        assert!(
            spans.iter().all(
                |s| s.span_context.trace_id().to_string() == "0af7651916cd43dd8448eb211c80319c"
            )
        );
        assert_eq!(spans[0].parent_span_id.to_string(), "b7ad6b7169203331");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_a_collector_over_http() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&request).contains("call users_create") {
                let read = stream.read(&mut part).unwrap();
                assert_ne!(
                    read,
                    0,
                    "the request ended early: {}",
                    String::from_utf8_lossy(&request)
                );
                request.extend_from_slice(&part[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let (sender, records) = mpsc::channel(ROOM);
        sender.send(record(None)).await.unwrap();
        drop(sender);
        Exporter::new(&format!("http://{address}/v1/traces"), "ms").unwrap().serve(records).await;
        let request = collector.join().unwrap();
        assert!(request.starts_with("POST /v1/traces") && request.contains(ROOT), "{request}");
    }
}
