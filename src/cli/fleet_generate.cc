// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet_generate.h"

#include <charconv>

namespace tocsin::cli {
namespace {

constexpr char kLower[] = "0123456789abcdef";
constexpr char kUpper[] = "0123456789ABCDEF";

// Dead tokens died within the 90 days before this moment (2026-01-01), fixed so that a seed says it all.
constexpr std::int64_t kDeadBaseUnixMs = 1'767'225'600'000;
constexpr std::int64_t kDeadSpanMs = 90ll * 86'400'000;

}  // namespace

FleetGenerator::FleetGenerator(const FleetOptions& options)
    : options_(options), prng_(options.seed), topic_(options.topic) {
  std::string uuid;
  append_uuid(uuid);  // drawn in any case, so that a given topic does not change the devices
  for (char& c : uuid) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  if (topic_.empty()) topic_ = "com.apple.mgmt.External." + uuid;
}

void FleetGenerator::append_hex(std::string& out, unsigned words, const char* digits) {
  char text[16];
  for (unsigned word = 0; word < words; ++word) {
    std::uint64_t value = prng_.next();
    for (char& c : text) {
      c = digits[value & 15];
      value >>= 4;
    }
    out.append(text, sizeof(text));
  }
}

// PushMagic as devices make it: a random UUID in upper case.
void FleetGenerator::append_uuid(std::string& out) {
  char text[36];
  std::uint64_t words[2] = {prng_.next(), prng_.next()};
  unsigned digit = 0;
  for (unsigned at = 0; at < sizeof(text); ++at) {
    if (at == 8 || at == 13 || at == 18 || at == 23) {
      text[at] = '-';
      continue;
    }
    auto value = static_cast<unsigned>(words[digit / 16] >> (digit % 16 * 4)) & 15u;
    if (at == 14) value = 4;                // version: random
    if (at == 19) value = 8 | (value & 3);  // variant
    text[at] = kUpper[value];
    ++digit;
  }
  out.append(text, sizeof(text));
}

void FleetGenerator::append_header(std::string& out) const {
  if (options_.format == Format::csv) out += "id,topic,magic,token\n";
}

void FleetGenerator::append_next(std::string& out, std::string& dead_out) {
  const bool csv = options_.format == Format::csv;
  // A UDID of the newer form: eight digits of the chip, sixteen of the device.
  static constexpr const char* kChips[] = {"00008020", "00008030", "00008101", "00008103",
                                           "00008110", "00008112", "00008120", "00008130"};
  out.append(csv ? "" : "{\"id\":\"").append(kChips[prng_.below(8)]) += '-';
  append_hex(out, 1, kUpper);
  out.append(csv ? "," : "\",\"topic\":\"").append(topic_);
  out += csv ? "," : "\",\"magic\":\"";
  append_uuid(out);
  out += csv ? "," : "\",\"token\":\"";
  const std::size_t token_at = out.size();
  append_hex(out, 4, kLower);
  const std::size_t token_bytes = out.size() - token_at;
  // Both are drawn for every device, so that the share of dead ones does not change the devices.
  const double fate = prng_.unit();
  const auto age_ms = static_cast<std::int64_t>(prng_.below(kDeadSpanMs));
  if (fate < options_.dead_share) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof(digits), kDeadBaseUnixMs - age_ms).ptr;
    dead_out.append(out, token_at, token_bytes).append(1, ',').append(digits, end).append(1, '\n');
    ++dead_;
  }
  out += csv ? "\n" : "\"}\n";
  ++made_;
}

}  // namespace tocsin::cli
