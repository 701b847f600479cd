//! The rivals: the programs that a competent engineer would write by hand for these two requests, and no more.
//! Here are the options that they share; each rival is a file below. None of BEDS's own code is in them.

mod amqp;
mod broker;
mod flight;
mod http;
mod maria;
pub(crate) mod read_by_hand;
pub(crate) mod read_direct;
pub(crate) mod submit_by_hand;
pub(crate) mod write_bare;
pub(crate) mod write_by_hand;

use std::fmt;

/// The settings of a rival. The run hands the same numbers to every contender.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RivalOptions {
    /// RabbitMQ, with the virtual host.
    #[arg(long, env = "BEDS_BENCH_RIVAL_AMQP", hide_env_values = true)]
    pub(crate) amqp: String,
    /// MariaDB, with the database.
    #[arg(long, env = "BEDS_BENCH_RIVAL_MARIA", hide_env_values = true)]
    pub(crate) maria: String,
    /// Consumer tasks, each with a channel and a database connection of its own.
    #[arg(long, default_value_t = 16)]
    pub(crate) tasks: u16,
    /// Messages that RabbitMQ hands a task in advance.
    #[arg(long, default_value_t = 4)]
    pub(crate) prefetch: u16,
    /// How replies come back.
    #[arg(long, value_enum, default_value_t = ReplyBy::Queue)]
    pub(crate) reply: ReplyBy,
}

/// The two ways of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReplyBy {
    /// One exclusive queue of the gateway's.
    Queue,
    /// RabbitMQ's direct reply-to: no queue at all.
    Direct,
}

impl fmt::Display for ReplyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyBy::Queue => "queue",
            ReplyBy::Direct => "direct",
        })
    }
}
