"""A private RabbitMQ: its files, its command and when it is ready. Starting and stopping it is instance.py's."""

from devkit import current, net, paths, tls
from devkit.install import RABBITMQ_SERVER
from devkit.step import Failure

PORTS = ("amqp", "amqps", "http", "dist", "epmd")

CONFIG = """\
listeners.tcp.local = 127.0.0.1:{amqp}
listeners.ssl.local = 127.0.0.1:{amqps}
ssl_options.cacertfile = {tls}/ca.pem
ssl_options.certfile = {tls}/server.pem
ssl_options.keyfile = {tls}/server.key
ssl_options.verify = verify_none
management.tcp.ip = 127.0.0.1
management.tcp.port = {http}
default_vhost = beds
default_user = beds
default_pass = {password}
default_user_tags.administrator = true
# Queue lengths are shown at most this many milliseconds late.
collect_statistics_interval = 500
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
disk_free_limit.absolute = 50MB
log.console = false
log.file = rabbit.log
"""


def prepare(home, ports, secret, run_name):
    """Write the files a node reads, and return its command and environment."""
    paths.private_dir(home)
    (home / "conf.d").mkdir(exist_ok=True)
    (home / "plugins").write_text("[rabbitmq_management].\n")
    (home / "env.conf").write_text("")
    (home / "advanced.config").write_text("[].\n")
    config = home / "rabbitmq.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(password=secret("rabbitmq"), tls=tls.files(home), **ports))
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        cookie.touch(mode=0o600)
        cookie.write_text(secret("erlang"))
        cookie.chmod(0o400)
    return current.inside([RABBITMQ_SERVER], home), environment(home, ports, run_name)


def environment(home, ports, run_name):
    return {
        "HOME": str(home),
        # The script then becomes the Erlang machine instead of waiting for it: the recorded pid is the real one.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_NODENAME": f"beds-{run_name}@localhost",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        # Everything that would otherwise be read from /etc/rabbitmq, where a packaged server may be configured.
        "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_DIST_PORT": str(ports["dist"]),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # Schedulers that spin while idle take the processor from the tests; Erlang itself stays on loopback.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
            "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
    }


def is_ready(home, ports, secret):
    # The listener is the last thing that comes up; before it, the management API may answer already.
    check = f"/api/health/checks/port-listener/{ports['amqp']}"
    return net.http_status(ports["http"], check, ("beds", secret("rabbitmq"))) == 200


def add_vhost(ports, secret, name):
    """A further virtual host, with the same user."""
    status = net.http_status(ports["http"], f"/api/vhosts/{name}", ("beds", secret("rabbitmq")), method="PUT")
    if status not in (201, 204):
        raise Failure(f"RabbitMQ answered {status} to a new virtual host", "See its log.")


def settle(home, ports, secret, fresh):
    """Nothing: user, virtual host and permissions come from the configuration."""

