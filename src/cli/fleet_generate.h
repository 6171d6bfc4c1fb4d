// SPDX-License-Identifier: Apache-2.0
// FleetGenerator: a made-up fleet of MDM devices, the same for the same seed.
//
// Threads: one at a time. Ownership: a plain value. The devices are random; none of them is a real one.
#pragma once

#include <cstdint>
#include <string>

#include "base/prng.h"
#include "cli/input.h"

namespace tocsin::cli {

struct FleetOptions {
  std::uint64_t devices = 0;
  std::uint64_t seed = 1;
  double dead_share = 0;
  std::string topic;  // empty: com.apple.mgmt.External. and a UUID of the seed
  Format format = Format::ndjson;
};

class FleetGenerator {
 public:
  explicit FleetGenerator(const FleetOptions& options);

  const std::string& topic() const { return topic_; }
  bool done() const { return made_ == options_.devices; }
  std::uint64_t made() const { return made_; }
  std::uint64_t dead() const { return dead_; }

  void append_header(std::string& out) const;  // CSV's first line; nothing for NDJSON
  // One more device to `out`; if its token is dead, "token,unix_ms" to `dead_out` as well.
  void append_next(std::string& out, std::string& dead_out);

 private:
  void append_hex(std::string& out, unsigned words, const char* digits);
  void append_uuid(std::string& out);

  FleetOptions options_;
  base::Prng prng_;
  std::string topic_;
  std::uint64_t made_ = 0;
  std::uint64_t dead_ = 0;
};

}  // namespace tocsin::cli
