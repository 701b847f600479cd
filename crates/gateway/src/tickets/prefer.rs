//! The header `Prefer` (RFC 7240) on a record request: `respond-async` asks for a ticket, `wait=N` for the answer if it is there within N
//! seconds, and for a ticket otherwise.
//!
//! Not here: requests without it (records.rs).

use std::time::Duration;

use axum::http::HeaderMap;

use super::LONGEST_WAIT;

/// The wish of a caller who takes a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// How long the answer is waited for.
    pub(crate) wait: Duration,
}

impl Prefer {
    /// None where the caller asks for neither. Other preferences are ignored, as the standard says.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all("Prefer").iter().filter_map(|value| value.to_str().ok());
        let (mut is_async, mut wait) = (false, None);
        for preference in values.flat_map(|value| value.split(',')) {
            let preference = preference.split(';').next().unwrap_or_default().trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            match name.as_str() {
                "respond-async" => is_async = true,
                "wait" => wait = wait.or_else(|| value.parse().ok().map(Duration::from_secs)),
                _ => {}
            }
        }
        (is_async || wait.is_some())
            .then(|| Self { wait: wait.unwrap_or_default().min(LONGEST_WAIT) })
    }

    /// The text of `Preference-Applied`.
    pub(crate) fn applied(self) -> String {
        match self.wait.as_secs() {
            0 => "respond-async".to_owned(),
            seconds => format!("wait={seconds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_among_others() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("Prefer", value.parse().unwrap());
            }
            Prefer::of(&headers).map(|prefer| (prefer.wait.as_secs(), prefer.applied()))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["return=minimal", "handling=strict"]), None);
        assert_eq!(of(&["Respond-Async"]), Some((0, "respond-async".to_owned())));
        assert_eq!(of(&["return=minimal, wait = 5"]), Some((5, "wait=5".to_owned())));
        assert_eq!(of(&["respond-async; x=1", "wait=\"7\""]), Some((7, "wait=7".to_owned())));
        assert_eq!(of(&["wait=100000"]), Some((60, "wait=60".to_owned())));
        assert_eq!(of(&["wait=soon"]), None);
    }
}
