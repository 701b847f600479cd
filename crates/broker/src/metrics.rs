//! Counters and timers of the pools. No id and no value is ever a label; the labels are queues and a few fixed words.
//!
//! Not here: counters of the gateway (`gateway::metrics`), the snapshot (`beds::metering`).

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The meters of one queue. Found once by each task: to look them up for each message would cost more than the counting.
#[derive(Clone)]
pub(crate) struct Meters {
    queue: String,
    done: Counter,
    wait: Histogram,
    work: Histogram,
    call: Histogram,
    tasks: Gauge,
    busy: Gauge,
}

impl Meters {
    pub(crate) fn of(queue: &str) -> Self {
        let queue = || queue.to_owned();
        Self {
            queue: queue(),
            done: counter!("beds_events_total", "queue" => queue(), "code" => "ok"),
            wait: histogram!("beds_queue_wait_seconds", "queue" => queue()),
            work: histogram!("beds_event_seconds", "queue" => queue()),
            call: histogram!("beds_database_call_seconds", "queue" => queue()),
            tasks: gauge!("beds_tasks", "queue" => queue()),
            busy: gauge!("beds_tasks_busy", "queue" => queue()),
        }
    }

    /// One message was worked on.
    pub(crate) fn event(&self, code: Option<&'static str>, wait: Duration, work: Duration) {
        match code {
            None => self.done.increment(1),
            Some(code) => {
                counter!("beds_events_total", "queue" => self.queue.clone(), "code" => code)
                    .increment(1)
            }
        }
        self.wait.record(wait);
        self.work.record(work);
    }

    /// One call of a database object.
    pub(crate) fn call(&self, duration: Duration) {
        self.call.record(duration);
    }

    pub(crate) fn dead_letter(&self) {
        counter!("beds_dead_letters_total", "queue" => self.queue.clone()).increment(1);
    }

    /// A dead letter that was sent again was worked on.
    pub(crate) fn replay(&self) {
        counter!("beds_replays_total", "queue" => self.queue.clone()).increment(1);
    }

    pub(crate) fn restarted(&self) {
        counter!("beds_task_restarts_total", "queue" => self.queue.clone()).increment(1);
    }

    /// Counts a task as busy for as long as the guard lives.
    pub(crate) fn busy(&self) -> Counted<'_> {
        Counted::begin(&self.busy)
    }

    /// Counts a task as there for as long as the guard lives.
    pub(crate) fn present(&self) -> Counted<'_> {
        Counted::begin(&self.tasks)
    }
}

/// One more in a gauge, until it is dropped.
pub(crate) struct Counted<'g>(&'g Gauge);

impl<'g> Counted<'g> {
    fn begin(gauge: &'g Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
