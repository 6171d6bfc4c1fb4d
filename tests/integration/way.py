# SPDX-License-Identifier: Apache-2.0
"""The way through one run: forms of input, app notifications, metrics, Ctrl-C and going on."""
import csv
import gzip
import io
import json
import signal
import time
import urllib.request

import harness
from harness import Case, run, token


class Input(Case):
    def setUp(self):
        super().setUp()
        self.server = self.mock()
        self.rows = [{"id": f"device {i}", "topic": self.server.topic, "magic": f"Magic,\"{i}\"", "token": token(i)}
                     for i in range(300)]
        self.out = self.path("out.ndjson")

    def sent(self, ran):
        self.assertEqual(ran.code, 0, ran)
        outcomes = self.lines(self.out)
        self.assertEqual(sorted((o["id"], o["token"]) for o in outcomes), sorted((r["id"], r["token"]) for r in self.rows))
        self.assertEqual({o["outcome"] for o in outcomes}, {"accepted"})
        self.assertEqual(self.server.totals()["tokens_accepted"], 300)
        self.assertEqual(self.server.totals()["doubled"], 0)

    def ndjson(self):
        return "".join(json.dumps(row) + "\n" for row in self.rows).encode()

    def csv(self, names):
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(names.values())
        writer.writerows([[row[name] for name in names] for row in self.rows])
        return text.getvalue().encode()

    def test_gzip(self):
        half = len(self.rows) // 2
        whole = self.ndjson().splitlines(keepends=True)
        two = gzip.compress(b"".join(whole[:half])) + gzip.compress(b"".join(whole[half:]))
        self.sent(self.push(self.put("devices.ndjson.gz", two), "--out", self.out, mock=self.server))

    def test_cut_gzip_is_said(self):
        cut = self.put("devices.ndjson.gz", gzip.compress(self.ndjson())[:-200])
        ran = self.push(cut, "--out", self.out, mock=self.server)
        self.assertSays(ran, 3, "devices.ndjson.gz")
        # What was readable has its outcome.
        self.assertEqual(len(self.lines(self.out)), self.server.totals()["accepted"])

    def test_csv(self):
        path = self.put("devices.csv", self.csv({name: name for name in ("token", "magic", "topic", "id")}))
        self.sent(self.push(path, "--out", self.out, mock=self.server))

    def test_nanomdm_columns_from_a_pipe(self):
        columns = {"id": "id", "topic": "topic", "magic": "push_magic", "token": "token_hex"}
        self.sent(self.push("-", "--format", "csv", "--out", self.out, mock=self.server, stdin=self.csv(columns)))

    def test_outcomes_on_standard_output(self):
        ran = run([harness.TOCSIN, "push", "-", *self.server.push_options(), "--out", "-"], stdin=self.ndjson())
        self.assertEqual(ran.code, 0, ran)
        self.assertEqual(len([json.loads(line) for line in ran.out.splitlines()]), 300)
        self.assertIn("Accepted by APNs is not yet seen by the device.", ran.err)
        self.assertNotIn("\x1b", ran.out + ran.err, "no colours but on a terminal")

    def test_p12_and_shards(self):
        path = self.put("devices.ndjson", self.ndjson())
        self.sent(run([harness.TOCSIN, "push", path, "--endpoint", self.server.address, "--ca", self.server.file("ca.pem"),
                       "--p12", self.server.file("push.p12"), "--shards", "3", "--out", self.out],
                      env={"TOCSIN_P12_PASSWORD": "tocsin"}))


class Notifications(Case):
    def test_app_pushes_of_all_kinds(self):
        server = self.mock("--topic", "com.example.app")
        later = int(time.time()) + 86_400
        lines = [{"token": token(1), "payload": {"aps": {"alert": "Hi \u00e9"}}},
                 {"token": token(2), "payload": {"aps": {"content-available": 1}}, "push_type": "background", "priority": 5},
                 {"token": token(3), "payload": {"aps": {"alert": "x"}}, "expiration": later, "collapse_id": "c1"},
                 {"token": token(4), "payload": {"aps": {"alert": "x"}}, "expiration": 0,
                  "apns_id": "01234567-89AB-4CDE-8F01-23456789ABCD"}]
        path = self.put("n.ndjson", "".join(json.dumps(line) + "\n" for line in lines))
        out = self.path("out.ndjson")
        ran = self.push(path, "--out", out, mock=server)
        self.assertEqual(ran.code, 0, ran)
        ids = {o["token"]: o["apns_id"].lower() for o in self.lines(out)}
        self.assertEqual(ids[token(4)], "01234567-89ab-4cde-8f01-23456789abcd")

        tokens = self.put("tokens.csv", "token\n" + "".join(token(i) + "\n" for i in range(10, 60)))
        ran = self.push(tokens, "--alert", "Back at 9", "--title", "News", "--sound", "default", "--badge", "1", "--expiration",
                        "+1d", mock=server)
        self.assertEqual(ran.code, 0, ran)
        totals = server.stop()
        self.assertEqual((totals["accepted"], totals["rejected"]), (54, 0))


class Running(Case):
    def interrupted(self, number):
        server = self.mock("--delay", "30ms")
        fleet = self.fleet(30_000, server.topic, 8)
        out = self.path("out.ndjson")
        child = self.start(server, fleet, "--out", out, "--rate", "15000/s")
        self.assertTrue(harness.wait_until(lambda: server.totals()["requests"] > 4000))
        child.send_signal(number)
        text, errors = child.communicate(timeout=harness.SECONDS)
        self.assertEqual(child.returncode, 130, errors.decode())
        summary = json.loads(text.splitlines()[-1])
        self.assertTrue(summary["interrupted"])
        line = summary["resume_line"]
        self.assertGreater(line, 4000)
        self.assertLess(line, 30_000)
        self.assertEqual(summary["unknown"], 0, "what was in flight was waited for")
        # Complete for what was sent: outcomes and ledger agree for each token that has one.
        devices = [record["token"] for record in self.lines(fleet)]
        outcomes = self.lines(out)
        self.assertEqual(len(outcomes), summary["submitted"])
        accepted = [o["token"] for o in outcomes if o["outcome"] == "accepted"]
        self.assertEqual(len(accepted), summary["accepted"])
        self.assertEqual(sorted(accepted), sorted(devices[:line - 1]), "the line to go on from is the first that was not sent")
        self.assertEqual(server.totals()["accepted"], len(accepted))

        ran = self.push(fleet, "--out", out, "--from-line", str(line), mock=server)
        self.assertEqual(ran.code, 0, ran)
        self.assertEqual(ran.json["accepted"], 30_000 - line + 1)
        totals = server.stop()
        self.assertEqual((totals["accepted"], totals["tokens_accepted"], totals["doubled"]), (30_000, 30_000, 0))
        done = [o["token"] for o in self.lines(out) if o["outcome"] == "accepted"]
        self.assertEqual(sorted(done), sorted(devices), "the second run was appended to the first")

    def test_ctrl_c_and_going_on(self):
        self.interrupted(signal.SIGINT)

    def test_sigterm_too(self):
        self.interrupted(signal.SIGTERM)

    def test_a_request_that_nobody_answers_ends_in_time(self):
        script = self.put("silent.script", "when request 3 -> no-answer\n")
        server = self.mock("--script", script)
        fleet = self.fleet(50, server.topic, 8)
        out = self.path("out.ndjson")
        begun = time.monotonic()
        ran = self.push(fleet, "--out", out, "--answer-timeout", "300ms", "--policy", "at-most-once", mock=server)
        self.assertLess(time.monotonic() - begun, 20)
        self.assertEqual((ran.json["unknown"], ran.json["accepted"]), (1, 49), ran)
        lost = [o for o in self.lines(out) if o["outcome"] == "unknown"]
        self.assertEqual([(o["reason"], o["attempts"]) for o in lost], [("ConnectionLost", 1)])
        ran = self.push(fleet, "--out", out, "--answer-timeout", "5ms", mock=server)
        self.assertSays(ran, 2, "--answer-timeout is from 10ms to 1h")

    def test_grace_is_bounded(self):
        server = self.mock("--delay", "1h", "--drain", "1ms", "--streams-max", "100")
        fleet = self.fleet(500, server.topic, 8)
        out = self.path("out.ndjson")
        child = self.start(server, fleet, "--out", out, "--grace", "500ms", "--connections", "1")
        self.assertTrue(harness.wait_until(lambda: server.totals()["requests"] == 100))
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        text, _ = child.communicate(timeout=harness.SECONDS)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertEqual(child.returncode, 130)
        summary = json.loads(text.splitlines()[-1])
        self.assertEqual((summary["unknown"], summary["returned"], summary["resume_line"]), (100, 400, 101))
        self.assertEqual([o["outcome"] for o in self.lines(out)].count("unknown"), 100)

    def test_a_second_signal_does_not_wait_and_loses_nothing(self):
        server = self.mock("--delay", "1h", "--drain", "1ms", "--streams-max", "100")
        fleet = self.fleet(500, server.topic, 8)
        out = self.path("out.ndjson")
        child = self.start(server, fleet, "--out", out, "--grace", "1h", "--connections", "1")
        self.assertTrue(harness.wait_until(lambda: server.totals()["requests"] == 100))
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)  # the two must not merge into one pending signal
        self.assertIsNone(child.poll(), "the first signal waits for answers")
        child.send_signal(signal.SIGINT)
        text, _ = child.communicate(timeout=harness.SECONDS)
        self.assertEqual(child.returncode, 130)
        summary = json.loads(text.splitlines()[-1])
        self.assertEqual((summary["unknown"], summary["returned"], summary["resume_line"]), (100, 400, 101))
        self.assertEqual(len(self.lines(out)), 500)

    def test_a_full_disk_ends_the_run_and_says_so(self):
        server = self.mock()
        for count in (1, 20_000):  # met at the last flush, and in mid-run
            fleet = self.fleet(count, server.topic, 8)
            ran = self.push(fleet, "--out", "/dev/full", mock=server)
            self.assertEqual(ran.code, 1, ran)
            self.assertIn("No space left on device", ran.out + ran.err, ran)
            self.assertEqual(ran.json["submitted"], sum(ran.json[end] for end in (
                "accepted", "rejected", "expired", "failed", "unknown", "returned")), ran)

    def test_what_the_command_line_has_wrong_is_usage(self):
        for words, says in ((["bogus"], "'bogus'"), (["push", "x.ndjson", "--endpoint", "127.0.0.1:1", "--shards", "8"], "--connections"),
                            ([], "Usage")):
            ran = harness.run([harness.TOCSIN, *words])
            self.assertEqual(ran.code, 2, ran)
            self.assertIn(says, ran.err, ran)

    def test_rate_is_kept(self):
        server = self.mock()
        fleet = self.fleet(2000, server.topic, 8)
        ran = self.push(fleet, "--rate", "1000/s", mock=server)
        self.assertEqual(ran.code, 0, ran)
        self.assertGreater(ran.json["seconds"], 1.8)
        self.assertLess(ran.json["seconds"], 8 if harness.SMALL else 3)

    def test_metrics_while_it_runs(self):
        server = self.mock()
        fleet = self.fleet(20_000, server.topic, 8)
        port = harness.free_port()
        child = self.start(server, fleet, "--rate", "10000/s", "--metrics", f"127.0.0.1:{port}")

        def text():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    return answer.read().decode()
            except OSError:
                return ""
        self.assertTrue(harness.wait_until(lambda: any(
            line.startswith("tocsin_") and "accepted" in line and float(line.split()[-1]) > 100 for line in text().splitlines())))
        child.communicate(timeout=harness.SECONDS)
        self.assertEqual(child.returncode, 0)


if __name__ == "__main__":
    harness.main()
