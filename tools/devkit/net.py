"""Loopback ports and HTTP answers. It connects to 127.0.0.1 only."""

import base64
import http.client
import random
import socket
import time
import urllib.error
import urllib.request

from devkit.step import Failure

# Below the range from which the kernel takes the ports of outgoing connections (32768 up): otherwise a service that a
# test kills could find its port in use by some client when it comes back.
FREE_RANGE = (20000, 32000)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count):
    """So many different ports that are free now."""
    candidates = random.sample(range(*FREE_RANGE), 40 * count)
    free = [port for port in candidates if is_free(port)][:count]
    if len(free) < count:
        raise Failure(f"fewer than {count} free ports between {FREE_RANGE[0]} and {FREE_RANGE[1]} on 127.0.0.1")
    return free


def require_free(port, what):
    if not is_free(port):
        raise Failure(
            f"port {port} on 127.0.0.1, which {what} needs, is taken",
            f"See who has it with `ss -ltnp 'sport = :{port}'` (as root), end that, and try again.",
        )


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def http_status(port, path, login=None, timeout=2, method="GET"):
    """The status of a request without a body on 127.0.0.1, or None when there is no answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    # A proxy from the environment has no business on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None


def wait_until(ready, seconds, still_running, pause=0.1):
    """Poll `ready` until it holds. False when the time is up or the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return True
        if not still_running():
            return False
        time.sleep(pause)
    return False
