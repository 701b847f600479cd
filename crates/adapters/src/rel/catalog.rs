//! The offer of a MariaDB database: its routines with their parameters, its views, and the objects that both call, as
//! `beds_catalog` reads it from `information_schema`.
//!
//! Not here: whether a template fits, which is `bind`'s.

use std::collections::{BTreeMap, HashMap, HashSet};

use beds_core::{BedsError, ErrorKind, Result};
use jiff::Timestamp;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::connect::Database;
use super::error;
use super::lint::{Body, Code, Findings, Table};

/// The objects of one database.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) routines: BTreeMap<String, Routine>,
    pub(super) views: BTreeMap<String, View>,
    pub(super) columns: TableColumns,
    pub(super) server: Server,
    /// Objects that are there and that the login may not use, with the words that a GRANT names them by.
    pub(super) not_granted: BTreeMap<String, &'static str>,
    /// The name of the database at the server.
    pub(super) schema: String,
}

#[derive(Debug)]
pub(super) struct Routine {
    pub(super) is_function: bool,
    pub(super) parameters: Vec<Parameter>,
    /// Changes when the routine is replaced.
    pub(super) signature: Option<String>,
    pub(super) is_declared_to_write: bool,
    pub(super) is_declared_to_read: bool,
    /// Runs with the rights of the node's login.
    pub(super) is_invoker: bool,
    pub(super) definer: String,
    /// A function that returns JSON.
    pub(super) returns_json: bool,
    pub(super) findings: Findings,
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) is_invoker: bool,
    pub(super) findings: Findings,
}

/// The columns of tables and views.
#[derive(Debug, Default)]
pub(super) struct TableColumns {
    /// By table or view, in capitals: the names of its columns.
    of: HashMap<String, HashSet<String>>,
    /// By table, as the server spells it, and not of views: the JSON columns, which MariaDB sends as text.
    json: HashMap<String, HashSet<String>>,
    /// Names that are JSON in each table that has them.
    json_everywhere: HashSet<String>,
}

/// Facts that the server tells of itself.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// How far its clock is ahead of this node's, in seconds.
    pub(super) clock_ahead: Option<f64>,
    pub(super) time_zone: String,
    /// The definer of `beds_catalog`: the DBA.
    pub(super) definer: String,
    /// The age of the oldest key in the inbox.
    pub(super) oldest_key_hours: Option<i64>,
    /// Why old keys are not removed by themselves, if so.
    pub(super) never_pruned: Option<String>,
}

/// A parameter as the DBA declared it.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// The base type, such as `varchar`.
    pub(super) data_type: String,
    /// The whole declaration, such as `bigint(20) unsigned` or `enum('G','PG')`.
    pub(super) declared: String,
    pub(super) max_length: Option<u64>,
    pub(super) collation: Option<String>,
    pub(super) mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    In,
    Out,
    InOut,
}

impl TableColumns {
    /// Whether a column of a table is JSON; none where there is no such table, or it is a view.
    pub(super) fn is_json(&self, table: &str, column: &str) -> Option<bool> {
        self.json.get(table).map(|columns| columns.contains(column))
    }

    /// True for a name that is JSON in each table that has it.
    pub(super) fn are_json(&self, name: &str) -> bool {
        self.json_everywhere.contains(name)
    }

    /// The columns of the given tables and views, whose names are in capitals.
    pub(super) fn of_tables<'c>(
        &'c self,
        tables: impl Iterator<Item = &'c String>,
    ) -> impl Iterator<Item = &'c str> {
        tables.filter_map(|table| self.of.get(table)).flatten().map(String::as_str)
    }

    fn read(rows: &[Row]) -> Self {
        let mut columns = Self::default();
        let mut plain = HashSet::new();
        for row in rows {
            let (Some(table), Some(column)) = (text(row, "table_name"), text(row, "column_name"))
            else {
                continue;
            };
            columns.of.entry(table.to_uppercase()).or_default().insert(column.clone());
            // Of a view's columns nothing tells whether they are JSON.
            if number(row, "is_view") == Some(1) {
                continue;
            }
            let json = columns.json.entry(table).or_default();
            if number(row, "is_json") == Some(1) {
                json.insert(column);
            } else {
                plain.insert(column);
            }
        }
        columns.json_everywhere = columns
            .json
            .values()
            .flatten()
            .filter(|name| !plain.contains(*name))
            .cloned()
            .collect();
        columns
    }
}

pub(super) async fn read(database: &Database) -> Result<Catalog> {
    let mut loan = database.writer().await?;
    let failed = |e: mysql_async::Error| match &e {
        mysql_async::Error::Server(server) if matches!(server.code, 1305 | 1318 | 1370) => {
            database.not_set_up(e)
        }
        _ => error::to_beds(e, database),
    };
    let mut result = loan.conn().exec_iter("CALL `beds_catalog`()", ()).await.map_err(failed)?;
    let mut sets: Vec<Vec<Row>> = Vec::new();
    while !result.is_empty() {
        sets.push(result.collect::<Row>().await.map_err(failed)?);
    }
    drop(result);
    let granted: Vec<String> =
        loan.conn().exec("CALL `beds_granted`()", ()).await.map_err(failed)?;
    let schema = loan.conn().opts().db_name().unwrap_or_default().to_owned();
    loan.give_back();
    // beds_catalog of this release answers 8 sets, in the order of build.
    if sets.len() != 8 {
        let text = format!(
            "beds_catalog of the database {} is of another release; apply 0001_beds.sql again",
            database.name
        );
        return Err(BedsError::new(ErrorKind::TemplateUnusable, text));
    }
    let mut catalog = build(&sets, schema);
    // An object that this login may not use does not exist for it. The lint has seen it all the same.
    let granted: HashSet<String> = granted.into_iter().collect();
    let (routines, views) =
        (std::mem::take(&mut catalog.routines), std::mem::take(&mut catalog.views));
    let is_granted = |name: &String| granted.contains(name);
    for (name, routine) in routines {
        if is_granted(&name) {
            catalog.routines.insert(name, routine);
        } else {
            let right =
                if routine.is_function { "EXECUTE ON FUNCTION" } else { "EXECUTE ON PROCEDURE" };
            catalog.not_granted.insert(name, right);
        }
    }
    for (name, view) in views {
        if is_granted(&name) {
            catalog.views.insert(name, view);
        } else {
            catalog.not_granted.insert(name, "SELECT ON");
        }
    }
    Ok(catalog)
}

/// A text that changes whenever the catalog does. None while a further change could still go unseen.
pub(super) async fn version(database: &Database) -> Result<Option<String>> {
    let mut loan = database.writer().await?;
    let asked = Timestamp::now();
    let row: Option<Row> = loan
        .conn()
        .exec_first("CALL `beds_catalog_version`()", ())
        .await
        .map_err(|e| error::to_beds(e, database))?;
    loan.give_back();
    let said = row.as_ref().and_then(|row| text(row, "utc")?.parse::<Timestamp>().ok());
    if let Some(said) = said {
        database.pulse.note_clock(said, asked, Timestamp::now());
    }
    let settled = row.filter(|row| number(row, "is_settled") == Some(1));
    Ok(settled.and_then(|row| text(&row, "version")))
}

/// From the sets of `beds_catalog`, in their order.
fn build(sets: &[Vec<Row>], schema: String) -> Catalog {
    let [signatures, routines, parameters, views, columns, tables, triggers, server] = sets else {
        return Catalog::default();
    };
    let mut code = code(&schema, [routines, views, tables, triggers]);
    let parameters: Vec<(String, Parameter)> = parameters.iter().filter_map(parameter).collect();
    for (routine, parameter) in &parameters {
        for bodies in [&mut code.procedures, &mut code.functions] {
            if let Some(body) = bodies.get_mut(&routine.to_uppercase()) {
                body.add_parameter(&parameter.name);
            }
        }
    }
    let mut catalog =
        Catalog { columns: TableColumns::read(columns), schema, ..Catalog::default() };
    for row in routines {
        let Some(name) = text(row, "name") else { continue };
        let mut findings = code.inspect(&name, is_function(row));
        let is_other = |other: &&Row| text(other, "name").as_ref() == Some(&name);
        if routines.iter().filter(is_other).count() > 1 {
            findings.refusal =
                Some(format!("be called: {name} is the name of a procedure and of a function"));
        }
        let of_it = parameters.iter().filter(|(routine, _)| *routine == name);
        let parameters = of_it.map(|(_, parameter)| parameter.clone()).collect();
        let signature = signatures.iter().find(|row| text(row, "name").as_ref() == Some(&name));
        let signature = signature.and_then(|row| text(row, "signature"));
        let routine = Routine { parameters, signature, findings, ..Routine::read(row) };
        catalog.routines.insert(name, routine);
    }
    for row in views {
        let Some(name) = text(row, "name") else { continue };
        let is_invoker = text(row, "security").as_deref() == Some("INVOKER");
        let view = View { is_invoker, findings: code.inspect_view(&name) };
        catalog.views.insert(name, view);
    }
    if let Some(row) = server.first() {
        catalog.server = Server::read(row);
    }
    catalog
}

/// The bodies of a database, and the tables that they may write.
fn code(schema: &str, [routines, views, tables, triggers]: [&Vec<Row>; 4]) -> Code {
    let mut code = Code { database: schema.to_uppercase(), ..Code::default() };
    for row in tables {
        let Some(name) = text(row, "name") else { continue };
        let (engine, has_sequence) =
            (text(row, "engine").unwrap_or_default(), number(row, "has_sequence") == Some(1));
        code.tables.insert(name.to_uppercase(), Table { engine, has_sequence });
    }
    for row in triggers {
        let (Some(name), Some(table)) = (text(row, "name"), text(row, "table_name")) else {
            continue;
        };
        let body = Body::new(
            format!("the trigger {name}"),
            text(row, "definition").as_deref(),
            text(row, "sql_mode"),
        );
        code.triggers.entry(table.to_uppercase()).or_default().push(body);
    }
    for row in views {
        let Some(name) = text(row, "name") else { continue };
        code.views
            .insert(name.to_uppercase(), Body::new(name, text(row, "definition").as_deref(), None));
    }
    for row in routines {
        let Some(name) = text(row, "name") else { continue };
        let of_its_kind = if is_function(row) { &mut code.functions } else { &mut code.procedures };
        let body = Body::new(
            name.clone(),
            text(row, "definition").as_deref(),
            Some(text(row, "sql_mode").unwrap_or_default()),
        );
        of_its_kind.insert(name.to_uppercase(), body);
    }
    code
}

fn is_function(row: &Row) -> bool {
    text(row, "kind").as_deref() == Some("FUNCTION")
}

impl Routine {
    /// The routine without its parameters, its signature and the findings about its body.
    fn read(row: &Row) -> Self {
        let is = |column: &str, value: &str| text(row, column).as_deref() == Some(value);
        Self {
            is_function: is_function(row),
            parameters: Vec::new(),
            signature: None,
            is_declared_to_write: is("data_access", "MODIFIES SQL DATA"),
            is_declared_to_read: is("data_access", "READS SQL DATA"),
            is_invoker: is("security", "INVOKER"),
            definer: text(row, "definer").unwrap_or_default(),
            returns_json: is("returns", "longtext") && is("collation", "utf8mb4_bin"),
            findings: Findings::default(),
        }
    }
}

impl Server {
    fn read(row: &Row) -> Self {
        let utc = text(row, "utc").and_then(|utc| utc.parse::<Timestamp>().ok());
        let zone = text(row, "time_zone").unwrap_or_default();
        let system = text(row, "system_time_zone").unwrap_or_default();
        let scheduler = text(row, "event_scheduler").unwrap_or_default();
        let event = text(row, "prune_event").unwrap_or_else(|| "not there".to_owned());
        let never_pruned = match (scheduler.as_str(), event.as_str()) {
            ("ON", "ENABLED") => None,
            ("ON", event) => {
                Some(format!("the event beds_inbox_hourly is {}", event.to_lowercase()))
            }
            (scheduler, _) => Some(format!("event_scheduler is {scheduler}")),
        };
        Self {
            clock_ahead: utc.map(|utc| utc.duration_since(Timestamp::now()).as_secs_f64()),
            time_zone: if zone == "SYSTEM" { system } else { zone },
            definer: text(row, "definer").unwrap_or_default(),
            oldest_key_hours: number(row, "oldest_key_hours"),
            never_pruned,
        }
    }
}

fn parameter(row: &Row) -> Option<(String, Parameter)> {
    let mode = match text(row, "mode").as_deref() {
        Some("OUT") => Mode::Out,
        Some("INOUT") => Mode::InOut,
        _ => Mode::In,
    };
    let parameter = Parameter {
        name: text(row, "name").unwrap_or_default(),
        data_type: text(row, "type").unwrap_or_default().to_lowercase(),
        declared: text(row, "declared").unwrap_or_default(),
        max_length: row.get_opt::<Option<u64>, _>("max_length").and_then(|r| r.ok()).flatten(),
        collation: text(row, "collation"),
        mode,
    };
    Some((text(row, "routine")?, parameter))
}

fn number(row: &Row, column: &str) -> Option<i64> {
    row.get_opt::<Option<i64>, _>(column)?.ok()?
}

fn text(row: &Row, column: &str) -> Option<String> {
    row.get_opt::<Option<Vec<u8>>, _>(column)?
        .ok()?
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
