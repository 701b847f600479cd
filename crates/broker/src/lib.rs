//! Everything behind the queue: pools of supervised broker tasks, and the factory that finds a template's adapter at
//! run time. It sees `dyn TemplateAdapter` and never names an adapter, a database or a driver.
//!
//! Not here: adapters (crate adapters), messages on the wire (crate transport).

mod calgon;
mod dispatch;
mod factory;
mod metrics;
mod pool;
mod relay;
mod spans;
mod touched;

pub use calgon::Calgon;
pub use factory::{Factory, Slot};
pub use pool::{Parts, PoolSpec, Pools};
pub use relay::RelaySpec;
