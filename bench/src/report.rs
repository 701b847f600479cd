//! The report: the figures of the run, as text. It states medians of the rounds and their spread, and judges nothing
//! beyond the ratios that the project has set itself.

use crate::contender::Kind;
use crate::load::Path;
use crate::measure::{Round, Series};
use crate::options::Settings;

/// The target for BEDS.
const RATIO: f64 = 0.8;
/// The share of the reads that lineage and audit must leave.
const RECORDING: f64 = 0.8;
const IDLE_MIB: f64 = 60.0;
const LOADED_MIB: f64 = 150.0;

/// One path's table, ratios and remarks.
pub(crate) fn path(path: Path, settings: &Settings, all: &[Series]) -> String {
    let options = &settings.options;
    let (tasks, prefetch) = settings.tasks_and_prefetch(path);
    let what = match path {
        Path::Read => "Read path: GET /v1/records/Flights/{id}",
        Path::Write => "Write path: POST /v1/records/Flights, a distinct Idempotency-Key each",
        Path::Submit => {
            "Tickets: POST /v1/records/Jobs/jobs/empty, a distinct Idempotency-Key each"
        }
    };
    let mut text = format!("\n{what}\n");
    line(
        &mut text,
        &format!(
            "{} connections, closed loop; {} rounds of {} s after {} s of warm-up, in turn; rivals: {tasks} tasks, prefetch {prefetch}",
            options.connections, options.rounds, options.seconds, options.warmup
        ),
    );
    line(&mut text, "");
    line(
        &mut text,
        &format!(
            "{:<22} {:>8} {:>17} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>7}",
            "median of the rounds",
            "req/s",
            "lowest..highest",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "rig us",
            "idle",
            "loaded",
            "bytes"
        ),
    );
    for series in all {
        line(&mut text, &row(path, series));
    }
    line(&mut text, "");
    for remark in ratios(path, all).into_iter().chain(shares(path, all)).chain(errors(path, all)) {
        line(&mut text, &remark);
    }
    text
}

/// The meaning of the columns, once for both tables.
pub(crate) fn legend() -> &'static str {
    "\nCPU us: user and system time of the contender's process per request. rig us: that, RabbitMQ's and MariaDB's\n\
     together. idle, loaded: resident memory in MiB after the start and the most under load. bytes: mean body.\n\
     Ratios are medians of the ratios within each round.\n"
}

/// Whether BEDS keeps within its memory.
pub(crate) fn memory(all: &[Series]) -> Option<String> {
    let beds: Vec<&Series> = all.iter().filter(|series| series.kind == Kind::Beds).collect();
    let idle = mib(beds.first()?.idle_bytes);
    let loaded = beds.iter().map(|series| peak(series)).fold(0.0, f64::max);
    let verdict = |value, most| if value <= most { "within" } else { "ABOVE" };
    Some(format!(
        "BEDS in memory: idle {idle:.0} MiB ({} {IDLE_MIB:.0}), under load {loaded:.0} MiB ({} {LOADED_MIB:.0})\n",
        verdict(idle, IDLE_MIB),
        verdict(loaded, LOADED_MIB)
    ))
}

fn row(path: Path, series: &Series) -> String {
    let rates = values(series, per_second);
    let (lowest, highest) = (rates[0], rates[rates.len() - 1]);
    let cpu = median(series, |round| per_request(round, round.cpu));
    let rig = median(series, |round| {
        per_request(round, round.cpu + round.service_cpu.iter().map(|(_, cpu)| cpu).sum::<u64>())
    });
    let rig = if series.rounds.iter().all(|round| round.service_cpu.len() == 2) {
        format!("{rig:.0}")
    } else {
        "-".into()
    };
    format!(
        "{:<22} {:>8.0} {:>17} {:>8.2} {:>8.2} {cpu:>8.0} {rig:>8} {:>7.0} {:>7.0} {:>7.0}",
        series.kind.name(path),
        median(series, per_second),
        format!("{lowest:.0}..{highest:.0}"),
        median(series, |round| round.outcome.p50 as f64 / 1000.0),
        median(series, |round| round.outcome.p99 as f64 / 1000.0),
        mib(series.idle_bytes),
        peak(series),
        median(series, |round| round.outcome.body_bytes as f64
            / (round.outcome.good.max(1)) as f64),
    )
}

/// The first contender to each of the others. The target for BEDS is judged on the quickest program by hand.
fn ratios(path: Path, all: &[Series]) -> Vec<String> {
    let Some((first, others)) = all.split_first() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut least: Option<f64> = None;
    for other in others {
        let ratios = ratios_by_round(first, other);
        let by_round: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let (pair, middle) =
            (format!("{} / {}", first.kind.name(path), other.kind.name(path)), middle(ratios));
        lines.push(format!("{pair:<42} {middle:>5.2}   by round: {}", by_round.join(" ")));
        if first.kind == Kind::Beds && matches!(other.kind, Kind::ByHand(_)) {
            least = Some(least.map_or(middle, |least| least.min(middle)));
        }
    }
    if let Some(recording) = all.iter().find(|series| series.kind == Kind::Recording)
        && first.kind == Kind::Beds
    {
        let ratios = ratios_by_round(recording, first);
        let by_round: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let kept = middle(ratios);
        let verdict = match path {
            Path::Read if kept >= RECORDING => ", wanted at least 0.8 of the reads: reached",
            Path::Read => ", wanted at least 0.8 of the reads: MISSED",
            Path::Write | Path::Submit => "",
        };
        let by_round = by_round.join(" ");
        lines.push(format!(
            "lineage and audit leave {kept:.2} of the throughput{verdict}   by round: {by_round}"
        ));
        let (at_rest, dropped) = (middle(recording.at_rest.clone()), recording.dropped);
        lines.push(format!(
            "all records stored {at_rest:.1} s after the end of a round, in the middle; {dropped} dropped"
        ));
    }
    if let Some(least) = least {
        let verdict = if least >= RATIO { "reached" } else { "MISSED" };
        lines.push(format!("wanted: at least {RATIO} of the same by hand: {verdict} ({least:.2})"));
    }
    lines
}

/// Contenders of one round ran within seconds of one another; a machine that is slow for a while is so for both.
fn ratios_by_round(first: &Series, other: &Series) -> Vec<f64> {
    first.rounds.iter().zip(&other.rounds).map(|(a, b)| per_second(a) / per_second(b)).collect()
}

/// Where the rig's CPU time goes.
fn shares(path: Path, all: &[Series]) -> Vec<String> {
    let share = |series: &Series| {
        let mut text = format!(
            "CPU us a request, {}: itself {:.0}",
            series.kind.name(path),
            median(series, |r| per_request(r, r.cpu))
        );
        for position in 0..series.rounds[0].service_cpu.len() {
            let name = series.rounds[0].service_cpu[position].0.name();
            let used = median(series, |round| per_request(round, round.service_cpu[position].1));
            text.push_str(&format!(", {name} {used:.0}"));
        }
        text.push_str(&format!(
            ", load generator {:.0}",
            median(series, |r| per_request(r, r.load_cpu))
        ));
        text
    };
    all.iter().map(share).collect()
}

fn errors(path: Path, all: &[Series]) -> Vec<String> {
    let mut lines = Vec::new();
    for series in all {
        for (number, round) in series.rounds.iter().enumerate() {
            for (status, count) in &round.outcome.errors {
                let what = if *status == 0 {
                    "broken or unanswered".to_owned()
                } else {
                    format!("status {status}")
                };
                lines.push(format!(
                    "ERRORS: {}, round {}: {count} x {what}",
                    series.kind.name(path),
                    number + 1
                ));
            }
        }
    }
    if lines.is_empty() { vec!["errors: none".to_owned()] } else { lines }
}

fn line(text: &mut String, more: &str) {
    text.push_str(more.trim_end());
    text.push('\n');
}

fn per_second(round: &Round) -> f64 {
    round.outcome.good as f64 / round.outcome.seconds
}

fn per_request(round: &Round, micros: u64) -> f64 {
    micros as f64 / round.outcome.good.max(1) as f64
}

fn peak(series: &Series) -> f64 {
    series.rounds.iter().map(|round| mib(round.peak_bytes)).fold(0.0, f64::max)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn values(series: &Series, of: impl Fn(&Round) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = series.rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(series: &Series, of: impl Fn(&Round) -> f64) -> f64 {
    middle(values(series, of))
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}
