//! Tests of the reading of `beds.toml` and the environment.
//!
//! Not here: the commands that read it (`beds/tests/it/command_line.rs`).

use super::*;
use crate::config::Environment;

const GOOD: &str = "[amqp]\nurl = \"amqp://u:p@h/v\"\n";

fn read(path: &Path) -> std::io::Result<String> {
    if path == Path::new("/etc/beds/amqp.url") {
        Ok("amqp://a:b@c/d\n".into())
    } else {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn with(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    load("beds.toml", text, Path::new("/etc/beds"), env, &read)
        .map_err(|p| p.iter().map(ToString::to_string).collect())
}

#[test]
fn the_compiled_in_file_is_the_defaults() {
    let config = with(GOOD, &[]).unwrap();
    assert_eq!(config.node.environment, Environment::Development);
    assert_eq!(config.services.rel.instances.total(), 16);
    assert_eq!(config.templates.path, Path::new("/etc/beds/templates"));
    for key in KEYS {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(
            DEFAULTS.contains(&format!("{name} = ")),
            "beds.default.toml does not explain {}",
            key.path
        );
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = with(
        "[node]\nname = \"a b\"\nshutdown_grace = \"soon\"\n[amqp]\nurll = \"x\"\n[services.rel]\nis_local = 1\n",
        &[],
    )
    .unwrap_err();
    let text = found.join("\n");
    for part in [
        "beds.toml:2",
        "beds.toml:3",
        "beds.toml:5",
        "did you mean `url`",
        "beds.toml:7",
        "[amqp] has no url",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn the_environment_wins_and_is_checked_too() {
    let config = with(
        GOOD,
        &[("BEDS__NODE__NAME", "n2"), ("BEDS__SERVICES__REL__INSTANCES__READ", "3"), ("PATH", "/")],
    )
    .unwrap();
    assert_eq!((config.node.name.as_str(), config.services.rel.instances.read.get()), ("n2", 3));
    let logs =
        with(GOOD, &[("BEDS__DATABASES__REC__MSLOGS__URL", "mongodb://a:b@127.0.0.1:1/logs")])
            .unwrap();
    assert!(logs.databases.rec.contains_key("msLogs"), "as BEDS itself spells it");
    let lists = [
        ("BEDS__SERVICES__APPSERVER__HOSTS", "a.example, b.example"),
        ("BEDS__REPORTS__HASH_KEYS", ""),
    ];
    let config = with(GOOD, &lists).unwrap();
    assert_eq!(config.services.appserver.hosts, ["a.example", "b.example"]);
    assert!(config.reports.hash_keys.is_empty());
    let found = with(GOOD, &[("BEDS__NODE__NMAE", "x"), ("BEDS__AMQP__MAX_QUEUE_LENGTH", "many")])
        .unwrap_err();
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_secret_can_be_a_file_and_is_never_printed() {
    let config = with("[amqp]\nurl_file = \"amqp.url\"\n", &[]).unwrap();
    assert_eq!(config.amqp.url.expose(), "amqp://a:b@c/d");
    assert!(!format!("{config:?}").contains("a:b"));
    assert!(with("[amqp]\nurl_file = \"none\"\n", &[]).unwrap_err()[0].contains("beds.toml:2"));
    let found = with("[amqp]\nurl = \"http://ana:s3cret@h\"\n", &[]).unwrap_err();
    assert!(!found[0].contains("s3cret"), "{found:?}");
}

#[test]
fn an_open_gateway_is_refused() {
    let gateway =
        |rest: &str| with(&format!("{GOOD}[services.appserver]\nis_local = true\n{rest}"), &[]);
    assert!(gateway("").is_ok());
    assert!(gateway("listen = \"0.0.0.0:80\"\n").unwrap_err()[0].contains("loopback"));
    assert!(
        gateway("[node]\nenvironment = \"production\"\n").unwrap_err()[0].contains("production")
    );
}

#[test]
fn a_database_has_a_name_that_fits_into_a_queue_and_may_have_tasks_of_its_own() {
    let rel = "[services.rel]\nis_local = true\ninstances = { read = 3, write = 4 }\n";
    let url = "url = \"mysql://u:p@h/d\"\n";
    let good = format!(
        "{GOOD}{rel}[databases.rel.shop]\n{url}instances = {{ read = 1 }}\n[databases.rel.main]\n{url}"
    );
    let config = with(&good, &[]).unwrap();
    let tasks = |name: &str| {
        let instances = config.instances(crate::Store::Rel, name);
        (instances.read.get(), instances.write.get())
    };
    assert_eq!((tasks("shop"), tasks("main")), ((1, 4), (3, 4)));
    let spaced = format!("{GOOD}{rel}[databases.rel.\"a b\"]\n{url}");
    let refused = with(&spaced, &[]).unwrap_err();
    assert!(
        refused.iter().any(|told| told.contains("\"a b\" is no name for a database")),
        "{refused:?}"
    );
    let none = with(&good.replace("read = 1", "read = 0"), &[]).unwrap_err();
    assert!(none[0].contains("`databases.rel.shop.instances.read` is 0"), "{none:?}");
}

#[test]
fn no_issuer_can_name_a_subject_of_another() {
    let issuer = |name: &str, prefix: &str| {
        format!(
            "[auth.issuers.{name}]\nissuer = \"https://{name}\"\naudience = \"beds\"\njwks_file = \"{name}.jwks\"\nprefix = \"{prefix}\"\n"
        )
    };
    let two = |first: &str, second: &str| {
        with(&format!("{GOOD}{}{}", issuer("a", first), issuer("b", second)), &[])
    };
    assert!(two("a/", "b/").is_ok());
    for (first, second) in [("", "b/"), ("b/", ""), ("co", "corp/"), ("x/", "x/")] {
        let found = two(first, second).unwrap_err();
        assert!(found[0].contains("begins that of"), "{first:?} {second:?}: {found:?}");
    }
}

#[test]
fn production_names_services_of_other_machines_that_are_spoken_to_in_plain_text() {
    let of = |amqp: &str, rel: &str, rec: &str| {
        let text = format!(
            "[node]\nenvironment = \"production\"\n[amqp]\nurl = \"{amqp}\"\n\
             [databases.rel.main]\nurl = \"{rel}\"\n[databases.rec.main]\nurl = \"{rec}\"\n"
        );
        let warnings = crate::config::in_plain_text(&with(&text, &[]).unwrap());
        assert!(warnings.iter().all(|warning| !warning.to_string().contains("s3cret")));
        warnings.len()
    };
    let here = ["amqp://a:s3cret@127.0.0.1/v", "mysql://a:s3cret@[::1]:3306/d"];
    assert_eq!(of(here[0], here[1], "mongodb://a:s3cret@localhost:1,127.0.0.1:2/d"), 0);
    assert_eq!(
        of(
            "amqps://a:s3cret@mq.example/v",
            "mysql://a:s3cret@db.example/d?require_ssl=true",
            "mongodb://a:s3cret@db.example/d?replicaSet=r&tls=true"
        ),
        0
    );
    assert_eq!(of(here[0], here[1], "mongodb+srv://a:s3cret@db.example/d"), 0);
    assert_eq!(
        of(
            "amqp://a:s3cret@mq.example/v",
            "mysql://a:s3cret@10.0.0.7/d",
            "mongodb://a:s3cret@localhost,db.example/d"
        ),
        3
    );
}
