//! What a MariaDB database offers: its routines, their parameters and its views, as `beds_catalog` reads them from
//! `information_schema`. Whether a template fits is `bind`'s to say.

use std::collections::{BTreeMap, HashMap, HashSet};

use beds_core::{BedsError, ErrorKind, Result};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use super::connect::Database;
use super::{error, lint};

/// The objects of one database.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) routines: BTreeMap<String, Routine>,
    pub(super) views: HashSet<String>,
    /// The JSON columns of each table: MariaDB sends them as text.
    pub(super) json_columns: HashMap<String, HashSet<String>>,
}

#[derive(Debug)]
pub(super) struct Routine {
    pub(super) is_function: bool,
    pub(super) parameters: Vec<Parameter>,
    /// Why it must not be called inside a transaction of BEDS, if so.
    pub(super) refusal: Option<String>,
}

/// A parameter as the DBA declared it.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// The base type, such as `varchar`.
    pub(super) data_type: String,
    /// The whole declaration, such as `bigint(20) unsigned`.
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

pub(super) async fn read(database: &Database) -> Result<Catalog> {
    let mut loan = database.connection().await?;
    let failed = |e: mysql_async::Error| match &e {
        mysql_async::Error::Server(server) if matches!(server.code, 1305 | 1370) => {
            let text = format!(
                "the database {} has no beds_catalog or beds_granted that this login may call; apply schema/rel/*/0001_beds.sql and grant the role beds_runtime",
                database.name
            );
            BedsError::new(ErrorKind::TemplateUnusable, text).with_source(e)
        }
        _ => error::to_beds(e, database),
    };
    let mut result = loan.conn().exec_iter("CALL `beds_catalog`()", ()).await.map_err(failed)?;
    let mut sets: Vec<Vec<Row>> = Vec::new();
    while !result.is_empty() {
        sets.push(result.collect::<Row>().await.map_err(failed)?);
    }
    drop(result);
    let granted: Vec<String> = loan.conn().exec("CALL `beds_granted`()", ()).await.map_err(failed)?;
    loan.give_back();
    let mut sets = sets.into_iter();
    let mut next = || sets.next().unwrap_or_default();
    let (routines, parameters, views, json) = (next(), next(), next(), next());
    let mut catalog = build(&routines, &parameters, &views, &json);
    // What this login may not use does not exist for it. The lint above has seen it all the same.
    let granted: HashSet<String> = granted.into_iter().collect();
    catalog.routines.retain(|name, _| granted.contains(name));
    catalog.views.retain(|name| granted.contains(name));
    Ok(catalog)
}

fn build(routines: &[Row], parameters: &[Row], views: &[Row], json: &[Row]) -> Catalog {
    let mut catalog = Catalog::default();
    let mut ambiguous = HashSet::new();
    let mut definitions = lint::Definitions::new();
    for row in routines {
        let Some(name) = text(row, "name") else { continue };
        definitions.insert(name.clone(), text(row, "definition"));
        let is_function = text(row, "kind").as_deref() == Some("FUNCTION");
        let routine = Routine { is_function, parameters: Vec::new(), refusal: None };
        if catalog.routines.insert(name.clone(), routine).is_some() {
            ambiguous.insert(name);
        }
    }
    for row in parameters {
        let Some(routine) = text(row, "routine").and_then(|name| catalog.routines.get_mut(&name)) else { continue };
        let mode = match text(row, "mode").as_deref() {
            Some("OUT") => Mode::Out,
            Some("INOUT") => Mode::InOut,
            _ => Mode::In,
        };
        routine.parameters.push(Parameter {
            name: text(row, "name").unwrap_or_default(),
            data_type: text(row, "type").unwrap_or_default().to_lowercase(),
            declared: text(row, "declared").unwrap_or_default().to_lowercase(),
            max_length: row.get_opt::<Option<u64>, _>("max_length").and_then(|r| r.ok()).flatten(),
            collation: text(row, "collation"),
            mode,
        });
    }
    for (name, routine) in &mut catalog.routines {
        routine.refusal = match ambiguous.contains(name) {
            true => Some(format!("{name} is the name of a procedure and of a function")),
            false => lint::refusal(name, &definitions),
        };
    }
    catalog.views = views.iter().filter_map(|row| text(row, "name")).collect();
    for (table, column) in json.iter().filter_map(|row| Some((text(row, "table_name")?, text(row, "column_name")?))) {
        catalog.json_columns.entry(table).or_default().insert(column);
    }
    catalog
}

fn text(row: &Row, column: &str) -> Option<String> {
    row.get_opt::<Option<Vec<u8>>, _>(column)?.ok()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
