//! [`Schedule`]: a job that is asked for at fixed times. No node leads the others: each knows the same instants, and the first to ask makes
//! the ticket.
//!
//! Not here: the asking (crate broker), rules over the keys (check/schedules.rs).

use std::collections::BTreeMap;
use std::str::FromStr as _;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// `[schedules.NAME]`.
#[derive(Debug, Clone, Deserialize)]
pub struct Schedule {
    pub template: String,
    pub job: String,
    /// Five fields of cron: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// A name of the IANA database.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The subject whose rights and claims the work has, of a key in the file of keys.
    #[serde(rename = "as")]
    pub identity: String,
    /// The values of the object's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub missed: Missed,
}

/// A value of a parameter: a text, or a whole number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Param {
    Whole(i64),
    Text(String),
}

/// The fate of an instant while the work of the one before goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// No ticket.
    #[default]
    Skip,
    /// A ticket, which waits as any other.
    Queue,
}

/// The fate of an instant at which no node was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// The last one is made up for, if it is not a day ago.
    #[default]
    Last,
    None,
}

/// An instant is made up for within this time; one that is not to be made up for may be late by the other.
const LONGEST_LATE: SignedDuration = SignedDuration::from_hours(24);
const LATE: SignedDuration = SignedDuration::from_mins(1);

impl Schedule {
    /// The last instant that has come. In the night in which clocks go forward, a fixed time within the missing hour is the first moment
    /// behind it; in the one in which they go back, the first of the two (as croner has it).
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let (cron, zone) = read(&self.cron, &self.time_zone).ok()?;
        let before = cron.find_previous_occurrence(&now.to_zoned(zone), true).ok()?;
        Some(before.timestamp())
    }

    /// True where the instant came too long ago.
    pub fn is_missed(&self, due: Timestamp, now: Timestamp) -> bool {
        let most = if self.missed == Missed::Last { LONGEST_LATE } else { LATE };
        now.duration_since(due) > most
    }
}

/// The parts of a schedule, or the key that cannot be read and why.
pub(super) fn read(cron: &str, zone: &str) -> Result<(Cron, TimeZone), (&'static str, String)> {
    if cron.split_whitespace().count() != 5 {
        return Err(("cron", "has not the five fields of cron".to_owned()));
    }
    let cron =
        Cron::from_str(cron).map_err(|error| ("cron", format!("cannot be read: {error}")))?;
    let zone = TimeZone::get(zone).map_err(|_| {
        ("time_zone", "is no name of a time zone that this machine knows".to_owned())
    })?;
    Ok((cron, zone))
}

fn utc() -> String {
    "UTC".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(cron: &str, zone: &str, now: &str) -> String {
        let schedule = Schedule {
            template: String::new(),
            job: String::new(),
            cron: cron.to_owned(),
            time_zone: zone.to_owned(),
            identity: String::new(),
            params: BTreeMap::new(),
            overlap: Overlap::Skip,
            missed: Missed::Last,
        };
        schedule.due(now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn an_instant_is_the_last_one_that_has_come() {
        assert_eq!(due("*/15 * * * *", "UTC", "2026-11-30T10:44:59Z"), "2026-11-30T10:30:00Z");
        assert_eq!(due("*/15 * * * *", "UTC", "2026-11-30T10:45:00Z"), "2026-11-30T10:45:00Z");
        assert_eq!(due("0 3 * * mon", "UTC", "2026-12-01T02:00:00Z"), "2026-11-30T03:00:00Z");
        assert_eq!(due("0 3 * * *", "Asia/Tokyo", "2026-11-30T20:00:00Z"), "2026-11-30T18:00:00Z");
    }

    #[test]
    fn a_night_in_which_clocks_change_has_each_instant_once() {
        // Berlin, 29 March 2026: 02:00 is 03:00. A time within the missing hour is the first moment behind it.
        assert_eq!(
            due("30 2 * * *", "Europe/Berlin", "2026-03-29T06:00:00Z"),
            "2026-03-29T01:00:00Z"
        );
        // 25 October 2026: 03:00 is 02:00 again. The first 02:30 counts, and at the second nothing new is due.
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z"] {
            assert_eq!(due("30 2 * * *", "Europe/Berlin", now), "2026-10-25T00:30:00Z", "{now}");
        }
    }
}
