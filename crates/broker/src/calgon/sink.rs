//! [`Sink`]: the rows of a job on their way into the store, in pieces of lines of JSON. One piece is held in memory. Pieces are shown by
//! the note in the ticket only, so those of an attempt that came to no end are never seen. A result that is small stands in the note itself.
//!
//! Not here: how pieces are read (crate gateway).

use std::time::Duration;

use async_trait::async_trait;
use beds_core::digest::hex;
use beds_core::members::id_of;
use beds_core::ticket::{ResultForm, ResultNote};
use beds_core::{BedsError, ErrorKind, Result, TakesRows, rights};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::lease::Lease;
use super::store::Store;

/// Bytes of a piece. A row that is larger is a piece of its own.
const PIECE: usize = 1024 * 1024;
/// Bytes of a result that is written with the end of its ticket, and read with it.
const SMALL: usize = 16 * 1024;
/// The largest row. It travels as a text within an answer of at most 8 MiB, and each of its bytes may need an escape there.
const LARGEST_ROW: usize = 7 * 512 * 1024;
/// Ids of rows that the trail names, as of a request.
const MOST_IDS: usize = 500;
/// How often, and with which pause, a piece is tried again while the store is away.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Sink<'r> {
    store: &'r Store<'r>,
    lease: &'r Lease<'r>,
    form: ResultForm,
    hidden: Vec<String>,
    most_bytes: i64,
    until: Timestamp,
    piece: String,
    piece_rows: i64,
    pieces: i64,
    rows: i64,
    bytes: i64,
    hash: Sha256,
    /// The member of a row that is its id, and the first ids, for the trail.
    id_field: String,
    ids: Vec<String>,
}

impl<'r> Sink<'r> {
    /// `hidden` are the fields that are left out; pieces are kept for `keep`.
    pub(super) fn new(
        store: &'r Store<'r>,
        lease: &'r Lease<'r>,
        form: ResultForm,
        hidden: Vec<String>,
        most_bytes: i64,
        keep: Duration,
    ) -> Self {
        let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
        Self {
            store,
            lease,
            form,
            hidden,
            most_bytes,
            until: Timestamp::now().checked_add(keep).unwrap_or(Timestamp::MAX),
            piece: String::new(),
            piece_rows: 0,
            pieces: 0,
            rows: 0,
            bytes: 0,
            hash: Sha256::new(),
            id_field: String::new(),
            ids: Vec::new(),
        }
    }

    /// The rows are records with this id.
    #[must_use]
    pub(super) fn of_records(mut self, id_field: String) -> Self {
        self.id_field = id_field;
        self
    }

    /// The first ids of the rows, and the number of the other rows.
    pub(super) fn seen(&self) -> (&[String], u64) {
        let rows = u64::try_from(self.rows).unwrap_or(0);
        (&self.ids, rows - self.ids.len() as u64)
    }

    /// Keeps the last piece, and answers the note about all of them.
    pub(super) async fn finish(mut self) -> Result<ResultNote> {
        let is_small = self.pieces == 0 && self.piece.len() <= SMALL;
        let text = is_small.then(|| std::mem::take(&mut self.piece));
        if !is_small {
            self.flush().await?;
        }
        Ok(ResultNote {
            text,
            rows: self.rows,
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            form: self.form,
            epoch: self.lease.ticket().epoch,
            hidden: self.hidden,
        })
    }

    async fn flush(&mut self) -> Result<()> {
        if self.piece_rows == 0 {
            return Ok(());
        }
        let ticket = self.lease.ticket();
        let fields = json!({
            "_id": format!("{}:{}:{}", ticket.id, ticket.epoch, self.pieces),
            "ticket": ticket.id, "owner": ticket.owner, "epoch": ticket.epoch,
            "first": self.rows - self.piece_rows, "rows": self.piece_rows,
            "text": std::mem::take(&mut self.piece), "until": format!("{:.3}", self.until),
        });
        let mut tries = 0;
        loop {
            self.lease.check(self.store).await?;
            match self.store.piece(fields.clone()).await {
                Ok(()) => break,
                // Its id makes a repeat harmless.
                Err(error) if error.kind.is_retryable() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.pieces += 1;
        self.piece_rows = 0;
        self.piece.reserve(PIECE);
        Ok(())
    }
}

#[async_trait]
impl TakesRows for Sink<'_> {
    async fn push(&mut self, row: Box<RawValue>) -> Result<()> {
        // Of a request, the answer was cut down as a whole.
        if self.form == ResultForm::Rows && self.ids.len() < MOST_IDS {
            self.ids.extend(id_of(&row, &self.id_field));
        }
        let row = match self.hidden.is_empty() || self.form != ResultForm::Rows {
            true => row,
            false => {
                let hidden: Vec<&str> = self.hidden.iter().map(String::as_str).collect();
                rights::without(&row, &hidden)?
            }
        };
        // A row is a line. In JSON, line breaks stand between tokens only, and any blank will do there.
        let text = row.get();
        let whole = text.contains(['\n', '\r']).then(|| text.replace(['\n', '\r'], " "));
        let text = whole.as_deref().unwrap_or(text);
        if text.len() > LARGEST_ROW {
            let text = format!("a row is larger than {} KiB", LARGEST_ROW >> 10);
            return Err(BedsError::new(ErrorKind::ValueOutOfRange, text));
        }
        if !self.piece.is_empty() && self.piece.len() + text.len() >= PIECE {
            self.flush().await?;
        }
        self.bytes += i64::try_from(text.len()).unwrap_or(i64::MAX) + 1;
        if self.bytes > self.most_bytes {
            let text = format!("the result is larger than {} MiB", self.most_bytes >> 20);
            return Err(BedsError::new(ErrorKind::ValueOutOfRange, text));
        }
        for part in [text, "\n"] {
            self.piece.push_str(part);
            self.hash.update(part);
        }
        self.piece_rows += 1;
        self.rows += 1;
        // The one line of an answer or of a sum is no progress.
        if !self.id_field.is_empty() {
            self.lease.note_rows(self.rows);
        }
        Ok(())
    }
}
