//! `beds dead`: messages that could not be worked on, for the person that decides about them.
//!
//! Not here: how the queue is gone through, which is the transport's.

use std::collections::BTreeMap;
use std::process::ExitCode;

use beds_core::text::one_line;
use beds_core::{Actor, Config, Templates};
use beds_transport::{DeadLetter, Verdict};
use clap::{Args, Subcommand};

use super::connection::Connection;
use super::{ConfigArgs, EX_USAGE, fail, say};
use crate::settings;

#[derive(Subcommand)]
pub enum DeadCommand {
    /// List dead letters by cause; with --all one a line
    Ls {
        #[command(flatten)]
        config: ConfigArgs,
        #[arg(long)]
        all: bool,
    },
    /// Show one, with sensitive values left out
    Show(OneArgs),
    /// Send dead letters again, each as a child of the dead event. A write that took effect after all does not do so twice
    Replay(ReplayArgs),
    /// Throw dead letters away
    Discard(SomeArgs),
}

#[derive(Args)]
pub struct OneArgs {
    #[command(flatten)]
    config: ConfigArgs,
    id: String,
}

#[derive(Args)]
pub struct SomeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Their ids
    ids: Vec<String>,
    /// All of one cause, as `beds dead ls` names it, such as "refused BEDS-0009"
    #[arg(long)]
    cause: Option<String>,
}

#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    which: SomeArgs,
    /// Also writes that are older than `inbox.keep_days`, of which no inbox knows whether they took effect
    #[arg(long)]
    even_if_it_may_happen_twice: bool,
}

impl SomeArgs {
    fn meets(&self, letter: &DeadLetter) -> bool {
        self.ids.contains(&letter.id) || self.cause.as_deref() == Some(letter.cause().as_str())
    }
}

pub(super) async fn dead(command: DeadCommand) -> ExitCode {
    let config = match &command {
        DeadCommand::Ls { config, .. } => config,
        DeadCommand::Show(args) => &args.config,
        DeadCommand::Replay(args) => &args.which.config,
        DeadCommand::Discard(args) => &args.config,
    };
    let config = match config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let DeadCommand::Replay(ReplayArgs { which: args, .. }) | DeadCommand::Discard(args) =
        &command
        && args.ids.is_empty()
        && args.cause.is_none()
    {
        return fail(EX_USAGE, "which ones? Give their ids, or --cause as `beds dead ls` names it");
    }
    let templates = settings::templates(&config.templates.path).0;
    let connection = match Connection::open(&config, "dead", 1, templates).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let judge = |letter: &DeadLetter| match &command {
        DeadCommand::Replay(args) if args.which.meets(letter) => {
            match args.even_if_it_may_happen_twice {
                true => Verdict::ReplayAtAnyAge,
                false => Verdict::Replay,
            }
        }
        DeadCommand::Discard(args) if args.meets(letter) => Verdict::Discard,
        _ => Verdict::Leave,
    };
    let sorted = connection.dead_letters(config.inbox).sort(judge).await;
    connection.close().await;
    match sorted {
        Ok(letters) => print(&command, &config, &letters),
        Err(error) => fail(1, &format!("the dead letters could not be gone through: {error}")),
    }
}

fn print(command: &DeadCommand, config: &Config, letters: &[(DeadLetter, Verdict)]) -> ExitCode {
    match command {
        DeadCommand::Ls { all: true, .. } => {
            letters.iter().for_each(|(letter, _)| say(&line(letter)))
        }
        DeadCommand::Ls { all: false, .. } => causes(letters),
        DeadCommand::Show(args) => match letters.iter().find(|(letter, _)| letter.id == args.id) {
            Some((letter, _)) => show(letter, &settings::templates(&config.templates.path).0),
            None => {
                return fail(
                    1,
                    "there is no dead letter with this id; `beds dead ls --all` lists them",
                );
            }
        },
        DeadCommand::Replay(_) | DeadCommand::Discard(_) => {
            let word =
                if matches!(command, DeadCommand::Replay(_)) { "replayed" } else { "discarded" };
            let done: Vec<_> = letters.iter().filter(|(_, verdict)| !verdict.leaves()).collect();
            done.iter().for_each(|(letter, _)| say(&one_line(&format!("{word} {}", letter.id))));
            let too_old = letters.iter().filter(|(_, verdict)| *verdict == Verdict::TooOld).count();
            if too_old > 0 {
                let days = config.inbox.keep_days;
                let text = format!(
                    "{too_old} left: they are older than the inbox remembers ({days} days), so they could take effect twice. Look at the records, then add --even-if-it-may-happen-twice"
                );
                return fail(1, &text);
            }
            if done.is_empty() {
                return fail(
                    1,
                    "no dead letter fits, or the fitting one is no event and can only be discarded",
                );
            }
        }
    }
    ExitCode::SUCCESS
}

fn causes(letters: &[(DeadLetter, Verdict)]) {
    let mut causes: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for (letter, _) in letters {
        *causes.entry((letter.cause(), letter.queue.clone(), letter.what())).or_default() += 1;
    }
    for ((cause, queue, what), count) in causes {
        say(&one_line(&format!("{count:>6}  {cause:<22}  {queue:<10}  {what}")));
    }
    say(&format!("{:>6}  dead letters", letters.len()));
}

fn line(letter: &DeadLetter) -> String {
    let id = if letter.id.is_empty() { "(no id)" } else { &letter.id };
    one_line(&format!(
        "{id}  {:<22}  {:<10}  {:<20}  {} bytes",
        letter.cause(),
        letter.queue,
        letter.what(),
        letter.bytes
    ))
}

/// The event without values that must not be shown.
fn show(letter: &DeadLetter, templates: &Templates) {
    say(&line(letter));
    say(&one_line(&letter.detail_shown(templates)));
    if let Some(event) = letter.shown(templates, &Actor::of_node(Connection::user())) {
        say(&serde_json::to_string_pretty(&event).unwrap_or_default());
    }
}
