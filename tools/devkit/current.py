"""The current releases of RabbitMQ and MariaDB: a Debian 13 in a folder, made once, whose programs run in it.

The default is what Debian 12 has. Which of the two a run uses is chosen once, before anything is started.
"""

import os
import subprocess

from devkit import install, paths
from devkit.step import Failure, step

ROOT = paths.PKG / "trixie"
NAMES = ("default", "current")
# Mounts go with the process that made them: nothing is left when a service ends, however it ends.
ENTER = """\
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift; done
shift
exec chroot "$root" "$@"
"""
_chosen = False


def choose(arguments):
    """Take `--services NAME` out of the arguments, and remember it."""
    global _chosen
    if "--services" not in arguments:
        return arguments
    at = arguments.index("--services")
    name = arguments[at + 1] if at + 1 < len(arguments) else ""
    if name not in NAMES:
        raise Failure(f"there are no services {name!r}", f"Usage: --services {'|'.join(NAMES)}", code=2)
    _chosen = name == "current"
    return arguments[:at] + arguments[at + 2:]


def is_chosen():
    return _chosen


def ensure():
    """Make the folder, if this run needs it and it is not there yet. Takes a minute, and 800 MB."""
    if not _chosen or (ROOT / "made").exists():
        return
    if os.geteuid() != 0:
        raise Failure("--services current needs root, to make a Debian in a folder and to enter it", "Run it as root.")
    if not install.which("debootstrap"):
        with step("install packages") as line:
            install.apt_install(["debootstrap"])
            line.note = "debootstrap"
    with step("make the current services") as line:
        subprocess.run(["rm", "-rf", "--one-file-system", str(ROOT)], check=True)
        command = ["debootstrap", "--variant=minbase", "--include=rabbitmq-server,mariadb-server", "trixie", str(ROOT)]
        log = paths.PKG / "debootstrap.log"
        with open(log, "w") as out:
            done = subprocess.run([install.which(command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Failure("debootstrap failed", f"Check the network and the free disk space; the whole output is in {paths.shown(log)}.")
        (ROOT / "made").touch()
        line.note = paths.shown(ROOT)


def inside(command, *shared):
    """The command as it runs in this run's Debian; `shared` are the folders that it sees under their own paths."""
    if not _chosen:
        return [str(part) for part in command]
    folders = [str(folder) for folder in dict.fromkeys(shared)]
    enter = ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "sh", str(ROOT), *folders, "--"]
    return [*enter, *(str(part) for part in command)]


def program(name, path):
    """A program of this run's Debian: by name there, by path here."""
    return name if _chosen else str(path)
