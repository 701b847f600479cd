//! [`Reader`]: reads the trail for one request. Its first read is the request's own event, the others are consequences of it.
//!
//! Not here: which reports make a tree (`trail::read`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use beds_core::{NamasteCore, Result};
use beds_trail::read::{self, Open};
use beds_trail::tree::{self, Tree};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Client, Context, RemoteTemplate};

/// How often an id that is not known yet is looked for again: reports arrive a moment after the answer.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Reads reports through their templates, like any data.
pub struct Reader {
    client: Client,
    context: Context,
    is_used: Arc<AtomicBool>,
}

impl Reader {
    pub fn new(client: &Client, context: Context) -> Self {
        Self { client: client.clone(), context, is_used: Arc::default() }
    }

    /// The reports that a named fetch of one of BEDS's own templates finds.
    pub async fn fetch<T: DeserializeOwned>(
        &self,
        template: &str,
        name: &str,
        arguments: Vec<(&str, Value)>,
    ) -> Result<Vec<T>> {
        read::fetch(self, template, name, arguments).await
    }

    /// The tree of an event, given any id of it.
    ///
    /// # Errors
    /// [`beds_core::ErrorKind::NoSuchRecord`] where no report of it has come within a second.
    pub async fn tree(&self, id: &str) -> Result<Tree> {
        for look in 1..=LOOKS {
            if let Some(tree) = read::tree(self, id).await? {
                return Ok(tree);
            }
            if look < LOOKS {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        Err(tree::unknown(id))
    }
}

impl Open for Reader {
    fn open(&self, template: &str) -> Box<dyn NamasteCore> {
        let (client, is_used) = (self.client.clone(), Arc::clone(&self.is_used));
        Box::new(RemoteTemplate {
            client,
            template: template.to_owned(),
            context: self.context.clone(),
            is_used,
        })
    }
}
