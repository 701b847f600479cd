//! The steady load beside the faults: writers that repeat each request with its key until it is answered, and some that never do.
//!
//! Not here: the count of the effects (../operator.rs).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::rig::Api;

/// One writer in so many never repeats a request: the answer that it gets then has to be true.
const ONE_SHOT: usize = 4;

/// Everything that was asked and answered.
#[derive(Default)]
pub(super) struct History {
    pub(super) stop: AtomicBool,
    pub(super) requests: AtomicUsize,
    /// Answers other than success, by code, since the row began.
    pub(super) seen: Mutex<BTreeMap<String, usize>>,
    /// The first text of each code, with its path.
    pub(super) texts: Mutex<BTreeMap<String, String>>,
    /// Names of things that were created.
    pub(super) created: Mutex<BTreeSet<String>>,
    /// Names of things of which it was only ever said that nothing was done.
    pub(super) refused: Mutex<BTreeSet<String>>,
    /// Names of which nothing is known.
    pub(super) unknown: Mutex<BTreeSet<String>>,
    pub(super) counted: AtomicUsize,
    pub(super) tallied: AtomicUsize,
    pub(super) papers: AtomicUsize,
}

pub(super) async fn write(gateways: [Api; 2], history: Arc<History>, writer: usize) {
    let is_one_shot = writer.is_multiple_of(ONE_SHOT);
    for number in 0.. {
        let name = format!("w{writer} n{number}");
        let (path, method, body) = match number % 4 {
            _ if is_one_shot => {
                ("/v1/records/Things", reqwest::Method::POST, json!({"name": name}))
            }
            0 => ("/v1/records/Things", reqwest::Method::POST, json!({"name": name})),
            1 => ("/v1/records/Papers", reqwest::Method::POST, json!({"name": name})),
            2 => ("/v1/records/Counters/c", reqwest::Method::PATCH, json!({"by": 1})),
            _ => ("/v1/records/Tallies/c", reqwest::Method::PATCH, json!({"by": 1})),
        };
        for attempt in 0.. {
            if history.stop.load(Ordering::Relaxed) && (attempt == 0 || is_one_shot) {
                return;
            }
            let api = &gateways[(number + attempt) % 2];
            let request = api.http.request(method.clone(), format!("{}{path}", api.url));
            let request =
                request.header("Idempotency-Key", &name).header("Beds-Timeout", "5s").json(&body);
            history.requests.fetch_add(1, Ordering::Relaxed);
            let code = match api.send(request).await {
                Ok(answer) if answer.status < 300 => {
                    match number % 4 {
                        _ if is_one_shot => drop(history.created.lock().unwrap().insert(name)),
                        0 => drop(history.created.lock().unwrap().insert(name)),
                        1 => drop(history.papers.fetch_add(1, Ordering::Relaxed)),
                        2 => drop(history.counted.fetch_add(1, Ordering::Relaxed)),
                        _ => drop(history.tallied.fetch_add(1, Ordering::Relaxed)),
                    }
                    break;
                }
                Ok(answer) => {
                    let code = answer.code().to_owned();
                    let text = format!("{method} {path}: {}", answer.text);
                    history.texts.lock().unwrap().entry(code.clone()).or_insert(text);
                    code
                }
                Err(error) if error.to_string().contains("sending request") => "refused".to_owned(),
                Err(error) => error.to_string(),
            };
            *history.seen.lock().unwrap().entry(code.clone()).or_default() += 1;
            if is_one_shot {
                // The outcome of a request whose connection broke is not known either.
                let told = if matches!(code.as_str(), "BEDS-0014" | "refused") {
                    &history.unknown
                } else {
                    &history.refused
                };
                told.lock().unwrap().insert(name);
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
