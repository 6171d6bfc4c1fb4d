# SPDX-License-Identifier: Apache-2.0
"""The body of tools/test: configure, build, run and count. See tools/test --help."""
import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}

# What is built how, and which suites of it run. None: all suites. `must`: suites that may not be empty.
BUILDS = {
    "release": dict(setup=["--buildtype=release"], env={}, suites=None, timeout_factor=1,
                    must=["pure", "unit", "threads", "fuzz-replay", "lint", "integration", "sim", "bench-smoke"]),
    # clang, because it takes half of gcc's time for this and the release build has gcc's eyes already.
    "asan": dict(setup=["-Db_sanitize=address,undefined", "-Doptimization=1", "-Ddebug=true",
                        "-Dcpp_args=-g1 -fno-omit-frame-pointer", "-Db_lundef=false"],
                 env={"CC": "clang", "CXX": "clang++"}, suites=["pure", "unit", "fuzz-replay", "integration"], timeout_factor=4,
                 must=["pure", "unit", "fuzz-replay", "integration"]),
    # gcc 12's thread sanitizer does not model fences and reports false races in ConcurrentQueue; clang's does.
    "tsan": dict(setup=["-Db_sanitize=thread", "-Doptimization=1", "-Ddebug=true",
                        "-Dcpp_args=-g1 -fno-omit-frame-pointer", "-Db_lundef=false"],
                 env={"CC": "clang", "CXX": "clang++"}, suites=["threads", "tsan"], timeout_factor=6, must=["threads"]),
}


def say(text=""):
    print(text, flush=True)


def sanitizer_wrapper(name):
    """Sanitizers of these compilers cannot place their shadow where addresses have 32 random bits."""
    if name == "release":
        return []
    try:
        with open("/proc/sys/vm/mmap_rnd_bits") as file:
            return ["setarch", os.uname().machine, "-R"] if int(file.read()) >= 32 else []
    except (OSError, ValueError):
        return []


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


def run_logged(command, log, env):
    with open(log, "ab") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=env).returncode


def tail(path, count=40):
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-count:])


def introspect(build, what):
    return json.loads(subprocess.run(["meson", "introspect", what, build], check=True, capture_output=True).stdout)


def plain_name(name):
    """Meson's logs say "tocsin:pure+unit / base"; the test is called base."""
    return name.split(" / ")[-1].strip()


def plain_suites(test):
    return [suite.split(":")[-1] for suite in test["suite"]]


def targets_of(build, tests):
    """The files ninja must make for these tests: a sanitized build makes only what runs."""
    files = {target["id"]: target["filename"] for target in introspect(build, "--targets")}
    wanted = {name for test in tests for target in test["depends"] for name in files.get(target, [])}
    return sorted(os.path.relpath(name, build) for name in wanted)


def gtest_cases(build):
    """GoogleTest cases by test name, from meson's JUnit file: (run, failed, skipped)."""
    path = os.path.join(build, "meson-logs", "testlog.junit.xml")
    cases = {}
    for suite in xml.parse(path).getroot().iter("testsuite"):
        name = suite.get("name", "").split(".")
        key = plain_name(name[1]) if len(name) > 2 else None
        for case in suite.findall("testcase"):
            failed = case.find("failure") is not None or case.find("error") is not None
            skipped = case.find("skipped") is not None or case.get("result") == "skipped" or \
                case.get("status") == "notrun"
            run, bad, left = cases.get(key, (0, 0, 0))
            cases[key] = (run + 1, bad + failed, left + (skipped and not failed))
    return cases


def count(build, protocols):
    """One entry a test: (name, suites, tally, seconds, result)."""
    cases = gtest_cases(build)
    entries = []
    with open(os.path.join(build, "meson-logs", "testlog.json")) as file:
        for line in file:
            test = json.loads(line)
            name = plain_name(test["name"])
            tally = Tally()
            good = test["result"] in ("OK", "EXPECTEDFAIL")
            if protocols.get(name) == "gtest" and cases.get(name):
                run, bad, skipped = cases[name]
                tally.failed, tally.skipped, tally.passed = bad, skipped, run - bad - skipped
            elif test["result"] == "SKIP":
                tally.skipped = 1
            elif good and protocols.get(name) != "gtest":
                tally.passed = 1
            elif good:
                tally.failed = 1  # a GoogleTest program that says "good" without having run a case
            if not good and test["result"] != "SKIP" and tally.failed == 0:
                tally.failed = 1  # crash, time-out, leak found at exit: the program failed though no case did
            entries.append((name, tally, float(test["duration"]), test["result"], test.get("stdout", "") or "",
                            test.get("stderr", "") or ""))
    return entries


def configure(root, build, plan, env):
    if os.path.exists(os.path.join(build, "build.ninja")):
        return True
    os.makedirs(build, exist_ok=True)
    log = build + ".setup.log"
    if run_logged(["meson", "setup", *plan["setup"], build, root], log, env) == 0:
        return True
    say(tail(log))
    return False


def run_build(root, name, jobs):
    """Configures, builds and runs one build. Answers its tally; a failure of any step counts as failed."""
    plan = BUILDS[name]
    build = os.path.join(root, "build", name)
    env = dict(os.environ, **SANITIZER_OPTIONS, **plan["env"])
    total = Tally()
    start = time.monotonic()
    say(f"== {name}")
    if not configure(root, build, plan, env):
        total.failed += 1
        return total
    # In case a meson.build changed: the list of tests below must be the present one.
    log = build + ".build.log"
    open(log, "wb").close()
    if run_logged(["ninja", "-C", build, "build.ninja"], log, env) != 0:
        say(tail(log))
        total.failed += 1
        return total
    tests = introspect(build, "--tests")
    if plan["suites"] is not None:
        tests = [test for test in tests if set(plain_suites(test)) & set(plan["suites"])]
    for suite in plan["must"]:
        if not any(suite in plain_suites(test) for test in tests):
            say(f"no test in suite '{suite}'")
            total.failed += 1
    if not tests:
        return total
    targets = [] if plan["suites"] is None else targets_of(build, tests)
    if run_logged(["ninja", "-C", build, f"-j{jobs}", *targets], log, env) != 0:
        say(tail(log))
        say(f"the {name} build failed (the whole log: {log})")
        total.failed += 1
        return total
    say(f"   built in {time.monotonic() - start:.0f} s")

    for stale in ("testlog.json", "testlog.junit.xml"):
        path = os.path.join(build, "meson-logs", stale)
        if os.path.exists(path):
            os.remove(path)
    command = [*sanitizer_wrapper(name), "meson", "test", "-C", build, "--no-rebuild", "-t",
               str(plan["timeout_factor"]), "--num-processes", str(jobs)]
    for suite in plan["suites"] or []:
        command += ["--suite", suite]
    start = time.monotonic()
    status = run_logged(command, build + ".test.log", env)
    protocols = {test["name"]: test["protocol"] for test in tests}
    suites = {test["name"]: plain_suites(test) for test in tests}
    try:
        entries = count(build, protocols)
    except (OSError, ValueError, xml.ParseError) as error:
        say(f"no usable test log: {error}\n{tail(build + '.test.log')}")
        total.failed += 1
        return total
    report(entries, suites)
    for _, tally, *_ in entries:
        total.add(tally)
    missing = set(protocols) - {entry[0] for entry in entries}
    for test in sorted(missing):
        say(f"   {test}: did not run")
        total.failed += 1
    if status != 0 and total.failed == 0:
        say(f"meson test ended with {status}\n{tail(build + '.test.log')}")
        total.failed += 1
    say(f"   {name}: {total} in {time.monotonic() - start:.0f} s")
    return total


def report(entries, suites):
    by_suite = {}
    for name, tally, seconds, result, out, err in entries:
        for suite in suites.get(name, ["?"]):
            have = by_suite.setdefault(suite, [Tally(), 0.0])
            have[0].add(tally)
            have[1] += seconds
        if tally.failed:
            say(f"   FAILED {name} ({result}, {seconds:.1f} s)")
            say("\n".join("      " + line for line in (out + err).splitlines()[-60:]))
        elif result == "SKIP":
            say(f"   skipped {name}: {(out + err).strip().splitlines()[-1] if (out + err).strip() else 'no reason given'}")
        elif "sim" in suites.get(name, []) and out.strip():
            say(f"   {name}: {out.strip().splitlines()[-1]}")  # what the seeds did, faults and edges
    for suite, (tally, seconds) in sorted(by_suite.items()):
        say(f"   suite {suite:<12} {str(tally):<32} {seconds:7.1f} s of test time")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("builds", nargs="+", choices=list(BUILDS))
    args = parser.parse_args()
    start = time.monotonic()
    total = Tally()
    for name in args.builds:
        total.add(run_build(args.root, name, args.jobs))
    say(f"{time.monotonic() - start:.0f} s in total")
    say(str(total))
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
