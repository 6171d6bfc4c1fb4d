// SPDX-License-Identifier: Apache-2.0
#include "cli/credentials_file.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apns/request.h"

namespace tocsin::cli {
namespace {

using nlohmann::json;

Error invalid(std::string text) { return {Code::invalid_argument, std::move(text)}; }

struct Place {
  const std::string& path;
  std::size_t number;  // from 1
  std::string name;

  std::string text() const {
    return name.empty() ? fmt::format("{}: entry {}", path, number) : fmt::format("{}: entry {} ({})", path, number, name);
  }
  Error error(std::string_view field, std::string_view what) const {
    return invalid(fmt::format("{}: {}: {}", text(), field, what));
  }
};

// Line and column of a byte that the parser stopped at; its own message would quote the text.
Error not_json(const std::string& path, std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte == 0 ? 0 : byte - 1);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t last = before.rfind('\n');
  const std::size_t column = last == std::string_view::npos ? before.size() + 1 : before.size() - last;
  return invalid(fmt::format("{}:{}:{}: is not JSON; --credentials wants a list of objects, see docs/cli.md", path, line,
                             column));
}

std::string beside(const std::string& file, const std::string& path) {
  const std::size_t slash = file.rfind('/');
  return path.empty() || path.front() == '/' || slash == std::string::npos ? path : file.substr(0, slash + 1) + path;
}

Result<void> read_topics(const json& value, const Place& place, Preflight& out) {
  if (!value.is_array() || value.empty()) return place.error("topics", "is not a list of topics");
  for (const json& topic : value) {
    if (!topic.is_string() || topic.get_ref<const std::string&>().empty())
      return place.error("topics", "holds something that is not a topic");
    out.topics.push_back(topic.get<std::string>());
  }
  return {};
}

Result<void> read_numbers_and_endpoint(const std::string& key, const json& value, const Place& place, Preflight& out) {
  if (key == "endpoint") {
    if (!value.is_string()) return place.error(key, "is not a string");
    auto endpoint = parse_endpoint(value.get<std::string>());
    if (!endpoint.ok()) return place.error(key, endpoint.error().message);
    out.credential.host = endpoint->host;
    out.credential.port = endpoint->port;
    return {};
  }
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < 1 || value.get<std::uint64_t>() > 1024)
    return place.error(key, "is not a number from 1 to 1024");
  out.credential.connections_max = value.get<unsigned>();
  return {};
}

Result<void> read_fields(const json& entry, Place& place, CredentialFiles& files, Preflight& out) {
  const std::map<std::string, std::pair<std::string*, bool>, std::less<>> texts{
      {"name", {&out.name, false}},     {"cert", {&files.cert, true}},
      {"key", {&files.key, true}},      {"key_password_file", {&files.key_password_file, true}},
      {"p12", {&files.p12, true}},      {"p12_password_file", {&files.p12_password_file, true}},
      {"p8", {&files.p8, true}},        {"key_id", {&files.key_id, false}},
      {"team_id", {&files.team_id, false}}};
  for (const auto& [key, value] : entry.items()) {
    if (key == "topics") {
      if (auto read = read_topics(value, place, out); !read.ok()) return read;
    } else if (key == "endpoint" || key == "connections") {
      if (auto read = read_numbers_and_endpoint(key, value, place, out); !read.ok()) return read;
    } else if (const auto known = texts.find(key); known != texts.end()) {
      if (!value.is_string() || value.get_ref<const std::string&>().empty())
        return place.error(key, "is not a string, or empty");
      const auto& [target, is_path] = known->second;
      *target = is_path ? beside(place.path, value.get<std::string>()) : value.get<std::string>();
    } else {
      return place.error(key.substr(0, 64),
                         "is unknown; known are name, topics, cert, key, key_password_file, p12, p12_password_file, p8, "
                         "key_id, team_id, endpoint, connections (passwords stand in files of their own)");
    }
  }
  return {};
}

// Which of its three forms a credential has.
Result<void> check_forms(const Place& place, const CredentialFiles& files) {
  const int forms = (files.cert.empty() ? 0 : 1) + (files.p12.empty() ? 0 : 1) + (files.p8.empty() ? 0 : 1);
  if (forms != 1) return place.error("cert", "give exactly one of cert, p12 and p8");
  if (files.cert.empty() && !files.key.empty()) return place.error("key", "belongs to cert");
  if (files.cert.empty() && !files.key_password_file.empty()) return place.error("key_password_file", "belongs to cert");
  if (files.p12.empty() && !files.p12_password_file.empty()) return place.error("p12_password_file", "belongs to p12");
  if (files.p8.empty() && !files.key_id.empty()) return place.error("key_id", "belongs to p8");
  if (files.p8.empty() && !files.team_id.empty()) return place.error("team_id", "belongs to p8");
  if (!files.p8.empty() && files.key_id.empty()) return place.error("key_id", "is missing; p8 needs it");
  if (!files.p8.empty() && files.team_id.empty()) return place.error("team_id", "is missing; p8 needs it");
  return {};
}

Result<void> check_topics(const Place& place, Preflight& out) {
  if (out.topics.empty() && out.has_certificate) {
    out.topics = out.facts.topics;
    if (!out.facts.uid.empty() && std::find(out.topics.begin(), out.topics.end(), out.facts.uid) == out.topics.end())
      out.topics.push_back(out.facts.uid);
  }
  if (out.topics.empty()) return place.error("topics", "is missing; name the topics that are sent with this key");
  for (const std::string& topic : out.topics) {
    if (!out.has_certificate && topic.starts_with("com.apple.mgmt.")) return place.error("topics", kNoMdmByToken);
    if (out.has_certificate) {
      std::string refusal;
      for (std::size_t type = 0; type < kPushTypes; ++type) {
        refusal = topic_refusal(out.facts, static_cast<PushType>(type), topic);
        if (refusal.empty()) break;
      }
      if (!refusal.empty()) return place.error("topics", refusal);
    }
  }
  return {};
}

Result<Preflight> read_entry(const json& entry, Place& place, const CredentialOptions& shared, std::int64_t now_unix_s) {
  if (!entry.is_object()) return invalid(place.text() + ": is not an object");
  if (const auto name = entry.find("name"); name != entry.end() && name->is_string())
    place.name = name->get<std::string>().substr(0, 64);
  Preflight out;
  out.credential = shared;
  CredentialFiles files;
  files.dashes = "";
  if (auto read = read_fields(entry, place, files, out); !read.ok()) return read.error();
  if (auto checked = check_forms(place, files); !checked.ok()) return checked.error();
  files.topic_given = !out.topics.empty();
  if (auto loaded = load_credential(files, now_unix_s, out); !loaded.ok())
    return Error{loaded.error().code, fmt::format("{}: {}", place.text(), loaded.error().message)};
  if (auto checked = check_topics(place, out); !checked.ok()) return checked.error();
  if (out.name.empty()) out.name = out.topics.front();
  out.credential.name = out.name;
  for (std::string& warning : out.warnings) warning = place.text() + ": " + warning;
  return out;
}

}  // namespace

Result<std::vector<Preflight>> read_credentials(const PushOptions& options, std::int64_t now_unix_s) {
  const std::string& path = options.credentials;
  auto text = read_file(path, "--credentials");
  if (!text.ok()) return text.error();
  auto shared = shared_options(options);
  if (!shared.ok()) return shared.error();
  json list;
  try {
    list = json::parse(*text);
  } catch (const json::parse_error& error) {
    return not_json(path, *text, error.byte);
  }
  if (!list.is_array() || list.empty()) return invalid(path + ": is not a list of credentials; see docs/cli.md");
  if (list.size() > kCredentialsMax) return invalid(fmt::format("{}: holds more than {} credentials", path, kCredentialsMax));
  std::vector<Preflight> out;
  std::map<std::string, std::size_t> owners;
  std::set<std::string> names;
  for (const json& entry : list) {
    Place place{path, out.size() + 1, {}};
    auto read = read_entry(entry, place, *shared, now_unix_s);
    if (!read.ok()) return read.error();
    if (!names.insert(read->name).second) return place.error("name", "is also the name of an earlier entry");
    for (const std::string& topic : read->topics) {
      if (const auto [owner, fresh] = owners.emplace(topic, place.number); !fresh && owner->second != place.number)
        return place.error("topics", fmt::format("{} belongs to entry {} already", topic, owner->second));
    }
    out.push_back(std::move(*read));
  }
  // Few credentials: all shards are to work; many: each costs the connections of its own shards only.
  for (Preflight& each : out) {
    const auto share = std::max<std::size_t>(1, options.shards / out.size());
    each.credential.connections_min = std::min(each.credential.connections_min, each.credential.connections_max);
    each.credential.span = static_cast<unsigned>(std::min<std::size_t>(share, each.credential.connections_max));
  }
  return out;
}

}  // namespace tocsin::cli
