# SPDX-License-Identifier: Apache-2.0
"""The deliberate bugs of tests/mutations: reading a patch, applying it to texts, and the lint that they all still apply."""
import os
import re

NAME = re.compile(r"\d\d-[a-z0-9-]+\.patch")
HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


class Bad(Exception):
    pass


def names(root):
    folder = os.path.join(root, "tests", "mutations")
    if not os.path.isdir(folder):
        return []
    return sorted(name for name in os.listdir(folder) if name.endswith(".patch"))


class Patch:
    """A unified diff with one comment line on top. hunks: (path, line, lines before, lines after)."""

    def __init__(self, root, name):
        self.name = name.removesuffix(".patch")
        with open(os.path.join(root, "tests", "mutations", name), encoding="utf-8") as file:
            lines = file.read().splitlines()
        if not NAME.fullmatch(name):
            raise Bad(f"{name}: a patch is named NN-what-it-breaks.patch")
        if len(lines) < 2 or not lines[0].startswith("# ") or lines[1].startswith("#"):
            raise Bad(f"{name}:1: the first line, and only it, is a comment that says what breaks")
        self.breaks = lines[0][2:]
        self.hunks = []
        path = None
        for number, line in enumerate(lines[1:], 2):
            if line.startswith("--- "):
                continue
            if line.startswith("+++ "):
                if not line.startswith("+++ b/src/"):
                    raise Bad(f"{name}:{number}: a mutation changes files under src/ only, written as b/src/...")
                path = line[6:]
            elif match := HUNK.match(line):
                if path is None:
                    raise Bad(f"{name}:{number}: a hunk before its file")
                self.hunks.append((path, int(match[1]), [], []))
            elif line[:1] in (" ", "+", "-") and self.hunks:
                if line[0] != "+":
                    self.hunks[-1][2].append(line[1:])
                if line[0] != "-":
                    self.hunks[-1][3].append(line[1:])
            else:
                raise Bad(f"{name}:{number}: not a line of a unified diff")
        if not any(before != after for _, _, before, after in self.hunks):
            raise Bad(f"{name}: changes nothing")

    def apply(self, root):
        """The changed files' texts by path. Lines may have moved, but every line of a hunk must be there as it was."""
        texts = {}
        for path, at, before, after in self.hunks:
            if path not in texts:
                full = os.path.join(root, path)
                if not os.path.exists(full):
                    raise Bad(f"{self.name}: {path} is gone; bring the patch up to date or replace it")
                with open(full, encoding="utf-8") as file:
                    texts[path] = file.read().split("\n")
            lines = texts[path]
            found = [i for i in range(len(lines) - len(before) + 1) if lines[i:i + len(before)] == before]
            if not found:
                raise Bad(f"{self.name}: the hunk at line {at} of {path} does not apply; bring the patch up to date")
            best = min(found, key=lambda i: abs(i + 1 - at))
            lines[best:best + len(before)] = after
        return {path: "\n".join(lines) for path, lines in texts.items()}


def mutations(root):
    bad = []
    numbers = set()
    for name in names(root):
        try:
            Patch(root, name).apply(root)
        except Bad as error:
            bad.append(str(error))
        if name[:2] in numbers:
            bad.append(f"{name}: its number is taken")
        numbers.add(name[:2])
    return bad


LINTS = {"mutations": mutations}
