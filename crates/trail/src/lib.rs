//! The kept account of the work of nodes: spans and the tree that they make, audit records and the chain that shows a change.
//! Pure: reports in, tree or verdict out.
//!
//! Not here: how reports travel (`transport::reports`), how they are stored (`broker/pool/scribe.rs`), how heads are signed
//! (`beds/notary.rs`).

pub mod audit;
pub mod read;
pub mod record_keys;
pub mod span;
pub mod tree;

pub use audit::{AuditRecord, Head, SealedBatch, SealedRecord};
pub use span::{LineageReport, Span, SpanKind};
