//! The decision of how a write's delivery ends, as pure functions of facts.
//!
//! Not here: the acts that follow (writes.rs, settle.rs), the question to the inbox (doubt.rs).

use beds_core::ErrorKind;

/// The things that decide beside the outcome of the attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// An earlier delivery of the message may have had its effect.
    pub(super) is_in_doubt: bool,
    /// A requester waits for the answer.
    pub(super) has_requester: bool,
    /// No event before this one can have had the same effect.
    pub(super) is_first: bool,
    /// The inbox has said in this attempt that nothing was written under the key.
    pub(super) has_asked_inbox: bool,
    pub(super) is_past_deadline: bool,
    /// It was in doubt for an hour after its deadline, and was looked up again and again.
    pub(super) has_waited_enough: bool,
    pub(super) can_be_recorded: bool,
    /// A client has published it, and no node.
    pub(super) is_of_client: bool,
}

/// The end of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Answer, report and acknowledge.
    Answer,
    /// The requester has its answer already: report and acknowledge.
    Report,
    /// Keep the message for a person.
    DeadLetter,
    /// Send it to wait before the next attempt.
    Wait { is_in_doubt: bool },
    /// Give it back to its queue: this node or another one may learn the effect later.
    GiveBack,
    /// Find out the effect first: the error does not tell it.
    LookUp { search: Search, answers_first: bool },
}

/// The way to find out the effect of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// Ask the inbox for a moment: only another event can have had the effect.
    Briefly,
    /// Ask the inbox for as long as it takes to come back from a short outage.
    Patiently,
    /// Repeat the write under its key: that asks, and does it where it was not done.
    Repeat,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Done,
    Refused,
    /// The message has to be handed out again to learn it.
    Unknown,
}

/// The end of a delivery whose attempt ended with this error, or with none.
pub(super) fn of_attempt(facts: Facts, error: Option<ErrorKind>) -> Ending {
    let Some(kind) = error else { return Ending::Answer };
    // A requester repeats by itself, so only a write without one is kept until it can succeed.
    let is_over =
        kind == ErrorKind::DeadlineExceeded && facts.is_past_deadline || facts.has_waited_enough;
    if !facts.has_requester && kind.is_retryable() && !is_over {
        return Ending::Wait {
            is_in_doubt: facts.is_in_doubt || kind == ErrorKind::OutcomeUnknown,
        };
    }
    if is_certain(facts, kind) {
        return if facts.has_requester { Ending::Answer } else { Ending::DeadLetter };
    }
    let search = match kind {
        ErrorKind::OutcomeUnknown => Search::Patiently,
        _ if !facts.is_in_doubt => Search::Briefly,
        _ if kind.is_retryable() && facts.can_be_recorded => Search::Repeat,
        // A template or a parameter that this node does not know says nothing about the delivery before.
        _ => Search::Patiently,
    };
    // The caller of a write that may have happened need not wait until that is known.
    Ending::LookUp { search, answers_first: kind == ErrorKind::OutcomeUnknown }
}

/// The end of a delivery whose effect was looked up. `is_answered` where the requester has its answer already.
pub(super) fn of_look_up(facts: Facts, is_answered: bool, found: Found) -> Ending {
    match found {
        Found::Unknown if facts.has_requester => Ending::GiveBack,
        Found::Unknown if facts.has_waited_enough => Ending::DeadLetter,
        Found::Unknown => Ending::Wait { is_in_doubt: true },
        _ if is_answered && facts.has_requester => Ending::Report,
        Found::Refused if !facts.has_requester => Ending::DeadLetter,
        Found::Done | Found::Refused => Ending::Answer,
    }
}

/// True where the error tells the effect of a write: the inbox was asked, or no delivery and no event before this one can have
/// had the effect.
pub(super) fn is_certain(facts: Facts, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::OutcomeUnknown => false,
        // The inbox was asked, and the key is another request's: this one had no effect.
        ErrorKind::KeyReused => true,
        // The delivery before may hold the key itself, where there was one.
        ErrorKind::KeyInFlight => !facts.is_in_doubt,
        // The caller has no right: a first delivery was not begun, and an effect of another event is none of its business.
        ErrorKind::NotAllowed | ErrorKind::MissingClaim => !facts.is_in_doubt,
        // A client can send any number of these, and each look at the inbox takes the time of a task.
        ErrorKind::UnknownTemplate if facts.is_of_client => !facts.is_in_doubt,
        _ if facts.has_asked_inbox => true,
        // The inbox is away too.
        ErrorKind::StoreUnavailable => !facts.is_in_doubt,
        _ => !facts.is_in_doubt && facts.is_first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A first delivery from a gateway, without a key.
    fn of_gateway() -> Facts {
        Facts { has_requester: true, is_first: true, can_be_recorded: true, ..Facts::default() }
    }

    /// A redelivery of it.
    fn redelivered() -> Facts {
        Facts { is_in_doubt: true, ..of_gateway() }
    }

    /// A write whose publisher waits for no answer.
    fn of_publisher() -> Facts {
        Facts { can_be_recorded: true, ..Facts::default() }
    }

    fn look_up(search: Search) -> Ending {
        Ending::LookUp { search, answers_first: false }
    }

    #[test]
    fn each_delivery_has_its_ending() {
        use ErrorKind::*;
        let with_key = Facts { is_first: false, ..of_gateway() };
        let asked = |facts: Facts| Facts { has_asked_inbox: true, ..facts };
        let late = |facts: Facts| Facts { is_past_deadline: true, ..facts };
        let tired = |facts: Facts| Facts { has_waited_enough: true, ..facts };
        let in_doubt = |facts: Facts| Facts { is_in_doubt: true, ..facts };
        let unrecorded = |facts: Facts| Facts { can_be_recorded: false, ..facts };
        let first_answered = Ending::LookUp { search: Search::Patiently, answers_first: true };
        let wait = |is_in_doubt| Ending::Wait { is_in_doubt };
        let rows = [
            // A requester waits, and this is the first delivery.
            (of_gateway(), None, Ending::Answer),
            (of_gateway(), Some(WrongType), Ending::Answer),
            (of_gateway(), Some(DeadlineExceeded), Ending::Answer),
            (of_gateway(), Some(StoreUnavailable), Ending::Answer),
            (of_gateway(), Some(OutcomeUnknown), first_answered),
            (with_key, Some(KeyInFlight), Ending::Answer),
            (with_key, Some(KeyReused), Ending::Answer),
            (with_key, Some(StoreUnavailable), Ending::Answer),
            (with_key, Some(UnknownTemplate), look_up(Search::Briefly)),
            (asked(with_key), Some(DuplicateRecord), Ending::Answer),
            // A requester waits, and an earlier delivery may have had its effect.
            (redelivered(), None, Ending::Answer),
            (asked(redelivered()), Some(DeadlineExceeded), Ending::Answer),
            (redelivered(), Some(KeyReused), Ending::Answer),
            (redelivered(), Some(KeyInFlight), look_up(Search::Repeat)),
            (redelivered(), Some(StoreUnavailable), look_up(Search::Repeat)),
            (unrecorded(redelivered()), Some(Unavailable), look_up(Search::Patiently)),
            (redelivered(), Some(UnknownTemplate), look_up(Search::Patiently)),
            (redelivered(), Some(OutcomeUnknown), first_answered),
            // Its publisher waits for no answer.
            (of_publisher(), None, Ending::Answer),
            (of_publisher(), Some(StoreUnavailable), wait(false)),
            (of_publisher(), Some(OutcomeUnknown), wait(true)),
            (in_doubt(of_publisher()), Some(StoreUnavailable), wait(true)),
            (asked(of_publisher()), Some(WrongType), Ending::DeadLetter),
            (of_publisher(), Some(WrongType), look_up(Search::Briefly)),
            (asked(late(of_publisher())), Some(DeadlineExceeded), Ending::DeadLetter),
            (in_doubt(late(of_publisher())), Some(StoreUnavailable), wait(true)),
            (
                tired(in_doubt(late(of_publisher()))),
                Some(StoreUnavailable),
                look_up(Search::Repeat),
            ),
            (tired(late(of_publisher())), Some(OutcomeUnknown), first_answered),
        ];
        for (facts, error, ending) in rows {
            assert_eq!(of_attempt(facts, error), ending, "{error:?} with {facts:?}");
        }
    }

    #[test]
    fn each_search_has_its_ending() {
        let tired = Facts { has_waited_enough: true, ..of_publisher() };
        let rows = [
            (redelivered(), false, Found::Done, Ending::Answer),
            (redelivered(), false, Found::Refused, Ending::Answer),
            (redelivered(), true, Found::Done, Ending::Report),
            (redelivered(), true, Found::Refused, Ending::Report),
            (redelivered(), true, Found::Unknown, Ending::GiveBack),
            (redelivered(), false, Found::Unknown, Ending::GiveBack),
            (of_publisher(), true, Found::Done, Ending::Answer),
            (of_publisher(), true, Found::Refused, Ending::DeadLetter),
            (of_publisher(), false, Found::Unknown, Ending::Wait { is_in_doubt: true }),
            (tired, false, Found::Unknown, Ending::DeadLetter),
        ];
        for (facts, is_answered, found, ending) in rows {
            assert_eq!(of_look_up(facts, is_answered, found), ending, "{found:?} with {facts:?}");
        }
    }
}
