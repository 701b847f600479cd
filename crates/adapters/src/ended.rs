//! The loop that ends a call that was given up: the server is asked until the call has ended there.
//!
//! Not here: how a server is asked (rel/connect/end.rs, rec/connect/end.rs), the decision that a call is given up (broker).

use std::time::Duration;

use beds_core::{BedsError, ErrorKind};
use tokio::time::Instant;

/// Between two looks at whether the call has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the server may take for one look.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// How long the end is waited for. Behind it, the server's own limits have to help.
const LONGEST: Duration = Duration::from_secs(60);

/// A call that is to end.
pub(crate) trait ToEnd {
    /// Asks the server to end it; true while it may still run. `before` says how often it was asked.
    ///
    /// # Errors
    /// The server could not be asked. The text goes into the log, and names no value.
    fn end_once(&self, before: u32) -> impl Future<Output = Result<bool, String>> + Send;
}

/// Waits until a call has ended in its server; false where it did not.
pub(crate) async fn until_ended(call: &impl ToEnd) -> bool {
    let (begun, mut before) = (Instant::now(), 0);
    while begun.elapsed() < LONGEST {
        match tokio::time::timeout(ANSWERED_WITHIN, call.end_once(before)).await {
            Ok(Ok(false)) => return true,
            Ok(Ok(true)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error, "A call that was given up could not be ended yet.")
            }
            Err(_) => tracing::debug!(
                "The server did not say in time whether a call that was given up has ended."
            ),
        }
        before += 1;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    tracing::warn!("A call that was given up did not end; the server's own limits have to end it.");
    false
}

/// A database does not confirm that work has ended.
pub(crate) fn still_there(database: &str) -> BedsError {
    let text = format!("the database {database} has not confirmed that the work has ended");
    BedsError::new(ErrorKind::Unavailable, text)
}
