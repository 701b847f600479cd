//! Dates and times as text, read strictly: whatever is not said by the value that is kept, such as an offset of a date, is
//! refused instead of dropped. What a store makes of them is the stores' `convert`.

use jiff::Timestamp;
use jiff::civil;

/// `2026-11-23`, and nothing behind it.
pub(crate) fn date(text: &str) -> Option<civil::Date> {
    let has_shape =
        text.len() == 10 && text.bytes().enumerate().all(|(at, b)| is_digit_or(b, at == 4 || at == 7, b'-'));
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
        Some(timestamp) => Some(timestamp.to_zoned(jiff::tz::TimeZone::UTC).datetime()),
        None => {
            let (day, hour) = text.split_once(['T', ' '])?;
            Some(date(day)?.to_datetime(time(hour)?))
        }
    }
}

/// A date and a time with `Z` or an offset.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let (day, rest) = text.split_once(['T', 't', ' '])?;
    let end = rest.find(['Z', 'z', '+', '-'])?;
    // Behind the time stands an offset, and nothing in brackets.
    let is_offset = rest[end..].bytes().all(|b| b.is_ascii_digit() || b":Zz+-".contains(&b));
    date(day).and_then(|_| time(&rest[..end]))?;
    if is_offset { text.parse().ok() } else { None }
}

fn is_digit_or(byte: u8, is_separator: bool, separator: u8) -> bool {
    if is_separator { byte == separator } else { byte.is_ascii_digit() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_said() {
        assert_eq!(date("2024-02-29").map(|d| d.to_string()).as_deref(), Some("2024-02-29"));
        let utc = |text| datetime(text).map(|d| d.to_string());
        assert_eq!(utc("2026-11-23T10:20:30.123456").as_deref(), Some("2026-11-23T10:20:30.123456"));
        assert_eq!(utc("2026-11-23 10:20:30Z").as_deref(), Some("2026-11-23T10:20:30"));
        assert_eq!(utc("2026-11-23T01:00:00+02:00").as_deref(), Some("2026-11-22T23:00:00"));
        assert_eq!(
            instant("2026-11-23T10:00:00.5-00:30").map(|t| t.to_string()).as_deref(),
            Some("2026-11-23T10:30:00.5Z")
        );
        assert_eq!(time("23:59").map(|t| t.to_string()).as_deref(), Some("23:59:00"));
    }

    #[test]
    fn what_would_be_dropped_is_refused() {
        for text in ["2024-02-29T23:59:00-05:00", "2023-02-29", "-000001-01-01", "2024-2-9", "2024-02-29Z", ""] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in
            ["10:00:00Z", "10:00:00+02:00", "10", "24:00:00", "10:00:60", "10:00.5", "10:00:00.1234567", "1:2:3"]
        {
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
