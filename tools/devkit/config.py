"""Writes beds.toml and dba.toml of an instance, and starts nothing.

The keys are BEDS's, explained in config/beds.default.toml.
"""

import base64
import hashlib
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

[services.calgon]
is_local = true

[auth]
keys_file = "keys.toml"

[trust]
seal_keys = ["secrets/seal.key"]

[reports]
hash_keys = ["secrets/hash.key"]

{databases}
[templates]
path = "{templates}"
"""

KEY_ID = "0de70de7"

KEYS = f"""\
# Keys of programs, written by `beds keys`. A node reads them at start and at `beds reload`.

[key.{KEY_ID}]
sha256 = "{{hash}}"
subject = "app:developer"
roles = ["clerk", "analyst", "developer", "operator", "auditor"]
claims = {{{{ tenant = "acme" }}}}
note = "made by ./dev up"
"""

DBA = """\
# Written by ./dev. The DBA's own logins, for `beds schema apply` only.
"""

DATABASES = """\
[databases.rec.main]
url_file = "secrets/rec{who}.url"

[databases.rec.msLogs]
url_file = "secrets/logs{who}.url"

[databases.rec.beds]
url_file = "secrets/tickets{who}.url"

[databases.rel.main]
url_file = "secrets/rel{who}.url"
"""


def write(instance):
    """Both files and the URLs they point to."""
    home, ports = instance.home, instance.ports
    for name, url in urls(ports, instance.secret).items():
        private(paths.private_dir(home / "secrets") / f"{name}.url", url + "\n")
    socket = paths.socket_dir(home) / "ms.sock"
    text = BEDS.format(
        control="ms.sock" if socket.parent == home else socket,
        gateway=ports["gateway"],
        databases=DATABASES.format(who=""),
        templates=os.path.relpath(paths.ROOT / "templates", home),
    )
    (home / "beds.toml").write_text(text)
    (home / "dba.toml").write_text(DBA + DATABASES.format(who=".dba"))
    write_key(home, instance.secret("dev_key"))
    for name, secret in (("seal", "seal"), ("hash", "audit_hash")):
        private(paths.private_dir(home / "secrets") / f"{name}.key", random_key(instance.secret(secret)) + "\n")


def write_key(home, secret):
    """The key of the developer, with the roles of the sample templates and of operators. Keys that were made meanwhile stay."""
    key = dev_key(secret)
    private(key_file(home), key + "\n")
    if not (home / "keys.toml").exists():
        private(home / "keys.toml", KEYS.format(hash=hashlib.sha256(key.encode()).hexdigest()))


def key_file(home):
    """Where the developer finds the key of an instance."""
    return (paths.BEDS if home == paths.UP else home) / "dev-key"


def private(file, text):
    file.touch(mode=0o600)
    file.write_text(text)


def dev_key(secret):
    """A key as `beds keys new` makes one: 32 bytes in base64url."""
    return f"beds_{KEY_ID}_{random_key(secret)}"


def random_key(secret):
    """32 bytes of a secret in base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).rstrip(b"=").decode()


def urls(ports, secret):
    replica_set = f"authSource=admin&replicaSet={mongodb.REPLICA_SET}"
    return {
        "amqp": f"amqp://beds:{secret('rabbitmq')}@127.0.0.1:{ports['amqp']}/beds",
        "rec": mongodb.url("beds_run", secret("mongo_run"), ports, "main", replica_set),
        "rec.dba": mongodb.url("beds_dba", secret("mongo_dba"), ports, "main", replica_set),
        "logs": mongodb.url("beds_run", secret("mongo_run"), ports, "msLogs", replica_set),
        "logs.dba": mongodb.url("beds_dba", secret("mongo_dba"), ports, "msLogs", replica_set),
        "tickets": mongodb.url("beds_run", secret("mongo_run"), ports, "beds", replica_set),
        "tickets.dba": mongodb.url("beds_dba", secret("mongo_dba"), ports, "beds", replica_set),
        "rel": f"mysql://beds_run:{secret('maria_run')}@127.0.0.1:{ports['sql']}/main",
        "rel.dba": f"mysql://beds_dba:{secret('maria_dba')}@127.0.0.1:{ports['sql']}/main",
    }
