//! TLS of the gateway and to the services, and callers behind a proxy.
//!
//! Not here: credentials (identity.rs).

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use beds_core::config::TlsFiles;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::audit::search;
use crate::rig::callers::HEADER;
use crate::rig::{Api, Process, World, eventually, variable};

/// Writes a certificate for `localhost` of its own authority; answers it.
fn certificate(world: &World) -> Result<rcgen::Certificate> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    world.write("tls.pem", made.cert.pem())?;
    world.write("tls.key", made.signing_key.serialize_pem())?;
    Ok(made.cert)
}

/// A certificate of a client, and its key.
struct Own {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// An authority that signs certificates of clients.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Ok(Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?))
    }

    /// A certificate with an alternative name.
    fn sign(&self, san: &str) -> Result<Own> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new([san.to_owned()])?;
        let certificate = params.signed_by(&key, &self.0)?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| anyhow::anyhow!(e))?;
        Ok(Own { certificate, key })
    }
}

/// The answer to a read over TLS, to a client that trusts this certificate alone.
async fn ask(address: &str, trusted: &rcgen::Certificate) -> Result<String> {
    ask_with(address, trusted, None, HEADER).await
}

/// The same, with a certificate of the client and a header.
async fn ask_with(
    address: &str,
    trusted: &rcgen::Certificate,
    own: Option<&Own>,
    header: &str,
) -> Result<String> {
    let mut stream = connect(address, trusted, own).await?;
    let request = format!(
        "GET /v1/records/Things HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn connect(
    address: &str,
    trusted: &rcgen::Certificate,
    own: Option<&Own>,
) -> Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            config.with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())?
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

/// A connection that is asked more than once.
struct Standing(TlsStream<TcpStream>);

impl Standing {
    async fn open(address: &str, trusted: &rcgen::Certificate, own: &Own) -> Result<Self> {
        Ok(Self(connect(address, trusted, Some(own)).await?))
    }

    /// The head of the answer to a request without a header of the caller.
    async fn ask(&mut self) -> Result<String> {
        let request = "GET /v1/templates/Things HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.0.write_all(request.as_bytes()).await?;
        let (mut read, mut part) = (Vec::new(), vec![0; 16 << 10]);
        // The head names the length of the body, which is read to its end.
        loop {
            let count = self.0.read(&mut part).await?;
            ensure!(count > 0, "the connection was closed");
            read.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                return Ok(text);
            }
        }
    }
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
                client_ca_file: None,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_stands_for_its_caller_and_for_no_other() -> Result<()> {
    let world = World::new().await?;
    let server = certificate(&world)?;
    let (authority, foreign) = (Authority::new()?, Authority::new()?);
    world.write("clients.pem", authority.0.pem())?;
    let text = std::fs::read_to_string(world.config_file())?;
    let text = text.replace(
        "[services.rec]\n",
        "tls = { cert_file = \"tls.pem\", key_file = \"tls.key\", client_ca_file = \"clients.pem\" }\n[services.rec]\n",
    );
    let of = "\n[auth.certificates.loader]\nsan = \"loader.example\"\nsubject = \"app:loader\"\nroles = [\"tester\"]\n";
    std::fs::write(world.config_file(), format!("{text}{of}"))?;
    let live = world.node().await?;
    let address = live.node.address().context("a gateway")?.to_string();
    let loader = authority.sign("loader.example")?;
    let good = ask_with(&address, &server, Some(&loader), "").await?;
    ensure!(good.starts_with("HTTP/1.1 200"), "{good}");
    // A certificate that stands for no caller is as none: 401, or a key.
    let other = authority.sign("other.example")?;
    let unknown = ask_with(&address, &server, Some(&other), "").await?;
    ensure!(unknown.starts_with("HTTP/1.1 401"), "{unknown}");
    let with_key = ask_with(&address, &server, Some(&other), HEADER).await?;
    ensure!(with_key.starts_with("HTTP/1.1 200"), "{with_key}");
    let without = ask_with(&address, &server, None, HEADER).await?;
    ensure!(without.starts_with("HTTP/1.1 200"), "{without}");
    let both = ask_with(&address, &server, Some(&loader), HEADER).await?;
    ensure!(both.starts_with("HTTP/1.1 400") && both.contains("BEDS-0019"), "{both}");
    // One that the authority has not signed ends the handshake.
    let forged = foreign.sign("loader.example")?;
    let forged = ask_with(&address, &server, Some(&forged), "").await;
    ensure!(forged.as_ref().map_or(true, String::is_empty), "{forged:?}");
    // On a connection that stands, a certificate ends with the authority that has signed it.
    let mut standing = Standing::open(&address, &server, &loader).await?;
    ensure!(standing.ask().await?.starts_with("HTTP/1.1 200"));
    world.write("clients.pem", foreign.0.pem())?;
    let reload = || -> Result<()> {
        let output = world.beds(&["reload"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    reload()?;
    ensure!(standing.ask().await?.starts_with("HTTP/1.1 401"));
    world.write("clients.pem", authority.0.pem())?;
    reload()?;
    // Its caller is gone with a reload, while the certificate stays good.
    world.change_config("san = \"loader.example\"", "san = \"retired.example\"")?;
    reload()?;
    let gone = ask_with(&address, &server, Some(&loader), "").await?;
    ensure!(gone.starts_with("HTTP/1.1 401"), "{gone}");
    Ok(())
}

/// The keys of a node that speaks TLS to each service, and trusts for each the authority in its file.
fn encrypted(
    world: &World,
    login: &str,
    trusted: [&str; 3],
) -> Result<Vec<(&'static str, String)>> {
    let [amqp, maria, mongo] = trusted;
    let config = std::fs::read_to_string(world.config_file())?;
    let url = |scheme: &str, end: &str| {
        let urls = config
            .lines()
            .filter_map(|line| line.strip_prefix("url = \""))
            .map(|url| url.trim_end_matches('"'));
        let of = urls.filter(|url| url.starts_with(scheme)).find(|url| url.contains(end));
        of.map(str::to_owned).context("a url")
    };
    let rel = url("mysql://", "")?;
    let (_, address) = rel.split_once('@').context("an address")?;
    let documents = |end: &str| -> Result<String> {
        Ok(format!("{}&tls=true&tlsCAFile={mongo}", url("mongodb://", end)?))
    };
    Ok(vec![
        ("BEDS__AMQP__URL", format!("{}/{}", variable("BEDS_TEST_AMQPS_URL")?, world.name)),
        ("SSL_CERT_FILE", amqp.to_owned()),
        ("BEDS__DATABASES__REL__MAIN__URL", format!("mysql://{login}:p@{address}")),
        ("BEDS__DATABASES__REL__MAIN__CA_FILE", maria.to_owned()),
        ("BEDS__DATABASES__REC__MAIN__URL", documents("/t")?),
        ("BEDS__SERVICES__ADMIN__IS_LOCAL", "false".to_owned()),
    ])
}

/// The services of a node that are not ready.
async fn away(process: &Process) -> Result<Vec<String>> {
    let answer = process.api.get("/readyz").await?;
    let services = answer.body["services"].as_array().cloned().unwrap_or_default();
    let away = services.iter().filter(|service| service["ready"] == false);
    Ok(away.filter_map(|service| service["name"].as_str().map(str::to_owned)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_tls_to_each_service_and_to_no_false_one() -> Result<()> {
    let world = World::new().await?;
    // MariaDB lets this login in over TLS only.
    let login = format!("s{}", &world.name[..20]);
    world.sql(&format!(
        "CREATE USER '{login}'@'%' IDENTIFIED BY 'p' REQUIRE SSL; GRANT ALL ON {}.* TO '{login}'@'%'; GRANT SELECT ON mysql.proc TO '{login}'@'%'",
        world.name
    ))?;
    let good = variable("BEDS_TEST_CA")?;
    certificate(&world)?;
    let other = world.folder.join("tls.pem").display().to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let listen = listener.local_addr()?.to_string();
    drop(listener);
    let mut keys = encrypted(&world, &login, [&good, &good, &good])?;
    keys.push(("BEDS__SERVICES__APPSERVER__LISTEN", listen.clone()));
    let mut process = world.role("encrypted", &keys)?;
    eventually("the node is ready", async || {
        Ok(process.api.get("/readyz").await.is_ok_and(|answer| answer.status == 200))
    })
    .await?;
    let api = Api { url: format!("http://{listen}"), ..process.api.clone() };
    for template in ["Things", "Papers"] {
        let created = api.post(&format!("/v1/records/{template}"), &json!({"name": "x"})).await?;
        ensure!(created.status == 201, "{template}: {}", created.text);
    }
    process.signal("TERM")?;
    process.ended().await?;
    // A server whose certificate comes from elsewhere is not spoken to.
    for (trusted, name) in [
        ([&other, &good, &good], "amqp"),
        ([&good, &other, &good], "databases.rel.main"),
        ([&good, &good, &other], "databases.rec.main"),
    ] {
        let trusted = trusted.map(String::as_str);
        let mut keys = encrypted(&world, &login, trusted)?;
        keys.push(("BEDS__SERVICES__APPSERVER__IS_LOCAL", "false".to_owned()));
        let mut process = world.role(&name.replace('.', "-"), &keys)?;
        let mut seen = Vec::new();
        eventually("the others are ready", async || {
            seen = away(&process).await.unwrap_or_default();
            Ok(seen.iter().all(|service| service.starts_with(name)) && !seen.is_empty())
        })
        .await
        .with_context(|| format!("{name}: {seen:?}"))?;
        process.signal("TERM")?;
        process.ended().await?;
    }
    world.sql(&format!("DROP USER '{login}'@'%'")).map(drop)
}
