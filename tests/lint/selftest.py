#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each lint, and the ledger comparison of tools/, is fed a bad sample and must complain, and a good one and must not."""
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tools", "lib")]
import headers  # noqa: E402
import ledger  # noqa: E402
import mutations  # noqa: E402
import papers  # noqa: E402
import source  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


class Tree(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.root = self.dir.name
        os.makedirs(os.path.join(self.root, "src"))
        self.addCleanup(self.dir.cleanup)

    def put(self, path, text, mode=0o644):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)
        os.chmod(full, mode)
        return full

    def clean(self, lint, *more):
        self.assertEqual(lint(self.root, *more), [])

    def complains(self, lint, word, *more):
        found = lint(self.root, *more)
        self.assertTrue(any(word in text for text in found), f"expected {word!r} in {found}")


class Layers(Tree):
    def test_pure_room_may_not_include_world(self):
        self.put("src/io/driver.h", "")
        self.put("src/dispatch/a.cc", '#include "io/driver.h"\n')
        self.complains(source.layers, "dispatch may not include")

    def test_allowed_room_vocabulary_and_comment(self):
        self.put("src/base/bytes.h", "")
        self.put("include/tocsin/push.h", "#include <cstdint>\n")
        self.put("src/h2/a.cc", '// #include "io/driver.h"\n#include "base/bytes.h"\n#include <tocsin/push.h>\n'
                                "#include <nghttp2/nghttp2.h>\n#include <vector>\n")
        self.clean(source.layers)

    def test_third_party(self):
        self.put("src/h2/a.cc", "#include <wolfssl/ssl.h>\n")
        self.complains(source.layers, "h2 may not include <wolfssl/ssl.h>")
        self.put("src/h2/a.cc", "#include <thread>\n")
        self.complains(source.layers, "a pure room may not include <thread>")
        self.put("src/h2/a.cc", "")
        self.put("src/io/public.h", "#include <liburing.h>\n")
        self.complains(source.layers, "belongs in a .cc file")

    def test_public_door(self):
        self.put("src/base/bytes.h", "")
        self.put("include/tocsin/a.h", '#include "base/bytes.h"\n')
        self.complains(source.layers, "the public door may not include")
        self.put("include/tocsin/a.h", "#include <simdjson.h>\n")
        self.complains(source.layers, "nothing but the standard library")

    def test_unknown_room_and_missing_file(self):
        self.put("src/attic/a.cc", "")
        self.complains(source.layers, "without a row")
        self.put("src/h2/a.cc", '#include "h2/gone.h"\n')
        self.complains(source.layers, "does not exist under src/")


class Mutations(Tree):
    HUNK = "--- a/src/a.cc\n+++ b/src/a.cc\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"

    def test_applies_where_the_lines_have_moved_to(self):
        self.put("src/a.cc", "zero\none\ntwo\nthree\n")
        self.put("tests/mutations/01-two.patch", "# two is wrong\n" + self.HUNK)
        self.clean(mutations.mutations)
        patch = mutations.Patch(self.root, "01-two.patch")
        self.assertEqual(patch.apply(self.root), {"src/a.cc": "zero\none\n2\nthree\n"})
        self.assertEqual(patch.breaks, "two is wrong")

    def test_rotten_nameless_and_doubled(self):
        self.put("src/a.cc", "one\nTWO\nthree\n")
        self.put("tests/mutations/01-two.patch", "# two is wrong\n" + self.HUNK)
        self.complains(mutations.mutations, "does not apply")
        self.put("src/a.cc", "one\ntwo\nthree\n")
        self.put("tests/mutations/01-again.patch", self.HUNK)
        self.complains(mutations.mutations, "says what breaks")
        self.complains(mutations.mutations, "its number is taken")
        self.put("tests/mutations/02-test.patch", "# a test is changed\n" + self.HUNK.replace("src/a.cc", "tests/a.cc"))
        self.complains(mutations.mutations, "under src/ only")


class PureCalls(Tree):
    BAD = ["clock_gettime(CLOCK_MONOTONIC, &t);", "auto t = std::chrono::steady_clock::now();", "x = time(nullptr);",
           "gettimeofday(&t, 0);", "int r = rand();", "std::random_device d;", "std::thread t;", "std::mutex m;",
           "std::atomic<int> a;", "thread_local int x;", "int s = socket(1, 2, 3);", "int f = ::open(p, 0);",
           "FILE* f = std::fopen(p, q);", 'getenv("HOME");', 'std::printf("x");', 'std::cout << 1;',
           "std::ifstream f;", "io_uring_sqe* s;", "std::this_thread::yield();"]

    def test_each_is_found(self):
        for text in self.BAD:
            self.put("src/dispatch/a.cc", f"void f() {{ {text} }}\n")
            self.complains(source.pure_calls, "in a pure room")

    def test_good_ones_pass(self):
        self.put("src/dispatch/a.cc", '// std::thread in a comment\nauto s = "std::mutex and rand()";\n'
                                      "x.open(1); p->connect(2); stream.poll(); int lifetime(int); snprintf(b, 1, \"\");\n"
                                      "q.time(nullptr);\n")
        self.put("src/io/a.cc", "clock_gettime(a, b); std::thread t;\n")
        self.clean(source.pure_calls)


class Text(Tree):
    def test_size(self):
        self.put("src/h2/a.cc", "x\n" * 801)
        self.complains(source.file_size, "801 lines")
        self.put("src/h2/a.cc", "x\n" * 800)
        self.clean(source.file_size)

    def test_names(self):
        self.put("src/base/time.h", "")
        self.complains(source.file_names, "standard header")

    def test_spdx(self):
        self.put("src/base/a.cc", "int x;\n")
        self.complains(source.spdx, "SPDX")
        self.put("src/base/a.cc", SPDX)
        self.clean(source.spdx)

    def test_pragma_once(self):
        self.put("src/base/a.h", SPDX)
        self.complains(source.pragma_once, "pragma")

    def test_markers(self):
        self.put("src/base/a.cc", "// TO" + "DO: later\n")
        self.complains(source.markers, "leftover")
        self.put("src/base/a.cc", "// see /wo" + "rk/x\n")
        self.complains(source.markers, "banned")

    def test_allow_list(self):
        self.complains(source.allow_list, "does not exist")  # an empty tree holds none of the excepted files

    def test_headers(self):
        self.put("src/base/good.h", "#pragma once\n#include <string>\ninline std::string f() { return {}; }\n")
        self.clean(headers.headers)
        self.put("src/base/bad.h", "#pragma once\ninline std::string f() { return {}; }\n")
        self.complains(headers.headers, "src/base/bad.h")


class Papers(Tree):
    def test_packages(self):
        self.put("tools/packages", "one build # why\ntwo build # why\n")
        self.put("docs/dependencies.md", "| `one` | x |\n| `three` | x |\n")
        self.complains(papers.packages, "no row for two")
        self.complains(papers.packages, "three")
        self.put("tools/packages", "one build\n")
        self.complains(papers.packages, "no reason")

    def test_meson_dependencies(self):
        self.put("meson.build", "x = dependency('libfoo')\n")
        self.put("docs/dependencies.md", "")
        self.complains(papers.meson_dependencies, "libfoo")

    def test_example(self):
        self.put("tests/engine/embedding_example.cc", "int main() {}\n")
        self.put("docs/embedding.md", "```cpp\nint main() { }\n```\n")
        self.complains(papers.example, "word by word")
        self.put("docs/embedding.md", "```cpp\nint main() {}\n```\n")
        self.clean(papers.example)
        self.put("docs/embedding.md", "```cpp\nint main() {}\n```\n```cpp\nint sample();\n```\n")
        self.complains(papers.example, "embedding_samples.cc")
        self.put("tests/engine/embedding_samples.cc", "\nint sample();\nint more();\n")
        self.clean(papers.example)

    def test_links(self):
        self.put("README.md", "[a](docs/gone.md)\n")
        self.complains(papers.links, "docs/gone.md")

    def test_rooms_drawn(self):
        self.put("docs/architecture.md", "| `src/base/` |\n")
        self.put("README.md", "`base`\n")
        self.complains(papers.rooms_drawn, "no row for src/h2/")

    def test_metrics(self):
        self.put("src/obs/metrics.cc", 'x = "tocsin_a"; y = "tocsin_b";\n')
        self.put("docs/operations.md", "| `tocsin_a` | x |\n| `tocsin_c` | x |\n")
        self.complains(papers.metrics, "no row for tocsin_b")
        self.complains(papers.metrics, "tocsin_c is no metric")

    def program(self):
        path = self.put("tocsin", "#!/bin/sh\nif [ \"$1\" = push ]; then echo '  --out FILE  where'; else\n"
                        "printf 'Usage\\n\\nOptions:\\n  --help x\\n\\nSubcommands:\\n  push   sends\\n'; fi\n", 0o755)
        return papers.Program(path)

    def test_cli_options(self):
        self.put("docs/cli.md", "tocsin push --help --old\n")
        self.complains(papers.cli_options, "--out of `tocsin push`", self.program())
        self.complains(papers.cli_options, "no command has --old", self.program())
        self.put("docs/cli.md", "tocsin push --help --out\n")
        self.clean(papers.cli_options, self.program())

    def test_shown_commands(self):
        self.put("README.md", "```sh\ntools/gone\n```\n")
        self.complains(papers.shown_commands, "no such program", self.program())
        self.put("README.md", "```console\n$ build/release/tocsin push --nope x\noutput --any\n```\n")
        self.complains(papers.shown_commands, "no option --nope", self.program())
        self.put("README.md", "```sh\ntocsin pull\n```\n")
        self.complains(papers.shown_commands, "no subcommand pull", self.program())
        self.put("README.md", "```sh\ntocsin push --out f | sort --numeric\n```\n")
        self.clean(papers.shown_commands, self.program())


class Ledger(Tree):
    TOKENS = ["aa" * 32, "BB" * 32, "cc" * 32]
    ID = "01234567-89ab-cdef-0123-456789abcdef"

    def files(self, outcomes, entries, devices=None):
        fleet = self.put("fleet", "".join(f'{{"id":"x","token":"{t}"}}\n' for t in devices or self.TOKENS))
        out = self.put("out", "".join(f'{{"id":"x","token":"{t}","outcome":"{end}","apns_id":"{uid}"{more}}}\n'
                                      for t, end, uid, more in outcomes))
        book = self.put("book", "".join(f'{{"token":"{t.lower()}","accepted":{a},"rejected":{r},"apns_id":"{uid}"}}\n'
                                        for t, a, r, uid in entries))
        return ledger.compare(fleet, out, book)

    def good(self):
        a, b, c = self.TOKENS
        return ([(a, "accepted", self.ID, ""), (b, "rejected", self.ID, ""), (c, "accepted", self.ID, "")],
                [(c, 1, 0, self.ID), (a, 1, 0, self.ID), (b, 0, 1, self.ID)])

    def test_agree(self):
        verdict = self.files(*self.good())
        self.assertTrue(verdict.agree, verdict.text())
        self.assertEqual((verdict.ends[0], verdict.ends[1], verdict.ledger_accepted, verdict.apns_ids_compared), (2, 1, 2, 2))

    def test_each_lie_is_found(self):
        a, b, c = self.TOKENS
        other = "f" + self.ID[1:]
        outs, book = self.good()
        lies = {
            "false success": (outs, [(a, 0, 1, self.ID), *book[:1], *book[2:]]),
            "double": (outs, [(a, 2, 0, self.ID), *book[:1], *book[2:]]),
            "accepted though rejected": (outs, [*book[:2], (b, 1, 1, self.ID)]),
            "missing in ledger": (outs, book[:2]),
            "missing outcome": (outs[:2], book),
            "outcome twice": ([*outs, outs[0]], book),
            "stranger in ledger": (outs, [*book, ("dd" * 32, 0, 1, self.ID)]),
            "stranger in outcomes": ([*outs, ("dd" * 32, "accepted", self.ID, "")], book),
            "ledger twice": (outs, [*book, book[0]]),
            "other apns-id": ([(a, "accepted", other, ""), *outs[1:]], book),
        }
        for name, files in lies.items():
            self.assertFalse(self.files(*files).agree, name)

    def test_unsure_ones(self):
        a, b, c = self.TOKENS
        outs, book = self.good()
        unknown = [(a, "unknown", self.ID, ""), *outs[1:]]
        self.assertTrue(self.files(unknown, book).agree)
        self.assertTrue(self.files(unknown, [book[0], book[2]]).agree)
        doubled = [(a, "accepted", self.ID, ',"possibly_doubled":true'), *outs[1:]]
        self.assertTrue(self.files(doubled, [(a, 2, 0, self.ID), book[0], book[2]]).agree)
        self.assertFalse(self.files(doubled, [(a, 0, 0, self.ID), book[0], book[2]]).agree)

    def test_the_last_outcome_of_a_line_counts(self):
        token = self.TOKENS[0]
        book = self.put("book", f'{{"token":"{token}","accepted":1,"rejected":0,"apns_id":"{self.ID}"}}\n')
        fleet = self.put("fleet", f'{{"id":"x","token":"{token}"}}\n')

        def judged(*ends, line="1"):
            text = "".join(f'{{"line":{line},"id":"x","token":"{token}","outcome":"{end}","apns_id":"{self.ID}"}}\n' for end in ends)
            return ledger.compare(fleet, self.put("out", text), book)
        verdict = judged("returned", "failed", "accepted")
        self.assertTrue(verdict.agree, verdict.text())
        self.assertEqual((verdict.outcomes, verdict.ends[0], verdict.ends[3], verdict.ends[7], verdict.replaced), (1, 1, 0, 0, 2))
        self.assertFalse(judged("accepted", "returned").agree, "a final outcome is final")
        self.assertFalse(judged("accepted", "accepted").agree)
        self.assertFalse(judged("returned", "rejected").agree)
        self.assertFalse(judged("returned").agree)

    def test_cut_off_or_odd_file_is_an_error(self):
        fleet = self.put("fleet", '{"token":"aa"}\n')
        for text in ('{"token":"aa","outcome":"accepted"', '{"token":"aa","outcome":"maybe"}\n', "nonsense\n"):
            out = self.put("out", text)
            with self.assertRaises(ValueError):
                ledger.compare(fleet, out, fleet)


if __name__ == "__main__":
    unittest.main(verbosity=1)
