"""An empty task in Celery, with the promises of a ticket: late acknowledgement, confirmed publish, a quorum queue, results written with
majority and journal. Run as `jobs.py CALLERS SECONDS`, it starts eight workers, asks from so many threads, and prints tasks a second."""

import os
import subprocess
import sys
import threading
import time

from celery import Celery
from kombu import Queue

app = Celery("jobs", broker=os.environ["BROKER"])
separator = "&" if "?" in os.environ["BACKEND"] else "?"
app.conf.update(
    result_backend=os.environ["BACKEND"] + separator + "w=majority&journal=true",
    mongodb_backend_settings={"database": "celery"},
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_queues=[Queue("celery.jobs", queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue="celery.jobs",
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def empty():
    return [{"id": 1}]


def main():
    callers, seconds = int(sys.argv[1]), float(sys.argv[2])
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "jobs", "worker", "-c", "8", "--loglevel", "ERROR",
         "--without-gossip", "--without-mingle", "--without-heartbeat"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    counts = [0] * callers
    try:
        empty.delay().get(timeout=60, interval=0.01)
        begin = time.monotonic() + 1
        end = begin + seconds

        def ask(number):
            while time.monotonic() < end:
                empty.delay().get(timeout=60, interval=0.005)
                counts[number] += begin <= time.monotonic() < end

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        worker.terminate()
        worker.wait()
    print(sum(counts) / seconds)


if __name__ == "__main__":
    main()
