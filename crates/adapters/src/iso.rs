//! Dates and times as text, read strictly: a part of the text that the kept value cannot say, such as an offset of a date,
//! is refused instead of dropped.
//!
//! Not here: conversion to a store's own types (rel/convert.rs, rec/convert.rs).

use jiff::{SignedDuration, civil};

/// `2026-11-23`, and nothing behind it.
pub(crate) fn date(text: &str) -> Option<civil::Date> {
    let has_shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| is_digit_or(b, at == 4 || at == 7, b'-'));
    if has_shape { text.parse().ok() } else { None }
}

/// `10:00`, `10:00:00` or that with a fraction of at most six digits.
pub(crate) fn time(text: &str) -> Option<civil::Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let has_shape = matches!(whole.len(), 5 | 8)
        && whole.bytes().enumerate().all(|(at, b)| is_digit_or(b, at == 2 || at == 5, b':'))
        && (1..=6).contains(&fraction.len())
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (whole.len() == 8 || !text.contains('.'));
    // A leap second would become another second.
    if has_shape && !whole.ends_with(":60") { text.parse().ok() } else { None }
}

/// A date and a time, in UTC where nothing else is said: `Z` and an offset are taken into account.
pub(crate) fn datetime(text: &str) -> Option<civil::DateTime> {
    match instant(text) {
        Some(utc) => Some(utc),
        None => {
            let (day, hour) = text.split_once(['T', ' '])?;
            Some(date(day)?.to_datetime(time(hour)?))
        }
    }
}

/// A date and a time with `Z` or an offset, in UTC. Counted on the calendar, whose last second is 9999-12-31T23:59:59: the
/// library's instants end a day before.
pub(crate) fn instant(text: &str) -> Option<civil::DateTime> {
    let (day, rest) = text.split_once(['T', 't', ' '])?;
    let end = rest.find(['Z', 'z', '+', '-'])?;
    let local = date(day)?.to_datetime(time(&rest[..end])?);
    let (sign, offset) = rest[end..].split_at(1);
    if sign.eq_ignore_ascii_case("z") {
        return offset.is_empty().then_some(local);
    }
    // `+02:00`, `+0200` or `+02`.
    let digits: String = match offset.len() {
        5 if offset.as_bytes()[2] == b':' => [&offset[..2], &offset[3..]].concat(),
        4 => offset.to_owned(),
        2 => format!("{offset}00"),
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = SignedDuration::from_mins(hours * 60 + minutes);
    local.checked_sub(if sign == "-" { -ahead } else { ahead }).ok().filter(|utc| utc.year() >= 1)
}

/// Milliseconds since 1970 of a time in UTC; none where the time is finer than that.
pub(crate) fn millis(utc: civil::DateTime) -> Option<i64> {
    let since = utc.duration_since(EPOCH);
    if since.subsec_nanos() % 1_000_000 != 0 {
        return None;
    }
    i64::try_from(since.as_millis()).ok()
}

/// The time in UTC, as RFC 3339 with milliseconds. Beyond the year 9999 and before the year 0, which RFC 3339 does not know,
/// the year has a sign and at least six digits, as ECMAScript writes it.
pub(crate) fn millis_text(millis: i64) -> String {
    // MongoDB's times reach beyond the library's calendar, which repeats every 400 years.
    let cycles = millis.div_euclid(CYCLE_MILLIS);
    let within = EPOCH
        .checked_add(SignedDuration::from_millis(millis.rem_euclid(CYCLE_MILLIS)))
        .unwrap_or(EPOCH);
    let year = i64::from(within.year()) + cycles * 400;
    let year =
        if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+07}") };
    format!(
        "{year}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        within.month(),
        within.day(),
        within.hour(),
        within.minute(),
        within.second(),
        within.millisecond()
    )
}

/// The milliseconds that [`millis_text`] wrote with a signed year.
pub(crate) fn millis_of_far(text: &str) -> Option<i64> {
    let sign = text.chars().next().filter(|c| matches!(c, '+' | '-'))?;
    let (digits, rest) = text[1..].split_once('-')?;
    if !(6..=9).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year: i64 = digits.parse().ok()?;
    let year = if sign == '-' { -year } else { year };
    // The calendar repeats every 400 years.
    let near = year.rem_euclid(400) + 2000;
    millis(instant(&format!("{near:04}-{rest}"))?)?
        .checked_add(((year - near) / 400).checked_mul(CYCLE_MILLIS)?)
}

const EPOCH: civil::DateTime = civil::datetime(1970, 1, 1, 0, 0, 0, 0);
const CYCLE_MILLIS: i64 = 146_097 * 86_400_000;

fn is_digit_or(byte: u8, is_separator: bool, separator: u8) -> bool {
    if is_separator { byte == separator } else { byte.is_ascii_digit() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_beyond_64_bits_of_milliseconds_is_refused() {
        assert_eq!(millis_of_far("+584556049-01-01T00:00:00.000Z"), None);
        assert_eq!(millis_of_far("-999999999-01-01T00:00:00.000Z"), None);
    }

    #[test]
    fn what_is_kept_is_what_was_said() {
        assert_eq!(date("2024-02-29").map(|d| d.to_string()).as_deref(), Some("2024-02-29"));
        let utc = |text| datetime(text).map(|d| d.to_string());
        assert_eq!(
            utc("2026-11-23T10:20:30.123456").as_deref(),
            Some("2026-11-23T10:20:30.123456")
        );
        assert_eq!(utc("2026-11-23 10:20:30Z").as_deref(), Some("2026-11-23T10:20:30"));
        assert_eq!(utc("2026-11-23T01:00:00+02:00").as_deref(), Some("2026-11-22T23:00:00"));
        assert_eq!(
            instant("2026-11-23T10:00:00.5-00:30").map(|t| t.to_string()).as_deref(),
            Some("2026-11-23T10:30:00.5")
        );
        assert_eq!(time("23:59").map(|t| t.to_string()).as_deref(), Some("23:59:00"));
    }

    #[test]
    fn time_ends_where_the_calendar_does() {
        let utc = |text| instant(text).map(|d| d.to_string());
        assert_eq!(utc("9999-12-31T23:59:59.999Z").as_deref(), Some("9999-12-31T23:59:59.999"));
        assert_eq!(utc("9999-12-31T23:59:59+01:00").as_deref(), Some("9999-12-31T22:59:59"));
        assert_eq!(utc("9999-12-31T23:59:59-01:00"), None, "that is the year 10000");
        assert_eq!(utc("0001-01-01T00:00:00Z").as_deref(), Some("0001-01-01T00:00:00"));
        for text in
            ["9999-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z"]
        {
            assert_eq!(millis_text(millis(instant(text).unwrap()).unwrap()), text);
        }
        for text in [
            "+010000-01-01T00:00:00.000Z",
            "-000001-12-31T23:59:59.999Z",
            "+275760-09-13T00:00:00.000Z",
        ] {
            assert_eq!(millis_text(millis_of_far(text).unwrap()), text);
        }
        assert_eq!(millis_of_far("+010000-01-01T00:00:00.000Z"), Some(253_402_300_800_000));
        assert_eq!(millis(instant("2026-11-23T10:00:00.0005Z").unwrap()), None);
    }

    #[test]
    fn what_would_be_dropped_is_refused() {
        for text in [
            "2024-02-29T23:59:00-05:00",
            "2023-02-29",
            "-000001-01-01",
            "2024-2-9",
            "2024-02-29Z",
            "",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in [
            "10:00:00Z",
            "10:00:00+02:00",
            "10",
            "24:00:00",
            "10:00:60",
            "10:00.5",
            "10:00:00.1234567",
            "1:2:3",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
        for text in [
            "2026-11-23T10:00:00[Europe/Paris]",
            "2026-11-23T10:00:00+02:00[Europe/Paris]",
            "2026-11-23",
            "2026-11-23T10:00:00.1234567Z",
        ] {
            assert_eq!(datetime(text), None, "{text}");
        }
        assert_eq!(instant("2026-11-23T10:00:00"), None, "no zone is no instant");
    }
}
