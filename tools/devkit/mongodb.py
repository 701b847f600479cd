"""A private MongoDB, a replica set of one: its command, its first start, its logins.

Starting and stopping it is instance.py's; collections and named operations are the schema's. As a program of its own it
drops the databases of a test: `python3 -m devkit.mongodb NAME...`.
"""

import os
import sys
import time

from devkit import net, paths, tls
from devkit.install import PYTHON_PACKAGES, mongod
from devkit.step import Failure

PORTS = ("mongo",)
REPLICA_SET = "beds"
DATABASES = ("main", "msLogs", "beds")


def prepare(home, ports, secret, run_name):
    """Write the key file, and return the server's command and environment."""
    data = paths.private_dir(home) / "data"
    data.mkdir(exist_ok=True)
    key = home / "key"
    key.touch(mode=0o600)
    key.write_text(secret("mongo_key"))
    certificates = tls.files(home)
    command = [
        mongod(), f"--dbpath={data}", "--bind_ip=127.0.0.1", f"--port={ports['mongo']}", "--nounixsocket",
        f"--replSet={REPLICA_SET}", "--auth", f"--keyFile={key}", "--noscripting",
        "--wiredTigerCacheSizeGB=0.5", "--setParameter=transactionLifetimeLimitSeconds=30",
        "--tlsMode=allowTLS", f"--tlsCertificateKeyFile={certificates / 'both.pem'}", f"--tlsCAFile={certificates / 'ca.pem'}",
        "--tlsAllowConnectionsWithoutCertificates",
    ]
    return command, {"HOME": str(home)}


def is_ready(home, ports, secret):
    return net.accepts(ports["mongo"])


def settle(home, ports, secret, fresh):
    """Wait until the one member leads; on the first start make the replica set and its logins.

    That goes through the exception that MongoDB grants to loopback until a login exists.
    """
    pymongo = load_pymongo()
    address = f"127.0.0.1:{ports['mongo']}"
    try:
        with pymongo.MongoClient(f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=20_000) as client:
            if fresh:
                client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]})
            wait_for_primary(client)
            if fresh:
                client.admin.command("createUser", "beds_dba", pwd=secret("mongo_dba"), roles=["root"])
        if fresh:
            with pymongo.MongoClient(url("beds_dba", secret("mongo_dba"), ports)) as client:
                create_runtime_login(client.admin, secret)
    except pymongo.errors.PyMongoError as error:
        raise Failure(f"MongoDB refused to be set up: {error}") from None


def create_runtime_login(admin, secret):
    """It may do nothing yet: the roles are the schema's."""
    admin.command("createUser", "beds_run", pwd=secret("mongo_run"), roles=[])


def grant_runtime_role(ports, secret):
    """The roles are the schema's; that the node's login has them is the installation's."""
    pymongo = load_pymongo()
    roles = [{"role": "beds_runtime", "db": name} for name in DATABASES]
    try:
        with pymongo.MongoClient(url("beds_dba", secret("mongo_dba"), ports)) as client:
            client.admin.command("updateUser", "beds_run", roles=roles)
    except pymongo.errors.PyMongoError as error:
        raise Failure(f"MongoDB refused to grant the role: {error}") from None


def wait_for_primary(client):
    deadline = time.monotonic() + 30
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > deadline:
            raise Failure("the replica set has no primary after 30 s")
        time.sleep(0.05)


def url(user, password, ports, database="", options="authSource=admin&directConnection=true"):
    return f"mongodb://{user}:{password}@127.0.0.1:{ports['mongo']}/{database}?{options}"


def load_pymongo():
    if str(PYTHON_PACKAGES) not in sys.path:
        sys.path.insert(0, str(PYTHON_PACKAGES))
    import pymongo
    import pymongo.errors

    return pymongo


def drop(address, names):
    with load_pymongo().MongoClient(address) as client:
        for name in names:
            client.drop_database(name)


if __name__ == "__main__":
    drop(os.environ["BEDS_TEST_MONGO_URL"], sys.argv[1:])
