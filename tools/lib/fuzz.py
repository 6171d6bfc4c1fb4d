# SPDX-License-Identifier: Apache-2.0
"""The body of tools/fuzz: build, run, report. See tools/fuzz --help."""
import argparse
import concurrent.futures
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys

from run_tests import SANITIZER_OPTIONS, run_logged, sanitizer_wrapper, say, tail

FLAGS = "-fsanitize=fuzzer-no-link -g1 -fno-omit-frame-pointer"
SETUP = ["-Db_sanitize=address,undefined", "-Doptimization=1", "-Ddebug=true", "-Db_lundef=false", f"-Dcpp_args={FLAGS}"]
SEED_FILES_MAX = 40        # of a target's committed corpus,
SEED_BYTES_MAX = 200_000   # all together,
INPUT_BYTES_MAX = 8192     # and of one input that is tried
# libFuzzer's default schedule weighs all inputs anew for each feature found: of a simulation's thousands of features that is
# nine tenths of the time.
TARGET_OPTIONS = {"shard_choices": ["-entropic=0", "-use_value_profile=0"]}
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", f"-max_len={INPUT_BYTES_MAX}"]


def targets_of(root):
    names = os.listdir(os.path.join(root, "tests", "fuzz", "corpus"))
    return sorted(name for name in names if os.path.isdir(os.path.join(root, "tests", "fuzz", "corpus", name)))


def environment():
    env = dict(os.environ, **SANITIZER_OPTIONS, CC="clang", CXX="clang++")
    # Without ccache the variables stay as they are for tools/test's clang build.
    if shutil.which("ccache"):
        env.update(CC="ccache clang", CXX="ccache clang++")
    env["ASAN_OPTIONS"] += ":detect_leaks=1:malloc_context_size=5"  # deep ones, kept for each block, cost a tenth
    return env


def build(root, names, jobs, env):
    folder = os.path.join(root, "build", "fuzz")
    log = folder + ".build.log"
    os.makedirs(folder, exist_ok=True)
    open(log, "wb").close()
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        if run_logged(["meson", "setup", *SETUP, folder, root], log, env) != 0:
            say(tail(log))
            return False
    programs = [f"tests/fuzz/fuzz_{name}" for name in names]
    if run_logged(["ninja", "-C", folder, f"-j{jobs}", *programs], log, env) != 0:
        say(tail(log))
        say(f"the build failed (the whole log: {log})")
        return False
    return True


def command_of(root, name):
    return [*sanitizer_wrapper("fuzz"), os.path.join(root, "build", "fuzz", "tests", "fuzz", f"fuzz_{name}")]


def run(root, name, seconds, env):
    """Fuzzes one target. Answers its line and whether it crashed."""
    seeds = os.path.join(root, "tests", "fuzz", "corpus", name)
    kept = os.path.join(root, "build", "fuzz-corpus", name)
    crashes = os.path.join(root, "build", "fuzz-crashes", name)
    os.makedirs(kept, exist_ok=True)
    os.makedirs(crashes, exist_ok=True)
    before = len(os.listdir(kept))
    known = set(os.listdir(crashes))
    command = [*command_of(root, name), *LIMITS, f"-max_total_time={seconds}", "-print_final_stats=1", "-use_value_profile=1",
               f"-artifact_prefix={crashes}/", *TARGET_OPTIONS.get(name, [])]
    dictionary = os.path.join(root, "tests", "fuzz", "dictionaries", name + ".dict")
    if os.path.exists(dictionary):
        command.append("-dict=" + dictionary)
    log = os.path.join(root, "build", f"fuzz.{name}.log")
    with open(log, "wb") as file:
        status = subprocess.run([*command, kept, seeds], stdout=file, stderr=subprocess.STDOUT, env=env).returncode
    with open(log, errors="replace") as file:
        text = file.read()
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    covered = re.findall(r"\bcov: (\d+)", text)
    found = sorted(set(os.listdir(crashes)) - known)
    lines = [f"{name:<16} {int(executed[-1]) if executed else 0:>10} inputs run, {len(os.listdir(kept)) - before:>5} kept, "
             f"{covered[-1] if covered else 0:>6} edges, {len(found)} crashes"]
    if status != 0:
        said = re.findall(r"^.*(?:does not hold|ERROR: \w+Sanitizer|runtime error:|broken invariant|ERROR: libFuzzer).*$", text, re.M)
        lines += ["   " + line for line in (said or text.splitlines()[-5:])[:5]]
        for crash in found:
            options = " ".join(f"{key}={shlex.quote(value)}" for key, value in SANITIZER_OPTIONS.items() if key != "TSAN_OPTIONS")
            lines.append(f"   again: {options} {shlex.join([*command_of(root, name), os.path.join(crashes, crash)])}")
        lines.append(f"   the whole log: {log}")
    return "\n".join(lines), status != 0


def merge(root, name, env):
    """Copies what reaches new code beside the committed inputs, smallest first, as far as the bounds allow."""
    seeds = os.path.join(root, "tests", "fuzz", "corpus", name)
    kept = os.path.join(root, "build", "fuzz-corpus", name)
    chosen = os.path.join(root, "build", "fuzz-merged", name)
    shutil.rmtree(chosen, ignore_errors=True)
    shutil.copytree(seeds, chosen)
    have = set(os.listdir(chosen))
    log = os.path.join(root, "build", f"fuzz.{name}.merge.log")
    open(log, "wb").close()
    if run_logged([*command_of(root, name), "-merge=1", *LIMITS, chosen, kept], log, env) != 0:
        say(f"{name}: the merge failed (the log: {log})")
        return False
    count = len(have)
    size = sum(os.path.getsize(path) for path in glob.glob(os.path.join(seeds, "*")))
    new = sorted((path for path in glob.glob(os.path.join(chosen, "*")) if os.path.basename(path) not in have),
                 key=os.path.getsize)
    added = 0
    for path in new:
        if count >= SEED_FILES_MAX or size + os.path.getsize(path) > SEED_BYTES_MAX:
            break
        shutil.copy(path, os.path.join(seeds, os.path.basename(path)[:16]))
        count, size, added = count + 1, size + os.path.getsize(path), added + 1
    say(f"{name}: {added} of {len(new)} inputs added to tests/fuzz/corpus/{name}")
    return True


def main():
    parser = argparse.ArgumentParser(prog="tools/fuzz")
    parser.add_argument("--root", required=True)
    parser.add_argument("--target", action="append", default=[])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    known = targets_of(args.root)
    if args.list:
        say("\n".join(known))
        return 0
    for name in args.target:
        if name not in known:
            print(f"fuzz: no target is called {name}; there are: {', '.join(known)}", file=sys.stderr)
            return 2
    if args.seconds < 1 or args.jobs < 1:
        print("fuzz: --seconds and --jobs are at least 1", file=sys.stderr)
        return 2
    names = args.target or known
    env = environment()
    if not build(args.root, names, args.jobs, env):
        return 1
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for line, bad in pool.map(lambda name: run(args.root, name, args.seconds, env), names):
            say(line)
            failed += bad
    if args.merge and not all([merge(args.root, name, env) for name in names]):
        return 1
    say(f"{len(names)} targets, {failed} with crashes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
