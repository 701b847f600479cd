"""Builds BEDS and runs its commands against an instance: schema, node, sample data. How BEDS works inside is not known here."""

import os

from devkit import config, install, mariadb, mongodb, net, paths, proc, sample
from devkit.step import Failure, step

READY_SECONDS = 60
# Enough to try everything, and loaded in seconds; ./dev load --all takes the rest.
FLIGHTS_AT_FIRST = 20_000


def beds():
    return paths.target("release", "beds")


def build(*packages):
    """cargo shows its own progress, so it gets the terminal."""
    selected = [argument for package in packages for argument in ("-p", package)]
    with step("build"):
        run([install.cargo(), "build", "--release", *selected], "the build failed", "cargo's messages above say why.")


def prepare_schema(instance):
    """Write the instance's files, apply the schema as the DBA and give the node's login its role."""
    config.write(instance)
    with step("apply the schema"):
        command = [beds(), "schema", "apply", "--credentials", instance.home / "dba.toml", "--schema", paths.SCHEMA]
        run(command, "`beds schema apply` failed", "Its messages above say why.")
        mariadb.grant_runtime_role(instance.ports, instance.secret)
        mongodb.grant_runtime_role(instance.ports, instance.secret)


def ready_status(instance):
    return net.http_status(instance.ports["gateway"], "/readyz")


def start(instance):
    """Start the node, or leave it alone when it runs this very binary."""
    with step("start the node") as line:
        version = fingerprint()
        marker = instance.home / "node" / "binary"
        if instance.is_running("node"):
            if marker.exists() and marker.read_text() == version and ready_status(instance) == 200:
                line.note = "was up"
                return
            instance.stop(names=["node"])
        port = instance.ports["gateway"]
        net.require_free(port, "the gateway")
        passed = {name: value for name, value in os.environ.items() if name.startswith(("RUST_", "BEDS__"))}
        command = [beds(), "run", "--config", instance.home / "beds.toml"]
        instance.launch("node", command, passed, cwd=paths.ROOT)
        instance.await_ready("node", lambda: ready_status(instance) == 200, READY_SECONDS)
        marker.write_text(version)
        line.note = f"http://127.0.0.1:{port}"


def fingerprint():
    """Changes with each build that changed the binary."""
    info = beds().stat()
    return f"{info.st_mtime_ns} {info.st_size}"


def load(instance, everything=False):
    """Load the sample data through AMQP, one template after the other; a template that is marked as loaded is skipped."""
    sample.ensure()
    markers = instance.home / "loaded"
    markers.mkdir(exist_ok=True)
    for name in sample.FILES:
        template, marker = name.capitalize(), markers / name.capitalize()
        limited = name == "flights" and not everything
        done = marker.read_text() if marker.exists() else ""
        if done == "all" or (limited and done):
            continue
        command = [beds(), "load", "--config", instance.home / "beds.toml", template, sample.path(name)]
        with step(f"load {template}") as line:
            limit = ["--limit", str(FLIGHTS_AT_FIRST)] if limited else []
            run([*command, *limit], f"`beds load {template}` failed", "It goes on where it stopped: run ./dev load.")
            marker.write_text(str(FLIGHTS_AT_FIRST) if limited else "all")
            line.note = f"the first {FLIGHTS_AT_FIRST}; ./dev load --all takes the rest" if limited else ""


def run(command, why, do):
    """Run a command in the foreground, from the repository's root."""
    try:
        code = proc.run(command, None, paths.ROOT)
    except FileNotFoundError:
        raise Failure(f"{paths.shown(command[0])} does not exist", "Build it first: ./dev up does.") from None
    if code != 0:
        raise Failure(f"{why} (exit code {code})", do)
