"""Writes beds.toml and dba.toml of an instance, and starts nothing.

The keys are BEDS's, explained in config/beds.default.toml.
"""

import os

from devkit import mongodb, paths

BEDS = """\
# Written by ./dev; changes are lost at the next start.
[node]
name = "ms"
environment = "development"
control = "{control}"

[amqp]
url_file = "secrets/amqp.url"

[services.appserver]
is_local = true
listen = "127.0.0.1:{gateway}"

[services.rec]
is_local = true
instances = {{ read = 8, write = 8 }}

[services.rel]
is_local = true
instances = {{ read = 8, write = 8 }}

[services.admin]
is_local = true
signing_key_file = "secrets/audit.key"

[reports]
hash_key = "{hash_key}"

{databases}
[templates]
path = "{templates}"
"""

DBA = """\
# Written by ./dev. The DBA's own logins, for `beds schema apply` only.
"""

DATABASES = """\
[databases.rec.main]
url_file = "secrets/rec{who}.url"

[databases.rec.msLogs]
url_file = "secrets/logs{who}.url"

[databases.rel.main]
url_file = "secrets/rel{who}.url"
"""


def write(instance):
    """Both files and the URLs they point to."""
    home, ports = instance.home, instance.ports
    for name, url in urls(ports, instance.secret).items():
        file = paths.private_dir(home / "secrets") / f"{name}.url"
        file.touch(mode=0o600)
        file.write_text(url + "\n")
    socket = paths.socket_dir(home) / "ms.sock"
    text = BEDS.format(
        control="ms.sock" if socket.parent == home else socket,
        gateway=ports["gateway"],
        databases=DATABASES.format(who=""),
        hash_key=instance.secret("audit_hash"),
        templates=os.path.relpath(paths.ROOT / "templates", home),
    )
    (home / "beds.toml").write_text(text)
    (home / "dba.toml").write_text(DBA + DATABASES.format(who=".dba"))


def urls(ports, secret):
    replica_set = f"authSource=admin&replicaSet={mongodb.REPLICA_SET}"
    return {
        "amqp": f"amqp://beds:{secret('rabbitmq')}@127.0.0.1:{ports['amqp']}/beds",
        "rec": mongodb.url("beds_run", secret("mongo_run"), ports, "main", replica_set),
        "rec.dba": mongodb.url("beds_dba", secret("mongo_dba"), ports, "main", replica_set),
        "logs": mongodb.url("beds_run", secret("mongo_run"), ports, "msLogs", replica_set),
        "logs.dba": mongodb.url("beds_dba", secret("mongo_dba"), ports, "msLogs", replica_set),
        "rel": f"mysql://beds_run:{secret('maria_run')}@127.0.0.1:{ports['sql']}/main",
        "rel.dba": f"mysql://beds_dba:{secret('maria_dba')}@127.0.0.1:{ports['sql']}/main",
    }
