# SPDX-License-Identifier: Apache-2.0
"""A small campaign of tools/soak --chaos: every fault, kills and resumptions, judged by the ledger; and the judge
itself, which is fed what did not happen."""
import importlib.util
import json
import os
import re
import shutil

import harness
from harness import Case

# By its path: this module bears the same name.
spec = importlib.util.spec_from_file_location("soak_chaos", os.path.join(harness.ROOT, "tools", "lib", "chaos.py"))
chaos = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chaos)

# The script `everything` is for a million. As often as in a fleet of 250,000, so that the rarest happen twice.
LIKE_DEVICES = 250_000
TIMES = 16  # so much shorter is the run
SHORTEST_MS = 100


def unused_prime(number, used):
    """The next prime that no rule has: rules of one period meet at each request, and only the first decides its fate."""
    while number in used or any(number % i == 0 for i in range(2, int(number ** 0.5) + 1)):
        number += 1
    used.add(number)
    return number


def scaled(script, devices):
    """`script` for few devices: every fault sure to come, none by chance. Left out: requests that nobody ever answers
    on a connection that lives on; each of them costs a minute of waiting."""
    scale = devices / LIKE_DEVICES
    rules, used = [], set()
    spoilt = iter(range(7, 100, 4))  # connections; each kind of a spoilt one has its own, clear of `connection every`
    for rule in script.splitlines():
        ratio = re.match(r"when ratio ([0-9.]+) -> (.*)", rule)
        if ratio:
            if ratio[2].startswith("no-answer"):
                continue
            rule = f"when every {unused_prime(max(2, int(scale / float(ratio[1]))), used)} -> {ratio[2]}"
        elif rule.startswith("when on connect and ratio"):
            rule = f"when on connect and connection {next(spoilt)} -> {rule.split(' -> ')[1]}"
        else:
            rule = re.sub(r"^when every (\d+) ->", lambda m: f"when every {unused_prime(max(2, int(int(m[1]) * scale)), used)} ->", rule)
            rule = re.sub(r"^when for (\d+)ms every (\d+)s", lambda m: f"when for {max(SHORTEST_MS, int(m[1]) // TIMES)}ms "
                          f"every {int(m[2]) * 1000 // TIMES}ms", rule)
        rules.append(rule)
    return "\n".join(rules) + "\n"


class Chaos(Case):
    def script(self, devices):
        shown = harness.run([harness.TOCSIN, "mock", "--show-script", "everything"])
        self.assertEqual(shown.code, 0, shown)
        if harness.SMALL:  # a slow build: the faults that come often, in a fleet that is soon done
            text = "".join(rule + "\n" for rule in shown.out.splitlines() if not re.match("when ratio.*-> no-answer", rule))
        else:
            text = scaled(shown.out, devices)
            self.assertNotIn("ratio", text)
        self.assertLessEqual(chaos.faults_of(shown.out) - chaos.faults_of(text), {"no-answer", "no-answer-but-accept"})
        return self.put("most.script", text)

    def campaign(self, policy):
        devices = 6_000 if harness.SMALL else 20_000
        campaign = chaos.Campaign(harness.TOCSIN, self.path(policy), devices, 3, policy, self.script(devices), 1, all_faults=not harness.SMALL)
        result = campaign.go()
        self.assertEqual(result["broken"], [])
        self.assertEqual((result["kills"], result["lost"], sum(result["ends"].values())), (3, 0, devices))
        self.assertGreater(result["ends"]["accepted"], devices // 4)
        if harness.SMALL:
            return campaign, result
        self.assertGreater(len(campaign.wanted), 25)
        self.assertEqual([name for name in sorted(campaign.wanted) if not result["faults"].get(name)], [])
        return campaign, result

    def judged(self, campaign, outcomes=None, ledger=None, totals=None, connections=None):
        """What the judge says of the same campaign with a line changed by `outcomes`, `ledger` or `connections` (None: left out)."""
        files = []
        for name, path, change in zip(("outcomes", "ledger", "connections"), self.kept, (outcomes, ledger, connections)):
            files.append(path)
            if change:
                files[-1] = self.path(name + ".changed")
                with open(path, encoding="utf-8") as before, open(files[-1], "w", encoding="utf-8") as after:
                    for line in before:
                        changed = change(json.loads(line))
                        if changed is not None:
                            after.write(json.dumps(changed, separators=(",", ":")) + "\n")
        campaign.out, campaign.connection_file, campaign.broken = files[0], files[2], []
        for kill in campaign.killed:
            kill.doubled = 0
        return campaign.judge(campaign.fleet, files[1], {**campaign.totals, **(totals or {})})

    def lies(self, campaign):
        """Each thing that did not happen must be called broken."""
        self.kept = (shutil.copy(campaign.out, self.path("outcomes.kept")), shutil.copy(campaign.ledger_file, self.path("ledger.kept")),
                     shutil.copy(campaign.connection_file, self.path("connections.kept")))
        with open(self.kept[0], encoding="utf-8") as outcomes:
            sure = next(o for o in map(json.loads, outcomes)
                        if o["outcome"] == "accepted" and "resumed" not in o and "possibly_doubled" not in o)
        token = sure["token"]
        only = lambda change: lambda record: change(record) if record["token"] == token else record  # noqa: E731
        with open(self.kept[1], encoding="utf-8") as ledger:
            entry = next(e for e in map(json.loads, ledger) if e["token"] == token)
        twice = {**entry, "accepted": 2, "history": [{"apns_id": entry["apns_id"], "unix_ms": ms, "connection": 1} for ms in (1, 2)]}
        totals = campaign.totals
        more = {"doubled": totals["doubled"] + 1, "doubled_same_id": totals["doubled_same_id"] + 1}

        def unknown(reason, **others):
            return lambda o: {**o, "outcome": "unknown", "reason": reason, **others}
        lies = {
            "all unknown, interrupted": {"outcomes": unknown("RunInterrupted", resumed=True)},
            "all unknown, connection lost": {"outcomes": unknown("ConnectionLost", attempts=1)},
            "one unknown, interrupted": {"outcomes": only(unknown("RunInterrupted", resumed=True))},
            "one resumed": {"outcomes": only(lambda o: {**o, "resumed": True, "possibly_doubled": True})},
            "one failed early": {"outcomes": only(lambda o: {**o, "outcome": "failed", "reason": "StreamReset"}),
                                 "ledger": only(lambda e: None)},
            "one accepted dropped": {"outcomes": only(lambda o: None)},
            "one doubled in the ledger": {"ledger": only(lambda e: twice), "totals": more},
            "one doubled in the ledger, not in the totals": {"ledger": only(lambda e: twice)},
            "one accepted that the ledger does not have": {"ledger": only(lambda e: None)},
            "one rejected that was accepted": {"outcomes": only(lambda o: {**o, "outcome": "rejected"})},
            "a fault that never came": {"totals": {"faults": {k: v for k, v in totals["faults"].items() if k != "vanish"}}},
        }
        if campaign.policy == "at-least-once":
            # What is truly doubled: as if its answer had been given and its connection had lived on, or ended later.
            def answered(entry, **connection):
                if entry["accepted"] > 1:
                    entry["history"] = [{**{k: v for k, v in one.items() if k != "answer_lost"}, **connection} for one in entry["history"]]
                return entry
            lies["all doubled were answered, on a connection that never ended"] = {"ledger": lambda e: answered(e, connection=10 ** 6)}
            lies["all doubled were answered, and no connection ended"] = {"ledger": answered, "connections": lambda c: None}
            lies["all doubled were answered, and connections ended an hour later"] = {
                "ledger": answered, "connections": lambda c: {**c, "ended_unix_ms": c["ended_unix_ms"] + 3_600_000}}
            lies["all doubled were answered, and connections went in good order"] = {
                "ledger": answered, "connections": lambda c: {**c, "by": "goaway"}}
        self.assertEqual(self.judged(campaign)["broken"], [])
        for name, lie in lies.items():
            with self.subTest(lie=name):
                self.assertFalse(self.judged(campaign, **lie)["good"])

    def test_at_least_once(self):
        campaign, result = self.campaign("at-least-once")
        self.assertGreater(result["doubled_by_kill"], 0)
        self.assertGreaterEqual(result["said_possibly_doubled"], result["doubled_by_kill"] // 3)
        if not harness.SMALL:
            self.lies(campaign)

    def test_at_most_once(self):
        campaign, result = self.campaign("at-most-once")
        self.assertEqual(result["doubled"], 0)
        if not harness.SMALL:
            self.lies(campaign)


if __name__ == "__main__":
    harness.main()
