# SPDX-License-Identifier: Apache-2.0
"""Lints over documents: what they name must exist, and what exists must be named."""
import os
import re
import subprocess

import source

LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
# Options in docs/cli.md that belong to other programs.
FOREIGN_OPTIONS = {"--csv"}


def packages(root):
    """Every package of tools/packages has a row in docs/dependencies.md, and every row is a package."""
    listed = set()
    for line in source.read(os.path.join(root, "tools", "packages")).splitlines():
        words, _, reason = line.partition("#")
        words = words.split()
        if not words:
            continue
        listed.add(words[0])
        if len(words) < 2 or words[1] not in ("build", "test"):
            return [f"tools/packages: {words[0]}: the group must be build or test"]
        if not reason.strip():
            return [f"tools/packages: {words[0]}: no reason given"]
    described = set(re.findall(r"^\| `([a-z0-9.+-]+)` \|", source.read(os.path.join(root, "docs", "dependencies.md")), re.M))
    return [f"docs/dependencies.md: no row for {name}" for name in sorted(listed - described)] + \
           [f"tools/packages: does not list {name}, which docs/dependencies.md describes" for name in sorted(described - listed)]


def meson_dependencies(root):
    """The build finds no library that docs/dependencies.md does not describe."""
    text = source.read(os.path.join(root, "meson.build"))
    document = source.read(os.path.join(root, "docs", "dependencies.md")).lower()
    names = re.findall(r"(?:dependency|find_library)\('([^']+)'", text)
    return [f"meson.build: {name} is not mentioned in docs/dependencies.md" for name in names
            if name != "threads" and name.lower() not in document]  # threads: libc's own


def example(root):
    """The program and the samples in docs/embedding.md are those that the tests compile and run."""
    program = os.path.join(root, "tests", "engine", "embedding_example.cc")
    if not os.path.exists(program):
        return []
    blocks = [body for kind, body in FENCE.findall(source.read(os.path.join(root, "docs", "embedding.md"))) if kind == "cpp"]
    bad = [] if source.read(program) in blocks else \
        ["docs/embedding.md: its program is not tests/engine/embedding_example.cc, word by word"]
    path = os.path.join(root, "tests", "engine", "embedding_samples.cc")
    samples = source.read(path) if os.path.exists(path) else ""
    bad += [f"docs/embedding.md: the sample `{body.splitlines()[0]}` is not in tests/engine/embedding_samples.cc, word by word"
            for body in blocks if body != source.read(program) and body not in samples]
    return bad


def links(root):
    """Links between documents lead somewhere."""
    bad = []
    for relative, path in source.documents(root):
        if not relative.endswith(".md"):
            continue
        text = source.read(path)
        for match in re.finditer(r"\]\(([^)#\s]+)(#[^)]*)?\)", text):
            target = match[1]
            if "://" in target or target.startswith("mailto:"):
                continue
            if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                bad.append(f"{relative}:{source.line_of(text, match.start())}: {target} does not exist")
    return bad


def rooms_drawn(root):
    """docs/architecture.md has a row for each room in src/, and README.md's map names it."""
    import rooms
    bad = []
    table = source.read(os.path.join(root, "docs", "architecture.md"))
    readme = source.read(os.path.join(root, "README.md"))
    for name in rooms.ROOMS:
        if name == "include":
            continue
        if f"| `src/{name}/` |" not in table:
            bad.append(f"docs/architecture.md: no row for src/{name}/")
        if f"`{name}`" not in readme:
            bad.append(f"README.md: the map does not name `{name}`")
    return bad


def metrics(root):
    """Every metric that src/obs names is explained in docs/operations.md, and none besides."""
    named = set()
    for relative, path in source.walk(root, ("src/obs",), (".cc", ".h")):
        named |= set(re.findall(r'"(tocsin_[a-z0-9_]+)"', source.read(path)))
    described = set(re.findall(r"^\| `(tocsin_[a-z0-9_]+)` \|", source.read(os.path.join(root, "docs", "operations.md")), re.M))
    return [f"docs/operations.md: no row for {name}" for name in sorted(named - described)] + \
           [f"docs/operations.md: {name} is no metric of src/obs" for name in sorted(described - named)]


class Program:
    """The command and its --help texts, by subcommand path."""

    def __init__(self, path):
        self.path = path
        self.helps = {}

    def help(self, *words):
        if words not in self.helps:
            done = subprocess.run([self.path, *words, "--help"], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
            self.helps[words] = done.stdout.decode(errors="replace") if done.returncode == 0 else None
        return self.helps[words]

    def subcommands(self, *words):
        text = self.help(*words) or ""
        found = re.search(r"^(?:Subcommands|\[?SUBCOMMANDS?\]?):?\s*\n((?:[ \t]+\S.*\n)+)", text, re.M)
        names = re.findall(r"^ {2}([a-z][a-z-]*)\b", found[1], re.M) if found else []
        return [(*words, name) for name in names]

    def all(self, *words):
        yield words
        for child in self.subcommands(*words):
            yield from self.all(*child)

    def options(self, *words):
        return set(LONG_OPTION.findall(self.help(*words) or ""))


def cli_options(root, program):
    """docs/cli.md names every long option of every subcommand, and no other."""
    text = source.read(os.path.join(root, "docs", "cli.md"))
    described = set(LONG_OPTION.findall(text)) - FOREIGN_OPTIONS
    bad, real = [], set()
    commands = list(program.all())
    if len(commands) < 2:
        return [f"{program.path} --help shows no subcommand"]
    for words in commands:
        name = " ".join(("tocsin", *words))
        if name not in text:
            bad.append(f"docs/cli.md: does not mention `{name}`")
        options = program.options(*words)
        real |= options
        bad += [f"docs/cli.md: does not name {option} of `{name}`" for option in sorted(options - described)]
    return bad + [f"docs/cli.md: no command has {option}" for option in sorted(described - real)]


def commands_in(text):
    """Commands in sh blocks, continued lines joined; output lines in console blocks left out."""
    for kind, body in FENCE.findall(text):
        if kind not in ("sh", "bash", "console"):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if kind == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            line = re.sub(r"(?:^|\s)#.*", "", line).strip()
            if line:
                yield line


def shown_commands(root, program):
    """Commands shown in README.md, docs/ and bench/README.md exist, with the options they are shown with."""
    bad = []
    for relative, path in source.documents(root):
        if not relative.endswith(".md"):
            continue
        for command in commands_in(source.read(path)):
            for part in re.split(r"\s*(?:\|\||&&|[|;&])\s*", command):
                bad += [f"{relative}: `{part}`: {why}" for why in wrong_with(root, program, part.split())]
    return bad


def wrong_with(root, program, words):
    while words and re.match(r"^[A-Z_]+=|^(?:time|sudo|exec)$", words[0]):
        words = words[1:]
    if not words:
        return []
    name = words[0][2:] if words[0].startswith("./") else words[0]
    shown = {option for word in words[1:] for option in LONG_OPTION.findall(word.split("=")[0])}
    if name in ("build/release/tocsin", "tocsin"):
        path = []
        for word in words[1:]:
            if (*path, word) not in program.subcommands(*path):
                break
            path.append(word)
        if len(words) > 1 and not path and not words[1].startswith("-"):
            return [f"tocsin has no subcommand {words[1]}"]
        return [f"tocsin {' '.join(path)} has no option {option}" for option in sorted(shown - program.options(*path))]
    if name.split("/")[0] in ("tools", "bench", ".ci", "tests"):
        script = os.path.join(root, name)
        if not os.path.isfile(script) or not os.access(script, os.X_OK):
            return ["no such program"]
        done = subprocess.run([script, "--help"], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        known = set(LONG_OPTION.findall(done.stdout.decode(errors="replace")))
        return [f"{name} --help does not name {option}" for option in sorted(shown - known)]
    return []


LINTS = {"packages": packages, "meson-dependencies": meson_dependencies, "example": example, "links": links,
         "rooms-drawn": rooms_drawn, "metrics": metrics}
PROGRAM_LINTS = {"cli-options": cli_options, "shown-commands": shown_commands}
