"""A private MariaDB: its data directory, its command, its logins.

Starting and stopping it is instance.py's; the tables are the schema's.
"""

import getpass
import os
import subprocess

from devkit import current, net, paths, tls
from devkit.install import which
from devkit.step import Failure

PORTS = ("sql",)

# Roots on other hosts and anonymous users come with the data directory, and none of them has a password.
LOGINS = """\
DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');
FLUSH PRIVILEGES;
CREATE DATABASE main CHARACTER SET utf8mb4;
CREATE USER 'beds_dba'@'%' IDENTIFIED BY '{dba}';
GRANT ALL PRIVILEGES ON *.* TO 'beds_dba'@'%' WITH GRANT OPTION;
CREATE USER 'beds_run'@'%' IDENTIFIED BY '{run}' WITH MAX_STATEMENT_TIME 30;
ALTER USER 'root'@'localhost' IDENTIFIED BY '{root}';
"""

RUNTIME_ROLE = """\
GRANT beds_runtime TO 'beds_run'@'%';
SET DEFAULT ROLE beds_runtime FOR 'beds_run'@'%';
"""


def prepare(home, ports, secret, run_name):
    """Make the data directory, and return the server's command and environment."""
    paths.private_dir(home)
    data = home / "data"
    if not (data / "mysql").is_dir():
        data.mkdir(exist_ok=True)
        install = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", f"--datadir={data}",
                   f"--tmpdir={temporary(home)}", *as_user()]
        command = current.inside([current.program("mariadb-install-db", which("mariadb-install-db")), *install], home)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=with_system_path())
        if done.returncode != 0:
            raise Failure("mariadb-install-db failed:\n     " + "\n     ".join((done.stdout + done.stderr).splitlines()[-6:]))
    # A server that was killed can find the index of this table corrupt (10.11.19), and then makes no event any more.
    at_start = home / "start.sql"
    at_start.write_text("REPAIR TABLE mysql.event;\n")
    certificates = tls.files(home)
    socket = paths.socket_dir(home) / "sql.sock"
    command = [
        current.program("mariadbd", which("mariadbd")), "--no-defaults", *as_user(), f"--datadir={data}",
        f"--socket={socket}", f"--pid-file={home / 'pid'}", f"--tmpdir={temporary(home)}",
        "--bind-address=127.0.0.1", f"--port={ports['sql']}", "--skip-name-resolve",
        "--character-set-server=utf8mb4", "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=256M", "--max-connections=500", "--event-scheduler=ON", f"--init-file={at_start}",
        f"--ssl-cert={certificates / 'server.pem'}", f"--ssl-key={certificates / 'server.key'}", f"--ssl-ca={certificates / 'ca.pem'}",
    ]
    return current.inside(command, home, socket.parent), {"HOME": str(home)}


def temporary(home):
    """A server that starts removes what it takes for its own leftovers in its folder of temporary tables: with one folder
    for two servers, the other one crashes (10.11.19 and 11.8.9).
    """
    return paths.private_dir(home / "tmp")


def with_system_path():
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"}


def as_user():
    return ["--user=root"] if os.geteuid() == 0 else [f"--user={getpass.getuser()}"]


def is_ready(home, ports, secret):
    return net.accepts(ports["sql"])


def settle(home, ports, secret, fresh):
    """On the first start the logins, through the socket as the first root, which has no password yet."""
    if not fresh:
        return
    socket = paths.socket_dir(home) / "sql.sock"
    logins = LOGINS.format(dba=secret("maria_dba"), run=secret("maria_run"), root=secret("maria_root"))
    client([f"--socket={socket}", "--user=root"], "", logins)


def grant_runtime_role(ports, secret):
    """The role is the schema's; that the node's login has it is the installation's."""
    client(["--host=127.0.0.1", f"--port={ports['sql']}", "--user=beds_dba"], secret("maria_dba"), RUNTIME_ROLE)


def client(login, password, sql):
    # The password goes by the environment: arguments are everybody's to read.
    environment = {**os.environ, "MYSQL_PWD": password}
    done = subprocess.run([which("mariadb"), "--no-defaults", *login], input=sql, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"MariaDB refused a statement: {done.stderr.strip()}")

