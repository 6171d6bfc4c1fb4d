# SPDX-License-Identifier: Apache-2.0
"""The body of tools/demo: generate a fleet, start the mock, push, compare. See tools/demo --help."""
import argparse
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True
import ledger

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MOCK_START_SECONDS = 30
MOCK_STOP_SECONDS = 120
PUSH_EXITS_GOOD = (0, 5)  # done, or done with rejected devices: a fleet with dead tokens always has some


class Failure(Exception):
    """A sentence for the person at the terminal."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="tools/demo", add_help=False)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--dead", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--no-setup", action="store_true")
    parser.add_argument("--tocsin", default=os.path.join(ROOT, "build", "release", "tocsin"))
    args = parser.parse_args()
    if args.devices < 1:
        parser.error("--devices must be at least 1")
    if not 0 <= args.dead <= 1:
        parser.error("--dead must be a share from 0 to 1")
    if args.connections < 1:
        parser.error("--connections must be at least 1")
    return args


def split_cpus():
    """The engine's CPUs and the mock's: disjoint halves, or no pinning on a single CPU."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return None, None
    half = len(cpus) // 2
    return cpus[:half], cpus[half:]


def pinned(cpus):
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failure(f"'{' '.join(command[:3])} ...' ended with exit code {done.returncode}")


def certificate_topic(work):
    """The UID of the mock's push certificate, which is its topic. Read from the DER: nothing to parse it with is needed."""
    with open(os.path.join(work, "certs", "push.pem")) as file:
        first = file.read().split("-----BEGIN CERTIFICATE-----")[1].split("-----END")[0]
    found = re.search(rb"com\.apple\.mgmt\.External\.[0-9a-fA-F-]{36}", base64.b64decode(first))
    if not found:
        raise Failure("the mock's push certificate names no MDM topic")
    return found[0].decode()


def make_fleet(args, work, devices, dead_share):
    """Certificates first (a run of the mock that serves nobody), because the devices name the certificate's topic."""
    fleet = os.path.join(work, "fleet.ndjson")
    dead = os.path.join(work, "dead.txt")
    mock = Mock(args.tocsin, work, dead, None)
    try:
        mock.stop()
    finally:
        mock.kill()
    command = [args.tocsin, "fleet", "generate", "--devices", str(devices), "--topic", certificate_topic(work),
               "--seed", str(getattr(args, "seed", 1)), "-o", fleet]
    run(command + (["--dead", str(dead_share), "--dead-out", dead] if dead_share > 0 else []))
    return fleet, dead


class Mock:
    """The mock as a child process: started, asked, stopped so that it writes its ledger."""

    def __init__(self, tocsin, work, dead_file, cpus, more=()):
        self.log = open(os.path.join(work, "mock.log"), "w+b")
        self.ledger_file = os.path.join(work, "ledger.ndjson")
        command = [tocsin, "mock", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--certs",
                   os.path.join(work, "certs"), "--ledger", self.ledger_file, "--json",
                   "--workers", str(min(len(cpus), 4) if cpus else 1)]
        if os.path.exists(dead_file):
            command += ["--dead", dead_file]
        command += more
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
                                      preexec_fn=pinned(cpus))
        self.address, self.admin = self.ready()

    def ready(self):
        # The first line on stdout says where it listens, once it does.
        signal.signal(signal.SIGALRM, lambda *_: self.child.kill())
        signal.alarm(MOCK_START_SECONDS)
        line = self.child.stdout.readline()
        signal.alarm(0)
        try:
            record = json.loads(line)
            return record["listen"], record["admin"]
        except (ValueError, KeyError, TypeError):
            self.kill()
            raise Failure(f"the mock did not say where it listens, but: {line!r}\n{self.tail()}") from None

    def totals(self):
        with urllib.request.urlopen(f"http://{self.admin}/ledger", timeout=10) as answer:
            return json.load(answer)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.communicate(timeout=MOCK_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"the mock did not end within {MOCK_STOP_SECONDS} s of SIGTERM\n{self.tail()}") from None
        if self.child.returncode != 0:
            raise Failure(f"the mock ended with exit code {self.child.returncode}\n{self.tail()}")

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()

    def tail(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-2000:].decode(errors="replace")


def push(args, mock, work, fleet, cpus, more=()):
    """Runs `tocsin push`; answers its summary and what the kernel counted for it."""
    out = os.path.join(work, "outcomes.ndjson")
    certs = os.path.join(work, "certs")
    command = [args.tocsin, "push", fleet, "--endpoint", mock.address,
               "--ca", os.path.join(certs, "ca.pem"), "--cert", os.path.join(certs, "push.pem"),
               "--key", os.path.join(certs, "push.key"), "--connections", str(args.connections),
               "--out", out, "--overwrite", "--json", *more]
    start = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=pinned(cpus))
    try:
        text = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)  # this child's own account, kept by the kernel
    except BaseException:
        child.kill()
        child.wait()
        raise
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in PUSH_EXITS_GOOD:
        raise Failure(f"'tocsin push' ended with exit code {child.returncode}\n{text.decode(errors='replace')}")
    try:
        summary = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        raise Failure(f"'tocsin push --json' printed no JSON: {text[-500:]!r}") from None
    return out, summary, seconds, used


def demo(args, work):
    ours, theirs = split_cpus()
    say(f"demo: {args.devices:,} devices, {args.dead:.2%} of their tokens dead")
    fleet, dead = make_fleet(args, work, args.devices, args.dead)
    mock = Mock(args.tocsin, work, dead, theirs)
    try:
        say(f"demo: the mock listens on {mock.address}, its admin address is {mock.admin}")
        out, summary, seconds, used = push(args, mock, work, fleet, ours)
        totals = mock.totals()
        mock.stop()
    finally:
        mock.kill()
    say("demo: comparing every outcome with the ledger")
    verdict = ledger.compare(fleet, out, mock.ledger_file)
    result = {
        "submitted": verdict.outcomes, "accepted": verdict.ends[0], "rejected": verdict.ends[1],
        "unknown": verdict.ends[2], "ledger_accepted": verdict.ledger_accepted,
        "ledger_rejected": verdict.ledger_rejected, "possibly_doubled": verdict.possibly_doubled,
        "devices": verdict.devices, "seconds": round(seconds, 3),
        "pushes_per_second": round(verdict.outcomes / seconds),
        "client_cpu_ns_per_push": round((used.ru_utime + used.ru_stime) * 1e9 / max(1, verdict.outcomes)),
        "rss_mib": round(used.ru_maxrss / 1024, 1), "connections": args.connections,
        "latency_us": summary.get("latency_us"), "tls_crypto": summary.get("tls_crypto"),
        "disagreements": verdict.disagreements,
    }
    # Three witnesses of the totals: the outcome file, push's own summary, the mock's admin address.
    problems = []
    for name in ("accepted", "rejected", "unknown"):
        if summary.get(name) != result[name]:
            problems.append(f"push's summary says {summary.get(name)} {name}, the outcome file has {result[name]}")
    if totals.get("accepted") != verdict.ledger_accepted:
        problems.append(f"the mock's admin address says {totals.get('accepted')} accepted, "
                        f"its ledger file has {verdict.ledger_accepted}")
    result["agree"] = verdict.agree and not problems
    return verdict, result, problems


def report(verdict, result, problems, stream):
    print(verdict.text(), file=stream)
    print(f"time      {result['seconds']:.2f} s, {result['pushes_per_second']:,} pushes/s, from the start of "
          f"`tocsin push` to its end", file=stream)
    print(f"client    {result['client_cpu_ns_per_push']:,} ns of CPU a push (the whole process, reading and writing "
          f"included), {result['rss_mib']} MiB at its peak", file=stream)
    for problem in problems:
        print(f"PROBLEM   {problem}", file=stream)
    print("Accepted by APNs is not yet seen by the device.", file=stream)


def main():
    args = arguments()
    if not os.access(args.tocsin, os.X_OK):
        say(f"demo: no program at {args.tocsin}: run tools/setup")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="tocsin-demo-")
    try:
        verdict, result, problems = demo(args, work)
    except (Failure, OSError, ValueError, KeyError) as error:
        say(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if args.keep:
            say(f"demo: files kept in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    report(verdict, result, problems, sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))
    return 0 if result["agree"] else 1


if __name__ == "__main__":
    sys.exit(main())
