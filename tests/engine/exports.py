#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""exports.py LIBRARY: libtocsin exports what include/tocsin marks with TOCSIN_API and nothing else.

Functions of namespace tocsin whose names stand in the public headers, and no object, no template of the
standard library, no symbol of a library that is linked in.
"""
import re
import subprocess
import sys

PUBLIC = re.compile(r"tocsin::(Engine::(start|~Engine|add_credential|replace_credential|remove_credential|"
                    r"roll_connections|add_template|add_group|pause|resume|set_rate|cancel|add_dead_tokens|submitter|poll|wait|"
                    r"dispatch|outcome_event_fd|drain|stop|stats)|Submitter::(Submitter|~Submitter|operator=|submit)|"
                    r"version|end_name|reason_name|push_type_name|code_name)\(")
# Access is no matter of visibility, so a private constructor comes along; the name of the symbols' version as well.
PRIVATE = re.compile(r"tocsin::Submitter::Submitter\(std::unique_ptr|TOCSIN_0$")
MUST = ["Engine::start(", "Engine::~Engine(", "Engine::poll(", "Submitter::submit(", "Submitter::~Submitter(", "version(",
        "end_name(", "reason_name(", "push_type_name(", "code_name("]


def main():
    text = subprocess.run(["nm", "-D", "--defined-only", "--demangle", sys.argv[1]], check=True, capture_output=True,
                          text=True).stdout
    names = [line.split(maxsplit=2)[1:] for line in text.splitlines() if line.strip()]
    strange = [f"{kind} {name}" for kind, name in names
               if not (PUBLIC.match(name) or PRIVATE.match(name)) or kind not in "TWA"]
    missing = [name for name in MUST if not any(exported.startswith("tocsin::" + name) for _, exported in names)]
    for line in strange:
        print(f"exported, but not public: {line}")
    for name in missing:
        print(f"public, but not exported: tocsin::{name}")
    print(f"{len(names)} symbols exported")
    return 1 if strange or missing else 0


if __name__ == "__main__":
    sys.exit(main())
