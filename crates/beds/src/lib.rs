//! A BEDS node: everything put together. [`ipl::boot`] starts a node from a [`beds_core::Config`]; an application links
//! this crate and reaches templates through [`Client`], which implements [`NamasteCore`] over RabbitMQ.
//!
//! Not here: the rooms (the other crates).

pub mod callers;
pub mod certificate;
pub mod commands;
pub mod control;
pub mod domains;
pub mod ipl;
pub mod logging;
pub mod metering;
mod node;
pub mod notary;
#[cfg(feature = "otel")]
pub mod otel;
mod private;
mod record_keys;
pub mod reloading;
mod schedules;
pub mod settings;

pub use beds_core::{BedsError, NamasteCore, Payload, Query, Response, Select};
pub use beds_transport::{Client, Context};
pub use ipl::IplError;
pub use node::Node;
