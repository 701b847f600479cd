//! `beds reload`: makes a running node read its templates again, and prints the result.
//!
//! Not here: the reading, which is `domains`'s.

use std::process::ExitCode;

use super::{ConfigArgs, EX_USAGE, fail, say, warn};
use crate::control;

pub(super) async fn reload(args: ConfigArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let Some(path) = config.node.control else {
        return fail(
            EX_USAGE,
            "node.control is not set, so there is no socket to speak through; set it, or send SIGHUP to the node",
        );
    };
    match control::reload(&path).await {
        Ok(reloaded) => {
            reloaded.mistakes.iter().chain(&reloaded.warnings).for_each(|mistake| warn(mistake));
            let taken = if reloaded.credentials { "were taken" } else { "are those of before" };
            warn(&format!("beds: the credentials {taken}"));
            if !reloaded.applied {
                return fail(1, "the templates are those of before; correct them and try again");
            }
            say(&format!(
                "{} templates, {} mistake(s)",
                reloaded.templates,
                reloaded.mistakes.len()
            ));
            if !reloaded.mistakes.is_empty() {
                warn("the set was taken; the operations with mistakes answer 503 (BEDS-0023)");
            }
            if reloaded.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            fail(1, &format!("no node answers at {}: {error}. Is it running?", path.display()))
        }
    }
}
