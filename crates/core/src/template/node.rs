//! The templates of BEDS's own, through which nodes store and read their reports. They are compiled in: no file of a
//! folder can take their place. A later feature that has a template of its own adds it here.
//!
//! Not here: which of them callers may use, which is `routing`'s and `templates`'s.

/// Name of the file, as messages show it, and its text.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("(compiled in) audit.toml", include_str!("node/audit.toml")),
    ("(compiled in) audit_heads.toml", include_str!("node/audit_heads.toml")),
    ("(compiled in) lineage.toml", include_str!("node/lineage.toml")),
    ("(compiled in) logs.toml", include_str!("node/logs.toml")),
    ("(compiled in) metrics.toml", include_str!("node/metrics.toml")),
    ("(compiled in) tickets.toml", include_str!("node/tickets.toml")),
    ("(compiled in) ticket_results.toml", include_str!("node/ticket_results.toml")),
];
