//! [`Reply`]: the answer to an event as it travels to `reply_to`, and [`Answer`], the part of it that the inbox stores.
//!
//! ```json
//! {"v":1,"event_id":"…","status":200,"answer":{"id":"42","records":[{…}],"next":"42","result_sets":[],"out":{…}}}
//! {"v":1,"event_id":"…","status":404,"error":{"code":"BEDS-0007","message":"…"}}
//! ```
//!
//! Not here: how a reply travels (crate transport), how an answer is made (crate adapters).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{BedsError, Beside, ErrorKind, EventId, Response, Result};

/// The outcome of one event, read.
#[derive(Debug, Deserialize)]
pub struct Reply {
    pub v: u8,
    pub event_id: EventId,
    /// The HTTP status that fits, so that a client in any language knows the class without a table.
    pub status: u16,
    #[serde(default)]
    pub answer: Option<Answer>,
    #[serde(default)]
    pub error: Option<ErrorBody>,
}

/// The outcome of one event, to be written. It borrows, because an answer may be large.
#[derive(Debug, Serialize)]
pub struct ReplyRef<'a> {
    v: u8,
    event_id: &'a EventId,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

/// The records of a successful operation. Empty parts are left out, but for `records`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default)]
    pub records: Vec<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The page may have been cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// There, and be it empty, where the operation answers everything that its object does: [`crate::Beside`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_sets: Option<Vec<Box<RawValue>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Box<RawValue>>,
    /// How many rows an operation on one record touched, where it was not one: they are the first of the result sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// The event whose stored answer this is, where it is not that of the event that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_of: Option<EventId>,
}

/// The inbox's copy of the answer of a write that took effect.
#[derive(Debug, Deserialize)]
pub struct Stored {
    /// The event that wrote.
    pub event_id: EventId,
    pub answer: Answer,
}

impl Stored {
    /// The text that is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`], where the answer cannot be written.
    pub fn text(event_id: &EventId, answer: &Answer) -> Result<String> {
        #[derive(Serialize)]
        struct Kept<'a> {
            event_id: &'a EventId,
            answer: &'a Answer,
        }
        let unwritten = |error| {
            BedsError::new(ErrorKind::Internal, "the answer could not be kept").with_source(error)
        };
        serde_json::to_string(&Kept { event_id, answer }).map_err(unwritten)
    }

    /// The kept copy; none where the text is not that.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// An error as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which it is worth asking again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u16>,
}

impl Reply {
    /// Wraps an outcome. `success` is the status of a good one: 200, or 201 for a create.
    pub fn of<'a>(
        event_id: &'a EventId,
        success: u16,
        outcome: Result<&'a Answer, &BedsError>,
    ) -> ReplyRef<'a> {
        match outcome {
            Ok(answer) => {
                ReplyRef { v: 1, event_id, status: success, answer: Some(answer), error: None }
            }
            Err(error) => {
                let body = ErrorBody {
                    code: error.code().to_owned(),
                    message: error.message.clone(),
                    field: error.field.clone(),
                    retry_after: error.retry_after,
                };
                ReplyRef {
                    v: 1,
                    event_id,
                    status: error.kind.status(),
                    answer: None,
                    error: Some(body),
                }
            }
        }
    }

    /// The outcome that the other side wrapped.
    pub fn into_outcome(self) -> Result<Answer> {
        match (self.answer, self.error) {
            (_, Some(body)) => {
                let kind = ErrorKind::from_code(&body.code).unwrap_or(ErrorKind::Internal);
                let ErrorBody { message, field, retry_after, .. } = body;
                Err(BedsError { kind, message, field, retry_after, source: None })
            }
            (Some(answer), None) => Ok(answer),
            (None, None) => Err(BedsError::new(
                ErrorKind::Internal,
                "the reply holds neither an answer nor an error",
            )),
        }
    }
}

impl Answer {
    /// The records of the answer, each as a response.
    pub fn into_responses(self) -> Vec<Response> {
        let (out, rows) = (self.out, self.rows);
        let mut beside =
            self.result_sets.map(|result_sets| Box::new(Beside { result_sets, out, rows }));
        let (mut id, mut repeat_of) = (self.id, self.repeat_of);
        let mut responses: Vec<Response> = self
            .records
            .into_iter()
            .map(|record| Response {
                id: id.take(),
                record: Some(record),
                beside: beside.take(),
                repeat_of: repeat_of.take(),
                ..Response::default()
            })
            .collect();
        if beside.is_some() {
            responses.push(Response { beside, repeat_of, ..Response::default() });
        }
        if let Some(last) = responses.last_mut() {
            (last.next, last.more) = (self.next, self.more);
        }
        responses
    }

    /// The single response of an operation on one record.
    pub fn into_response(self) -> Response {
        self.into_responses().into_iter().next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_shape_of_an_answer_does_not_depend_on_its_content() {
        let bare = Answer { records: vec![raw("{\"a\":1}")], ..Answer::default() }.into_response();
        assert!(bare.beside.is_none());
        let all = Answer {
            records: vec![raw("{\"a\":1}")],
            result_sets: Some(Vec::new()),
            ..Answer::default()
        };
        let response = all.into_response();
        assert!(
            response.beside.is_some_and(|beside| beside.result_sets.is_empty()),
            "empty, and there"
        );
    }

    #[test]
    fn an_answer_survives_the_wire_to_the_letter() {
        let text = r#"{"v":1,"event_id":"a.b.c","status":200,"answer":{"id":"1","records":[{"d":1.10},{"d":2}],"next":"2","more":true,"result_sets":[[{"x":1}]],"out":{"n":3}}}"#;
        let reply: Reply = serde_json::from_str(text).unwrap();
        let (id, answer) = (EventId("a.b.c".into()), reply.into_outcome().unwrap());
        let again = Reply::of(&id, 200, Ok(&answer));
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        let responses = answer.into_responses();
        assert_eq!(responses.len(), 2);
        assert_eq!(responses[1].next.as_deref(), Some("2"));
    }

    #[test]
    fn what_came_without_a_record_is_kept() {
        let answer = Answer {
            out: Some(raw("{\"n\":3}")),
            result_sets: Some(Vec::new()),
            ..Answer::default()
        };
        let responses = answer.into_responses();
        assert_eq!(responses.len(), 1);
        assert!(responses[0].record.is_none());
        assert_eq!(responses[0].beside.as_ref().unwrap().out.as_ref().unwrap().get(), "{\"n\":3}");
    }

    #[test]
    fn an_error_keeps_its_kind_and_field_but_not_its_source() {
        let error = BedsError::new(ErrorKind::WrongType, "send text")
            .with_field("born")
            .with_source("driver text");
        let text =
            serde_json::to_string(&Reply::of(&EventId("x".into()), 200, Err(&error))).unwrap();
        assert!(!text.contains("driver"));
        let back = serde_json::from_str::<Reply>(&text).unwrap().into_outcome().unwrap_err();
        assert_eq!((back.kind, back.field.as_deref()), (ErrorKind::WrongType, Some("born")));
    }
}
