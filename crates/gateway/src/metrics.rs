//! Counters and timers of the gateway. The labels are the method and the class of the status: nothing that a caller can
//! make up.
//!
//! Not here: counters of the pools (`broker::metrics`).

use std::time::Instant;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The meters of record requests, found once.
pub(crate) struct Meters {
    in_flight: Gauge,
    methods: [(Method, OfMethod); 4],
}

/// The meters of one method. Answers other than 2xx are rare enough to be looked up.
struct OfMethod {
    name: &'static str,
    good: Counter,
    seconds: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let of = |method, name: &'static str| {
            let good = counter!("beds_requests_total", "method" => name, "status" => "2xx");
            (
                method,
                OfMethod {
                    name,
                    good,
                    seconds: histogram!("beds_request_seconds", "method" => name),
                },
            )
        };
        let methods = [
            of(Method::GET, "GET"),
            of(Method::POST, "POST"),
            of(Method::PATCH, "PATCH"),
            of(Method::DELETE, "DELETE"),
        ];
        Self { in_flight: gauge!("beds_requests_in_flight"), methods }
    }

    pub(crate) fn begin(&self, method: &Method) -> Measured<'_> {
        self.in_flight.increment(1.0);
        // The router answers HEAD by the routes of GET.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of = self.methods.iter().find(|(known, _)| known == method).map(|(_, of)| of);
        Measured { meters: self, of, begun: Instant::now() }
    }
}

/// One request, from its arrival to its answer.
pub(crate) struct Measured<'m> {
    meters: &'m Meters,
    of: Option<&'m OfMethod>,
    begun: Instant,
}

impl Measured<'_> {
    pub(crate) fn end(self, status: StatusCode) {
        let Some(of) = self.of else { return };
        match status.as_u16() / 100 {
            2 => of.good.increment(1),
            4 => {
                counter!("beds_requests_total", "method" => of.name, "status" => "4xx").increment(1)
            }
            _ => {
                counter!("beds_requests_total", "method" => of.name, "status" => "5xx").increment(1)
            }
        }
        of.seconds.record(self.begun.elapsed());
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.meters.in_flight.decrement(1.0);
    }
}
