# SPDX-License-Identifier: Apache-2.0
"""Writes the fault scripts of this folder as a C++ table: embed.py OUT FILE..."""
import os
import sys

out, *files = sys.argv[1:]
lines = ['#include "mock/script.h"', "", "namespace tocsin::mock {", "",
         "const std::vector<NamedScript>& named_scripts() {", "  static const std::vector<NamedScript> kScripts = {"]
for path in sorted(files, key=os.path.basename):
    with open(path) as file:
        text = file.read()
    first, second = text.split("\n")[:2]
    if not first.startswith("# SPDX") or not second.startswith("# ") or ")faults" in text:
        sys.exit(f"{path}:1: a script begins with its licence and a line that says what it is")
    name = os.path.basename(path).removesuffix(".faults")
    lines.append(f'    {{"{name}", R"faults({text})faults", R"faults({second[2:]})faults"}},')
lines += ["  };", "  return kScripts;", "}", "", "}  // namespace tocsin::mock", ""]
with open(out, "w") as file:
    file.write("\n".join(lines))
