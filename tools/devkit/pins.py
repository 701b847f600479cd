"""Downloads from PyPI through pip, each pinned by hash in tools/requirements.txt. What is done with them is not here."""

import os
import subprocess
import sys

from devkit import paths
from devkit.step import Failure


def requirement(text, name):
    """The entry of one package in a requirements file, with its hashes."""
    entries = text.replace("\\\n", " ").splitlines()
    for entry in entries:
        if entry.startswith(f"{name}=="):
            return " ".join(entry.split())
    raise KeyError(name)


def has_pip():
    return subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0


def download(name):
    """Bring the pinned file of a package into .beds/pkg and return its path."""
    pin = _pin_file(name)
    place = paths.PKG / name
    _pip("download", "--no-deps", "--require-hashes", "-r", pin, "-d", place)
    return next(file for file in place.iterdir() if file.suffix in (".whl", ".gz"))


def install(name, place):
    """Install a pinned package into a folder of its own, away from the user's Python packages."""
    _pip("install", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", _pin_file(name), "--upgrade", "--target", place)


def _pin_file(name):
    pin = paths.PKG / f"{name}.txt"
    pin.write_text(requirement(paths.REQUIREMENTS.read_text(), name) + "\n")
    return pin


def _pip(verb, *arguments):
    # With pip's usual retries it takes minutes to learn that there is no network.
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--retries=2", *map(str, arguments)]
    quiet = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        reason = "\n     ".join(errors[-4:]) or f"pip ended with {done.returncode}"
        raise Failure(
            f"pip could not {verb} it:\n     {reason}",
            "This needs a package index that pip can reach (see `pip config list`), x86-64 Linux and Python 3.9 to 3.14.",
        )
