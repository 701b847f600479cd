//! Tests of a whole node on the real services. Each test makes its own vhost and databases.
//! `./dev test` starts the services and says where they are; without it these tests fail and say so.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod answers;
mod attacks;
mod audit;
mod bad_input;
mod captured;
mod certainty;
mod check;
mod command_line;
mod conformance;
mod crash;
mod databases;
mod dead_letters;
mod domains;
mod dump;
mod errors;
mod faults;
mod fields;
mod floods;
mod front;
mod given_up;
mod identity;
mod least_privilege;
mod lineage;
mod loads;
mod matrix;
mod outages;
mod proof;
mod reconnect;
mod records;
mod replies;
mod rig;
mod rights;
mod rows;
mod schema_files;
mod secrets;
mod services;
mod sessions;
mod several_nodes;
mod start;
mod subject;
mod supervision;
mod tickets;
mod tickets_and_deaths;
mod tickets_end;
mod tickets_guarded;
mod tickets_more;
mod tls;
mod types;
mod values;
mod waits;
mod wall;
mod wire;
