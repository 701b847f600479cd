//! Child processes, and the figures of /proc about a process: CPU time and resident memory.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// A child that is ended with its handle, also when the run fails.
pub(crate) struct Process {
    child: Child,
    /// Our own children end when this closes.
    stdin: Option<ChildStdin>,
    lines: Option<Receiver<String>>,
}

impl Process {
    /// Starts one of this program's own subcommands. Its standard output is read with [`Process::line`].
    pub(crate) fn own(arguments: &[String], environment: &[(&str, &str)]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, lines: Some(lines) })
    }

    /// Starts another program, with its output in a file.
    pub(crate) fn other(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        output: &Path,
    ) -> Result<Self> {
        let log = File::create(output).with_context(|| format!("creating {}", output.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, stdin: None, lines: None })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of output.
    pub(crate) fn line(&mut self, patience: Duration) -> Result<String> {
        let lines = self.lines.as_ref().context("the output of this process is in a file")?;
        match lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("a child process said nothing for {patience:?}")
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("a child process ended early; its message is above")
            }
        }
    }

    /// Waits for one certain line.
    pub(crate) fn expect(&mut self, wanted: &str, patience: Duration) -> Result<()> {
        let line = self.line(patience)?;
        ensure!(line == wanted, "a child process said {line:?} instead of {wanted:?}");
        Ok(())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the child to end, waits, and kills it if it does not.
    fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        if self.stdin.take().is_none() {
            drop(Command::new("kill").arg("-TERM").arg(self.id().to_string()).status());
        }
        let patience = Instant::now() + Duration::from_secs(15);
        while !self.has_ended() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !self.has_ended() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Microseconds of CPU that a process has used, user and system.
pub(crate) fn cpu_micros(pid: u32) -> Option<u64> {
    // The kernel counts in hundredths of a second for user space, on every architecture that Rust runs on.
    const MICROS_PER_TICK: u64 = 10_000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold any character; utime and stime are the 12th and 13th field after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) * MICROS_PER_TICK)
}

/// The bytes that a process has in memory.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A process and all its descendants: a service's script and the server that it started.
pub(crate) fn with_descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc").map_or_else(
        |_| Vec::new(),
        |entries| {
            let pids =
                entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
        },
    );
    let mut family = vec![root];
    let mut position = 0;
    while let Some(&parent) = family.get(position) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        position += 1;
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
