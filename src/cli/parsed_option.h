// SPDX-License-Identifier: Apache-2.0
// Options of the command whose text is read by a parser of ours.
//
// Threads: one, while options are registered and read. Ownership: the option is the app's; `parse` (text to a Result) and
// `store` are copied into it, and what `store` refers to must outlive the parsing. Errors: CLI::ValidationError.
#pragma once

#include <string>
#include <utility>

#include <CLI/CLI.hpp>

namespace tocsin::cli {

// An option whose value one of our parsers checks; its message is what the person sees.
template <class Parse, class Store>
CLI::Option* add_parsed(CLI::App& app, const std::string& name, Parse parse, Store store, const std::string& help) {
  return app.add_option_function<std::string>(
      name,
      [name, parse, store](const std::string& text) {
        auto parsed = parse(text);
        if (!parsed.ok()) throw CLI::ValidationError(name, parsed.error().message);
        store(std::move(parsed).value());
      },
      help);
}

}  // namespace tocsin::cli
