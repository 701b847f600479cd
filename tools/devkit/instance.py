"""An instance: a directory with private services, their ports, secrets and processes.

It starts, recognises and ends them. How a service is set up is in its own module (rabbitmq, mariadb, mongodb), which all
have PORTS, prepare, is_ready and settle. What runs on the services is in node.py and private.py.
"""

import json
import os
import secrets
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from devkit import mariadb, mongodb, net, paths, proc, rabbitmq
from devkit.step import Failure

SERVICES = {"rabbitmq": rabbitmq, "mariadb": mariadb, "mongodb": mongodb}
UP_PORTS = {"amqp": 35672, "amqps": 35671, "http": 35673, "dist": 35674, "epmd": 35675, "sql": 33306, "mongo": 37017, "gateway": 38080}

START_SECONDS = 90
STOP_SECONDS = 30


class Instance:
    """The services of one directory. `processes` are those that were started there, as recorded in its state.json."""

    def __init__(self, home, name, ports):
        self.home, self.name, self.ports = home, name, ports
        self.processes = {}
        self.abandoned = threading.Event()
        self._writing = threading.Lock()

    @classmethod
    def up(cls):
        """The one instance of ./dev up, with its recorded processes."""
        instance = cls(paths.UP, "up", UP_PORTS)
        instance._read()
        return instance

    @classmethod
    def private(cls, home):
        """A new instance on free ports."""
        paths.private_dir(home)
        instance = cls(home, f"{home.parent.name.strip('.')}-{home.name}", dict(zip(UP_PORTS, net.free_ports(len(UP_PORTS)))))
        instance._write()
        return instance

    def secret(self, name):
        """A generated password, the same one for as long as the instance exists."""
        file = paths.private_dir(self.home / "secrets") / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text()

    def start_services(self, names=tuple(SERVICES)):
        """Start those of the services that are not running, all at once. Returns a note on each."""
        proc.raise_file_limit()
        with ThreadPoolExecutor(len(names)) as pool:
            try:
                return ", ".join(pool.map(self._start_service, names))
            except BaseException:
                self.abandoned.set()  # or leaving the pool waits until each is ready
                raise

    def _start_service(self, name):
        service, home, began = SERVICES[name], self.home / name, time.monotonic()
        initialised = home / "initialised"
        fresh = not initialised.exists()
        was_up = self.is_running(name) and not fresh
        if not was_up:
            proc.end(proc.marked(home), grace=5)  # what a killed server left behind, such as RabbitMQ's epmd
            if fresh:
                shutil.rmtree(home, ignore_errors=True)  # a first start that did not finish
            for port in service.PORTS:
                net.require_free(self.ports[port], name)
            self.launch(name, *service.prepare(home, self.ports, self.secret, self.name))
        self.await_ready(name, lambda: service.is_ready(home, self.ports, self.secret), START_SECONDS)
        service.settle(home, self.ports, self.secret, fresh)
        initialised.touch()
        return f"{name} was up" if was_up else f"{name} {time.monotonic() - began:.1f} s"

    def launch(self, name, command, environment, cwd=None):
        """Start a process of this instance and record it."""
        home = self.home / name
        home.mkdir(exist_ok=True)
        log = paths.private_dir(self.home / "logs") / f"{name}.log"
        base = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
        environment = {**base, **environment, proc.MARK: str(home)}
        cwd = cwd or home
        pid = proc.start(command, environment, log, cwd)
        self.processes[name] = {
            "pid": pid, "born": proc.born(pid), "command": [str(part) for part in command],
            "env": environment, "cwd": str(cwd), "log": str(log),
        }
        self._write()

    def await_ready(self, name, ready, seconds):
        if net.wait_until(ready, seconds, lambda: self.is_running(name) and not self.abandoned.is_set()):
            return
        log = self.processes[name]["log"]
        what = f"is not ready after {seconds} s" if self.is_running(name) else "ended while starting"
        raise Failure(f"{name} {what}; the end of its log:\n     {proc.tail(log)}", f"The whole log is {log}.")

    def is_running(self, name):
        record = self.processes.get(name, {})
        return proc.alive(record.get("pid"), record.get("born"))

    def stop(self, grace=STOP_SECONDS, names=("node", *SERVICES)):
        """End the recorded processes and their children, and say which those were."""
        with proc.undisturbed():
            return self._stop(grace, names)

    def _stop(self, grace, names):
        ended = []
        # The node goes first, so that it can finish its work.
        for group in (["node"], list(SERVICES)):
            group = [name for name in group if name in names]
            running = {name: self.processes[name]["pid"] for name in group if self.is_running(name)}
            killed = proc.end(running.values(), grace)
            ended += [f"{name} ({pid}{', killed' if pid in killed else ''})" for name, pid in running.items()]
            left = [pid for name in group for pid in proc.marked(self.home / name)]
            proc.end(left, grace=min(grace, 10))
            if left:
                ended.append(f"children {', '.join(map(str, left))}")
            for name in group:
                self.processes.pop(name, None)
        if self.home.exists():
            self._write()
        return ended

    def remove(self):
        for home in (self.home, *(self.home / name for name in SERVICES)):
            shutil.rmtree(paths.socket_dir(home), ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _read(self):
        try:
            self.processes = json.loads((self.home / "state.json").read_text())["processes"]
        except (OSError, ValueError, KeyError):
            self.processes = {}  # nothing was ever started here

    def _write(self):
        with self._writing:
            part = self.home / "state.part"
            part.touch(mode=0o600)
            # The services start in threads: another may be adding its process right now.
            state = {"ports": self.ports, "processes": dict(self.processes)}
            part.write_text(json.dumps(state, indent=1))
            part.replace(self.home / "state.json")
