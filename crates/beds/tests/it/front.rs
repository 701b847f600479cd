//! The rules in front of the records: hosts, origins, the form of a request, bodies and connections.
//!
//! Not here: the content of a body (`bad_input.rs`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::json;

use crate::rig::callers::HEADER;
use crate::rig::{Api, World};

async fn with(
    api: &Api,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, String)> {
    let mut request = api.http.request(method, format!("{}{path}", api.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = api.send(request).await?;
    let code = answer.code().to_owned();
    Ok((answer.status, code))
}

fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_elsewhere_reads_and_writes_nothing() -> Result<()> {
    let world = World::new().await?;
    let live = world
        .node_with(|config| {
            config.services.appserver.hosts = vec!["api.example".into()];
            config.services.appserver.origins = vec!["https://app.example".into()];
        })
        .await?;
    let api = &live.api;
    let own = api.url.trim_start_matches("http://").to_owned();
    let list = "/v1/records/Things";
    for host in [
        "attacker.example",
        "attacker.example:8080",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
    ] {
        assert_eq!(
            with(api, Method::GET, list, &[("Host", host)]).await?,
            told(421, "BEDS-0028"),
            "{host}"
        );
        assert_eq!(
            with(api, Method::DELETE, &format!("{list}/1"), &[("Host", host)]).await?,
            told(421, "BEDS-0028")
        );
    }
    for host in
        ["localhost", "localhost:1", "[::1]:80", "127.0.0.2", "API.example:443", own.as_str()]
    {
        assert_eq!(with(api, Method::GET, list, &[("Host", host)]).await?.0, 200, "{host}");
    }
    let same = format!("http://{own}");
    for headers in [
        &[("Origin", "http://attacker.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "http://localhost:3000")],
        &[("Origin", format!("evil://{own}").as_str())],
        &[("Origin", same.as_str()), ("Origin", "http://attacker.example")],
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")],
    ] {
        assert_eq!(
            with(api, Method::GET, list, headers).await?,
            told(403, "BEDS-0029"),
            "{headers:?}"
        );
    }
    for headers in [
        &[("Origin", "https://app.example")][..],
        &[("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", same.as_str()), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
    ] {
        assert_eq!(with(api, Method::GET, list, headers).await?.0, 200, "{headers:?}");
    }
    let replay = "/v1/dead-letters/replay?cause=x";
    assert_eq!(
        with(api, Method::POST, replay, &[]).await?,
        told(415, "BEDS-0018"),
        "as a form could send it"
    );
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(with(api, Method::POST, replay, &form).await?, told(415, "BEDS-0018"));
    for (length, body) in [("00", ""), ("1", "x")] {
        let mut stream = TcpStream::connect(&own)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "POST {replay} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"HTTP/1.1 415", "{length}");
    }
    for deliberate in [[("Beds-Request", "1")], [("Content-Type", "application/json")]] {
        assert_eq!(with(api, Method::POST, replay, &deliberate).await?, told(404, "BEDS-0007"));
    }
    assert_eq!(
        with(api, Method::GET, "/healthz", &[("Host", "pod-7")]).await?.0,
        200,
        "machines ask by any name"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_ignored_is_refused_by_name() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let thing = live.api.post("/v1/records/Things", &json!({"name": "kept"})).await?;
    let path = thing.header("location");
    assert_eq!(
        (thing.header("cache-control"), thing.header("x-content-type-options")),
        ("no-store", "nosniff")
    );
    for name in
        ["if-match", "if-none-match", "if-unmodified-since", "if-modified-since", "if-range"]
    {
        let request = live.api.request("PATCH", path).header(name, "\"1\"");
        let refused = live.api.send(request.json(&json!({"note": "lost"}))).await?;
        assert_eq!(
            (refused.status, refused.code(), &refused.body["field"]),
            (400, "BEDS-0019", &json!(name))
        );
    }
    for method in [Method::DELETE, Method::PATCH] {
        let refused = with(
            &live.api,
            method,
            &format!("{path}?dry_run=true"),
            &[("Content-Type", "application/json")],
        )
        .await?;
        assert_eq!(refused, told(400, "BEDS-0002"));
    }
    assert_eq!(live.api.get(path).await?.body["name"], "kept");
    let zipped = live.api.request("POST", "/v1/records/Things").header("Content-Encoding", "gzip");
    let refused = live
        .api
        .send(zipped.header("Content-Type", "application/json").body(vec![31, 139, 8]))
        .await?;
    assert_eq!(
        (refused.status, refused.code(), refused.header("accept-encoding")),
        (415, "BEDS-0018", "identity")
    );
    for path in [
        "/v1/templates/%ff",
        "/v1/lineage/%ff",
        "/v1/dead-letters/%ff",
        "/v1/records/%ff",
        "/v1/records/Things/%ff",
    ] {
        let refused = live.api.get(path).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "BEDS-0005"),
            "{path}: {}",
            refused.text
        );
        assert!(!refused.header("beds-event-id").is_empty(), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_bounded_in_values_and_a_template_is_looked_up_before_it() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let many = format!("{{\"name\":[{}0]}}", "0,".repeat(30_000));
    let send = |template: &str| {
        let request = live.api.request("POST", &format!("/v1/records/{template}"));
        live.api.send(request.header("Content-Type", "application/json").body(many.clone()))
    };
    let refused = send("Papers").await?;
    assert_eq!((refused.status, refused.code()), (413, "BEDS-0006"), "{}", refused.text);
    assert_eq!(send("Nope").await?.code(), "BEDS-0001");
    // Of a template that is not there, the body is not waited for.
    let mut stream = TcpStream::connect(live.api.url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "POST /v1/records/Nope HTTP/1.1\r\nHost: localhost\r\n{HEADER}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"HTTP/1.1 404");
    // An event by AMQP likewise.
    let event = json!({
        "v": 1, "event_id": "py.many", "root_id": "py.many", "template": "Papers", "operation": "create",
        "params": {"name": vec![0; 110_000]}, "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    });
    assert!(
        world.publish("rec.write", &event.to_string(), json!({"message_id": "py.many"})).await?
    );
    let dead = world.dead_letter().await?;
    let detail =
        dead["properties"]["headers"]["beds-detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("more than 100000 values"), "{detail}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_send_nothing_take_no_place_from_the_others() -> Result<()> {
    let world = World::new().await?;
    // The world's node works on 64 requests at once.
    let live = world.node_with(|config| config.services.appserver.max_connections = 300).await?;
    let address = live.api.url.trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&address)?;
        write!(
            stream,
            "POST /v1/records/Things HTTP/1.1\r\nHost: localhost\r\n{HEADER}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        )?;
        slow.push(stream);
    }
    let good = live.api.post("/v1/records/Things", &json!({"name": "in between"})).await?;
    assert_eq!(good.status, 201, "{}", good.text);
    // Beyond the bound a connection is closed at once.
    for _ in 0..150 {
        slow.push(TcpStream::connect(&address)?);
    }
    let mut last = slow.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60)))?;
    assert_eq!(last.read(&mut [0; 1])?, 0, "closed");
    drop(slow);
    crate::rig::eventually("there is room again", async || {
        Ok(live.api.get("/v1/records/Things").await.is_ok())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_read_nothing_are_cut_off() -> Result<()> {
    let world = World::new().await?;
    let live = world
        .node_with(|config| {
            config.services.appserver.max_connections = 4;
            config.services.appserver.body_timeout = Duration::from_secs(1);
        })
        .await?;
    let address = live.api.url.trim_start_matches("http://").to_owned();
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_nonblocking(true)?;
        // Far more answers than the kernel keeps; then it takes no further request either.
        let request = format!("GET /v1/templates HTTP/1.1\r\nHost: localhost\r\n{HEADER}\r\n");
        while stream.write(request.repeat(100).as_bytes()).is_ok() {
            tokio::task::yield_now().await;
        }
        deaf.push(stream);
    }
    crate::rig::eventually("there is room for others", async || {
        Ok(live.api.get("/v1/records/Things").await.is_ok())
    })
    .await?;
    drop(deaf);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_an_application_are_behind_the_same_checks() -> Result<()> {
    let world = World::new().await?;
    let routes =
        beds_gateway::Router::new().route("/own", beds_gateway::routing::get(|| async { "mine" }));
    let live = world.node_of_application(|_| {}, routes).await?;
    let url = format!("{}/own", live.api.url);
    assert_eq!(live.api.http.get(&url).send().await?.text().await?, "mine");
    let foreign = live.api.http.get(&url).header("Host", "elsewhere.example").send().await?;
    assert_eq!(foreign.status(), 421);
    assert_eq!(
        live.api.get("/v1/records/Things").await?.status,
        200,
        "the gateway's own are there"
    );
    live.node.shutdown().await;
    let taken = beds_gateway::Router::new()
        .route("/healthz", beds_gateway::routing::get(|| async { "mine" }));
    let start =
        std::panic::AssertUnwindSafe(world.node_of_application(|_| {}, taken)).catch_unwind();
    assert!(start.await.is_err(), "a path of the gateway's own ends the start");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_which_pages_may_ask_and_what_they_may_read() -> Result<()> {
    let world = World::new().await?;
    let app = "https://app.example";
    let live =
        world.node_with(|config| config.services.appserver.origins = vec![app.to_owned()]).await?;
    let list = format!("{}/v1/records/Things", live.api.url);
    // The question of a browser before the request of a page: it shows no credential.
    let ask = async |origin: &str| {
        let question = reqwest::Client::new().request(Method::OPTIONS, &list);
        let question =
            question.header("Origin", origin).header("Access-Control-Request-Method", "POST");
        live.api
            .send(
                question.header("Access-Control-Request-Headers", "authorization, idempotency-key"),
            )
            .await
    };
    let allowed = ask(app).await?;
    assert_eq!(allowed.status, 200, "{}", allowed.text);
    assert_eq!(allowed.header("access-control-allow-origin"), app);
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert!(allowed.header("access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(allowed.header("access-control-allow-credentials"), "");
    let refused = ask("https://evil.example").await?;
    assert_eq!(refused.header("access-control-allow-origin"), "");
    let foreign = live.api.http.get(&list).header("Origin", "https://evil.example");
    let foreign = live.api.send(foreign).await?;
    assert_eq!((foreign.status, foreign.code()), (403, "BEDS-0029"), "{}", foreign.text);
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    // The request itself, good or refused, can be read by the page.
    let request = || live.api.http.get(&list).header("Origin", app);
    let unknown = reqwest::Client::new().get(&list).header("Origin", app);
    for (request, status) in [(request(), 200), (unknown, 401)] {
        let answer = live.api.send(request).await?;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, app));
        assert!(answer.header("access-control-expose-headers").contains("beds-event-id"));
    }
    // Without origins, nothing is said.
    let closed = world.node_with(|config| {
        config.node.name = "closed".to_owned();
        config.node.control = None;
    });
    let closed = closed.await?;
    let list = format!("{}/v1/records/Things", closed.api.url);
    let question = reqwest::Client::new().request(Method::OPTIONS, &list);
    let answer = closed.api.send(question.header("Access-Control-Request-Method", "POST")).await?;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_which_issuers_the_gateway_trusts() -> Result<()> {
    let world = World::new().await?;
    let without = world.node().await?;
    let place = "/.well-known/oauth-protected-resource";
    assert_eq!(without.api.get(place).await?.status, 404);
    let nameless = Api { url: without.api.url.clone(), http: reqwest::Client::new() };
    let unknown = nameless.get("/v1/templates").await?;
    assert_eq!((unknown.status, unknown.header("www-authenticate")), (401, "Bearer"));
    drop(without);
    crate::rig::issuer::Issuer::new("one")?.join(&world)?;
    let live = world
        .node_with(|config| {
            config.node.name = "other".to_owned();
            config.node.control = None;
        })
        .await?;
    let nameless = Api { url: live.api.url.clone(), http: reqwest::Client::new() };
    let unknown = nameless.get("/v1/templates").await?;
    let named = format!("Bearer resource_metadata=\"{}{place}\"", live.api.url);
    assert_eq!((unknown.status, unknown.header("www-authenticate")), (401, named.as_str()));
    let document = nameless.get(place).await?;
    assert_eq!(
        document.body,
        json!({
            "resource": live.api.url, "authorization_servers": [crate::rig::issuer::NAME],
            "bearer_methods_supported": ["header"],
        })
    );
    // Asked by a name that is not its own, it names none.
    let (status, code) = with(&nameless, Method::GET, place, &[("Host", "evil.example")]).await?;
    assert_eq!((status, code.as_str()), (421, "BEDS-0028"));
    Ok(())
}
