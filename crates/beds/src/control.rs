//! The control socket of a node: `beds reload` speaks through it and learns the result. One line in, one line of
//! JSON out. Only users with the right to write to the socket file may speak.
//!
//! Not here: the reload itself (reloading.rs).

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::domains::Reloaded;
use crate::reloading::Reloading;

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a caller may take to send its wish. Others wait meanwhile.
const SAID_WITHIN: Duration = Duration::from_secs(2);

/// Takes the socket. One that a dead node left behind is replaced; one that answers is not.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let text = "another node answers there";
        return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, text));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let text = "a file that is no socket is there, and stays";
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, text));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// Serves one caller after the other.
pub async fn serve(listener: UnixListener, path: PathBuf, reloading: Reloading) {
    let made = inode(&path);
    let _remove = RemoveAtEnd(path, made);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Such as no file descriptor left; there will be one again.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        match tokio::time::timeout(PATIENCE, converse(stream, &reloading)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "A control conversation broke."),
            Err(_) => tracing::debug!("A control conversation took too long."),
        }
    }
}

/// Asks the node behind a socket to read its templates and credentials again.
pub async fn reload(path: &Path) -> std::io::Result<Reloaded> {
    let conversation = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(b"reload\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        serde_json::from_str(&text).map_err(std::io::Error::other)
    };
    tokio::time::timeout(PATIENCE, conversation)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn converse(mut stream: UnixStream, reloading: &Reloading) -> std::io::Result<()> {
    let actor = format!("uid {}", stream.peer_cred()?.uid());
    let (read, mut write) = stream.split();
    let mut line = String::new();
    // Reads a bounded line: a caller that never ends its line fills no memory.
    let mut said = BufReader::new(read.take(256));
    tokio::time::timeout(SAID_WITHIN, said.read_line(&mut line))
        .await
        .map_err(|_| std::io::ErrorKind::TimedOut)??;
    let answer = match line.trim() {
        // Goes on without its caller: its act is recorded also where it takes long.
        "reload" => {
            let reloading = reloading.clone();
            let tasks = reloading.tasks.clone();
            let work = tasks.spawn(async move { reloading.run(&actor).await });
            serde_json::to_string(&work.await.map_err(std::io::Error::other)?)
        }
        other => serde_json::to_string(
            &serde_json::json!({ "error": format!("unknown command {other:?}; known: reload") }),
        ),
    };
    write.write_all(answer.unwrap_or_default().as_bytes()).await
}

/// The socket, and the number of its file: one that another node has put there meanwhile is not removed.
struct RemoveAtEnd(PathBuf, Option<u64>);

impl Drop for RemoveAtEnd {
    fn drop(&mut self) {
        if inode(&self.0) != self.1 {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "The control socket could not be removed.");
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|found| found.ino())
}
