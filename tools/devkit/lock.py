"""One ./dev at a time where two would spoil each other's work. The kernel drops a lock with its process."""

import fcntl
from contextlib import contextmanager

from devkit import paths
from devkit.step import Failure, say


@contextmanager
def exclusive(name, wait=True):
    """Hold the lock `.beds/<name>.lock`; wait for it, or fail when another ./dev has it."""
    paths.private_dir(paths.BEDS)
    with open(paths.BEDS / f"{name}.lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise Failure(f"another ./dev is at work on `{name}`", "Let it finish, or end it, and try again.") from None
            say(f"  waiting for another ./dev ({name})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
