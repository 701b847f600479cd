//! Rules of `[auth]` over more than one key.
//!
//! Not here: the files that it names, which the binary reads.

use toml::{Table, Value};

use crate::Mistake;
use crate::config::{Config, Environment, Issuer, TrustedCertificate, is_claim};
use crate::text::{is_name, is_unseen};
use crate::toml_check::Checked;

/// The longest prefix of an issuer, in bytes: with the longest `sub` it is a subject that an event can carry.
const MAX_PREFIX_BYTES: usize = 54;

/// Keys that an issuer lacks.
pub(super) fn missing(file: &str, checked: &Checked, table: &Table) -> Vec<Mistake> {
    let issuers = table.get("auth").and_then(|auth| auth.get("issuers")).and_then(Value::as_table);
    let mut mistakes = Vec::new();
    for (name, issuer) in issuers.into_iter().flatten() {
        for (key, sample) in [
            ("issuer", "https://id.example/realms/corp"),
            ("audience", "beds"),
            ("jwks_file", "secrets/corp.jwks"),
        ] {
            if issuer.get(key).is_none() {
                let path = format!("auth.issuers.{name}");
                let message = format!("[{path}] has no {key}");
                let fix = format!("add {key} = \"{sample}\"");
                mistakes.push(Mistake::new(file, checked.line(&path), message, fix));
            }
        }
    }
    mistakes
}

/// Values of `[auth]` and `[trust]` that do not go together.
pub(super) fn refusals(file: &str, checked: &Checked, config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut refuse = |path: &str, message: String, fix: &str| {
        mistakes.push(Mistake::new(file, checked.line(path), message, fix));
    };
    if config.node.environment == Environment::Production {
        if !config.auth.required {
            let message = "auth.required is false in production".to_owned();
            refuse("auth.required", message, "set it to true, which is the default");
        }
        if !config.trust.require_seal {
            let message = "trust.require_seal is false in production".to_owned();
            let fix = "set it to true, which is the default, once no unsealed event waits any more";
            refuse("trust.require_seal", message, fix);
        }
    }
    logins(config, &mut refuse);
    prefixes(config, &mut refuse);
    issuers(config, &mut refuse);
    mistakes
}

/// Takes the path of a key, a message and a fix.
type Refuse<'r> = dyn FnMut(&str, String, &str) + 'r;

/// Logins of RabbitMQ and client certificates, and the callers for whom they stand.
fn logins(config: &Config, refuse: &mut Refuse<'_>) {
    let logins = &config.trust.logins;
    let certificates = &config.auth.certificates;
    let callers =
        logins.iter().map(|(name, login)| (format!("trust.logins.{name}"), name, login)).chain(
            certificates
                .iter()
                .map(|(name, of)| (format!("auth.certificates.{name}"), name, &of.caller)),
        );
    for (path, name, caller) in callers {
        let subject = &caller.subject;
        if !subject.starts_with("app:") || subject.contains(is_unseen) || subject.trim() != subject
        {
            let message = format!("{name} stands for the subject {subject:?}");
            let fix = "begin it with app:, which no token of an issuer can have";
            refuse(&format!("{path}.subject"), message, fix);
        }
        for role in caller.roles.iter().filter(|role| !is_name(role)) {
            let message = format!("{name} has the role {role:?}");
            refuse(&format!("{path}.roles"), message, "use 1 to 64 letters, digits, - or _");
        }
    }
    for (name, certificate) in certificates {
        let path = format!("auth.certificates.{name}.san");
        let is_twin = |(other, of): (&String, &TrustedCertificate)| {
            other != name && of.san.eq_ignore_ascii_case(&certificate.san)
        };
        if certificate.san.is_empty() || certificates.iter().any(is_twin) {
            let message = format!("the certificate {name} has the name {:?}", certificate.san);
            let fix = "write a DNS name or a URI of it that no other certificate has";
            refuse(&path, message, fix);
        }
    }
    let tls = config.services.appserver.tls.as_ref();
    if !certificates.is_empty() && tls.is_none_or(|tls| tls.client_ca_file.is_none()) {
        let message = "client certificates are named, and no authority of theirs".to_owned();
        let fix = "set services.appserver.tls.client_ca_file";
        refuse("auth.certificates", message, fix);
    }
}

fn prefixes(config: &Config, refuse: &mut Refuse<'_>) {
    let issuers = &config.auth.issuers;
    for (name, issuer) in issuers {
        let path = format!("auth.issuers.{name}");
        let prefix = &issuer.prefix;
        // "" and "corp/" too: a sub of the first could be `corp/ana`.
        let begins =
            |other: &str, rules: &Issuer| other != name && rules.prefix.starts_with(prefix);
        if let Some((twin, _)) = issuers.iter().find(|(other, rules)| begins(other, rules)) {
            let message = format!(
                "the prefix of the issuer {name} begins that of {twin}, so one could name a subject of the other"
            );
            refuse(&path, message, "give each its own, such as prefix = \"corp/\"");
        }
        if prefix.len() > MAX_PREFIX_BYTES || prefix.contains(is_unseen) || prefix.contains(':') {
            let message = format!("the prefix of the issuer {name} is {prefix:?}");
            let fix = "write up to 54 bytes without a colon, such as corp/";
            refuse(&format!("{path}.prefix"), message, fix);
        }
    }
}

/// The pointers into the tokens of each issuer, and the names of claims.
fn issuers(config: &Config, refuse: &mut Refuse<'_>) {
    for (name, issuer) in &config.auth.issuers {
        let path = format!("auth.issuers.{name}");
        let claims = issuer.claims.iter().map(|(claim, at)| (format!("claims.{claim}"), at));
        let pointers = claims.chain(issuer.roles.iter().map(|at| ("roles".to_owned(), at)));
        for (key, pointer) in pointers.filter(|(_, pointer)| !pointer.starts_with('/')) {
            let message = format!("`{path}.{key}` is {pointer:?}, which is no JSON pointer");
            let fix = "begin it with a slash, such as /realm_access/roles";
            refuse(&format!("{path}.{key}"), message, fix);
        }
        for claim in issuer.claims.keys().filter(|claim| !is_claim(claim)) {
            let message = format!("{claim:?} cannot be the name of a claim");
            let fix = "use 1 to 32 small letters, digits or _, as in p_claim_tenant";
            refuse(&format!("{path}.claims"), message, fix);
        }
    }
}
