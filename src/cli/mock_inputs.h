// SPDX-License-Identifier: Apache-2.0
// What `tocsin mock` reads besides its options: fault scripts by name or file, provider keys, dead tokens.
//
// Threads: one. Ownership: the results own what they hold. Errors name option or file, line (and column), and what to do.
#pragma once

#include <memory>
#include <string>

#include <tocsin/result.h>

#include "cli/exit_codes.h"
#include "mock/gateway.h"
#include "mock/script.h"

namespace tocsin::cli {

// A shipped script's name, or a file.
Result<std::shared_ptr<const mock::Script>> open_script(const std::string& name_or_file);
void print_scripts();
// Code::invalid_argument if there is none of that name.
Result<void> print_script(const std::string& name);

// Lines of `KEYID TEAMID FILE [TOPIC ...]`: FILE is a public key or a .p8, relative to the list's folder. # begins a comment.
Result<void> read_provider_keys(const std::string& path, mock::ProviderKeys& keys);

// Dead tokens: a share, or a file of `token[,unix_ms]` lines. `why` is set unless the answer is Exit::done.
Exit apply_dead(const std::string& dead, mock::GatewayConfig& config, std::string& why);

}  // namespace tocsin::cli
