//! TLS of the gateway, and callers behind a proxy.
//!
//! Not here: TLS to the services below (`least_privilege.rs`), credentials (identity.rs).

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use beds_core::config::TlsFiles;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::audit::search;
use crate::rig::callers::HEADER;
use crate::rig::{World, eventually};

/// Writes a certificate for `localhost` of its own authority; answers it.
fn certificate(world: &World) -> Result<rcgen::Certificate> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    world.write("tls.pem", made.cert.pem())?;
    world.write("tls.key", made.signing_key.serialize_pem())?;
    Ok(made.cert)
}

/// The answer to a read over TLS, to a client that trusts this certificate alone.
async fn ask(address: &str, trusted: &rcgen::Certificate) -> Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = format!(
        "GET /v1/records/Things HTTP/1.1\r\nHost: localhost\r\n{HEADER}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_takes_a_new_certificate_without_a_restart() -> Result<()> {
    let world = World::new().await?;
    let first = certificate(&world)?;
    let live = world
        .node_with(|config| {
            config.services.appserver.tls = Some(TlsFiles {
                cert_file: world.folder.join("tls.pem"),
                key_file: world.folder.join("tls.key"),
            });
        })
        .await?;
    let address = live.node.address().context("a gateway")?.to_string();
    let answer = ask(&address, &first).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let second = certificate(&world)?;
    ensure!(live.node.reload().await.credentials);
    let answer = ask(&address, &second).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(ask(&address, &first).await.is_err(), "the old one is not served any more");
    // A file with a mistake changes nothing, and is told.
    world.write("tls.key", "no key")?;
    let reloaded = live.node.reload().await;
    ensure!(
        !reloaded.credentials && reloaded.mistakes.iter().any(|m| m.contains("the key is not PEM")),
        "{reloaded:?}"
    );
    ensure!(ask(&address, &second).await?.starts_with("HTTP/1.1 200 "));
    // Plain text gets no answer of a route.
    let plain = live.api.get("/v1/records/Things").await;
    assert!(plain.is_err(), "{plain:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_caller_is_a_known_proxys_word_and_no_other() -> Result<()> {
    let world = World::new().await?;
    let proxied = world.node_with(|config| {
        config.services.appserver.behind_proxy = true;
        config.services.appserver.proxies =
            vec!["127.0.0.1".parse().unwrap(), "10.0.0.7".parse().unwrap()];
    });
    let live = proxied.await?;
    let create = async |name: &str, told: &str| -> Result<()> {
        let request =
            live.api.request("POST", "/v1/records/Things").header("X-Forwarded-For", told);
        let created = live.api.send(request.json(&json!({"name": name}))).await?;
        ensure!(created.status == 201, "{}", created.text);
        Ok(())
    };
    for (told, wanted) in [
        ("192.0.2.1", "192.0.2.1"),
        // The first is the caller's own word, the last that of the proxy in front.
        ("198.51.100.9, 192.0.2.2, 10.0.0.7", "192.0.2.2"),
        ("garbage", "127.0.0.1"),
    ] {
        create(told, told).await?;
        eventually("the address is recorded", async || {
            let found = search(&live.api, "&template=Things").await?;
            Ok(found.iter().any(|record| record["record"]["address"] == wanted))
        })
        .await?;
    }
    live.node.shutdown().await;
    let direct = world.node().await?;
    let request =
        direct.api.request("POST", "/v1/records/Things").header("X-Forwarded-For", "203.0.113.5");
    ensure!(direct.api.send(request.json(&json!({"name": "direct"}))).await?.status == 201);
    eventually("it is recorded", async || {
        Ok(search(&direct.api, "&template=Things").await?.len() == 4)
    })
    .await?;
    let found = search(&direct.api, "&template=Things").await?;
    assert!(!format!("{found:?}").contains("203.0.113.5"), "{found:?}");
    Ok(())
}
