//! [`Complaints`]: a failure is logged in full once, and then not more often than once a minute for each cause: callers
//! decide how often a request fails, and must not decide how long the log is.
//!
//! Not here: the choice of the errors for an operator (each caller).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a cause is not said again.
const SAID_FOR: Duration = Duration::from_secs(60);
/// Causes that are kept apart. Beyond them, all others are one.
const MOST: usize = 256;

/// When each cause was last said, and how often it came since.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<HashMap<String, Said>>);

#[derive(Debug)]
struct Said {
    /// The begin of the minute.
    at: Instant,
    /// How often it was said in that minute.
    times: u64,
    unsaid: u64,
}

impl Complaints {
    /// Whether the cause is to be said now, and if so, how often it was not said before.
    pub fn say(&self, cause: &str) -> Option<u64> {
        self.say_first(1, cause)
    }

    /// The same, with so many times in a minute that are said each.
    pub fn say_first(&self, most: u64, cause: &str) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Makes room first: a cause that may be told again need not be remembered.
        if said.len() >= MOST && !said.contains_key(cause) {
            said.retain(|_, said| said.at.elapsed() < SAID_FOR);
        }
        let cause = if said.len() >= MOST && !said.contains_key(cause) { "" } else { cause };
        match said.get_mut(cause) {
            Some(said) if said.at.elapsed() < SAID_FOR && said.times < most => {
                said.times += 1;
                Some(0)
            }
            Some(said) if said.at.elapsed() < SAID_FOR => {
                said.unsaid += 1;
                None
            }
            Some(said) => {
                (said.at, said.times) = (Instant::now(), 1);
                Some(std::mem::take(&mut said.unsaid))
            }
            None => {
                said.insert(cause.to_owned(), Said { at: Instant::now(), times: 1, unsaid: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_can_be_said_some_times_in_a_minute() {
        let complaints = Complaints::default();
        let said: Vec<_> = (0..4).map(|_| complaints.say_first(2, "a")).collect();
        assert_eq!(said, [Some(0), Some(0), None, None]);
    }

    #[test]
    fn a_cause_is_said_once_and_the_number_of_causes_is_bounded() {
        let complaints = Complaints::default();
        assert_eq!(
            (complaints.say("a"), complaints.say("a"), complaints.say("b")),
            (Some(0), None, Some(0))
        );
        for cause in 0..10_000 {
            complaints.say(&cause.to_string());
        }
        assert!(complaints.0.lock().unwrap().len() <= MOST + 1);
    }
}
