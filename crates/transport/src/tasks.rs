//! Background work that ends with its node.
//!
//! Not here: work that is begun anew after a panic (guards.rs).

use tokio_util::sync::CancellationToken;

/// Runs a future until the token is cancelled.
pub(crate) async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
