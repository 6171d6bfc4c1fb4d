# SPDX-License-Identifier: Apache-2.0
"""`tocsin bench` with tiny parameters: it runs, what it reports hangs together, nothing is left behind. No time is judged."""
import json
import os
import signal
import subprocess
import sys
import time

import harness

TINY = ["--runs", "1", "--warmup", "50ms", "--connections", "2", "--streams", "20", "--dead-tokens", "1000",
        "--spread-max", "1000%"]
FIGURES = ("profile", "pushes_per_second", "client_cpu_ns_per_push", "mock_cpu_ns_per_push", "unattributed_cpu_share",
           "allocations_per_push", "p50_us", "p99_us", "p999_us", "not_started", "connections", "streams", "codec", "crypto", "valid")


class Bench(harness.Case):
    def bench(self, *more, time="300ms", profile="validate"):
        return harness.run([harness.TOCSIN, "bench", *TINY, "--profile", profile, "--time", time, *more], env={"TMPDIR": self.dir}, seconds=150)

    def finished(self, ran):
        """Done, or void because this machine's other work made the mock busy: the figures hang together either way."""
        self.assertIn(ran.code, (0, 9), ran)
        line = ran.json
        for name in FIGURES:
            self.assertIn(name, line)
        self.assertEqual(line["valid"], ran.code == 0, ran)
        for reason in line["void_because"]:
            self.assertIn("busy", reason, ran)
        return line

    def mocks(self):
        """Processes that serve from a directory of ours: the bench's mock, and none when it has ended."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue  # ended meanwhile
            if b"mock" in words and any(word.startswith(os.path.join(self.dir, "tocsin-bench-").encode()) for word in words):
                found.append(int(name))
        return found

    def test_closed_loop_with_everything_on(self):
        out = self.path("results")
        ran = self.bench("--json", "--stages", "--memory", "--sweep", "streams=5,20", "--out", out, "--report",
                         self.path("report.html"))
        line = self.finished(ran)
        self.assertEqual((line["loop"], line["connections"], line["streams"]), ("closed", 2, 20))
        self.assertGreater(line["pushes_per_second"], 0)
        self.assertGreater(line["client_cpu_ns_per_push"], 0)
        self.assertGreater(line["mock_cpu_ns_per_push"], 0)
        self.assertIsNotNone(line["allocations_per_push"])
        self.assertGreater(line["rss_per_queued_push_bytes"], 0)
        self.assertLessEqual(line["p50_us"], line["p99_us"])
        self.assertLessEqual(line["p9999_us"], line["max_us"])
        self.assertGreater(line["bytes_sent_per_push"], 64)  # a device token in hex is as long
        with open(os.path.join(out, "results.json")) as file:
            results = json.load(file)
        self.assertIn("kernel", results["environment"])
        profile = results["profiles"][0]
        self.assertEqual({name: profile[name] for name in FIGURES}, {name: line[name] for name in FIGURES})
        self.assertEqual([point["streams"] for point in profile["sweeps"]], [5, 20])
        self.assertGreater(profile["stages"]["step"], 0)
        with open(os.path.join(out, "validate.hgrm")) as file:
            self.assertEqual(file.readline().split(), ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
        self.assertEqual([name for name in os.listdir(self.dir) if name.startswith("tocsin-bench-")], [])
        with open(self.path("report.html")) as file:
            page = file.read()
        self.assertIn("</html>", page)
        self.assertGreaterEqual(page.count("<svg"), 5)
        compare = [harness.TOCSIN, "bench", "compare", out]
        against_itself = harness.run([*compare, os.path.join(out, "results.json"), "--json"])
        self.assertEqual(against_itself.code, ran.code, against_itself)
        self.assertEqual(against_itself.json["differences"], [])
        self.assertTrue(all(figure["ratio"] == 1 for figure in against_itself.json["figures"]), against_itself)
        self.assertSays(harness.run([*compare, self.path("nothing")]), 2, "nothing")
        self.assertSays(harness.run([*compare, self.put("other.json", "{}")]), 3, "other.json is no result of tocsin bench")

    def test_a_profile_that_judges_the_first_only(self):
        ran = self.bench("--json", "--validate-first", "500", "--sweep", "codec=fast,nghttp2",
                         profile="flood,apns,validate")
        self.finished(ran)
        lines = [json.loads(line) for line in ran.out.splitlines()]
        self.assertEqual([line["profile"] for line in lines], ["flood", "apns", "validate"])
        for line in lines[:2]:
            self.assertGreaterEqual(line["pushes_validated"], 500)
        self.assertEqual([line["delay_ms"] for line in lines], [0, 45, 0])
        self.assertGreaterEqual(lines[1]["p50_us"], 45_000)  # no answer comes sooner

    def test_provider_token_older_tls_and_large_payloads(self):
        for more in (["--auth", "token"], ["--tls", "1.2"], ["--payload", "4096"]):
            with self.subTest(more):
                self.finished(self.bench("--json", *more))

    def test_a_stall_of_the_mock_shows_in_the_open_loop(self):
        # The mock is silent for 200 ms of every 700, so at least twice in any main phase of two seconds. A load that waits for
        # answers would see two or three slow pushes; this one sees every push that was due meanwhile.
        script = self.put("stall.faults", "when for 200ms every 700ms -> stall\n")
        ran = self.bench("--json", "--rate", "2000/s", "--script", script, time="2s")
        line = self.finished(ran)
        self.assertEqual(line["loop"], "open")
        self.assertGreaterEqual(line["max_us"], 150_000, ran)
        self.assertGreaterEqual(line["p90_us"], 50_000, ran)  # a fifth of the pushes at least were due while it lasted
        # All of them were taken: the engine holds what the mock does not answer.
        self.assertEqual(line["not_started"], 0, ran)

    def test_limits_set_the_exit_code(self):
        ran = self.bench("--rate", "1000/s", "--fail-if", "pushes_per_second>1", "--fail-if", "p50_us<0")
        self.assertIn(ran.code, (7, 9), ran)
        self.assertSays(ran, ran.code, "--fail-if 'pushes_per_second>1'")
        self.assertNotIn("p50_us<0", ran.err)

    def test_wrong_options_are_named(self):
        for options, *texts in (
                (["--fail-if", "p99_us>>3"], "--fail-if", "column 8"),
                (["--sweep", "connections=none"], "--sweep", "connections", "'none'"),
                (["--profile", "real"], "no profile 'real'", "validate"),
                (["--rate", "300%"], "--rate", "300%"),
                (["--shards", "4"], "--shards 4", "--connections"),
                (["--time", "1ms"], "--time", "50ms")):
            with self.subTest(options):
                self.assertSays(harness.run([harness.TOCSIN, "bench", "--connections", "2", *options]), 2, *texts)
        script = self.put("wrong.faults", "when never -> stall\n")
        self.assertSays(self.bench("--script", script), 1, "the mock ended with exit code", "wrong.faults:1:6")

    def test_headline_writes_its_table_into_a_document(self):
        document = self.put("page.md", "before\n<!-- figures: bench/headline --write -->\nold\n<!-- end of figures -->\nafter\n")
        ran = harness.run([sys.executable, os.path.join(harness.ROOT, "bench", "headline"), "--tocsin", harness.TOCSIN, "--only", "flood",
                           "--runs", "1", "--time", "200ms", "--write", document, "--more",
                           "--dead-tokens 1000 --validate-first 500 --connections 2 --streams 20 --spread-max 1000%"], seconds=150)
        self.assertIn(ran.code, (0, 7, 9), ran)  # what it measures here is not judged
        with open(document) as file:
            text = file.read()
        self.assertTrue(text.startswith("before\n<!-- figures") and text.endswith("<!-- end of figures -->\nafter\n"), text)
        self.assertNotIn("old", text)
        self.assertIn("| flood: client CPU a push, 4 connections x 1,000 streams | ", text)
        self.assertIn("--connections 2 --streams 20", text)
        self.assertNotIn("--connections 4", text)  # --more has the last word
        self.assertIn("Taken with time 2", text)

    def test_headline_goes_on_after_a_command_that_cannot_be_measured(self):
        headline = [sys.executable, os.path.join(harness.ROOT, "bench", "headline"), "--tocsin", harness.TOCSIN, "--runs", "1",
                    "--scale", "0.0005", "--json"]
        ran = harness.run([*headline, "--only", "input"], seconds=150)
        self.assertIn(ran.code, (0, 7), ran)  # what it measures here is not judged
        self.assertEqual((list(ran.json["runs"]), ran.json["failed"]), (["input"], {}))
        rows = [line for line in ran.out.splitlines() if line.startswith("| input")]
        self.assertEqual(len(rows), 4, ran)
        for row in rows:
            self.assertRegex(row, r"\| [0-9,]+, (MISSED|met|met, and the aim) \| at least [24],000,000 \|")
            self.assertIn("`bench/input-reading --devices 1000 --rounds 2`", row)
        # No command is done in no time; that it was ended stands in each of its rows, and the next one had its turn as well.
        ran = harness.run([*headline, "--only", "input", "--only", "flood-100", "--limit", "0.001"], seconds=150)
        self.assertEqual(ran.code, 1, ran)
        self.assertEqual(ran.json["failed"], dict.fromkeys(("input", "flood-100"), "ended after the limit of 0.001 s"))
        self.assertEqual(ran.out.count("| not measured: ended after the limit of 0.001 s |"), 5, ran)
        self.assertEqual(ran.json["missed"], [])

    def test_headline_measures_two_in_turn_and_the_demo(self):
        ran = harness.run([sys.executable, os.path.join(harness.ROOT, "bench", "headline"), "--tocsin", harness.TOCSIN, "--runs", "1",
                           "--time", "100ms", "--scale", "0.0005", "--json", "--only", "alert-token", "--only", "demo", "--more",
                           "--dead-tokens 1000 --validate-first 500 --connections 2 --streams 20 --spread-max 1000%"], seconds=150)
        self.assertIn(ran.code, (0, 7, 9), ran)  # what it measures here is not judged
        self.assertEqual((sorted(ran.json["runs"]), ran.json["failed"]), (["alert-cert", "alert-token", "demo"], {}))
        cert, token, demo = (ran.json["runs"][name] for name in ("alert-cert", "alert-token", "demo"))
        self.assertAlmostEqual(token["over_the_other"], token["client_cpu_ns_per_push"] / cert["client_cpu_ns_per_push"])
        self.assertTrue(demo["agree"] and demo["devices"] == 500, demo)
        self.assertIn("1 times in turn with `--auth cert`", ran.out)
        self.assertIn("`tools/demo --devices 500 --no-setup --json`", ran.out)

    def test_a_signal_or_a_dead_mock_ends_it_in_order(self):
        for whom in ("bench", "mock"):
            with self.subTest(whom):
                child = subprocess.Popen([harness.TOCSIN, "bench", *TINY, "--profile", "validate", "--time", "1m"], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": self.dir})
                self.addCleanup(child.stderr.close)
                self.addCleanup(child.stdout.close)
                self.addCleanup(child.kill)
                end = time.monotonic() + harness.SECONDS
                while not self.mocks() and time.monotonic() < end:
                    time.sleep(0.02)
                mocks = self.mocks()
                self.assertEqual(len(mocks), 1)
                if whom == "bench":
                    child.send_signal(signal.SIGINT)
                else:
                    os.kill(mocks[0], signal.SIGKILL)
                out, err = child.communicate(timeout=harness.SECONDS)
                self.assertEqual(child.returncode, 130 if whom == "bench" else 1, err)
                self.assertIn(b"interrupted" if whom == "bench" else b"the mock ended by signal 9", err)
                self.assertEqual(self.mocks(), [])
                self.assertEqual([name for name in os.listdir(self.dir) if name.startswith("tocsin-bench-")], [])


if __name__ == "__main__":
    harness.main()
