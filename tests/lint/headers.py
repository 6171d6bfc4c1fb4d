# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone: whoever includes it needs to include nothing before it."""
import concurrent.futures
import hashlib
import json
import os
import shlex
import subprocess

import source

STANDARD = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c++"]


def compiler():
    return shlex.split(os.environ.get("CXX", "g++"))


def fingerprint(root, flags):
    """One hash over all headers: a header's verdict depends on those it includes."""
    digest = hashlib.sha256(repr((flags, compiler())).encode())
    for relative, path in source.walk(root, ("include", "src"), (".h",)):
        digest.update(relative.encode())
        digest.update(source.read(path).encode())
    return digest.hexdigest()


def compile_alone(root, relative, flags):
    text = f"#include <{relative[len('include/'):]}>\n" if relative.startswith("include/") else \
           f'#include "{relative[len("src/"):]}"\n'
    # Twice: the second must add nothing.
    done = subprocess.run([*compiler(), *STANDARD, "-I", os.path.join(root, "include"), "-I", os.path.join(root, "src"),
                           *flags, "-"], input=(text * 2).encode(), capture_output=True)
    if done.returncode == 0:
        return []
    return [f"{relative}: does not compile alone\n" + "\n".join(done.stderr.decode(errors="replace").splitlines()[:6])]


def headers(root, flags=(), cache=None):
    now = fingerprint(root, tuple(flags))
    if cache and os.path.exists(cache):
        with open(cache) as file:
            if json.load(file).get("good") == now:
                print("unchanged since the last good run")
                return []
    names = [relative for relative, _ in source.walk(root, ("include", "src"), (".h",))]
    if not names:
        return ["no header found"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        bad = [text for texts in pool.map(lambda name: compile_alone(root, name, list(flags)), names) for text in texts]
    print(f"{len(names)} headers")
    if cache and not bad:
        with open(cache, "w") as file:
            json.dump({"good": now}, file)
    return bad
