"""Processes: start them detached, know them again, end them. What the processes are is none of this module's business.

Two things tell that a process is ours. Its pid together with its start time, for the one that was recorded; and the
variable BEDS_DEV_RUN in its environment, which children (epmd, helpers, whatever a test restarted) inherit.
"""

import os
import resource
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

MARK = "BEDS_DEV_RUN"
_children = {}


def start(command, env, log, cwd):
    """Start a command in a session of its own, so that neither Ctrl-C nor the end of ./dev reaches it."""
    with open(log, "ab") as out:
        child = subprocess.Popen(
            [str(part) for part in command], env=env, cwd=cwd, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )
    _children[child.pid] = child
    return child.pid


def raise_file_limit():
    """Databases open many files; the usual soft limit of 1024 is not for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def born(pid):
    """A process's start time, in ticks since the boot and with the boot's id: never the same for two processes."""
    reap(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # Field 3 is the state, field 22 the start time; the name that comes before may hold spaces.
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def alive(pid, identity):
    return pid is not None and identity is not None and born(pid) == identity


def marked(run_dir):
    """The pids of every process that carries the mark of this run."""
    mark = f"{MARK}={run_dir}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and born(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue  # another user's, or gone by now
    return found


def end(pids, grace):
    """SIGTERM, wait up to `grace` seconds, then SIGKILL. Returns the pids that had to be killed."""
    known = {pid: born(pid) for pid in pids}
    known = {pid: identity for pid, identity in known.items() if identity}
    for signum, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
        left = [pid for pid, identity in known.items() if alive(pid, identity)]
        if not left:
            return []
        for pid in left:
            send(pid, signum)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(alive(pid, known[pid]) for pid in left):
            time.sleep(0.05)
    return left


@contextmanager
def undisturbed():
    """Let no signal interrupt this: an impatient second Ctrl-C would leave half of the processes behind."""
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def run(command, env, cwd):
    """Run a command in the foreground and return its code; 128 + N when signal N ended it."""
    child = subprocess.Popen([str(part) for part in command], env=env, cwd=cwd)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        # The terminal sent it to the child as well; `kill` did not. Either way it may finish its report.
        for patience, push in ((2, child.terminate), (15, child.kill)):
            try:
                child.wait(patience)
                break
            except subprocess.TimeoutExpired:
                push()
        raise
    return code if code >= 0 else 128 - code


def send(pid, signum):
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass


def reap(pid):
    """Collect a child of ours that has ended; as a zombie it would look alive to everybody else."""
    if pid in _children:
        _children[pid].poll()


def tail(log, lines=12):
    """The last lines of a log, indented for an error message."""
    try:
        text = Path(log).read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "\n     ".join(text)
