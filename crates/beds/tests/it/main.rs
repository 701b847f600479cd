//! Tests of a whole node on the real services. Each test makes its own vhost and databases.
//! `./dev test` starts the services and says where they are; without it these tests fail and say so.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod attacks;
mod audit;
mod bad_input;
mod command_line;
mod conformance;
mod crash;
mod dead_letters;
mod domains;
mod faults;
mod least_privilege;
mod lineage;
mod reconnect;
mod records;
mod rig;
mod services;
mod start;
mod supervision;
mod types;
mod wire;
