# SPDX-License-Identifier: Apache-2.0
"""`tocsin push --resume`: killed at any moment, stopped, given the wrong things, continued until done.

Judged by the mock's ledger: no device left out, nothing accepted twice but what was admitted without an
outcome at a kill, and that under the same apns-id; with --policy at-most-once nothing twice.
"""
import gzip
import json
import os
import random
import signal
import subprocess
import time

import harness
from harness import Case, run, token


class Resume(Case):
    def command(self, server, fleet, *more):
        return [harness.TOCSIN, "push", fleet, *server.push_options(), "--json", "--no-progress", *more]

    def last_outcomes(self, path):
        """The outcome that counts for each line of the input: the last."""
        return {outcome["line"]: outcome for outcome in self.lines(path)}

    def killed_until_done(self, server, fleet, out, chance, kills, *more):
        """Answers the summary of the session that came to its end, and how often one was killed."""
        killed = 0
        command = self.command(server, fleet, "--out", out, *more)
        while True:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if killed < kills:
                # A moment of the run, not of the clock: so many bytes more of outcomes, or the first mark.
                goal = (os.path.getsize(out) if os.path.exists(out) else 0) + chance.randrange(1, 6_000_000 // kills)
                harness.wait_until(lambda: child.poll() is not None
                                   or (os.path.exists(out) and os.path.getsize(out) >= goal))
                time.sleep(chance.random() * 0.02)  # somewhere between two flushes
                child.kill()
            text, errors = child.communicate(timeout=harness.SECONDS)
            if child.returncode == -signal.SIGKILL:
                killed += 1
                if '--resume' not in command and os.path.exists(out + ".run"):
                    command.append("--resume")
                continue
            self.assertIn(child.returncode, (0, 5), errors.decode())
            return json.loads(text.splitlines()[-1]), killed

    def judged(self, fleet, out, server, devices):
        """0 lost, doubles only under one apns-id and only where an outcome admits it. Answers the totals."""
        totals = server.stop()
        self.agree(fleet, out, server.ledger_file)
        outcomes = self.last_outcomes(out)
        self.assertEqual(sorted(outcomes), list(range(1, devices + 1)))
        self.assertEqual(totals["doubled"], totals["doubled_same_id"])
        self.assertLessEqual(totals["doubled"], sum(1 for o in self.lines(out) if o.get("possibly_doubled")))
        return totals, outcomes

    def test_killed_again_and_again(self):
        devices = 30_000 if harness.SMALL else 200_000
        server = self.mock("--delay", "5ms", "--jitter", "10ms")
        fleet = self.fleet(devices, server.topic, 11)
        out = self.path("out.ndjson")
        summary, killed = self.killed_until_done(server, fleet, out, random.Random(1), 8)
        self.assertGreaterEqual(killed, 4)
        totals, outcomes = self.judged(fleet, out, server, devices)
        self.assertEqual({o["outcome"] for o in outcomes.values()}, {"accepted"})
        self.assertEqual(totals["tokens_accepted"], devices)
        self.assertTrue(summary["resumed"])
        self.assertEqual(summary["done_before"] + summary["submitted"], devices)
        ran = run(self.command(server, fleet, "--out", out, "--resume"))
        self.assertSays(ran, 0)
        self.assertEqual(ran.json["submitted"], 0)

    def test_at_most_once_doubles_nothing(self):
        devices = 30_000 if harness.SMALL else 200_000
        server = self.mock("--delay", "5ms", "--jitter", "10ms")
        fleet = self.fleet(devices, server.topic, 12)
        out = self.path("out.ndjson")
        _, killed = self.killed_until_done(server, fleet, out, random.Random(2), 6, "--policy", "at-most-once",
                                           "--rate", "100k/s")
        self.assertGreaterEqual(killed, 3)
        totals, outcomes = self.judged(fleet, out, server, devices)
        self.assertEqual(totals["doubled"], 0)
        self.assertEqual(totals["tokens_accepted"], totals["accepted"])
        unknown = [o for o in outcomes.values() if o["outcome"] == "unknown"]
        self.assertEqual({o["reason"] for o in unknown}, {"RunInterrupted"})
        self.assertTrue(all(o["resumed"] for o in unknown))
        self.assertEqual({o["outcome"] for o in outcomes.values()}, {"accepted", "unknown"})

    def test_at_most_once_gives_up_what_was_under_way_and_no_line_more(self):
        devices, under_way = 30_000, 1_024
        silent = self.mock("--delay", "1h", "--streams-max", "20")
        fleet = self.fleet(devices, silent.topic, 13)
        out = self.path("out.ndjson")
        options = ("--out", out, "--policy", "at-most-once", "--connections", "1", "--streams", "20")
        child = self.start(silent, fleet, *options)
        # It waits for answers, and has taken its mark back.
        record = b'{"admitted":%d}\n' % under_way
        self.assertTrue(harness.wait_until(lambda: os.path.exists(out + ".run") and record in open(out + ".run", "rb").read()))
        self.assertTrue(harness.wait_until(lambda: silent.totals()["requests"] == 20))
        child.kill()
        child.communicate()
        silent.kill()
        server = self.mock()  # at another port of the same host
        ran = run(self.command(server, fleet, *options, "--resume"))
        self.assertSays(ran, 5)
        self.assertEqual((ran.json["unknown"], ran.json["accepted"]), (under_way, devices - under_way))
        self.assertEqual(server.totals()["accepted"], devices - under_way)

    def outcomes_synced(self, out):
        try:
            with open(out + ".run", "rb") as file:
                return max((int(record[10:-2]) for record in file if record.startswith(b'{"synced":')), default=0)
        except FileNotFoundError:
            return 0

    def stopped_midway(self, server, fleet, out, *more, how=signal.SIGKILL, stdin=None):
        """Ends a slow run when some of its outcomes are on the disk. Answers its summary, None after SIGKILL."""
        child = subprocess.Popen(self.command(server, fleet, "--out", out, "--rate", "2000/s", *more),
                                 stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        if stdin is not None:
            child.stdin.write(stdin)
            child.stdin.flush()  # and stays open: the input has no end yet
        self.assertTrue(harness.wait_until(lambda: self.outcomes_synced(out) > 20_000))
        child.send_signal(how)
        text, errors = child.communicate(timeout=harness.SECONDS)
        self.assertEqual(child.returncode, 130 if how == signal.SIGINT else -how, errors.decode())
        return json.loads(text.splitlines()[-1]) if text else None

    def test_ctrl_c_leaves_nothing_in_doubt(self):
        server = self.mock()
        fleet = self.fleet(12_000, server.topic, 13)
        out = self.path("out.ndjson")
        first = self.stopped_midway(server, fleet, out, how=signal.SIGINT)
        ran = run([harness.TOCSIN, "push", fleet, *server.push_options(), "--out", out, "--resume", "--rate", "1/s",
                   "--limit", str(first["submitted"])])
        self.assertSays(ran, 0, "had their final outcome already")
        ran = run(self.command(server, fleet, "--out", out, "--resume"))
        self.assertSays(ran, 0)
        self.assertEqual((ran.json["sent_again"], ran.json["done_before"]), (0, first["submitted"]))
        totals, outcomes = self.judged(fleet, out, server, 12_000)
        self.assertEqual((totals["accepted"], totals["doubled"]), (12_000, 0))
        self.assertFalse(any("resumed" in o for o in outcomes.values()))
        self.assertSays(run(self.command(server, fleet, "--out", out, "--resume")), 0)
        ran = run([harness.TOCSIN, "push", fleet, *server.push_options(), "--out", out, "--resume"])
        self.assertSays(ran, 0, "Nothing was left to send")

    def test_the_message_says_how_to_go_on(self):
        server = self.mock("--delay", "1h", "--drain", "1ms")
        fleet = self.fleet(3000, server.topic, 13)
        child = subprocess.Popen([harness.TOCSIN, "push", fleet, *server.push_options(), "--out", self.path("out.ndjson"),
                                  "--grace", "10ms", "--streams", "10"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.kill)
        self.assertTrue(harness.wait_until(lambda: server.totals()["requests"] > 0))
        child.send_signal(signal.SIGINT)
        text, _ = child.communicate(timeout=harness.SECONDS)
        self.assertIn("continue with the same command and --resume", text.decode())

    def test_csv_in_gzip_with_lines_that_are_wrong(self):
        server = self.mock()
        rows = [f"device {i},{server.topic},magic {i},{token(i) if i % 10 else 'xyz'}" for i in range(1, 6001)]
        fleet = self.put("fleet.csv.gz", gzip.compress("\n".join(["id,topic,magic,token", *rows, ""]).encode()))
        out = self.path("out.ndjson")
        self.stopped_midway(server, fleet, out)
        self.assertGreater(len(self.lines(self.path("out.rejects.ndjson"))), 0)
        for name in ("out.ndjson", "out.rejects.ndjson"):  # and a torn tail, had the kill met a write
            with open(self.path(name), "ab") as file:
                file.write(b'{"line":')
        ran = run(self.command(server, fleet, "--out", out, "--resume"))
        self.assertSays(ran, 5, "out.ndjson: cut 8 bytes", "out.rejects.ndjson: cut 8 bytes")
        self.assertGreater(ran.json["sent_again"], 0)
        outcomes = self.lines(out)
        self.assertEqual(sorted(o["line"] for o in outcomes), [i + 1 for i in range(1, 6001) if i % 10])
        self.assertEqual(sorted(r["line"] for r in self.lines(self.path("out.rejects.ndjson"))),
                         [i + 1 for i in range(1, 6001) if not i % 10])
        totals = server.stop()
        self.assertEqual((totals["tokens_accepted"], totals["doubled"]), (5400, totals["doubled_same_id"]))

    def test_standard_input_is_fed_again(self):
        server = self.mock()
        fleet = self.fleet(8000, server.topic, 14)
        with open(fleet, "rb") as file:
            text = file.read()
        out = self.path("out.ndjson")
        self.stopped_midway(server, "-", out, stdin=text)
        other = b"".join(reversed(text.splitlines(keepends=True)))
        ran = run(self.command(server, "-", "--out", out, "--resume"), stdin=other)
        self.assertSays(ran, 3, "is not the line that the run had here before")
        self.assertEqual(ran.json["submitted"], 0)
        ran = run(self.command(server, "-", "--out", out, "--resume"), stdin=b"")
        self.assertSays(ran, 3, "ends before line 1")
        ran = run(self.command(server, "-", "--out", out, "--resume"), stdin=text)
        self.assertSays(ran, 0)
        self.judged(fleet, out, server, 8000)

    def test_a_first_part_then_the_rest(self):
        server = self.mock()
        fleet = self.fleet(500, server.topic, 15)
        out = self.path("out.ndjson")
        ran = run(self.command(server, fleet, "--out", out, "--limit", "100", "--from-line", "11"))
        self.assertSays(ran, 0)
        for limit, done in ((["--limit", "100"], 100), (["--limit", "250"], 250), ([], 490)):
            ran = run(self.command(server, fleet, "--out", out, "--resume", *limit))
            self.assertSays(ran, 0)
            self.assertEqual(ran.json["done_before"] + ran.json["submitted"], done)
        self.assertEqual([o["line"] for o in sorted(self.lines(out), key=lambda o: o["line"])], list(range(11, 501)))
        self.assertEqual(server.stop()["doubled"], 0)

    def test_what_could_not_be_sent_is_sent(self):
        server = self.mock()
        fleet = self.fleet(1000, server.topic, 16)
        out = self.path("out.ndjson")
        listener = f"127.0.0.1:{harness.free_port()}"
        command = self.command(server, fleet, "--out", out)
        nowhere = [listener if word == server.address else word for word in command]
        ran = run([*nowhere, "--give-up", "300ms"])
        self.assertEqual(ran.code, 4, ran)
        before = self.lines(out)
        self.assertEqual({o["reason"] for o in before}, {"CannotConnect"})
        ran = run([*command, "--resume"])
        self.assertSays(ran, 0)
        self.assertEqual((ran.json["submitted"], ran.json["sent_again"]), (1000, 0))
        totals, outcomes = self.judged(fleet, out, server, 1000)
        ids = {o["line"]: o["apns_id"] for o in before}
        self.assertEqual(totals["accepted"], 1000)
        self.assertTrue(all(outcomes[line]["apns_id"] == ids[line] for line in ids), "the same apns-ids as before")

    def test_run_keys_and_retries(self):
        server = self.mock()
        fleet = self.fleet(50, server.topic, 17)
        out = self.path("out.ndjson")
        run(self.command(server, fleet, "--out", out, "--run-key", "spring"))
        ids = {o["line"]: o["apns_id"] for o in self.lines(out)}
        other = self.path("other.ndjson")
        run(self.command(server, fleet, "--out", other, "--run-key", "spring"))
        self.assertEqual(ids, {o["line"]: o["apns_id"] for o in self.lines(other)})
        run(self.command(server, fleet, "--out", other))
        self.assertEqual(set(ids.values()) & {o["apns_id"] for o in self.lines(other)}, set())
        # As if one had ended so: the file's length stays.
        with open(out, "rb") as file:
            text = file.read().replace(b'"outcome":"accepted","status":200', b'"outcome":"unknown","status":2000', 1)
        with open(out, "wb") as file:
            file.write(text)
        ran = run(self.command(server, fleet, "--out", out, "--resume"))
        self.assertEqual((ran.code, ran.json["submitted"]), (0, 0))
        ran = run(self.command(server, fleet, "--out", out, "--resume", "--retry-failed"))
        self.assertEqual((ran.code, ran.json["submitted"], ran.json["sent_again"], ran.json["done_before"]), (0, 1, 1, 49))
        again = self.lines(out)[-1]
        self.assertTrue(again["resumed"] and again["possibly_doubled"])
        self.assertEqual(again["apns_id"], ids[again["line"]])

    def test_wrong_things_are_refused(self):
        server = self.mock()
        fleet = self.fleet(9000, server.topic, 18)
        out = self.path("out.ndjson")
        command = self.command(server, fleet, "--out", out)
        self.assertSays(run([*command, "--resume"]), 2, "out.ndjson.run", "without --resume")
        self.stopped_midway(server, fleet, out)
        self.assertSays(run(command), 8, "not finished", "--resume", "--overwrite")
        before = server.totals()["requests"]
        for more, says in ((["--policy", "at-most-once"], "--policy was 'at-least-once'"),
                           (["--topic", server.topic + ".x"], ""), (["--expiration", "+1d"], "--expiration"),
                           (["--from-line", "5"], "--from-line"), (["--run-key", "x"], "--run-key"),
                           (["--rejects", self.path("x")], "--rejects")):
            ran = run([*command, "--resume", *more])
            self.assertIn(ran.code, (2, 3), ran)
            self.assertIn(says, ran.err, ran)
        for more in (["--overwrite"], ["--dry-run"]):
            self.assertEqual(run([*command, "--resume", *more]).code, 2)
        self.assertSays(run(self.command(server, fleet, "--out", "-", "--resume")), 2, "standard output")
        with open(fleet, "rb") as file:
            text = file.read()
        self.put("fleet.ndjson", text + text.splitlines(keepends=True)[0])
        self.assertSays(run([*command, "--resume"]), 2, "bytes when the run began")
        self.put("fleet.ndjson", text.replace(text[-200:-195], b"zzzzz"))
        self.assertSays(run([*command, "--resume"]), 2, "not the file that the run began with")
        self.put("fleet.ndjson", text)
        with open(out, "rb") as file:
            outcomes = file.read()
        self.put("out.ndjson", outcomes.replace(b'"line"', b'"nine"', 1))
        self.assertSays(run([*command, "--resume"]), 3, "was the file changed")
        self.put("out.ndjson", outcomes[:10_000])
        self.assertSays(run([*command, "--resume"]), 3, "is 10000 bytes long")
        self.assertEqual(before, server.totals()["requests"], "nothing was sent")
        self.put("out.ndjson", outcomes)
        self.assertSays(run([*command, "--resume"]), 0)
        self.judged(fleet, out, server, 9000)

    def test_two_at_once_are_refused(self):
        server = self.mock()
        fleet = self.fleet(9000, server.topic, 19)
        out = self.path("out.ndjson")
        child = self.start(server, fleet, "--out", out, "--rate", "2000/s")
        self.assertTrue(harness.wait_until(lambda: server.totals()["requests"] > 100))
        for more in (["--resume"], []):
            self.assertSays(run(self.command(server, fleet, "--out", out, *more)), 8, "another tocsin")
        child.communicate(timeout=harness.SECONDS)
        self.assertEqual(child.returncode, 0)
        self.judged(fleet, out, server, 9000)
        # A run that is done may be replaced by a new one.
        self.assertEqual(len(self.lines(out)), 9000)


if __name__ == "__main__":
    harness.main()
