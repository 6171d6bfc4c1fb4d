// SPDX-License-Identifier: Apache-2.0
#include "cli/mock_inputs.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <utility>

#include <sys/stat.h>

#include "apns/provider_token.h"
#include "base/hex.h"

namespace tocsin::cli {
namespace {

Exit bad_dead_line(const std::string& path, std::size_t line, const std::string& what, std::string& why) {
  why = path + ":" + std::to_string(line) + ": " + what + "; a line is a device token in hex, or token,unix_ms";
  return Exit::bad_input;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// One token a line, optionally ",unix_ms"; empty lines and those that begin with # are skipped.
Exit read_dead_file(const std::string& path, mock::GatewayConfig& config, std::string& why) {
  std::ifstream in(path);
  if (!in) {
    why = "--dead " + path + ": " + std::strerror(errno) + "; give a file of tokens, or a share between 0 and 1";
    return Exit::usage;
  }
  std::string text;
  for (std::size_t line = 1; std::getline(in, text); ++line) {
    const std::string_view whole = trimmed(text);
    if (whole.empty() || whole.front() == '#') continue;
    const std::size_t comma = whole.find(',');
    std::string token(trimmed(whole.substr(0, comma)));
    if (token.empty() || token.size() % 2 != 0 || token.size() > kTokenHexDigitsMax ||
        base::hex_first_bad(token) != std::string::npos) {
      return bad_dead_line(path, line, "this is no device token", why);
    }
    for (char& c : token) c = static_cast<char>(c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);
    std::int64_t since = config.dead_base_unix_ms;
    if (comma != std::string_view::npos) {
      const std::string_view number = trimmed(whole.substr(comma + 1));
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), since);
      if (error != std::errc{} || end != number.data() + number.size() || since <= 0) {
        return bad_dead_line(path, line, "the time behind the comma is no positive number of milliseconds", why);
      }
    }
    config.dead[std::move(token)] = since;
  }
  if (!in.bad()) return Exit::done;
  why = "--dead " + path + ": reading stopped: " + std::strerror(errno);
  return Exit::failed;
}

}  // namespace

// A number is a share, unless a file of that name exists.
Exit apply_dead(const std::string& dead, mock::GatewayConfig& config, std::string& why) {
  if (dead.empty()) return Exit::done;
  double share = 0;
  const char* last = dead.data() + dead.size();
  const auto [end, error] = std::from_chars(dead.data(), last, share);
  struct stat status{};
  const bool number = error == std::errc{} && end == last && ::stat(dead.c_str(), &status) != 0;
  if (!number) return read_dead_file(dead, config, why);
  config.dead_share = share;
  if (share >= 0 && share <= 1) return Exit::done;
  why = "--dead " + dead + ": a share is between 0 and 1";
  return Exit::usage;
}

namespace {

std::string known_scripts() {
  std::string names;
  for (const mock::NamedScript& script : mock::named_scripts()) names.append(names.empty() ? "" : ", ").append(script.name);
  return names;
}

Result<std::string> read_text(const std::string& path, std::size_t bytes_max) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{Code::invalid_argument, path + ": " + std::strerror(errno)};
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) return Error{Code::io, path + ": reading stopped: " + std::strerror(errno)};
  if (text.size() > bytes_max) return Error{Code::invalid_argument, path + " is larger than " + std::to_string(bytes_max) + " bytes"};
  return text;
}

Result<mock::ProviderTrust> read_trust(const std::string& path, const std::string& key_id, const std::string& team_id) {
  const Result<std::string> pem = read_text(path, 16 * 1024);
  if (!pem.ok()) return pem.error();
  mock::ProviderTrust trust;
  trust.team_id = team_id;
  if (pem->find("PRIVATE KEY") != std::string::npos) {
    const auto key = apns::read_p8(*pem, key_id, team_id);
    if (!key.ok()) return key.error();
    trust.key = (*key)->public_key();
    return trust;
  }
  const auto key = apns::read_public_key(*pem);
  if (!key.ok()) return key.error();
  trust.key = *key;
  return trust;
}

}  // namespace

Result<std::shared_ptr<const mock::Script>> open_script(const std::string& name_or_file) {
  if (const mock::NamedScript* named = mock::find_named_script(name_or_file)) {
    return mock::Script::parse(named->text, named->name);
  }
  const Result<std::string> text = read_text(name_or_file, mock::kScriptBytesMax);
  if (!text.ok()) {
    return Error{Code::invalid_argument, "--script " + text.error().message + "; give a file, or one of " + known_scripts()};
  }
  return mock::Script::parse(*text, name_or_file);
}

void print_scripts() {
  for (const mock::NamedScript& script : mock::named_scripts()) {
    std::cout << script.name << std::string(20 - script.name.size(), ' ') << script.summary << "\n";
  }
}

Result<void> print_script(const std::string& name) {
  const mock::NamedScript* named = mock::find_named_script(name);
  if (named == nullptr) return Error{Code::invalid_argument, "--show-script " + name + ": there are " + known_scripts()};
  std::cout << named->text;
  return {};
}

Result<void> read_provider_keys(const std::string& path, mock::ProviderKeys& keys) {
  const Result<std::string> text = read_text(path, 1u << 20);
  if (!text.ok()) return Error{Code::invalid_argument, "--provider-keys " + text.error().message};
  std::istringstream lines(*text);
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line.substr(0, line.find('#')));
    const std::vector<std::string> parts{std::istream_iterator<std::string>(words), {}};
    if (parts.empty()) continue;
    const auto bad = [&](const std::string& what) {
      return Error{Code::bad_key, path + ":" + std::to_string(number) + ": " + what + "; a line is KEYID TEAMID FILE [TOPIC ...]"};
    };
    if (parts.size() < 3) return bad("key id, team id or the key's file is missing");
    if (parts[0].size() != 10 || parts[1].size() != 10) return bad("key id and team id have 10 characters each");
    const std::filesystem::path file = std::filesystem::path(path).parent_path() / parts[2];
    Result<mock::ProviderTrust> trust = read_trust(file.string(), parts[0], parts[1]);
    if (!trust.ok()) return bad(trust.error().message);
    trust->topics.assign(parts.begin() + 3, parts.end());
    if (!keys.emplace(parts[0], *std::move(trust)).second) return bad("key id " + parts[0] + " stands here twice");
  }
  return {};
}

}  // namespace tocsin::cli
