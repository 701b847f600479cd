"""Where things lie in the repository and in `.beds/`. It makes directories; their content is other modules' business."""

import hashlib
import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Features that tests and lints build besides the default ones.
TEST_FEATURES = "beds/failpoints,beds/otel"
BEDS = ROOT / ".beds"
PKG = BEDS / "pkg"
DATA = BEDS / "data"
UP = BEDS / "up"
TEST = BEDS / "test"
BENCH = BEDS / "bench"
FAULTS = ROOT / "crates" / "beds" / "tests" / "it" / "faults"
SCHEMA = ROOT / "schema"
REQUIREMENTS = ROOT / "tools" / "requirements.txt"

# The kernel keeps 108 bytes for the path of a unix socket, its NUL included.
SOCKET_PATH_MAX = 107


def target(profile, name):
    """A binary that cargo built, wherever CARGO_TARGET_DIR puts it."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / profile / name


def private_dir(path):
    """Make a directory that only this user can read: logs, data and secrets end up in it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def socket_dir(home):
    """Where the unix sockets of `home` go: there, or in a short temporary directory when the path would be too long."""
    if len(os.fsencode(home / "12345678.sock")) <= SOCKET_PATH_MAX:
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return private_dir(Path(tempfile.gettempdir()) / f"beds-{os.getuid()}-{digest}")


def shown(path):
    """A path as a reader at the repository's root would type it."""
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)
