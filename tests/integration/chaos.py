# SPDX-License-Identifier: Apache-2.0
"""A small campaign of tools/soak --chaos: every fault, kills and resumptions, judged by the ledger."""
import importlib.util
import os

import harness
from harness import Case

# By its path: this module bears the same name.
spec = importlib.util.spec_from_file_location("soak_chaos", os.path.join(harness.ROOT, "tools", "lib", "chaos.py"))
chaos = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chaos)


class Chaos(Case):
    def script(self):
        """The script `everything`, but for requests that nobody ever answers: each of them costs a minute of waiting."""
        shown = harness.run([harness.TOCSIN, "mock", "--show-script", "everything"])
        self.assertEqual(shown.code, 0, shown)
        rules = [rule for rule in shown.out.splitlines()
                 if not (rule.startswith("when ratio") and "-> no-answer" in rule)]
        self.assertLess(len(rules), len(shown.out.splitlines()))
        return self.put("most.script", "\n".join(rules) + "\n")

    def campaign(self, policy):
        devices = 6_000 if harness.SMALL else 20_000
        result = chaos.Campaign(harness.TOCSIN, self.path(policy), devices, 3, policy, self.script(), 1).go()
        self.assertEqual(result["broken"], [])
        self.assertEqual((result["kills"], result["lost"], sum(result["ends"].values())), (3, 0, devices))
        self.assertGreater(result["ends"]["accepted"], 0)
        self.assertGreater(sum(result["faults"].values()), 10)
        return result

    def test_at_least_once(self):
        result = self.campaign("at-least-once")
        self.assertGreater(result["doubled_by_kill"], 0)
        self.assertGreaterEqual(result["said_possibly_doubled"], result["doubled_by_kill"] // 3)

    def test_at_most_once(self):
        self.assertEqual(self.campaign("at-most-once")["doubled"], 0)


if __name__ == "__main__":
    harness.main()
