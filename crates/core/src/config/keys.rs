//! The table of every key that `beds.toml` may hold. `config/beds.default.toml` explains each.
//!
//! Not here: the checks of values (check.rs).

use crate::toml_check::{Key, Kind};

macro_rules! keys {
    ($($path:literal $kind:ident,)*) => { &[$(Key { path: $path, kind: Kind::$kind },)*] };
}

pub(super) const KEYS: &[Key] = keys! {
    "node.name" Text,
    "node.environment" Text,
    "node.shutdown_grace" Text,
    "node.control" Text,
    "node.probes" Text,
    "amqp.url" Text,
    "amqp.url_file" Text,
    "amqp.heartbeat" Text,
    "amqp.confirm_timeout" Text,
    "amqp.max_queue_length" Integer,
    "amqp.max_queue_bytes" Integer,
    "amqp.max_event_bytes" Integer,
    "services.appserver.is_local" Boolean,
    "services.appserver.listen" Text,
    "services.appserver.hosts" Texts,
    "services.appserver.origins" Texts,
    "services.appserver.max_connections" Integer,
    "services.appserver.max_body_bytes" Integer,
    "services.appserver.max_body_values" Integer,
    "services.appserver.max_in_flight" Integer,
    "services.appserver.header_timeout" Text,
    "services.appserver.body_timeout" Text,
    "services.appserver.default_timeout" Text,
    "services.appserver.max_timeout" Text,
    "services.rec.is_local" Boolean,
    "services.rec.handler_timeout" Text,
    "services.rec.instances.read" Integer,
    "services.rec.instances.write" Integer,
    "services.rel.is_local" Boolean,
    "services.rel.handler_timeout" Text,
    "services.rel.instances.read" Integer,
    "services.rel.instances.write" Integer,
    "services.admin.is_local" Boolean,
    "services.admin.instances.log" Integer,
    "services.admin.instances.audit" Integer,
    "services.admin.instances.lineage" Integer,
    "services.admin.instances.metrics" Integer,
    "services.admin.signing_key_file" Text,
    "services.admin.signing_interval" Text,
    "reports.lineage" Boolean,
    "reports.audit" Boolean,
    "reports.log_level" Text,
    "reports.otlp" Text,
    "reports.hash_key" Text,
    "databases.rec.*.url" Text,
    "databases.rec.*.url_file" Text,
    "databases.rel.*.url" Text,
    "databases.rel.*.url_file" Text,
    "databases.rel.*.ca_file" Text,
    "templates.path" Text,
    "inbox.keep_days" Integer,
};
