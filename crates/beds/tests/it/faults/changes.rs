//! Changes while relays and RabbitMQ are killed: none is lost, none comes twice within a connection, and those of a record come in order.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::number;
use crate::live::tell;
use crate::live_deaths::{gateway, worker};
use crate::rig::events::Events;
use crate::rig::{Api, SOON, World, eventually, killable};

/// Records of each template; each is changed by one writer at a time.
const RECORDS: usize = 8;

/// Writes until it has taken effect, which the key makes one effect.
async fn written(api: &Api, method: &str, path: &str, key: &str, name: &str) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        let request = api.request(method, path).header("Idempotency-Key", key);
        let answer = api.send(request.json(&json!({"name": name}))).await?;
        if matches!(answer.status, 200 | 201) {
            let id = answer.header("location").rsplit('/').next();
            return Ok(id.unwrap_or_default().to_owned());
        }
        // Between two attempts while a service is away.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("not written within {SOON:?}: {path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_lost_doubled_or_out_of_order_whatever_is_killed() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = gateway(&world).await?;
    let (kills, restarts) = (number(2, 10), number(0, 5));
    // Each record is created once and then changed so often.
    let updates = number(20, 100_000 / (2 * RECORDS) - 1);
    let begun = Instant::now();
    let mut workers = vec![worker(&world, "w1", "").await?, worker(&world, "w2", "").await?];
    let mut streams = Vec::new();
    let (mut writers, tasks) = (Vec::new(), TaskTracker::new());
    for template in ["LiveThings", "LivePapers"] {
        let (events, _) = Events::of(&live.api, &format!("template={template}"), None).await?;
        streams.push(events);
        for record in 0..RECORDS {
            let api = Api { url: live.api.url.clone(), http: live.api.http.clone() };
            writers.push(tasks.spawn(async move {
                let path = format!("/v1/records/{template}");
                let name = format!("r{record}");
                let id = written(&api, "POST", &path, &format!("{template} {name}"), &name).await?;
                for update in 0..updates {
                    let (path, name) = (format!("{path}/{id}"), format!("r{record} {update}"));
                    written(&api, "PATCH", &path, &format!("{template} {name}"), &name).await?;
                }
                anyhow::Ok(())
            }));
        }
    }
    let all = RECORDS * (updates + 1);
    let mut readers = Vec::new();
    for mut events in streams {
        readers.push(tasks.spawn(async move {
            let (mut ids, mut last) = (HashSet::new(), HashMap::new());
            let mut of_record: HashMap<String, usize> = HashMap::new();
            while ids.len() < all {
                let change = events.change().await?;
                let text = |name: &str| change.data[name].as_str().unwrap_or_default().to_owned();
                ensure!(ids.insert(text("id")), "told twice: {change:?}");
                let (record, seq) = (text("record"), change.data["seq"].as_u64());
                let before = last.insert(record.clone(), seq);
                ensure!(before.is_none_or(|before| before < seq), "out of order: {change:?}");
                *of_record.entry(record).or_default() += 1;
            }
            ensure!(of_record.values().all(|count| *count == updates + 1), "{of_record:?}");
            Ok(events)
        }));
    }
    for kill in 0..kills.max(restarts) {
        // The faults come beside the writes, wherever these are.
        eventually("writes go on", async || {
            Ok(world.sql("SELECT COUNT(*) FROM beds_inbox")?.parse::<usize>()? > kill * all / 12
                || writers.iter().all(tokio::task::JoinHandle::is_finished))
        })
        .await?;
        if kill < kills {
            workers.remove(0).signal("KILL")?;
            workers.push(worker(&world, &format!("w{}", kill + 3), "").await?);
        }
        if kill < restarts {
            killable::kill("rabbitmq")?;
            killable::start("rabbitmq")?;
        }
    }
    for writer in writers {
        writer.await??;
    }
    let mut streams = Vec::new();
    for reader in readers {
        streams.push(reader.await??);
    }
    // Behind the last of them, nothing more has come.
    for (events, template) in streams.iter_mut().zip(["LiveThings", "LivePapers"]) {
        let path = format!("/v1/records/{template}");
        let id = written(&live.api, "POST", &path, &format!("{template} end"), "end").await?;
        assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
    }
    println!(
        "{} changes of {} records, {kills} relays and {restarts} times RabbitMQ killed: 0 lost, 0 twice, 0 out of order, in {:?}",
        2 * all,
        2 * RECORDS,
        begun.elapsed()
    );
    Ok(())
}
