"""./dev up, down, status and load: the instance that stays, on fixed ports. Private instances for tests are private.py's."""

import os
import random
import time

from devkit import config, install, node, paths, proc
from devkit.instance import SERVICES, Instance
from devkit.lock import exclusive
from devkit.step import Failure, say, step

USAGE_UP = "./dev up [--detach]"
USAGE_LOAD = "./dev load [--all]"

TRY = """
BEDS is up: http://127.0.0.1:{port}. Try:

  AUTH="Authorization: Bearer $(cat {key})"
  curl -i http://127.0.0.1:{port}/v1/records/Users -H "$AUTH" -H 'Content-Type: application/json' \\
       -d '{{"email":"ana-{number}@example.org","name":"Ana","roles":["clerk"]}}'
  curl -H "$AUTH" http://127.0.0.1:{port}/v1/records/Flights/1
  curl -H "$AUTH" 'http://127.0.0.1:{port}/v1/records/Flights/by/route?origin=JFK&dest=LAX&limit=3'
"""


def up(arguments):
    detach = flag(arguments, "--detach", USAGE_UP)
    try:
        with exclusive("up", wait=False):
            bring_up()
    except KeyboardInterrupt:
        say("\ninterrupted; what runs already stays up: ./dev down ends it")
        return 130
    if detach:
        say("It stays up: ./dev status shows it, ./dev down ends it.")
        return 0
    return follow(Instance.up())


def bring_up():
    install.cargo()
    with exclusive("install"):
        install.everything()
    instance = Instance.up()
    paths.private_dir(instance.home)
    with step("start the services") as line:
        line.note = instance.start_services()
    node.build("beds")
    node.prepare_schema(instance)
    node.start(instance)
    node.load(instance)
    key = paths.shown(config.key_file(instance.home))
    say(TRY.format(port=instance.ports["gateway"], number=random.randint(1000, 9999), key=key))


def beds(arguments):
    instance = Instance.up()
    environment = {**os.environ, "BEDS_CONFIG": str(instance.home / "beds.toml")}
    try:
        return proc.run([node.beds(), *arguments], environment, None)
    except FileNotFoundError:
        raise Failure(f"{paths.shown(node.beds())} does not exist", "Build it first: ./dev up does.") from None


def follow(instance):
    """Show the node's log until Ctrl-C, then bring everything down. Data and secrets stay."""
    say("Here follows the node's log; Ctrl-C ends everything (the data stay).\n")
    try:
        with open(instance.processes["node"]["log"], errors="replace") as log:
            log.seek(0, 2)
            while instance.is_running("node"):
                print(log.read(), end="", flush=True)
                time.sleep(0.2)
            print(log.read(), end="", flush=True)
    except KeyboardInterrupt:
        say()
        return down([])
    raise Failure("the node has ended", "Its log is above; ./dev up starts it again, ./dev down ends the services.")


def down(arguments):
    no_arguments(arguments, "./dev down")
    if not paths.UP.exists():
        say("nothing is up")
        return 0
    with exclusive("up", wait=False), step("stop") as line:
        ended = Instance.up().stop()
        line.note = "ended " + ", ".join(ended) if ended else "nothing was up"
    return 0


def status(arguments):
    no_arguments(arguments, "./dev status")
    instance = Instance.up()
    main_port = {name: instance.ports[service.PORTS[0]] for name, service in SERVICES.items()}
    main_port["node"] = instance.ports["gateway"]
    for name, port in main_port.items():
        running = instance.is_running(name)
        pid = f"pid {instance.processes[name]['pid']}" if running else ""
        say(f"  {name:<10}{'up' if running else 'down':<6}127.0.0.1:{port}   {pid}".rstrip())
    answer = node.ready_status(instance) if instance.is_running("node") else None
    say(f"  {'/readyz':<10}{answer or 'no answer'}")
    return 0 if answer == 200 and all(instance.is_running(name) for name in SERVICES) else 1


def load(arguments):
    everything = flag(arguments, "--all", USAGE_LOAD)
    instance = Instance.up()
    if not instance.is_running("node"):
        raise Failure("BEDS is not up", "Run ./dev up --detach first.")
    with exclusive("up", wait=False):
        node.load(instance, everything)
    return 0


def flag(arguments, name, usage):
    """Whether the one flag that a command knows was given."""
    if any(argument != name for argument in arguments):
        raise Failure(f"unknown argument: {' '.join(arguments)}", f"Usage: {usage}", code=2)
    return bool(arguments)


def no_arguments(arguments, usage):
    if arguments:
        raise Failure(f"unknown argument: {' '.join(arguments)}", f"Usage: {usage}", code=2)
