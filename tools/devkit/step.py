"""How ./dev talks: one line with a time for each step, and failures that say the next step. It decides nothing."""

import sys
import time
from contextlib import contextmanager


class Failure(Exception):
    """A foreseeable failure: its reason, and the reader's next step. It is printed, never shown as a traceback."""

    def __init__(self, why, do="", code=1):
        super().__init__(why)
        self.why, self.do, self.code = why, do, code
        self.step = None

    def __str__(self):
        where = f"{self.step}: " if self.step else ""
        return f"dev: {where}{self.why}" + (f"\n     {self.do}" if self.do else "")


class Line:
    """What a running step wants to add to its line."""

    def __init__(self):
        self.note = ""


@contextmanager
def step(name):
    """Run a step; print its name, its time and its note when it is done. A Failure inside learns the step's name."""
    line, began = Line(), time.monotonic()
    live = sys.stdout.isatty()
    if live:
        print(f"  {name} …", end="", flush=True)
    try:
        yield line
    except BaseException as error:
        if live:
            print()
        if isinstance(error, Failure) and error.step is None:
            error.step = name
        raise
    took = time.monotonic() - began
    print(("\r\x1b[K" if live else "") + f"  {name:<26}{took:7.1f} s   {line.note}".rstrip(), flush=True)


def say(text=""):
    print(text, flush=True)
