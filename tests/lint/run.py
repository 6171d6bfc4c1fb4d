#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one lint by name (or all) over the project. Exit: 0 clean, 1 complaints, 77 skipped, 2 usage.

    run.py ROOT NAME [--tocsin PATH] [--cache FILE] [--flags "-I..."]
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
import headers  # noqa: E402
import mutations  # noqa: E402
import papers  # noqa: E402
import source  # noqa: E402


def complaints(args):
    if args.name in source.LINTS:
        return source.LINTS[args.name](args.root)
    if args.name in papers.LINTS:
        return papers.LINTS[args.name](args.root)
    if args.name in mutations.LINTS:
        return mutations.LINTS[args.name](args.root)
    if args.name == "headers":
        return headers.headers(args.root, args.flags.split(), args.cache)
    if args.name in papers.PROGRAM_LINTS:
        if not os.path.exists(os.path.join(args.root, "src", "cli", "main.cc")):
            print("the command is not written yet")
            sys.exit(77)
        if not args.tocsin or not os.access(args.tocsin, os.X_OK):
            return [f"no program at {args.tocsin}: build the target tocsin first"]
        return papers.PROGRAM_LINTS[args.name](args.root, papers.Program(args.tocsin))
    print(f"no lint is called {args.name}", file=sys.stderr)
    sys.exit(2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("name")
    parser.add_argument("--tocsin")
    parser.add_argument("--cache")
    parser.add_argument("--flags", default="")
    args = parser.parse_args()
    bad = complaints(args)
    for text in bad:
        print(text)
    print(f"{args.name}: {len(bad)} complaints" if bad else f"{args.name}: clean")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
