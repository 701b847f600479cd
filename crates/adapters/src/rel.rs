//! REL: templates in MariaDB. A template's operation is one statement of the three shapes in `bind`, and nothing else is
//! ever sent but the four procedures of the inbox and the catalogue. `rec` is built the same way, file by file.

mod bind;
mod call;
mod catalog;
mod connect;
mod convert;
mod error;
mod json;
mod lint;
mod once;
mod schema;

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::{
    Event, Fields, NamasteCore, Operation, Problem, Result, Template, TemplateAdapter, TemplateDescription,
};

pub(crate) use connect::Database;
pub(crate) use schema::apply;

use crate::opened::{Opened, Reach};
use crate::operations::{Operations, check_rest};
use bind::Binding;

/// A template bound to a MariaDB database.
pub(crate) struct RelTemplate {
    template: Arc<Template>,
    database: Arc<Database>,
    operations: Operations<Binding>,
}

/// Binds templates of one database: asks the database once which objects it has, then fits each template to them.
pub(crate) async fn bind(
    database: &Arc<Database>,
    templates: &[Arc<Template>],
) -> Result<Vec<(Arc<Template>, Arc<dyn TemplateAdapter>, Vec<Problem>)>> {
    let catalog = Arc::new(catalog::read(database).await?);
    Ok(templates
        .iter()
        .map(|template| {
            let mut problems = Vec::new();
            let operations = Operations::bind(template, |offer| bind::bind(&catalog, template, offer, &mut problems));
            let bound = RelTemplate { template: Arc::clone(template), database: Arc::clone(database), operations };
            let takes_any_field = bound.operations.bindings().any(|binding| binding.takes_any_field());
            problems.extend(check_rest(template, &bound.describe(), takes_any_field, |object| {
                catalog.routines.contains_key(object) || catalog.views.contains(object)
            }));
            (Arc::clone(template), Arc::new(bound) as Arc<dyn TemplateAdapter>, problems)
        })
        .collect())
}

impl TemplateAdapter for RelTemplate {
    fn open(self: Arc<Self>, event: Arc<Event>) -> Box<dyn NamasteCore> {
        Box::new(Opened { template: self, event })
    }

    fn describe(&self) -> TemplateDescription {
        self.operations.describe(Binding::parameters)
    }
}

impl Reach for RelTemplate {
    async fn read(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        name: Option<&str>,
        id: Option<&str>,
        params: &Fields,
    ) -> Result<Answer> {
        let binding = self.operations.get(&self.template, operation, name)?;
        let arguments = binding.arguments(event, id, params)?;
        call::read(&self.database, binding, arguments, event).await
    }

    async fn write(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        id: Option<&str>,
        fields: &Fields,
    ) -> Result<Answer> {
        let binding = self.operations.get(&self.template, operation, None)?;
        let arguments = binding.arguments(event, id, fields)?;
        once::write(&self.database, binding, arguments, event).await
    }
}
