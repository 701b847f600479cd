//! Failures, and the things that survive them. `./dev test` takes a short sample of each run; `./dev faults NAME --full` the
//! whole.

mod changes;
mod crash;
mod load;
mod operator;
mod orphans;
mod outage;
mod tickets;

/// How many: few in a sample, many in a full run.
fn number(sample: usize, full: usize) -> usize {
    if std::env::var_os("BEDS_FAULTS_FULL").is_some() { full } else { sample }
}
