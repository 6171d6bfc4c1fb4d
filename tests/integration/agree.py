# SPDX-License-Identifier: Apache-2.0
"""push to mock: outcomes and ledger agree token by token; a million of them with random rejections."""
import json

import harness
from harness import Case, run


class Agree(Case):
    def test_small_fleet_with_dead_tokens(self):
        first = self.mock()
        topic = first.topic
        first.stop()
        fleet = self.fleet(2000, topic, 3, "--dead", "0.1", "--dead-out", self.path("dead.txt"))
        with open(self.path("dead.txt")) as file:
            dead = {line.split(",")[0]: int(line.split(",")[1]) for line in file}
        self.assertGreater(len(dead), 100)
        mock = self.mock("--dead", self.path("dead.txt"))
        self.assertEqual(mock.topic, topic, "certificates are used again")
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, mock=mock)
        self.assertEqual(ran.code, 5, ran)
        summary = ran.json
        self.assertEqual(summary["submitted"], 2000)
        self.assertEqual(summary["accepted"], 2000 - len(dead))
        self.assertEqual(summary["rejected_by_reason"], {"Unregistered": len(dead)})
        outcomes = self.lines(out)
        for one in outcomes:
            if one["token"] in dead:
                self.assertEqual((one["outcome"], one["status"], one["reason"]), ("rejected", 410, "Unregistered"))
                self.assertEqual(one["unregistered_at_ms"], dead[one["token"]])
            else:
                self.assertEqual((one["outcome"], one["status"]), ("accepted", 200))
        self.assertEqual(sorted(o["id"] for o in outcomes), sorted(d["id"] for d in self.lines(fleet)))
        # The admin address tells the same of one token as the file.
        one = next(o for o in outcomes if o["outcome"] == "accepted")
        status, entry = mock.get("/ledger/" + one["token"])
        self.assertEqual((status, entry["accepted"], entry["apns_id"]), (200, 1, one["apns_id"]))
        self.assertEqual(mock.get("/ledger/" + "ab" * 32)[0], 404)
        totals = mock.totals()
        self.assertEqual(totals, mock.stop())
        self.assertEqual((totals["accepted"], totals["rejected"]), (2000 - len(dead), len(dead)))
        verdict = self.agree(fleet, out, mock.ledger_file)
        self.assertEqual(verdict.apns_ids_compared, 2000 - len(dead))
        tool = run(["python3", f"{harness.ROOT}/tools/compare_ledger", "--devices", fleet, "--outcomes", out, "--ledger",
                    mock.ledger_file, "--json"])
        self.assertEqual(tool.code, 0, tool)
        # And the oracle is one that can fail.
        with open(out, "a") as file:
            file.write(json.dumps(outcomes[0]) + "\n")
        self.assertFalse(harness.comparison.compare(fleet, out, mock.ledger_file).agree)

    def test_conservation_of_a_million(self):
        devices = 50_000 if harness.SMALL else 1_000_000
        mock = self.mock("--reject-share", "0.05", "--workers", "2", "--streams-max", "500")
        fleet = self.fleet(devices, mock.topic, 11)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, "--shards", "2", "--connections", "6", mock=mock)
        self.assertEqual(ran.code, 5, ran)
        summary = ran.json
        self.assertEqual(summary["submitted"], devices)
        self.assertEqual(sum(summary[end] for end in harness.comparison.END_NAMES), devices)
        self.assertEqual(summary["accepted"] + summary["rejected"], devices)
        self.assertGreater(len(summary["rejected_by_reason"]), 10, "rejections of many kinds")
        self.assertGreater(summary["rejected"], devices // 25)
        totals = mock.stop()
        self.assertEqual((totals["requests"], totals["accepted"], totals["doubled"]), (devices, summary["accepted"], 0))
        self.assertEqual(totals["by_reason"], summary["rejected_by_reason"])
        verdict = self.agree(fleet, out, mock.ledger_file)
        self.assertEqual((verdict.outcomes, verdict.ledger_tokens), (devices, devices))
        self.assertEqual(verdict.apns_ids_compared, summary["accepted"])

    def test_windows_and_limits_of_a_narrow_server(self):
        mock = self.mock("--streams-max", "7", "--window", "100", "--delay", "2ms", "--jitter", "5ms")
        fleet = self.fleet(3000, mock.topic, 5)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, mock=mock)
        self.assertEqual(ran.code, 0, ran)
        mock.stop()
        self.agree(fleet, out, mock.ledger_file)

    def test_a_server_that_ends_in_mid_run(self):
        """GOAWAY, then nobody, then a new process: every push has one outcome, and only doubts may differ."""
        mock = self.mock("--delay", "5ms")
        fleet = self.fleet(20_000, mock.topic, 6)
        out = self.path("out.ndjson")
        child = self.start(mock, fleet, "--out", out, "--rate", "10000/s")
        self.assertTrue(harness.wait_until(lambda: mock.totals()["requests"] > 3000))
        first = mock.stop()
        before = {line["token"]: line for line in self.lines(mock.ledger_file)}
        again = self.mock("--delay", "5ms", listen=mock.address)
        text, errors = child.communicate(timeout=harness.SECONDS)
        summary = json.loads(text.splitlines()[-1])
        self.assertEqual(child.returncode, 0, errors.decode())
        self.assertEqual(summary["accepted"], 20_000)
        second = again.stop()
        self.assertGreater(first["accepted"], 0)
        self.assertGreater(second["accepted"], 0)
        after = {line["token"]: line for line in self.lines(again.ledger_file)}
        outcomes = self.lines(out)
        self.assertEqual(len({o["token"] for o in outcomes}), 20_000)
        doubled = 0
        for one in outcomes:
            times = sum(ledger[one["token"]]["accepted"] for ledger in (before, after) if one["token"] in ledger)
            doubled += times - 1
            self.assertTrue(times == 1 or (times > 1 and one.get("possibly_doubled")), one)
        self.assertLessEqual(doubled, summary["possibly_doubled"])


if __name__ == "__main__":
    harness.main()
