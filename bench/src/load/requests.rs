//! The requests of the load generator: reads of random flights, or new flights with a key each, as HTTP/1.1 text.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};

use anyhow::{Context as _, Result, ensure};

use super::{LoadOptions, tokens};

/// The paths that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Path {
    Read,
    Write,
    /// Asks for a ticket of an empty job.
    Submit,
}

/// Different bodies in use; enough that no two of the concurrent ones are equal.
const BODIES: usize = 2000;

pub(super) struct Requests {
    path: Path,
    host: String,
    tag: String,
    target: Option<String>,
    /// Lines of requests, in turn.
    credentials: Vec<String>,
    ids: Vec<String>,
    bodies: Vec<String>,
}

/// The endless requests of one connection.
pub(super) struct Stream<'a> {
    requests: &'a Requests,
    connection: u32,
    sent: usize,
    shown: usize,
    random: u64,
}

impl Requests {
    pub(super) fn new(options: &LoadOptions) -> Result<Self> {
        let file = options.data.join("flights.csv");
        let (ids, bodies) = match options.path {
            Path::Read => (ids(&file, options.flights)?, Vec::new()),
            Path::Write => (Vec::new(), bodies(&file, options.flights, BODIES)?),
            Path::Submit => (Vec::new(), Vec::new()),
        };
        let (host, tag) = (options.address.to_string(), options.tag.clone());
        let credentials = tokens::lines(options.show, options.issuer.as_deref())?;
        let target = options.target.clone();
        Ok(Self { path: options.path, host, tag, target, credentials, ids, bodies })
    }

    pub(super) fn stream(&self, connection: u32) -> Stream<'_> {
        // Every contender meets the same ids in the same order; connections differ from one another.
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(connection) + 1);
        // Each begins at another credential.
        let shown = connection as usize * self.credentials.len() / 64;
        Stream { requests: self, connection, sent: 0, shown, random }
    }
}

impl Stream<'_> {
    /// Replaces `text` with the next request.
    pub(super) fn next_into(&mut self, text: &mut Vec<u8>) {
        text.clear();
        let Requests { path, host, tag, target, credentials, ids, bodies } = self.requests;
        let credential = &credentials[self.shown % credentials.len()];
        self.shown += 1;
        let written = match (path, target) {
            (Path::Read, Some(target)) => {
                write!(text, "GET {target} HTTP/1.1\r\nHost: {host}\r\n{credential}\r\n")
            }
            (Path::Read, None) => {
                let id = &ids[self.below(ids.len())];
                write!(
                    text,
                    "GET /v1/records/Flights/{id} HTTP/1.1\r\nHost: {host}\r\n{credential}Accept: application/json\r\n\r\n"
                )
            }
            (Path::Write, _) => {
                let body = &bodies[self.below(bodies.len())];
                let (connection, sent, length) = (self.connection, self.sent, body.len());
                write!(
                    text,
                    "POST /v1/records/Flights HTTP/1.1\r\nHost: {host}\r\n{credential}Content-Type: application/json\r\n\
                     Idempotency-Key: {tag}-{connection}-{sent}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
            (Path::Submit, _) => {
                let (connection, sent) = (self.connection, self.sent);
                write!(
                    text,
                    "POST /v1/records/Jobs/jobs/empty HTTP/1.1\r\nHost: {host}\r\n{credential}Content-Type: application/json\r\n\
                     Idempotency-Key: {tag}-{connection}-{sent}\r\nContent-Length: 2\r\n\r\n{{}}"
                )
            }
        };
        written.expect("writing to a Vec cannot fail");
        self.sent += 1;
    }

    /// A number below `bound` (xorshift64; quick, and even enough for picking rows).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }
}

/// The ids of the first `count` flights.
fn ids(file: &std::path::Path, count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(count);
    for line in lines(file)?.skip(1).take(count) {
        ids.push(line?.split(',').next().context("an empty line")?.to_owned());
    }
    ensure!(!ids.is_empty(), "{} holds no flights", file.display());
    Ok(ids)
}

/// `count` flights after the first `skip`, as bodies of a create. The id is left to the database.
pub(crate) fn bodies(file: &std::path::Path, skip: usize, count: usize) -> Result<Vec<String>> {
    let mut lines = lines(file)?;
    let header = lines.next().context("an empty file")??;
    let names: Vec<&str> = header.split(',').collect();
    let mut bodies = Vec::with_capacity(count);
    for line in lines.skip(skip).take(count) {
        bodies.push(body(&names, &line?));
    }
    ensure!(!bodies.is_empty(), "{} holds no more than {skip} flights", file.display());
    Ok(bodies)
}

fn body(names: &[&str], line: &str) -> String {
    let fields = names.iter().zip(line.split(',')).filter(|(name, _)| **name != "flight_id");
    let fields = fields.map(|(name, value)| match value {
        "" | "NA" => format!("\"{name}\":null"),
        number if number.parse::<i64>().is_ok() && *name != "tailnum" => {
            format!("\"{name}\":{number}")
        }
        text => format!("\"{name}\":\"{text}\""),
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn lines(file: &std::path::Path) -> Result<impl Iterator<Item = std::io::Result<String>>> {
    let open = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    Ok(BufReader::new(open).lines())
}
