//! The answer of an operation, made from the results of its object. The form is decided when the template is bound: the
//! content never changes it, and content that does not fit it is an error.
//!
//! Not here: how rows and documents become JSON, which is the stores' `json`.

use beds_core::reply::Answer;
use beds_core::template::Offer;
use beds_core::{AnswerShape, BedsError, ErrorKind, Operation, Result, Template};
use serde_json::value::RawValue;

use crate::operations::no_such_record;

/// The most that one answer may hold, in bytes of JSON. RabbitMQ 4 takes messages of at most 16 MiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// The error of an answer that is larger; `advice` ends its sentence.
pub(crate) fn too_large(advice: &str) -> BedsError {
    let text = format!("the answer is larger than {} MiB; {advice}", MAX_ANSWER_BYTES >> 20);
    BedsError::new(ErrorKind::ValueOutOfRange, text)
}

/// One set of rows or documents, written as JSON.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) rows: Vec<Box<RawValue>>,
    pub(crate) first_id: Option<String>,
    pub(crate) last_id: Option<String>,
    /// The last row has the id of the row before it.
    pub(crate) ends_in_repeat: bool,
}

impl Set {
    /// Adds a row with its id, if it has one.
    pub(crate) fn push(&mut self, row: Box<RawValue>, id: Option<String>) {
        if self.rows.is_empty() {
            self.first_id.clone_from(&id);
        }
        self.ends_in_repeat = id.is_some() && self.last_id == id;
        self.last_id = id;
        self.rows.push(row);
    }
}

/// The form of an operation's answers.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    /// The object's name, for messages.
    pub(crate) object: String,
    pub(crate) operation: Operation,
    /// The object writes, once under each key.
    pub(crate) is_write: bool,
    /// A named fetch answers any number of records, as a listing does.
    pub(crate) is_named: bool,
    pub(crate) shape: AnswerShape,
    /// The field or column that identifies a record.
    pub(crate) id: String,
}

/// How much of a listing was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Page {
    /// Rows of a full page; none where nothing limits them.
    pub(crate) size: Option<usize>,
    /// A page has a successor: the object takes `after`.
    pub(crate) has_next: bool,
    /// One row more than the page was asked for, so that "full" and "cut" can be told apart.
    pub(crate) has_spare: bool,
}

impl Form {
    /// The form of an offer's answers, in this shape.
    pub(crate) fn of(template: &Template, offer: &Offer<'_>, shape: AnswerShape) -> Self {
        Self {
            object: offer.object.to_owned(),
            operation: offer.operation,
            is_write: offer.is_write(),
            is_named: offer.name.is_some(),
            shape,
            id: template.id.clone(),
        }
    }

    /// Puts the object's results together: its sets in order, and its OUT values.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchRecord`] where one record was asked for and none came; [`ErrorKind::WrongAnswer`] where the
    /// object's answer is not of the form that its template says.
    pub(crate) fn answer(
        &self,
        mut sets: Vec<Set>,
        out: Option<Box<RawValue>>,
        page: Page,
    ) -> Result<Answer> {
        let is_all = self.shape == AnswerShape::All;
        if sets.len() > 1 && !is_all {
            return Err(self.wrong("a second result set"));
        }
        if self.is_of_one() {
            return self.one(sets, out, is_all);
        }
        let mut first = if sets.is_empty() { Set::default() } else { sets.remove(0) };
        let is_full = page.size.is_some_and(|size| first.rows.len() >= size);
        let is_cut = match page.size.filter(|_| page.has_spare) {
            Some(size) => {
                let is_cut = first.rows.len() > size;
                first.rows.truncate(size);
                is_cut
            }
            None => is_full,
        };
        let next = match first.last_id {
            _ if !(page.has_next && is_full) => None,
            // The next page begins behind this id, and further rows with it would be on no page.
            Some(_) if first.ends_in_repeat => {
                let text = format!(
                    "a full page that ends in two rows of one `{}`, so that rows between two pages could be lost",
                    self.id
                );
                return Err(self.wrong(&text));
            }
            Some(id) => Some(id),
            None => {
                let text = format!(
                    "a full page without a usable `{}`, so that no caller could ask for the next one",
                    self.id
                );
                return Err(self.wrong(&text));
            }
        };
        let result_sets = is_all.then(|| sets.iter().filter_map(array).collect());
        Ok(Answer {
            id: first.first_id,
            next,
            more: is_cut,
            records: first.rows,
            result_sets,
            out,
            ..Answer::default()
        })
    }

    /// A column that stands twice in a row of the object's.
    pub(crate) fn twice(&self, column: &str) -> BedsError {
        self.wrong(&format!("two columns of the name {}", beds_core::text::quote(column)))
    }

    /// True where the operation is about one record.
    pub(crate) fn is_of_one(&self) -> bool {
        !self.is_named && self.operation != Operation::List
    }

    fn one(&self, sets: Vec<Set>, out: Option<Box<RawValue>>, is_all: bool) -> Result<Answer> {
        let rows = sets.first().map_or(0, |set| set.rows.len());
        // An object that answers no set of rows at all may say with OUT values that it found one.
        let is_told_beside = sets.is_empty() && out.is_some();
        match rows {
            0 if is_told_beside => {}
            0 if self.operation == Operation::Create => {
                return Err(self.wrong("no row for the record that it created"));
            }
            0 => return Err(no_such_record()),
            2.. if !is_all => return Err(self.wrong("a second row")),
            _ => {}
        }
        let result_sets = is_all.then(|| sets.iter().filter_map(array).collect());
        let Set { rows: records, first_id: id, .. } = sets.into_iter().next().unwrap_or_default();
        let rows = (rows != 1).then(|| u32::try_from(rows).unwrap_or(u32::MAX));
        Ok(Answer {
            id,
            records: records.into_iter().take(1).collect(),
            result_sets,
            out,
            rows,
            ..Answer::default()
        })
    }

    pub(crate) fn wrong(&self, found: &str) -> BedsError {
        let text = format!("{} answered {found}, which its template does not say", self.object);
        BedsError::new(ErrorKind::WrongAnswer, text)
    }
}

fn array(set: &Set) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(&set.rows).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(operation: Operation, shape: AnswerShape) -> Form {
        Form {
            object: "o".into(),
            operation,
            is_write: operation.is_write(),
            is_named: false,
            shape,
            id: "id".into(),
        }
    }

    fn set(rows: usize) -> Set {
        let mut set = Set::default();
        for row in 0..rows {
            set.push(
                RawValue::from_string(format!("{{\"id\":{row}}}")).unwrap(),
                Some(row.to_string()),
            );
        }
        set
    }

    fn kind(outcome: Result<Answer>) -> ErrorKind {
        outcome.unwrap_err().kind
    }

    #[test]
    fn one_record_is_one_row_of_one_set() {
        for operation in [Operation::Create, Operation::Fetch, Operation::Update, Operation::Delete]
        {
            let bare = form(operation, AnswerShape::Record);
            assert!(
                bare.answer(vec![set(1)], None, Page::default()).unwrap().result_sets.is_none()
            );
            assert_eq!(
                kind(bare.answer(vec![set(2)], None, Page::default())),
                ErrorKind::WrongAnswer
            );
            assert_eq!(
                kind(bare.answer(vec![set(1), set(0)], None, Page::default())),
                ErrorKind::WrongAnswer
            );
            let none = kind(bare.answer(vec![set(0)], None, Page::default()));
            let expected = if operation == Operation::Create {
                ErrorKind::WrongAnswer
            } else {
                ErrorKind::NoSuchRecord
            };
            assert_eq!(none, expected, "{operation}");
        }
    }

    #[test]
    fn everything_has_the_same_form_whatever_is_in_it() {
        let all = form(Operation::Update, AnswerShape::All);
        for (sets, number, rows) in
            [(vec![set(1)], 1, None), (vec![set(3)], 1, Some(3)), (vec![set(1), set(0)], 2, None)]
        {
            let answer = all.answer(sets, None, Page::default()).unwrap();
            assert_eq!((answer.records.len(), answer.rows), (1, rows));
            assert_eq!(answer.result_sets.unwrap().len(), number);
        }
        let out = || RawValue::from_string("{}".into()).ok();
        assert!(all.answer(Vec::new(), out(), Page::default()).unwrap().records.is_empty());
        assert_eq!(kind(all.answer(vec![set(0)], out(), Page::default())), ErrorKind::NoSuchRecord);
    }

    #[test]
    fn a_page_says_whether_it_may_be_cut() {
        let list = form(Operation::List, AnswerShape::Record);
        let told = |rows, page| {
            list.answer(vec![set(rows)], None, page).map(|a| (a.records.len(), a.more, a.next))
        };
        let pages = Page { size: Some(2), has_next: true, has_spare: false };
        assert_eq!(told(2, pages).unwrap(), (2, true, Some("1".into())));
        assert_eq!(told(1, pages).unwrap(), (1, false, None));
        let view = Page { size: Some(2), has_next: false, has_spare: true };
        assert_eq!(told(3, view).unwrap(), (2, true, None));
        assert_eq!(told(2, view).unwrap(), (2, false, None));
        assert_eq!(told(9, Page::default()).unwrap(), (9, false, None));
        let mut nameless = set(2);
        nameless.last_id = None;
        assert_eq!(kind(list.answer(vec![nameless], None, pages)), ErrorKind::WrongAnswer);
        let mut repeating = set(1);
        repeating.push(RawValue::from_string("{\"id\":0}".into()).unwrap(), Some("0".into()));
        assert_eq!(kind(list.answer(vec![repeating], None, pages)), ErrorKind::WrongAnswer);
    }
}
