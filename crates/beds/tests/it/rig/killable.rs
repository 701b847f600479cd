//! The services under the tests, killed hard and started again as they were started. All tests share them, so only a test
//! that runs alone may do this (.config/nextest.toml).

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Kills a service, and waits until its ports are free. Erlang's epmd stays.
pub(crate) fn kill(name: &str) -> Result<()> {
    let service = &described()?[name];
    let pid = service["pid"].as_u64().context("a pid")?;
    Command::new("pkill").args(["-KILL", "-P", &pid.to_string()]).status()?;
    Command::new("kill").args(["-KILL", &pid.to_string()]).status()?;
    let ports = service["ports"].as_object().context("ports")?;
    let ports = ports
        .iter()
        .filter(|(name, _)| *name != "epmd")
        .filter_map(|(_, port)| port.as_u64()?.try_into().ok());
    let ports: Vec<u16> = ports.collect();
    // A process has its ports until its last thread is gone, which can be long after it counts as a zombie.
    let has_port = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err();
    while ports.iter().any(has_port) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Runs RabbitMQ's own command for the node of the tests.
pub(crate) fn rabbitmqctl(arguments: &[&str]) -> Result<()> {
    let service = &described()?["rabbitmq"];
    let env = service["env"].as_object().context("an environment")?.iter();
    let env = env.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    let words =
        service["command"].as_array().context("a command")?.iter().filter_map(Value::as_str);
    // Where the server stands in a folder of its own, so does the command.
    let command: Vec<String> =
        words.map(|word| word.replace("rabbitmq-server", "rabbitmqctl")).collect();
    let done = Command::new(&command[0])
        .args(&command[1..])
        .args(arguments)
        .env_clear()
        .envs(env)
        .output()?;
    anyhow::ensure!(
        done.status.success(),
        "rabbitmqctl: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

/// True where RabbitMQ's file of names has a quorum queue, by vhost and name.
pub(crate) fn rabbitmq_has_written(name: &str) -> Result<bool> {
    let service = &described()?["rabbitmq"];
    let mnesia = std::path::Path::new(service["cwd"].as_str().context("a folder")?).join("mnesia");
    for node in std::fs::read_dir(mnesia)?.filter_map(|node| Some(node.ok()?.path().join("quorum")))
    {
        for folder in std::fs::read_dir(node).into_iter().flatten().filter_map(Result::ok) {
            let names = std::fs::read(folder.path().join("names.dets")).unwrap_or_default();
            if names.windows(name.len()).any(|window| window == name.as_bytes()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Sends a signal to a service: STOP freezes it, CONT wakes it.
pub(crate) fn signal(name: &str, signal: &str) -> Result<()> {
    let pid = described()?[name]["pid"].as_u64().context("a pid")?.to_string();
    Command::new("pkill").args([&format!("-{signal}"), "-P", &pid]).status()?;
    Command::new("kill").args([&format!("-{signal}"), &pid]).status()?;
    Ok(())
}

/// Starts a service that was killed. Answers the port on which BEDS speaks to it.
pub(crate) fn start(name: &str) -> Result<u16> {
    let mut services = described()?;
    let service = &services[name];
    let words: Vec<&str> = service["command"]
        .as_array()
        .context("a command")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let env = service["env"].as_object().context("an environment")?.iter();
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(service["log"].as_str().context("a log")?)?;
    let child = Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .envs(env.map(|(key, value)| (key, value.as_str().unwrap_or_default())))
        .current_dir(service["cwd"].as_str().context("a folder")?)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    services[name]["pid"] = json!(child.id());
    std::fs::write(super::variable(FILE)?, services.to_string())?;
    let port = match name {
        "rabbitmq" => "amqp",
        "mariadb" => "sql",
        _ => "mongo",
    };
    Ok(services[name]["ports"][port].as_u64().context("a port")?.try_into()?)
}

/// The folder in which MongoDB keeps its data.
pub(crate) fn mongodb_data() -> Result<std::path::PathBuf> {
    let services = described()?;
    let words = services["mongodb"]["command"]
        .as_array()
        .context("a command")?
        .iter()
        .filter_map(Value::as_str);
    let path = words
        .filter_map(|word| word.strip_prefix("--dbpath="))
        .next()
        .context("a folder of data")?;
    Ok(path.into())
}

/// Where `./dev` says how it started the services.
const FILE: &str = "BEDS_TEST_SERVICES";

fn described() -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(super::variable(FILE)?)?)?)
}
