//! REC (MongoDB) and REL (MariaDB): the only crate that names a database driver. It calls named objects that a DBA
//! owns, and exports no driver type. It knows neither AMQP nor HTTP.
//!
//! Not here: queues (crate transport), HTTP (crate gateway).

mod answer;
mod attempts;
mod bound;
mod ended;
mod inbox;
mod iso;
mod misfit;
mod operations;
mod pulse;
mod rec;
mod rel;
pub mod schema;
mod source;
mod stores;

pub use bound::Bound;
pub use stores::{Stores, apply_schema};
