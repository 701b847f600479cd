//! A flight as the write rivals read it from a body, and as the arguments of `flights_create`, in that order.

use std::borrow::Cow;

use anyhow::{Context as _, Result};
use mysql_async::{Params, Value};
use serde::Deserialize;

/// The fields of `schema/rel/main/0005_flights.sql`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flight<'a> {
    flight_id: Option<u64>,
    year: u16,
    month: u8,
    day: u8,
    dep_time: Option<u16>,
    sched_dep_time: u16,
    dep_delay: Option<i16>,
    arr_time: Option<u16>,
    sched_arr_time: u16,
    arr_delay: Option<i16>,
    #[serde(borrow)]
    carrier: Cow<'a, str>,
    flight: u16,
    #[serde(borrow)]
    tailnum: Option<Cow<'a, str>>,
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(borrow)]
    dest: Cow<'a, str>,
    air_time: Option<u16>,
    distance: u16,
    hour: u8,
    minute: u8,
    #[serde(borrow)]
    time_hour: Cow<'a, str>,
}

impl Flight<'_> {
    pub(super) fn params(&self) -> Result<Params> {
        Ok(Params::Positional(vec![
            self.flight_id.into(),
            self.year.into(),
            self.month.into(),
            self.day.into(),
            self.dep_time.into(),
            self.sched_dep_time.into(),
            self.dep_delay.into(),
            self.arr_time.into(),
            self.sched_arr_time.into(),
            self.arr_delay.into(),
            self.carrier.as_ref().into(),
            self.flight.into(),
            self.tailnum.as_deref().into(),
            self.origin.as_ref().into(),
            self.dest.as_ref().into(),
            self.air_time.into(),
            self.distance.into(),
            self.hour.into(),
            self.minute.into(),
            date_time(&self.time_hour).context("time_hour is not like 2013-01-01T10:00:00Z")?,
        ]))
    }
}

/// `2013-01-01T10:00:00`, with or without the Z of UTC.
fn date_time(text: &str) -> Option<Value> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let year = text.get(0..4)?.parse().ok()?;
    Some(Value::Date(
        year,
        part(5, 7)?,
        part(8, 10)?,
        part(11, 13)?,
        part(14, 16)?,
        part(17, 19)?,
        0,
    ))
}
