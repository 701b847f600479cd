//! Rules of `[access]`: names of roles, and keys that name a thing which the template does not have.
//!
//! Not here: the meaning of the keys (core/access.rs).

use toml::{Table, Value};

use crate::Mistake;
use crate::text::{is_name, quote};
use crate::toml_check::Checked;

/// Words for everybody, which are no roles: rights are given to roles that an issuer or a key names.
pub const RESERVED: [&str; 2] = ["anonymous", "authenticated"];

/// Reports broken rules.
pub(super) fn check(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let Some(Value::Table(access)) = checked.table.get("access") else { return };
    let mut refuse = |key: &str, message: String, fix: &str| {
        mistakes.push(Mistake::new(file, checked.line(&format!("access.{key}")), message, fix));
    };
    for (key, value) in access {
        match value {
            Value::Array(roles) => roles_of(key, roles, &mut refuse),
            Value::Table(named) => {
                let known = table(checked, key);
                for (name, roles) in named {
                    let path = format!("{key}.{name}");
                    if !known.is_some_and(|known| known.contains_key(name)) {
                        let message =
                            format!("`access.{path}` names a thing that is not in [{key}]");
                        refuse(&path, message, "correct the name, or remove it");
                    }
                    roles_of(&path, roles.as_array().map_or(&[][..], Vec::as_slice), &mut refuse);
                }
            }
            _ => {}
        }
        let is_operation = ["create", "fetch", "list", "update", "delete"].contains(&key.as_str());
        if is_operation && !table(checked, "objects").is_some_and(|known| known.contains_key(key)) {
            let message =
                format!("`access.{key}` is for an operation that the template does not offer");
            refuse(key, message, "remove it, or name the object under [objects]");
        }
    }
}

/// Reports names of roles of fields that cannot be names, and an id that some callers may not read: pages and addresses hold it.
pub(super) fn check_fields(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let id = checked.table.get("id").and_then(Value::as_str).unwrap_or_default();
    let fields = table(checked, "fields").into_iter().flatten();
    for (name, field) in fields {
        let mut refuse = |key: &str, message: String, fix: &str| {
            mistakes.push(Mistake::new(file, checked.line(&format!("fields.{key}")), message, fix));
        };
        if name == id && field.get("read").is_some() {
            let message = format!("`fields.{name}.read` hides the id of a record");
            refuse(name, message, "remove it: addresses of records and of pages hold the id");
        }
        for key in ["read", "write"] {
            let roles = field.get(key).and_then(Value::as_array);
            let path = format!("{name}.{key}");
            roles_of(&path, roles.map_or(&[][..], Vec::as_slice), &mut |key, message, fix| {
                refuse(key, message.replacen("`access.", "`fields.", 1), fix);
            });
        }
    }
}

fn table<'c>(checked: &'c Checked, key: &str) -> Option<&'c Table> {
    checked.table.get(key)?.as_table()
}

fn roles_of(key: &str, roles: &[Value], refuse: &mut impl FnMut(&str, String, &str)) {
    let names = roles.iter().filter_map(Value::as_str);
    for role in names.filter(|role| !is_name(role) || RESERVED.contains(role)) {
        let message = format!("`access.{key}` names the role {}", quote(role));
        let fix = "use 1 to 64 letters, digits, - or _, and a role that callers are given";
        refuse(key, message, fix);
    }
}
