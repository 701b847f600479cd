"""./dev check: the checks that need no services. It runs every check, also after a failure, and then says which failed."""

import os
import subprocess
import sys

from devkit import install, paths
from devkit.step import Failure, say
from devkit.up import no_arguments


def check(arguments):
    no_arguments(arguments, "./dev check")
    failed = []
    for name, command, extra in checks(install.cargo()):
        say(f"==> {name}")
        if subprocess.run(command, cwd=paths.ROOT, env={**os.environ, **extra}).returncode != 0:
            failed.append(name)
    if failed:
        raise Failure(f"failed: {', '.join(failed)}")
    say("==> all checks passed")
    return 0


def checks(cargo):
    """Name, command and additional environment of each check."""
    yield "format", [cargo, "fmt", "--all", "--check"], {}
    yield "clippy", [cargo, "clippy", "--workspace", "--all-targets", "--features", paths.TEST_FEATURES, "--", "-D", "warnings"], {}
    # Code that only tests call must not be left over in what is released.
    yield "clippy of a release", [cargo, "clippy", "--workspace", "--", "-D", "warnings"], {}
    yield "docs", [cargo, "doc", "--workspace", "--no-deps", "--document-private-items"], {"RUSTDOCFLAGS": "-D warnings"}
    yield "walls", [cargo, "test", "-p", "beds", "--test", "tidy"], {}
    yield "dev tools", [sys.executable, "-m", "unittest", "discover", "-s", "tools/devkit", "-p", "test_*.py"], {}
    if subprocess.run([cargo, "deny", "--version"], capture_output=True).returncode == 0:
        yield "bans", [cargo, "deny", "check", "bans"], {}
    else:
        say("==> bans: skipped, cargo-deny is not installed")
