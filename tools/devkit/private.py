"""./dev test, bench, faults and services: commands that run beside private services, which end with them.

What the command finds in its environment is the interface to the Rust tests; it is all in `environment`.
"""

import json
import os
import secrets
import shutil
import subprocess
import time

from devkit import config, current, install, mongodb, node, paths, proc, rabbitmq, sample, tls
from devkit.instance import SERVICES, Instance
from devkit.lock import exclusive
from devkit.step import Failure, say, step

# Directories of failed runs, for a reader who wants to look into them.
KEPT = 5
# The mark of the processes that the command itself starts, beside the marks of the services.
COMMAND = "command"
# The data of these services will not be read again, so they need not close them in peace.
STOP_SECONDS = 1


def test(arguments):
    arguments = current.choose(arguments)
    return run_beside_services([*runner([]), "--workspace", "--features", paths.TEST_FEATURES, *one_by_one(arguments)], "tests")


def faults(arguments):
    arguments = current.choose(arguments)
    names = [argument for argument in arguments if argument != "--full"]
    if len(names) > 1:
        raise Failure(f"unknown argument: {' '.join(names[1:])}", "Usage: ./dev faults [NAME] [--full]", code=2)
    known = sorted(file.stem for file in paths.FAULTS.glob("*.rs"))
    if names and names[0].split("::")[0] not in known:
        raise Failure(f"there is no fault run {names[0]!r}", f"They are: {', '.join(known)}", code=2)
    which = one_by_one(["faults::" + "".join(names)])
    if "--" in which:
        which.append("--show-output")  # nextest is told in .config/nextest.toml
    runs = [*runner(["--profile", "faults"]), "--workspace", "--features", paths.TEST_FEATURES, "--test", "it", *which]
    return run_beside_services(runs, "fault runs", {"BEDS_FAULTS_FULL": "1"} if "--full" in arguments else {})


def runner(options):
    cargo = install.cargo()
    return [cargo, "nextest", "run", *options] if has_nextest(cargo) else [cargo, "test", "--no-fail-fast"]


def one_by_one(arguments):
    """Without nextest, which knows the tests that may run side by side (.config/nextest.toml), the tests of a binary share a process."""
    if has_nextest(install.cargo()):
        return arguments
    return [*arguments, *([] if "--" in arguments else ["--"]), "--test-threads=1"]


def services(arguments):
    at = arguments.index("--") if "--" in arguments else 0
    arguments = current.choose(arguments[:at]) + arguments[at:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        raise Failure("which command?", "Usage: ./dev services -- COMMAND [ARGS]", code=2)
    return run_beside_services(arguments, "command")


def bench(arguments):
    """Like a test run, but in release, with the schema applied and a configuration at hand."""
    install.cargo()
    with exclusive("bench", wait=False):
        with exclusive("install"):
            install.everything()
            sample.ensure()
        stop_leftovers(paths.BENCH / "second")
        stop_leftovers(paths.BENCH)
        shutil.rmtree(paths.BENCH, ignore_errors=True)
        instance = Instance.private(paths.BENCH)
        # One more MariaDB, which the run stops in its tracks.
        second = Instance.private(paths.BENCH / "second")
        try:
            start(instance)
            with step("start a second MariaDB") as line:
                line.note = second.start_services(["mariadb"])
            node.build("beds", "beds-bench")
            node.prepare_schema(instance)
            # The BEDS that records has a vhost of its own, and so has the one that asks for no credential.
            for vhost in ("recording", "open"):
                rabbitmq.add_vhost(instance.ports, instance.secret, vhost)
            extra = {
                "BEDS_BENCH_DIR": str(instance.home),
                "BEDS_BIN": str(node.beds()),
                "BEDS_BENCH_KEY": config.key_file(instance.home).read_text().strip(),
                "BEDS_BENCH_SECOND_MARIA_URL": config.urls(second.ports, second.secret)["rel.dba"],
                "BEDS_BENCH_SECOND_MARIA_PID": str(second.processes["mariadb"]["pid"]),
            }
            return run([paths.target("release", "beds-bench"), *arguments], {**environment(instance), **extra})
        finally:
            stop(second)
            stop(instance)


def run_beside_services(command, what, extra=None):
    """Run a command and return its code. Its output is the last thing printed, but for one line when it failed."""
    with exclusive("install"):
        install.everything()
        current.ensure()
        sample.ensure()
        sweep()
        instance = Instance.private(paths.TEST / secrets.token_hex(4))
        (instance.home / "owner.json").write_text(json.dumps([os.getpid(), proc.born(os.getpid())]))
    keep = False
    try:
        start(instance)
        code = run(command, {**environment(instance), **(extra or {})})
        keep = code != 0
    except Failure:
        keep = True
        raise
    finally:
        stop(instance)
        if not keep:
            instance.remove()
    if keep:
        say(f"dev: the {what} ended with exit code {code}; the services' logs and data are in {paths.shown(instance.home)}")
    return code


def start(instance):
    with step("start private services") as line:
        line.note = instance.start_services()


def stop(instance):
    """First the processes that the command left behind: a signal may have ended it before it could end its own children."""
    with proc.undisturbed():
        proc.end(proc.marked(instance.home / COMMAND), STOP_SECONDS)
        instance.stop(STOP_SECONDS)


def run(command, environment):
    try:
        return proc.run(command, environment, paths.ROOT)
    except OSError as error:
        raise Failure(f"{command[0]} cannot be run: {error.strerror}") from None


def environment(instance):
    """The caller's environment, and where the services are."""
    ports, secret = instance.ports, instance.secret
    rabbit = f"beds:{secret('rabbitmq')}@127.0.0.1"
    return {
        **os.environ,
        proc.MARK: str(instance.home / COMMAND),
        "BEDS_TEST_AMQP_URL": f"amqp://{rabbit}:{ports['amqp']}",
        "BEDS_TEST_AMQPS_URL": f"amqps://beds:{secret('rabbitmq')}@127.0.0.1:{ports['amqps']}",
        "BEDS_TEST_CA": str(tls.authority(instance.home)),
        "BEDS_TEST_RABBIT_API": f"http://{rabbit}:{ports['http']}",
        "BEDS_TEST_MARIA_URL": f"mysql://beds_dba:{secret('maria_dba')}@127.0.0.1:{ports['sql']}",
        "BEDS_TEST_MONGO_URL": mongodb.url("beds_dba", secret("mongo_dba"), ports),
        "BEDS_TEST_SERVICES": str(describe(instance)),
        "BEDS_TEST_DATA": str(paths.DATA),
        "BEDS_TEST_CURRENT": "1" if current.is_chosen() else "",
    }


def describe(instance):
    """A file with all that a test needs to kill a service and to start it again: pid, command, env, cwd, log, ports.

    A test has to pass `env` on whole: the mark in it is how a restarted service is found when the run ends.
    """
    file = instance.home / "services.json"
    described = {}
    for name, service in SERVICES.items():
        record = {key: instance.processes[name][key] for key in ("pid", "command", "env", "cwd", "log")}
        described[name] = {**record, "ports": {port: instance.ports[port] for port in service.PORTS}}
    file.touch(mode=0o600)
    file.write_text(json.dumps(described, indent=1))
    return file


def sweep():
    """End the processes of runs whose ./dev was killed, and remove all but the newest of the kept directories."""
    ended = []
    for home in paths.TEST.iterdir() if paths.TEST.exists() else ():
        try:
            owner = json.loads((home / "owner.json").read_text())
        except (OSError, ValueError):
            owner = (None, None)
        if not proc.alive(*owner):
            stop_leftovers(home)
            ended.append((age(home), home))
    for _, home in sorted(ended)[KEPT:]:
        Instance(home, home.name, {}).remove()


def age(home):
    """Seconds since it was last written to; another run may have just removed it."""
    try:
        return time.time() - home.stat().st_mtime
    except FileNotFoundError:
        return 0


def stop_leftovers(home):
    for name in (COMMAND, *SERVICES):
        proc.end(proc.marked(home / name), grace=10)


def has_nextest(cargo):
    return subprocess.run([cargo, "nextest", "--version"], capture_output=True, cwd=paths.ROOT).returncode == 0
