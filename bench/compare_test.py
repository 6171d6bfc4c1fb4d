# SPDX-License-Identifier: Apache-2.0
"""bench/compare with tiny parameters: its commands work, its figures hang together. No time is judged."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import intervals  # noqa: E402

BUILD = None


def compare(*words):
    return subprocess.run([os.path.join(ROOT, "bench", "compare"), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)


class Intervals(unittest.TestCase):
    def test_equal_rounds_have_no_spread(self):
        self.assertEqual(intervals.paired([2.0] * 7, [3.0] * 7), (1.5, 1.5, 1.5))

    def test_an_interval_holds_its_median_and_lies_within_the_rounds(self):
        ratios = [0.9, 1.0, 1.1, 1.05, 0.95, 1.2, 0.97, 1.01, 1.02]
        median, low, high = intervals.interval(ratios)
        self.assertEqual(median, 1.01)
        self.assertTrue(min(ratios) <= low < median < high <= max(ratios))
        self.assertEqual(intervals.interval(ratios), (median, low, high), "the same figures, the same interval")

    def test_rounds_are_paired(self):
        # Each round's machine is another; the ratio is the same in all.
        self.assertEqual(intervals.paired([1.0, 2.0, 8.0, 16.0], [2.0, 4.0, 16.0, 32.0]), (2.0, 2.0, 2.0))
        with self.assertRaises(ValueError):
            intervals.paired([1.0], [1.0, 2.0])

    def test_verdicts(self):
        self.assertEqual(intervals.verdict(7, 0.8, 0.9), "cheaper")
        self.assertEqual(intervals.verdict(7, 1.1, 1.2), "dearer")
        self.assertEqual(intervals.verdict(7, 0.9, 1.1), "no difference shown")
        self.assertEqual(intervals.verdict(5, 0.8, 0.9), "no verdict below 6 rounds")


class Compare(unittest.TestCase):
    def good(self, *words):
        done = compare(*words, "--json")
        self.assertEqual(done.returncode, 0, done)
        return done, json.loads(done.stdout.splitlines()[-1])

    def sound(self, one):
        self.assertTrue(0 < one["low"] <= one["ratio"] <= one["high"], one)

    def test_help(self):
        done = compare("--help")
        self.assertEqual(done.returncode, 0, done)
        for option in ("--benchmark", "--peers", "--server", "--rounds", "--fail-above"):
            self.assertIn(option, done.stdout)

    def test_micro(self):
        _, result = self.good(BUILD, BUILD, "--benchmark", "micro:^hex_[a-z]*$", "--rounds", "2", "--min-time", "0.001")
        self.assertEqual([one["name"] for one in result["results"]], ["hex_encode", "hex_decode"])
        for one in result["results"]:
            self.sound(one)
            self.assertEqual((len(one["base"]), len(one["change"])), (2, 2))

    def test_engine(self):
        _, result = self.good(BUILD, BUILD, "--rounds", "2", "--requests", "100000", "--streams", "100")
        self.sound(result["results"][0])

    def test_options_of_one_side(self):
        done, _ = self.good(BUILD, BUILD, "--rounds", "2", "--requests", "100000", "--streams", "100", "--base-args",
                            "--codec nghttp2", "--change-args", "--codec fast")
        self.assertIn("change " + BUILD + " --codec fast", done.stdout)
        # They reach the program.
        done = compare(BUILD, BUILD, "--rounds", "2", "--requests", "2000", "--change-args", "--codec none")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("--codec", done.stderr)

    def test_a_dearer_change_has_an_exit_code(self):
        done = compare(BUILD, BUILD, "--benchmark", "micro:^hex_encode", "--rounds", "2", "--min-time", "0.001", "--fail-above",
                       "0.0001")
        self.assertEqual(done.returncode, 7, done)

    def test_sides_that_do_not_exist(self):
        done = compare("no-such-revision", BUILD)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'no-such-revision' is neither a build directory", done.stderr)
        self.assertEqual(compare(BUILD).returncode, 2)
        self.assertEqual(compare(BUILD, BUILD, "--peers").returncode, 2)

    def test_peers(self):
        if not shutil.which("h2load"):
            self.skipTest("h2load is not installed")
        tocsin = os.path.join(BUILD, "tocsin")
        done, result = self.good("--peers", "h2load", "--tocsin", tocsin, "--rounds", "2", "--requests", "30000", "--streams", "100")
        self.assertEqual([one["name"] for one in result["results"]], ["engine", "h2load"])
        for one in result["results"]:
            self.sound(one)
            self.assertIn(one["differences"], done.stdout)
        done = compare("--peers", "h2loud", "--tocsin", tocsin)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no peer is called h2loud", done.stderr)

    def test_an_independent_server(self):
        if not shutil.which("nghttpd"):
            self.skipTest("nghttpd is not installed")
        _, result = self.good("--peers", "engine", "--server", "nghttpd", "--tocsin", os.path.join(BUILD, "tocsin"), "--rounds", "2",
                              "--requests", "30000", "--streams", "100")
        self.assertEqual([one["name"] for one in result["results"]], ["engine"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    known, rest = parser.parse_known_args()
    BUILD = known.build
    unittest.main(argv=[sys.argv[0], *rest])
