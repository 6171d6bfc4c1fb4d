// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet.h"

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apns/request.h"
#include "cli/exit_codes.h"
#include "cli/fleet_generate.h"
#include "cli/outputs.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

struct FleetCommand {
  FleetOptions fleet;
  std::string dead_out;
  std::string out = "-";
};

constexpr const char* kFooter = R"(
Example: a million devices, 0.2 % of their tokens dead, for the mock and for push:
  tocsin fleet generate --devices 1M --seed 1 --dead 0.002 --dead-out dead.txt --topic $TOPIC -o fleet.ndjson
  tocsin mock --certs certs --topic $TOPIC --dead dead.txt
  tocsin push fleet.ndjson --endpoint 127.0.0.1:2197 --tls-name localhost --ca certs/ca.pem --cert certs/push.pem --key certs/push.key

The same seed makes the same devices. They are random: none is a real one. A device's topic must be the UID of the
certificate that pushes to it, so give the same --topic to the mock and here.)";

int fail(Exit code, const std::string& text) {
  say("tocsin fleet generate: " + text);
  return exit_number(code);
}

int generate(const FleetCommand& command) {
  if (command.fleet.dead_share > 0 && command.dead_out.empty()) {
    return fail(Exit::usage,
                "--dead needs --dead-out FILE, where the dead tokens are written for tocsin mock --dead FILE");
  }
  if (command.fleet.topic.find_first_of("\",\\ \n\t") != std::string::npos)
    return fail(Exit::usage, "--topic holds a character that no topic has");
  install_signals();
  LineWriter out, dead;
  if (auto opened = out.open(command.out, false); !opened.ok()) return fail(Exit::failed, opened.error().message);
  if (!command.dead_out.empty()) {
    if (auto opened = dead.open(command.dead_out, false); !opened.ok())
      return fail(Exit::failed, opened.error().message);
  }
  FleetGenerator fleet(command.fleet);
  fleet.append_header(out.buffer());
  while (!fleet.done()) {
    fleet.append_next(out.buffer(), dead.buffer());
    if (auto flushed = out.flush_if_full(); !flushed.ok()) return fail(Exit::failed, flushed.error().message);
    if (auto flushed = dead.flush_if_full(); !flushed.ok()) return fail(Exit::failed, flushed.error().message);
    if (interrupted())
      return fail(Exit::interrupted, fmt::format("stopped after {} devices", format_count(fleet.made())));
  }
  if (auto flushed = out.flush(); !flushed.ok()) return fail(Exit::failed, flushed.error().message);
  if (auto flushed = dead.flush(); !flushed.ok()) return fail(Exit::failed, flushed.error().message);
  if (command.out != "-") {
    say(fmt::format("{}: {} devices of topic {}, {} of their tokens dead", command.out, format_count(fleet.made()),
                    fleet.topic(), format_count(fleet.dead())));
  }
  return exit_number(Exit::done);
}

}  // namespace

void register_fleet(CLI::App& root, std::function<int()>& action) {
  auto command = std::make_shared<FleetCommand>();
  CLI::App& fleet = *root.add_subcommand("fleet", "device files");
  fleet.require_subcommand(1);
  CLI::App& app = *fleet.add_subcommand("generate", "write a made-up device file for tests and benchmarks");
  app.add_option_function<std::string>(
         "--devices",
         [command](const std::string& text) {
           auto count = parse_count(text);
           if (!count.ok()) throw CLI::ValidationError("--devices", count.error().message);
           command->fleet.devices = *count;
         },
         "how many: 1000, 10k, 1M")
      ->required()
      ->option_text("N");
  app.add_option("--seed", command->fleet.seed, "the same seed makes the same devices (default: 1)")->option_text("S");
  app.add_option("--dead", command->fleet.dead_share, "share of dead tokens, 0 to 1 (default: 0)")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->option_text("SHARE");
  app.add_option("--dead-out", command->dead_out, "where to write the dead tokens, for tocsin mock --dead FILE")
      ->option_text("FILE");
  app.add_option("--topic", command->fleet.topic,
                 "topic of all devices (default: com.apple.mgmt.External. and a UUID of the seed)")
      ->option_text("TOPIC");
  app.add_option("--format", command->fleet.format, "ndjson or csv (default: ndjson)")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, Format>{{"ndjson", Format::ndjson}, {"csv", Format::csv}})
              .description(""))
      ->option_text("FORMAT");
  app.add_option("-o,--out", command->out, "where to write (default: standard output)")->option_text("FILE");
  app.footer(kFooter);
  app.callback([command, &action] { action = [command] { return generate(*command); }; });
}

}  // namespace tocsin::cli
