//! The facts that BEDS must know of a routine before it calls it: whether the routine would end the transaction that it is called in,
//! whether it was made under a mode that cuts values or changes the language, and its traces in the session. It reads
//! words outside comments and texts, and follows nested calls, functions, the triggers of written tables, and views.
//!
//! Not here: the effect of single statements (lint/statements.rs); reports of the findings (bind.rs).

mod begins;
mod statements;
mod targets;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use statements::{Effects, effects};
use targets::Target;
use words::{Word, words};

/// Everything of one database that can run when a routine is called. Names are in capitals.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) procedures: BTreeMap<String, Body>,
    pub(super) functions: BTreeMap<String, Body>,
    pub(super) views: BTreeMap<String, Body>,
    /// By table.
    pub(super) triggers: BTreeMap<String, Vec<Body>>,
    pub(super) tables: BTreeMap<String, Table>,
    /// The name of the database.
    pub(super) database: String,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) engine: String,
    /// A column takes its default from a sequence.
    pub(super) has_sequence: bool,
}

/// The text of a routine, trigger or view.
#[derive(Debug)]
pub(super) struct Body {
    /// As messages name it, such as `the trigger flights_rules`.
    shown: String,
    /// None where the catalog may not show it.
    words: Option<Vec<Word>>,
    sql_mode: Option<String>,
    parameters: BTreeSet<String>,
}

/// The facts found out about a routine and all that it leads to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why it must not be called, if so; completes "x cannot".
    pub(super) refusal: Option<String>,
    pub(super) leaves_session: bool,
    pub(super) reads_session: bool,
    pub(super) builds_temporary: bool,
    pub(super) advances_sequence: bool,
    /// Names under which JSON is answered.
    pub(super) json_names: BTreeSet<String>,
    /// Tables of this database that are written, in capitals.
    pub(super) written: BTreeSet<String>,
    /// Tables that are written and whose engine cannot roll back.
    pub(super) unsafe_tables: BTreeSet<String>,
    /// Tables of other databases that are written, and functions of theirs: of their effects nothing is known.
    pub(super) elsewhere: BTreeSet<String>,
    /// Tables and views that are named, in capitals.
    pub(super) tables: BTreeSet<String>,
    /// Every word, as it was written: the names of its possible answers are among them.
    pub(super) names: BTreeSet<String>,
}

impl Body {
    /// `sql_mode` is none for objects without one, such as views.
    pub(super) fn new(shown: String, text: Option<&str>, sql_mode: Option<String>) -> Self {
        Self { shown, words: text.map(words), sql_mode, parameters: BTreeSet::new() }
    }

    pub(super) fn add_parameter(&mut self, name: &str) {
        self.parameters.insert(name.to_uppercase());
    }

    /// Why nothing that was made under this mode may run, or `None`.
    fn mode_refusal(&self) -> Option<String> {
        let mode = self.sql_mode.as_ref()?;
        let has = |name: &str| mode.split(',').any(|word| word.eq_ignore_ascii_case(name));
        for language in ["ORACLE", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"] {
            if has(language) {
                return Some(format!(
                    "{} was made with sql_mode {language}, which BEDS does not read",
                    self.shown
                ));
            }
        }
        let is_strict = has("STRICT_ALL_TABLES") || has("STRICT_TRANS_TABLES");
        (!is_strict).then(|| {
            format!(
                "{} was made without strict mode, so it would cut values silently: make it anew in strict mode",
                self.shown
            )
        })
    }
}

impl Code {
    /// Looks at a routine; `name` as the catalog spells it.
    pub(super) fn inspect(&self, name: &str, is_function: bool) -> Findings {
        let mut walk = Walk { code: self, seen: HashSet::new(), findings: Findings::default() };
        let routines = if is_function { &self.functions } else { &self.procedures };
        if let Some(body) = routines.get(&name.to_uppercase()) {
            walk.body(body);
        }
        walk.findings
    }

    /// Looks at a view.
    pub(super) fn inspect_view(&self, name: &str) -> Findings {
        let mut walk = Walk { code: self, seen: HashSet::new(), findings: Findings::default() };
        walk.findings.tables.insert(name.to_uppercase());
        if let Some(body) = self.views.get(&name.to_uppercase()) {
            walk.body(body);
        }
        walk.findings
    }
}

struct Walk<'c> {
    code: &'c Code,
    seen: HashSet<&'c str>,
    findings: Findings,
}

impl<'c> Walk<'c> {
    fn body(&mut self, body: &'c Body) {
        // Routines may call each other in a circle: each body is read once.
        if !self.seen.insert(&body.shown) {
            return;
        }
        self.refuse(body.mode_refusal().map(|reason| format!("be called: {reason}")));
        let Some(words) = &body.words else {
            let text = "cannot be read; its definer must be the definer of beds_catalog, or beds_catalog's must see it";
            return self.refuse(Some(format!("be called: the body of {} {text}", body.shown)));
        };
        let Effects {
            forbidden,
            leaves_session,
            reads_session,
            builds_temporary,
            advances_sequence,
            json_names,
            writes,
            calls,
        } = effects(words, &body.parameters);
        self.refuse(forbidden.map(|found| {
            format!("run inside the transaction of BEDS: {} uses {found}", body.shown)
        }));
        self.findings.leaves_session |= leaves_session;
        self.findings.reads_session |= reads_session;
        self.findings.builds_temporary |= builds_temporary;
        self.findings.advances_sequence |= advances_sequence;
        self.findings.json_names.extend(json_names);
        for (i, word) in words.iter().enumerate() {
            self.word(body, words, i, word);
        }
        let other = |target: &Target| {
            target.database.clone().filter(|database| *database != self.code.database)
        };
        let elsewhere: Vec<String> = writes
            .union(&calls)
            .filter_map(|target| Some(format!("{}.{}", other(target)?, target.name).to_lowercase()))
            .collect();
        self.findings.elsewhere.extend(elsewhere);
        for target in writes.iter().filter(|target| other(target).is_none()) {
            self.write(&target.name);
        }
    }

    fn word(&mut self, body: &Body, words: &'c [Word], i: usize, word: &Word) {
        self.findings.names.insert(word.written.clone());
        let name = word.upper.trim_start_matches('`');
        if BELONGS_TO_BEDS.contains(&name) {
            self.refuse(Some(format!(
                "be called: {} uses {}, which belongs to BEDS itself",
                body.shown, word.written
            )));
        }
        if word.is("CALL") {
            let mark = |at: usize| words.get(at).map_or("", |word| word.upper.as_str());
            if mark(i + 2) == "." {
                let text =
                    "names the database of a procedure that it calls; leave the database out";
                return self.refuse(Some(format!("be called: {} {text}", body.shown)));
            }
            if let Some(callee) = self.code.procedures.get(mark(i + 1).trim_start_matches('`')) {
                self.body(callee);
            }
        }
        if words.get(i + 1).is_some_and(|next| next.is("("))
            && let Some(function) = self.code.functions.get(name)
        {
            self.body(function);
        }
        if self.code.tables.contains_key(name) {
            self.findings.tables.insert(name.to_owned());
        }
        if let Some(view) = self.code.views.get(name) {
            self.findings.tables.insert(name.to_owned());
            self.body(view);
        }
    }

    /// A table is written, or a view, and with it any of the tables that it is made of.
    fn write(&mut self, name: &str) {
        if let Some(view) = self.code.views.get(name) {
            let words: Vec<&str> = view
                .words
                .iter()
                .flatten()
                .map(|word| word.upper.trim_start_matches('`'))
                .collect();
            for table in words.iter().filter(|word| self.code.tables.contains_key(**word)) {
                self.write(table);
            }
            // As the server writes a view down, each column stands behind its table and its database.
            for column in words.windows(5) {
                if let [database, ".", table, ".", _] = column
                    && *database != self.code.database
                {
                    self.findings.elsewhere.insert(format!("{database}.{table}").to_lowercase());
                }
            }
        }
        let Some(Table { engine, has_sequence }) = self.code.tables.get(name) else { return };
        self.findings.written.insert(name.to_owned());
        self.findings.advances_sequence |= has_sequence;
        if !engine.eq_ignore_ascii_case("InnoDB") {
            self.findings.unsafe_tables.insert(format!("{} ({engine})", name.to_lowercase()));
        }
        for trigger in self.code.triggers.get(name).into_iter().flatten() {
            self.body(trigger);
        }
    }

    fn refuse(&mut self, reason: Option<String>) {
        if self.findings.refusal.is_none() {
            self.findings.refusal = reason;
        }
    }
}

/// BEDS's own objects.
const BELONGS_TO_BEDS: &[&str] = &[
    "BEDS_CATALOG",
    "BEDS_CATALOG_VERSION",
    "BEDS_CHANGES_DONE",
    "BEDS_CHANGES_TAKE",
    "BEDS_END",
    "BEDS_END_OWN",
    "BEDS_GRANTED",
    "BEDS_INBOX",
    "BEDS_INBOX_ABORT",
    "BEDS_INBOX_BEGIN",
    "BEDS_INBOX_COMMIT",
    "BEDS_INBOX_COMMIT_CHANGES",
    "BEDS_INBOX_PRUNE",
    "BEDS_READ_CHECK",
    "BEDS_SCHEMA",
    "BEDS_SCHEMA_LIST",
    "BEDS_SCHEMA_RECORD",
    "BEDS_SIGNATURE",
];

#[cfg(test)]
mod tests;
