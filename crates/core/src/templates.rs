//! [`Templates`]: the templates that a node knows, by name, and the descriptions of their operations.
//!
//! Not here: reading the files, which is the binary's; binding them to a database, which is the adapters'.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::access::{Access, Roles};
use crate::config::NodeAccess;
use crate::routing::{TICKET_RESULTS, TICKETS};
use crate::text::{list, quote};
use crate::{
    Actor, BedsError, ErrorKind, Mistake, Operation, ReportStream, Result, Template, template,
};

/// The templates of a node. Immutable: a reload makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    templates: BTreeMap<String, Arc<Template>>,
    /// The rights on the things that are no template of the user's.
    access: NodeAccess,
}

impl Templates {
    /// Reads the texts of template files, given as name of the file and text, and adds BEDS's own templates.
    ///
    /// A file with mistakes is left out and its mistakes are reported, so that one bad file does not take the others away.
    /// A file with the name of one of BEDS's own is left out with a warning.
    pub fn parse(files: &[(String, String)]) -> (Self, Vec<Mistake>) {
        let mut templates = Self::of_nodes();
        let mut mistakes = Vec::new();
        for (file, text) in files {
            // Only its name counts, not the rest of the file: one of an earlier release is no mistake.
            let named = text.parse::<toml::Table>().ok();
            let name =
                named.as_ref().and_then(|table| table.get("name")?.as_str()).unwrap_or_default();
            if templates.templates.get(name).is_some_and(|template| template.is_of_nodes) {
                let message =
                    format!("the template {name} is compiled in, so this file is ignored");
                mistakes.push(
                    Mistake::new(
                        file,
                        1,
                        message,
                        "remove the file, or give its template another name",
                    )
                    .as_warning(),
                );
                continue;
            }
            match Template::parse(file, text) {
                Ok(template) => {
                    if let Some(first) = templates.templates.get(&template.name) {
                        let message = format!(
                            "the template {} is also in {}",
                            template.name, first.source.file
                        );
                        mistakes.push(template.mistake(
                            "name",
                            message,
                            "give each template its own name",
                        ));
                    } else {
                        if template.access == Access::default() {
                            let fix = "add [access] with the roles that may read and write it";
                            let message = "no role may use the template";
                            mistakes.push(template.mistake("name", message, fix).as_warning());
                        }
                        templates.templates.insert(template.name.clone(), Arc::new(template));
                    }
                }
                Err(found) => mistakes.extend(found),
            }
        }
        (templates, mistakes)
    }

    /// BEDS's own templates alone.
    pub fn of_nodes() -> Self {
        let read = template::node::FILES
            .iter()
            .filter_map(|(file, text)| Template::of_nodes(file, text).ok());
        Self {
            templates: read.map(|template| (template.name.clone(), Arc::new(template))).collect(),
            access: NodeAccess::default(),
        }
    }

    /// The same with these rights on BEDS's own templates.
    #[must_use]
    pub fn with_access(mut self, access: NodeAccess) -> Self {
        for template in self.templates.values_mut().filter(|template| template.is_of_nodes) {
            let is_of_audit = matches!(template.name.as_str(), "Audit" | ReportStream::AUDIT_HEADS);
            let read = if is_of_audit { &access.audit } else { &access.lineage }.clone();
            // Their objects choose rows by their owner.
            let everyone = match template.name.as_str() {
                TICKETS => vec!["fetch", "list"],
                _ => Vec::new(),
            };
            let read = match template.name.as_str() {
                TICKETS => access.tickets.clone(),
                // The gateway reads them, when it has looked at the rights on the work itself.
                TICKET_RESULTS => Roles::new(),
                _ => read,
            };
            let own = Access { read, everyone, ..Access::default() };
            *template = Arc::new(Template { access: own, ..Template::clone(template) });
        }
        self.access = access;
        self
    }

    /// The rights on the things that are no template of the user's.
    pub fn access(&self) -> &NodeAccess {
        &self.access
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.templates.values()
    }

    pub fn len(&self) -> usize {
        self.templates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// The template of a name, or an error that says where they are listed.
    pub fn get(&self, name: &str) -> Result<&Arc<Template>> {
        self.templates.get(name).ok_or_else(|| unknown(name))
    }

    /// The template of a name, if the caller may do anything with it. To another caller it is as one that is not there.
    /// None stands for a caller with every right.
    pub fn known(&self, name: &str, caller: Option<&Actor>) -> Result<&Arc<Template>> {
        let is_known =
            |template: &&Arc<Template>| caller.is_none_or(|caller| template.access.knows(caller));
        self.templates.get(name).filter(is_known).ok_or_else(|| unknown(name))
    }

    /// The template of a name, if it offers the operation and the caller may use it. None stands for a caller with every right.
    pub fn offering(
        &self,
        name: &str,
        operation: Operation,
        object: Option<&str>,
        caller: Option<&Actor>,
    ) -> Result<&Arc<Template>> {
        let template = self.known(name, caller)?;
        is_for_callers(name, operation)?;
        let may = |operation, object: Option<&str>| {
            caller.is_none_or(|caller| template.access.allows(caller, operation, object))
        };
        if template.object(operation, object).is_some() {
            if let Some(caller) = caller {
                template.access.check(caller, operation, name, object)?;
            }
            return Ok(template);
        }
        // Only the operations that the caller may use are named.
        let text = match object {
            Some(job) if operation == Operation::Job => {
                let known = template.jobs.keys().map(String::as_str);
                let known: Vec<&str> =
                    known.filter(|name| may(Operation::Job, Some(name))).collect();
                format!("{name} has no job {}; it has: {}", quote(job), list(&known))
            }
            Some(object) => {
                let known = template.fetches.keys().map(String::as_str);
                let known: Vec<&str> =
                    known.filter(|name| may(Operation::Fetch, Some(name))).collect();
                format!("{name} has no fetch {}; it has: {}", quote(object), list(&known))
            }
            None => {
                let shown = |offer: &template::Offer<'_>| match offer.name {
                    Some(name) => format!("{} by {name}", offer.operation),
                    None => offer.operation.to_string(),
                };
                let offers = template.offers();
                let usable = offers.iter().filter(|offer| may(offer.operation, offer.name));
                let known: Vec<String> = usable.map(shown).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                format!("{name} does not offer {operation}; it offers: {}", list(&known))
            }
        };
        Err(BedsError::new(ErrorKind::NoSuchOperation, text))
    }
}

fn unknown(name: &str) -> BedsError {
    let text = format!("there is no template {}; GET /v1/templates lists them", quote(name));
    BedsError::new(ErrorKind::UnknownTemplate, text)
}

/// An error where only the nodes themselves do this with the template.
pub fn is_for_callers(template: &str, operation: Operation) -> Result<()> {
    if operation.is_write() && ReportStream::is_written_by_nodes(template) {
        let text = format!("{template} is written by the nodes alone; it can be read");
        return Err(BedsError::new(ErrorKind::NoSuchOperation, text));
    }
    Ok(())
}

/// The operations of a template that a caller can use.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateDescription {
    pub operations: Vec<Description>,
}

/// One operation and the parameters that it takes.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    pub operation: Operation,
    /// The named fetch, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub parameters: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_nodes_are_compiled_in_and_no_file_replaces_them() {
        let forged = "name = \"Audit\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\ncreate = \"x\"\n";
        let (templates, mistakes) =
            Templates::parse(&[("templates/a.toml".to_owned(), forged.to_owned())]);
        assert_eq!(templates.len(), template::node::FILES.len());
        assert_eq!(
            templates.get("Audit").unwrap().object(Operation::Create, None),
            Some("audit_keep")
        );
        assert!(mistakes.len() == 1 && mistakes[0].is_warning(), "{mistakes:?}");
        assert!(
            mistakes[0].to_string().starts_with("templates/a.toml:1: warning: "),
            "{}",
            mistakes[0]
        );
        for stream in ReportStream::ALL {
            assert!(templates.get(stream.template()).unwrap().is_of_nodes);
        }
        assert!(templates.get(ReportStream::AUDIT_HEADS).unwrap().is_of_nodes);
    }
}
