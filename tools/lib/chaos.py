# SPDX-License-Identifier: Apache-2.0
"""The body of tools/soak --chaos: a fleet pushed through a fault script over real sockets, killed with SIGKILL at
seeded moments of its progress and resumed until it is done; judged by the mock's ledger.

    tools/soak --chaos [--devices 1000000] [--kills 20] [--policy both] [--script everything] [--seed 1] [--json]

Judged for each policy:
  lost     0: every line has a final outcome; what says accepted stands in the ledger; what the ledger never
           accepted says so
  doubled  at most once: 0. At least once: all under one apns-id, the outcome says possibly_doubled, and each lies
           across a kill that left its line in doubt, or across the end of the very connection that the earlier one came
           by, or was an answer that the script kept back; across a kill no more than what the mock had accepted
           without an outcome on the disk when the process was gone, across the end of a connection no more than its
           streams
  excuses  `resumed` and RunInterrupted only for lines that journal and outcomes left in doubt at a kill, and not more
           in doubt than the engine holds; `unknown` of another reason no more than the streams of lost connections,
           and only at most once; any end but accepted and rejected else only after all attempts; a quarter at least
           is accepted
  faults   each kind that the script names happened
Exit: 0 all held, 1 something broke (the files are then kept), 2 wrong usage.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import demo  # noqa: E402
import ledger as comparison  # noqa: E402

POLICIES = ("at-least-once", "at-most-once")
CONNECTIONS = 4
STREAMS = 500
POLL_SECONDS = 0.01
QUIET_READS = 8          # so many equal readings of the mock's totals: what was sent before a kill is judged
OUTCOME_BYTES = 230      # about, of one outcome's line
FINISH_SECONDS = 1800    # for one policy
# Faults that may take a connection with all its streams, and those that take one accepted push.
CONNECTION_FAULTS = ("garbage", "vanish", "close", "half-close", "tcp-reset", "tls alert", "ping-silence", "slow", "split-headers")
STREAM_FAULTS = ("no-answer-but-accept", "reset", "oversized-body", "broken-body")
# As the script and the mock's totals spell them.
FAULTS = (*CONNECTION_FAULTS, *STREAM_FAULTS, "answer", "delay", "no-answer", "goaway", "streams", "window",
          "no-window-updates", "settings", "unknown-frame", "probe", "throttle", "stall", "tls refuse-certificate",
          "tls expired", "tls wrong-name", "tls no-alpn", "tls hang", "refuse", "accept-and-hang")
# What a kill may leave in doubt, docs/crash.md: what the engine holds; outcomes not yet written; the mark's lead.
HELD = {"at-least-once": 65_536, "at-most-once": 3 * CONNECTIONS * STREAMS}  # at most once with what waits for a retry
UNWRITTEN_BYTES = 256 << 10
ATTEMPTS_MAX = 5
# An end that can take answers with it. `goaway`: the mock had given the last one.
LOSING_ENDS = {"client", "script", "tls"}
# The client opens the next connection before the mock has read of the last one's end; a stall may lie between.
END_SLACK_MS = 1500
NOT_FINAL = {"CannotConnect", "CredentialStopped", "CredentialRemoved"}
EXAMPLES_MAX = 10


class Broken(Exception):
    """A sentence that says what did not hold."""


class Kill:
    """What was known when the process was gone and the mock had judged all that it had sent."""

    def __init__(self, unix_ms, exposed, doubtful, lead):
        self.unix_ms = unix_ms
        self.exposed = exposed    # accepted by the mock, without an outcome on the disk
        self.doubtful = doubtful  # a byte for each line up to the mark: 1 if it had no final outcome
        self.lead = lead          # how far the mark was ahead of the line at which it was made
        self.doubled = 0

    def doubts(self, line):
        return line < len(self.doubtful) and self.doubtful[line] == 1


def ended_lines(path):
    """Lines with a final outcome, those of them that were accepted, and the bytes up to the last whole line."""
    done = accepted = 0
    if os.path.exists(path):
        with open(path, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    done += 1
                    accepted += b'"outcome":"accepted"' in line
    return done, accepted


def mark_of(journal):
    """The last line that may have been sent by any session, and how far that mark ran ahead. A torn end is no record."""
    before = mark = lead = 0
    if os.path.exists(journal):
        with open(journal, "rb") as file:
            for text in file:
                if not text.endswith(b"\n"):
                    break
                record = json.loads(text)
                if "session" in record:
                    before, mark, lead = max(before, mark), 0, 0
                elif "mark" in record:
                    mark, lead = max(mark, record["mark"]), record["mark"] - record["line"]
                elif "admitted" in record:  # the mark is taken back
                    mark, lead = record["admitted"], 0
    return max(before, mark), lead


def lines_in_doubt(outcomes, mark):
    """A byte for each line up to the mark (from 0): 1 if the file has no final outcome of it."""
    doubtful = bytearray(b"\1") * (mark + 1)
    doubtful[0] = 0
    if os.path.exists(outcomes):
        with open(outcomes, "rb") as file:
            for text in file:
                if not text.endswith(b"\n"):
                    break
                if b'"outcome":"returned"' in text or b'"outcome":"failed"' in text:
                    outcome = json.loads(text)
                    if outcome["outcome"] == "returned" or outcome.get("reason") in NOT_FINAL:
                        continue
                line = int(comparison.LINE.match(text)[1])
                if line <= mark:
                    doubtful[line] = 0
    return doubtful


def faults_of(script):
    """The kinds of faults that a script's text names."""
    found = set()
    for rule in script.splitlines():
        if rule.startswith("when ") and "->" in rule:
            for action in re.sub(r'"[^"]*"', "", rule.split("->", 1)[1]).split(","):
                action = action.strip() + " "
                fits = [fault for fault in FAULTS if action.startswith(fault + " ")]
                if not fits:
                    raise Broken(f"the script's '{action.strip()}' is no fault that is known here")
                found.add(fits[0])
    return found


class Campaign:
    """One policy's run: `go` answers its result, with what broke under "broken"."""

    def __init__(self, tocsin, work, devices, kills, policy, script, seed, more=(), all_faults=True):
        self.all_faults = all_faults  # each kind that the script names must have happened
        self.tocsin, self.work, self.devices, self.kills = tocsin, work, devices, kills
        self.policy, self.script = policy, script
        self.chance = random.Random(f"{seed} {policy}")
        self.seed = seed
        self.out = os.path.join(work, "outcomes.ndjson")
        self.killed = []
        self.pushes = 0
        self.broken = []
        self.more = list(more)

    def go(self):
        os.makedirs(self.work, exist_ok=True)
        start = time.monotonic()
        self.wanted = faults_of(self.script_text()) if self.all_faults else set()
        args = argparse.Namespace(tocsin=self.tocsin, seed=self.seed)
        fleet, none_dead = demo.make_fleet(args, self.work, self.devices, 0)
        self.connection_file = os.path.join(self.work, "connections.ndjson")
        mock = demo.Mock(self.tocsin, self.work, none_dead, None,
                         ("--script", self.script, "--seed", str(self.seed), "--connection-log", self.connection_file))
        try:
            self.until_done(fleet, mock)
            totals = mock.totals()
            mock.stop()
        finally:
            mock.kill()
        seconds = time.monotonic() - start
        self.fleet, self.ledger_file, self.totals = fleet, mock.ledger_file, totals
        result = self.judge(fleet, mock.ledger_file, totals)
        result["seconds"] = round(seconds, 1)
        return result

    # ---- the run

    def script_text(self):
        if os.path.exists(self.script):
            with open(self.script, encoding="utf-8") as file:
                return file.read()
        return subprocess.run([self.tocsin, "mock", "--show-script", self.script], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=True, text=True).stdout

    def command(self, fleet, mock):
        certs = os.path.join(self.work, "certs")
        command = [self.tocsin, "push", fleet, "--endpoint", mock.address, "--ca", os.path.join(certs, "ca.pem"), "--cert",
                   os.path.join(certs, "push.pem"), "--key", os.path.join(certs, "push.key"), "--out", self.out, "--json",
                   "--no-progress", "--policy", self.policy, "--connections", str(CONNECTIONS), "--streams", str(STREAMS),
                   "--give-up", "0", "--retry-backoff", "1s", "--connect-timeout", "2s", *self.more]
        if self.policy == "at-most-once":
            # What is under way is given up at a kill: at full speed always twice the streams, at this rate what the faults hold up.
            command += ["--rate", f"{max(2000, self.devices // 60)}/s"]
        return command

    def until_done(self, fleet, mock):
        command = self.command(fleet, mock)
        give_up = time.monotonic() + FINISH_SECONDS
        with open(os.path.join(self.work, "push.log"), "ab") as log:
            while True:
                self.pushes += 1
                resume = ["--resume"] if os.path.exists(self.out + ".run") else []
                child = subprocess.Popen(command + resume, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
                try:
                    if len(self.killed) < self.kills:
                        self.wait_for_moment(child, mock, give_up)
                        child.kill()
                    text, _ = child.communicate(timeout=max(1, give_up - time.monotonic()))
                except subprocess.TimeoutExpired:
                    raise Broken(f"the run did not end within {FINISH_SECONDS} s; {mock.totals()}") from None
                finally:
                    if child.poll() is None:
                        child.kill()
                        child.wait()
                if child.returncode == -signal.SIGKILL:
                    self.killed.append(self.after_kill(mock))
                    continue
                if child.returncode not in demo.PUSH_EXITS_GOOD:
                    raise Broken(f"'tocsin push' ended with exit code {child.returncode} (push {self.pushes}); see push.log")
                self.summary = json.loads(text.splitlines()[-1])
                return

    def wait_for_moment(self, child, mock, give_up):
        """Until the run has come further by a drawn part of what is left: of requests seen, or of outcomes written."""
        done, _ = ended_lines(self.out)
        share = max(1, (self.devices - done) // (self.kills - len(self.killed) + 1))
        step = self.chance.randrange(share // 20, share) + 1
        by_requests = self.chance.random() < 0.7
        size = lambda: os.path.getsize(self.out) if os.path.exists(self.out) else 0  # noqa: E731
        now = (lambda: mock.totals()["requests"]) if by_requests else size
        goal = now() + (step if by_requests else step * OUTCOME_BYTES)
        while child.poll() is None and now() < goal and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)

    def after_kill(self, mock):
        same, before = 0, -1
        while same < QUIET_READS:
            totals = mock.totals()
            same = same + 1 if totals["requests"] == before else 0
            before = totals["requests"]
            time.sleep(POLL_SECONDS)
        _, accepted = ended_lines(self.out)
        exposed = totals["tokens_accepted"] - accepted
        if self.policy == "at-most-once":
            exposed -= sum(kill.exposed for kill in self.killed)  # those never get an outcome
        mark, lead = mark_of(self.out + ".run")
        return Kill(time.time_ns() // 1_000_000, max(0, exposed), lines_in_doubt(self.out, mark), lead)

    # ---- the verdict

    def wrong(self, text):
        self.broken.append(text)

    def judge(self, fleet, ledger_file, totals):
        verdict = comparison.compare(fleet, self.out, ledger_file)
        for example in verdict.examples:
            self.wrong(f"outcomes and ledger disagree: {example}")
        last = {}
        for line in comparison.lines(self.out):
            outcome = json.loads(line)
            last[outcome["line"]] = (outcome["token"], outcome["outcome"], outcome.get("reason", ""), outcome["apns_id"],
                                     outcome.get("possibly_doubled", False), outcome.get("resumed", False),
                                     outcome["line"], outcome.get("attempts", 0))
        missing = self.devices - len(last)
        unfinished = sum(1 for o in last.values() if o[1] == "returned" or (o[1] == "failed" and o[2] in NOT_FINAL))
        if missing or unfinished:
            self.wrong(f"{missing} lines have no outcome, {unfinished} none that is final")
        ends = {}
        for o in last.values():
            ends[o[1]] = ends.get(o[1], 0) + 1
        lost = missing + unfinished
        by_token = {o[0]: o for o in last.values()}
        doubled = self.judge_ledger(ledger_file, by_token)
        lost += sum(1 for o in by_token.values() if o[1] == "accepted")  # those that the ledger has were taken out
        if lost > missing + unfinished:
            self.wrong(f"{lost - missing - unfinished} outcomes say accepted, the ledger never took them")
        if len(self.killed) < self.kills:
            self.wrong(f"only {len(self.killed)} of {self.kills} kills came before the end")
        exposed = sum(kill.exposed for kill in self.killed)
        for number, kill in enumerate(self.killed, 1):
            if kill.doubled > kill.exposed:
                self.wrong(f"kill {number}: {kill.doubled} doubled, but only {kill.exposed} were accepted without outcome")
        if self.policy == "at-most-once" and (totals["doubled"] or doubled["all"]):
            self.wrong(f"at most once, and {totals['doubled']} were doubled")
        if totals["doubled"] != doubled["all"] or totals["doubled"] != totals["doubled_same_id"]:
            self.wrong(f"the mock counts {totals['doubled']} doubled, {totals['doubled_same_id']} under the same apns-id; "
                       f"its ledger has {doubled['all']}")
        faults = totals.get("faults", {})
        connections = sum(faults.get(name, 0) for name in CONNECTION_FAULTS) + CONNECTIONS * faults.get("stall", 0)
        most = connections * STREAMS + sum(faults.get(name, 0) for name in STREAM_FAULTS)
        if 4 * ends.get("accepted", 0) < self.devices:
            self.wrong(f"only {ends.get('accepted', 0)} of {self.devices} were accepted: that shows nothing")
        doubt = self.judge_excuses(last, most, faults.get("no-answer", 0))
        for name in sorted(self.wanted):
            if not faults.get(name, 0):
                self.wrong(f"the script's fault '{name}' never happened")
        return {"policy": self.policy, "devices": self.devices, "pushes": self.pushes, "kills": len(self.killed),
                "requests": totals["requests"], "ends": ends, "doubled": doubled["all"],
                "doubled_by_kill": doubled["kill"], "doubled_by_loss": doubled["loss"], "doubled_by_stream": doubled["stream"],
                "connections_ended": len(self.ends_of_connections()), "in_flight_at_kills": exposed, "in_doubt_at_kills": doubt,
                "said_possibly_doubled": sum(o[4] for o in last.values()), "lost": lost,
                "faults": totals.get("faults", {}), "broken": self.broken[:EXAMPLES_MAX], "good": not self.broken}

    def judge_excuses(self, last, most, unanswered):
        """Whether each end that leaves a push's fate open was the faults' doing. Answers the lines in doubt at kills."""
        all_doubted = together = 0  # bytes of 0 and 1 as one number
        for number, kill in enumerate(self.killed, 1):
            doubtful = int.from_bytes(kill.doubtful, "little")
            fresh = (doubtful & ~all_doubted).bit_count()
            all_doubted |= doubtful
            together += fresh
            bound = HELD[self.policy] + UNWRITTEN_BYTES // OUTCOME_BYTES + kill.lead
            if fresh > bound:
                self.wrong(f"kill {number}: {fresh} more lines were in doubt, the engine and the mark's lead explain {bound}")
        bytes_needed = max([max(last, default=0) + 1, *(len(kill.doubtful) for kill in self.killed)])
        doubted = all_doubted.to_bytes(bytes_needed, "little")
        undoubted = interrupted = unknown = early = 0
        for _, end, reason, _, _, resumed, line, attempts in last.values():
            if end == "unknown" and reason == "RunInterrupted":
                interrupted += 1
                undoubted += not doubted[line]
                continue
            undoubted += resumed and not doubted[line]
            if end == "unknown" and self.policy == "at-most-once":
                unknown += 1
            elif end not in ("accepted", "rejected"):
                early += attempts < ATTEMPTS_MAX
        if undoubted:
            self.wrong(f"{undoubted} outcomes say resumed or RunInterrupted, and no kill left their lines in doubt")
        if interrupted and self.policy == "at-least-once":
            self.wrong(f"at least once, and {interrupted} outcomes say unknown, RunInterrupted")
        if unknown > most + unanswered:
            self.wrong(f"{unknown} unknown by no kill, but the lost connections and streams had {most + unanswered} at most")
        if early:
            self.wrong(f"{early} ended neither accepted nor rejected before their {ATTEMPTS_MAX} attempts were used up")
        return together

    def ends_of_connections(self):
        """When each connection that lost something could have lost it: from ordinal to Unix ms."""
        ends = {}
        for line in comparison.lines(self.connection_file):
            end = json.loads(line)
            if end["by"] in LOSING_ENDS:
                ends[end["connection"]] = end["ended_unix_ms"]
        return ends

    def judge_ledger(self, ledger_file, by_token):
        """Each doubled entry of the ledger; takes what was accepted out of by_token."""
        doubled = {"all": 0, "kill": 0, "loss": 0, "stream": 0}
        ends, lost_with = self.ends_of_connections(), {}
        for line in comparison.lines(ledger_file):
            entry = json.loads(line)
            if not entry["accepted"]:
                continue
            outcome = by_token.pop(entry["token"], None)
            if outcome is None:
                self.wrong(f"{entry['token'][:8]}…: in the ledger, without an outcome")
                continue
            if outcome[3] != entry["apns_id"]:
                self.wrong(f"{entry['token'][:8]}…: outcome and ledger name different apns-ids")
            if entry["accepted"] == 1:
                continue
            history = entry["history"]
            if len(history) != entry["accepted"] or len({one["apns_id"] for one in history}) != 1:
                self.wrong(f"{entry['token'][:8]}…: accepted {entry['accepted']} times, not all under one apns-id")
            if not outcome[4] and outcome[1] != "unknown":
                self.wrong(f"{entry['token'][:8]}…: doubled, and its outcome does not say possibly_doubled")
            for earlier, later in zip(history, history[1:]):
                doubled["all"] += 1
                # The next push starts after unix_ms, so that whatever lies across it was sent by two processes.
                kill = next((k for k in self.killed if earlier["unix_ms"] <= k.unix_ms <= later["unix_ms"]), None)
                if kill is None and earlier.get("answer_lost"):
                    doubled["stream"] += 1
                elif kill is None:
                    doubled["loss"] += 1
                    by = earlier["connection"]
                    lost_with[by] = lost_with.get(by, 0) + 1
                    if not earlier["unix_ms"] <= ends.get(by, -1) <= later["unix_ms"] + END_SLACK_MS:
                        self.wrong(f"{entry['token'][:8]}…: doubled across no kill, its answer was given, and its connection "
                                   f"{by} was not lost in between")
                else:
                    kill.doubled += 1
                    doubled["kill"] += 1
                    if not kill.doubts(outcome[6]):
                        self.wrong(f"{entry['token'][:8]}…: doubled across a kill that left its line in no doubt")
        for by, count in lost_with.items():
            if count > STREAMS:
                self.wrong(f"connection {by}: {count} doubled across its end, but it had {STREAMS} streams at most")
        return doubled


def table(results, stream):
    row = "{:<16}{:>11}{:>7}{:>7}{:>11}{:>11}{:>9}{:>9}{:>9}{:>6}{:>9}"
    print(row.format("policy", "devices", "runs", "kills", "accepted", "other", "unknown", "doubled", "exposed", "lost",
                     "seconds"), file=stream)
    for r in results:
        accepted, unknown = r["ends"].get("accepted", 0), r["ends"].get("unknown", 0)
        print(row.format(r["policy"], f"{r['devices']:,}", r["pushes"], r["kills"], f"{accepted:,}",
                         f"{sum(r['ends'].values()) - accepted - unknown:,}", f"{unknown:,}", f"{r['doubled']:,}",
                         f"{r['in_flight_at_kills']:,}", r["lost"], r["seconds"]), file=stream)
    for r in results:
        print(f"{r['policy']}: {r['doubled_by_kill']:,} doubled across a kill, {r['doubled_by_loss']:,} across the end of their connection, "
              f"{r['doubled_by_stream']:,} by an answer kept back, {r['said_possibly_doubled']:,} lines called so; faults " + (", ".join(f"{name} {count:,}" for name, count in r["faults"].items()) or "none"),
              file=stream)
        for text in r["broken"]:
            print(f"BROKEN    {r['policy']}: {text}", file=stream)
    print("exposed: accepted by the mock without an outcome on the disk, at the kills together", file=stream)


def arguments():
    parser = argparse.ArgumentParser(prog="tools/soak --chaos", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=demo.ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--policy", choices=(*POLICIES, "both"), default="both")
    parser.add_argument("--script", default="everything", help="a name of tocsin mock --list-scripts, or a file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on the last line")
    parser.add_argument("--no-setup", action="store_true", help="the packages are there")
    args = parser.parse_args()
    if args.devices < 1 or args.kills < 0:
        parser.error("--devices must be at least 1, --kills not negative")
    return args


def main():
    args = arguments()
    tocsin = os.path.join(args.root, "build", "release", "tocsin")
    if not args.no_setup:
        subprocess.run([os.path.join(args.root, "tools", "setup"), "--test", "--packages"], stdout=sys.stderr, check=True)
    subprocess.run([os.path.join(args.root, "tools", "lib", "build_target"), "tocsin"], stdout=sys.stderr, check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="tocsin-chaos-")
    results, good = [], False
    try:
        for policy in POLICIES if args.policy == "both" else (args.policy,):
            demo.say(f"chaos: {args.devices:,} devices, {args.kills} kills, {policy}, script {args.script}, seed {args.seed}")
            results.append(Campaign(tocsin, os.path.join(work, policy), args.devices, args.kills, policy, args.script,
                                    args.seed).go())
        good = all(result["good"] for result in results)
    except (Broken, demo.Failure, OSError, ValueError) as error:
        demo.say(f"BROKEN    {error}")
    finally:
        if good:
            shutil.rmtree(work, ignore_errors=True)
        else:
            demo.say(f"chaos: not good; files kept in {work}: POLICY/push.log, mock.log, outcomes.ndjson (grep a token), "
                     "ledger.ndjson (its history), outcomes.ndjson.run (the marks)")
    table(results, sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps({"seed": args.seed, "script": args.script, "good": good, "runs": results}))
    else:
        print(f"chaos: {'all held' if good else 'BROKEN'}, seed {args.seed}, script {args.script}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
