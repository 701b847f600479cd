//! The keys of the hashes that stand for records in the audit trail, read from the files of `[reports] hash_keys`.
//!
//! Not here: the hashes (`trail/record_keys.rs`).

use beds_core::{Config, Mistake};
use beds_trail::record_keys::RecordKeys;

/// Reads the keys, or reports every file that holds none.
pub(crate) fn record_keys(config: &Config) -> Result<RecordKeys, Vec<Mistake>> {
    let fix = "make a key with `beds keys hash FILE`, or correct reports.hash_keys";
    let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
    for path in &config.reports.hash_keys {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => texts.push((file, text)),
            Err(error) => {
                mistakes.push(Mistake::new(file, 0, format!("cannot be read: {error}"), fix))
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    RecordKeys::of(texts.iter().map(|(_, text)| text.as_str())).map_err(|wrong| {
        let mistake = |position: usize| Mistake::new(&texts[position].0, 1, "not a key", fix);
        wrong.into_iter().map(mistake).collect()
    })
}
