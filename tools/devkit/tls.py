"""The certificates of an instance: an authority of its own, and one certificate for all its services, made with openssl."""

import shutil
import subprocess
import threading

from devkit import paths
from devkit.install import which
from devkit.step import Failure

DAYS = "3650"
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
_making = threading.Lock()


def authority(home):
    """The certificate of the instance's authority."""
    return home / "tls" / "ca.pem"


def files(home):
    """Certificate, key, both in one, and the authority's certificate, in the folder of a service: it may see no other folder."""
    made = home.parent / "tls"
    with _making:
        if not (made / "both.pem").exists():
            make(paths.private_dir(made))
    own = paths.private_dir(home / "tls")
    for name in ("server.pem", "server.key", "both.pem", "ca.pem"):
        shutil.copy(made / name, own / name)
    return own


def make(folder):
    openssl(folder, "req", "-x509", *CURVE, "-days", DAYS, "-subj", "/CN=BEDS development", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", *CURVE, "-subj", "/CN=localhost", "-addext", NAMES, "-keyout", "server.key", "-out", "server.csr")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS,
            "-copy_extensions", "copy", "-out", "server.pem")
    (folder / "both.pem").write_text((folder / "server.pem").read_text() + (folder / "server.key").read_text())


def openssl(folder, *arguments):
    done = subprocess.run([which("openssl"), *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
