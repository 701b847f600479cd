//! Quick reads beside slow ones: the time that the slowest in a hundred takes, against the same without a slow read.
//!
//! Not here: rates at full load (measure.rs), another database (bulkhead.rs).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::contender::Contender;
use crate::http_once;
use crate::options::Settings;

/// Callers of quick reads, and the pause of each between two.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// One turn, alone or beside slow reads.
const TURN: Duration = Duration::from_secs(10);
/// A slow read begins so often; it takes five seconds.
const SLOW_EVERY: Duration = Duration::from_secs(1);
/// The longest that the slow reads of a turn go on after it.
const SLOW: Duration = Duration::from_secs(6);

/// Answers the lines of the report.
pub(crate) fn measure(settings: &Settings, contender: &Contender) -> Result<String> {
    let address = contender.address;
    let mut turns = Vec::new();
    for _ in 0..settings.options.rounds {
        turns.push((p99(address)?, beside_slow_reads(address)?));
    }
    let (alone, beside) = turns.iter().copied().unzip();
    let (alone, beside): (Vec<f64>, Vec<f64>) = (alone, beside);
    let ratio = median(turns.iter().map(|(alone, beside)| beside / alone).collect());
    Ok(format!(
        "\nQuick reads, p99: alone {:.1} ms, beside one slow read (5 s) a second {:.1} ms; ratio {ratio:.2} (wanted: at most 1.2)\n",
        median(alone),
        median(beside),
    ))
}

fn beside_slow_reads(address: SocketAddr) -> Result<f64> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| -> Result<()> {
            let mut reads = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                reads.push(
                    scope.spawn(move || http_once::get(address, "/v1/records/Bench/by/slow?id=7")),
                );
                std::thread::sleep(SLOW_EVERY);
            }
            for read in reads {
                let answer = read.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked"))?;
                ensure!(answer.status == 200, "slow: {} {}", answer.status, answer.body);
            }
            Ok(())
        });
        // As many of them are under way as there will be.
        std::thread::sleep(SLOW);
        let measured = p99(address);
        is_over.store(true, Ordering::Relaxed);
        slow.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked"))?;
        measured
    })
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Milliseconds that 99 of 100 quick reads do not exceed.
pub(crate) fn p99(address: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let mut times = std::thread::scope(|scope| {
        let caller = || -> Result<Vec<f64>> {
            let mut times = Vec::new();
            while begun.elapsed() < TURN {
                let sent = Instant::now();
                let answer = http_once::get(address, "/v1/records/Bench/by/plain?id=7")?;
                ensure!(answer.status == 200, "plain: {} {}", answer.status, answer.body);
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
                std::thread::sleep(PAUSE);
            }
            Ok(times)
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked"))?);
        }
        anyhow::Ok(all)
    })?;
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[times.len() * 99 / 100])
}
