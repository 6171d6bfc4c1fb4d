# SPDX-License-Identifier: Apache-2.0
"""Lints over the text of the sources: each takes the project's root and answers a list of complaints."""
import os
import re

import rooms

CODE = (".h", ".cc")
SCRIPTS = (".py", ".sh")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
STRIP = re.compile(r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)

LINES_WARN, LINES_MAX = 400, 800
STD_HEADERS = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar wchar wctype
unistd poll sched pthread fcntl netdb dirent endian syslog semaphore search regex glob queue memory algorithm any array
atomic barrier bit bitset charconv chrono codecvt compare concepts condition_variable coroutine deque exception expected execution
filesystem format forward_list fstream functional future initializer_list iomanip ios iosfwd iostream istream iterator
latch list map mutex new numbers numeric optional ostream random ranges ratio set shared_mutex source_location span
sstream stack stdexcept stop_token streambuf string_view syncstream system_error thread tuple type_traits typeindex
typeinfo unordered_map unordered_set utility valarray variant vector version""".split())

# Split so that this file does not find itself.
MARKERS = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
BANNED = re.compile("|".join((r"\bChat" + r"GPT\b", r"\bClau" + r"de\b", r"\bAnthro" + r"pic\b", r"\bOpen" + r"AI\b",
                              r"\bLL" + r"M\b", r"language " + r"model", r"AI[- ](?:gener|assist|writ)",
                              r"/wo" + r"rk/", r"/ro" + r"ot/", r"\bblazing" + r"\b", r"\bseamless" + r"ly\b")))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def code_only(text):
    """The code without comments and literals, line numbers kept. Includes in quotes survive."""
    def blank(match):
        found = match[0]
        if found.startswith('"') and re.search(r"#\s*include\s*$", text[max(0, match.start() - 20):match.start()]):
            return found
        return " " + "\n" * found.count("\n")
    return STRIP.sub(blank, text)


def walk(root, folders, suffixes):
    for folder in folders:
        for at, names, files in os.walk(os.path.join(root, folder)):
            names[:] = sorted(n for n in names if n != "__pycache__")
            for name in sorted(files):
                if name.endswith(suffixes):
                    path = os.path.join(at, name)
                    yield os.path.relpath(path, root), path


def room_of(relative):
    parts = relative.split(os.sep)
    return "include" if parts[0] == "include" else parts[1] if parts[0] == "src" and len(parts) > 2 else None


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def layers(root):
    """Each room includes only what its row in rooms.py allows."""
    bad = []
    source = os.path.join(root, "src")
    for name in sorted(os.listdir(source)) if os.path.isdir(source) else []:
        if os.path.isdir(os.path.join(source, name)) and name not in rooms.ROOMS:
            bad.append(f"src/{name}: a room without a row in tests/lint/rooms.py")
    for relative, path in walk(root, ("include", "src"), CODE):
        room = room_of(relative)
        rule = rooms.ROOMS.get(room)
        if rule is None:
            bad.append(f"{relative}: belongs to no room")
            continue
        text = code_only(read(path))
        for match in INCLUDE.finditer(text):
            bad += include_complaints(root, relative, room, rule, match[1], match[2], line_of(text, match.start(2)))
    return bad


def is_std(header):
    """C++'s headers and C's, in both spellings; POSIX's own (unistd.h, ...) are the business of rooms.py."""
    if "/" in header or header in rooms.LINUX:
        return False
    return header in STD_HEADERS or (header[0] == "c" and header[1:] in STD_HEADERS) or \
        (header.endswith(".h") and header[:-2] in STD_HEADERS)


def include_complaints(root, relative, room, rule, bracket, header, line):
    at = f"{relative}:{line}"
    if bracket == '"':
        if not os.path.exists(os.path.join(root, "src", header)):
            return [f'{at}: "{header}" does not exist under src/ (includes are rooted there)']
        other = header.split("/")[0]
        if room == "include":
            return [f'{at}: the public door may not include "{header}"']
        if rule.any or other == room:
            return []
        return [] if other in rule.rooms else [f'{at}: {room} may not include "{header}" (tests/lint/rooms.py)']
    if header.startswith("tocsin/"):
        return [] if os.path.exists(os.path.join(root, "include", header)) else [f"{at}: <{header}> does not exist"]
    if (rule.kind == "pure" or room == "base") and header in rooms.PURE_STD_FORBIDDEN:
        return [] if header in rooms.ALLOWED_IN_PURE.get(relative, {}) else [f"{at}: a pure room may not include <{header}>"]
    if is_std(header) or rule.any or header.startswith(rooms.TOOLCHAIN):
        return []
    if not header.startswith(rule.third):
        return [f"{at}: {room} may not include <{header}> (tests/lint/rooms.py)"] if room != "include" else \
               [f"{at}: the public door may include nothing but the standard library, not <{header}>"]
    if relative.endswith(".h") and not any(relative.startswith(p) for p in rooms.THIRD_PARTY_IN_HEADERS) \
            and header not in rooms.ALLOWED_IN_PURE.get(relative, {}):
        return [f"{at}: third-party <{header}> belongs in a .cc file"]
    return []


def pure_calls(root):
    """Pure rooms have no clock, thread, descriptor, global mutable state, randomness or output."""
    bad = []
    patterns = [(re.compile(p), what) for p, what in rooms.FORBIDDEN_IN_PURE]
    for relative, path in walk(root, ("src",), CODE):
        room = room_of(relative)
        if room != "base" and rooms.ROOMS.get(room, rooms.Room("none")).kind != "pure":
            continue
        text = INCLUDE.sub("", code_only(read(path)))
        allowed = rooms.ALLOWED_IN_PURE.get(relative, {})
        for pattern, what in patterns:
            for match in pattern.finditer(text):
                if what not in allowed:
                    bad.append(f"{relative}:{line_of(text, match.start())}: {what} in a pure room: {match[0].strip()!r}")
    return bad


def allow_list(root):
    """Every exception names a file that exists and has a reason."""
    bad = [f"tests/lint/rooms.py: exception for {name}, which does not exist" for name in rooms.ALLOWED_IN_PURE
           if not os.path.exists(os.path.join(root, name))]
    return bad + [f"tests/lint/rooms.py: exception for {name} ({what}) gives no reason"
                  for name, whats in rooms.ALLOWED_IN_PURE.items() for what, why in whats.items() if len(why) < 20]


def file_size(root):
    """Files fit a sitting. Above LINES_WARN: printed. Above LINES_MAX: refused."""
    bad = []
    for relative, path in walk(root, ("include", "src", "tests", "bench", "tools"), CODE + SCRIPTS):
        count = read(path).count("\n")
        if count > LINES_MAX:
            bad.append(f"{relative}: {count} lines, more than {LINES_MAX}")
        elif count > LINES_WARN:
            print(f"note: {relative}: {count} lines, more than {LINES_WARN}")
    return bad


def file_names(root):
    """No file is named like a header of the C or C++ library: include paths would find the wrong one."""
    return [f"{relative}: named like a standard header" for relative, _ in walk(root, ("include", "src", "tests", "bench"), (".h",))
            if os.path.basename(relative)[:-2] in STD_HEADERS]


def spdx(root):
    """The licence stands in the first line of code (second line of a script)."""
    bad = []
    for relative, path in walk(root, ("include", "src", "tests", "bench", "tools"), CODE + SCRIPTS):
        head = read(path).split("\n", 2)[:2]
        first = head[1] if head[0].startswith("#!") and len(head) > 1 else head[0]
        if first not in ("// SPDX-License-Identifier: Apache-2.0", "# SPDX-License-Identifier: Apache-2.0"):
            bad.append(f"{relative}: the SPDX line is missing")
    return bad


def pragma_once(root):
    return [f"{relative}: no #pragma once" for relative, path in walk(root, ("include", "src", "tests", "bench"), (".h",))
            if not re.search(r"^#pragma once$", read(path), re.M)]


def documents(root):
    for name in sorted(os.listdir(root)):
        if name.endswith(".md") or name in ("meson.build", ".clang-tidy", ".clang-format", ".editorconfig"):
            yield name, os.path.join(root, name)
    yield from walk(root, ("include", "src", "tests", "bench", "tools", "docs", ".ci"), ("",))


def markers(root):
    """No reminder to oneself is left, and no word that has no place here."""
    bad = []
    for relative, path in documents(root):
        text = read(path)
        for pattern, what in ((MARKERS, "leftover marker"), (BANNED, "banned word")):
            bad += [f"{relative}:{line_of(text, m.start())}: {what} {m[0]!r}" for m in pattern.finditer(text)]
    return bad


LINTS = {"layers": layers, "pure-calls": pure_calls, "allow-list": allow_list, "file-size": file_size,
         "file-names": file_names, "spdx": spdx, "pragma-once": pragma_once, "markers": markers}
