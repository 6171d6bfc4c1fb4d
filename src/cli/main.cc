// SPDX-License-Identifier: Apache-2.0
// The command `tocsin`: one binary, subcommands, one table of exit codes.
#include <exception>
#include <functional>
#include <iostream>
#include <string>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/bench/allocations.h"
#include "cli/bench/bench.h"
#include "cli/exit_codes.h"
#include "cli/fleet.h"
#include "cli/mock.h"
#include "cli/push.h"
#include "tls/library_memory.h"

namespace {

using namespace tocsin::cli;

std::string exit_codes_text() {
  std::string text;
  for (const ExitCodeEntry& entry : kExitCodes)
    text += fmt::format("{:>5}  {:<17} {}\n", exit_number(entry.code), entry.name, entry.meaning);
  return text;
}

std::string footer() {
  return R"(
A first run, without Apple:
  TOPIC=com.apple.mgmt.External.0f3b2c1d-5e4f-4a6b-8c7d-9e0f1a2b3c4d
  tocsin mock --listen 127.0.0.1:2197 --admin 127.0.0.1:2198 --certs certs --topic $TOPIC &
  tocsin fleet generate --devices 1000 --topic $TOPIC -o fleet.ndjson
  tocsin push fleet.ndjson --endpoint 127.0.0.1:2197 --tls-name localhost --ca certs/ca.pem --cert certs/push.pem --key certs/push.key
  curl http://127.0.0.1:2198/ledger

Each subcommand has its own --help with examples.

Exit codes of all commands:
)" + exit_codes_text();
}

int run(int argc, char** argv) {
  if (const auto kept = tocsin::tls::keep_library_memory(); !kept.ok()) {
    std::cerr << "tocsin: " << kept.error().message << "\n";
    return exit_number(Exit::failed);
  }
  CLI::App app("tocsin sends pushes to Apple's push service (APNs), many at a time, and tells what became of each.",
               "tocsin");
  app.require_subcommand(1);
  app.set_version_flag("--version", "tocsin " TOCSIN_VERSION);
  app.footer(footer);
  std::function<int()> action;
  register_push(app, action);
  register_mock(app, action);
  register_fleet(app, action);
  register_bench(app, action, bench::allocation_counter());
  app.add_subcommand("exit-codes", "list the exit codes of all commands")->callback([&action] {
    action = [] {
      std::cout << exit_codes_text();
      return exit_number(Exit::done);
    };
  });
  if (argc == 1) {
    std::cerr << app.help();
    return exit_number(Exit::usage);
  }
  if (argv[1][0] != '-' && app.get_subcommands([&](CLI::App* each) { return each->check_name(argv[1]); }).empty()) {
    std::cerr << "tocsin: there is no command '" << argv[1] << "'; tocsin --help lists them\n";
    return exit_number(Exit::usage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_number(Exit::done) : exit_number(Exit::usage);
  }
  return action ? action() : exit_number(Exit::usage);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "tocsin: " << error.what() << "\n";
    return exit_number(Exit::failed);
  }
}
