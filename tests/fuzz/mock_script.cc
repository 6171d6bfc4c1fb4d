// SPDX-License-Identifier: Apache-2.0
// Fault scripts for the mock, and a server's course through one.
//
// Input: a seed, how many deeds, the deeds (two bytes each: what, a value), the script. Properties: an error names the
// script and a line within it; the same script, seed and deeds give the same faults; an edge lies ahead; every action
// that is handed out is the script's own.
#include <algorithm>
#include <memory>
#include <vector>

#include "fuzz.h"
#include "mock/script.h"

namespace tocsin::fuzz {
namespace {

bool owns(const mock::Script& script, const mock::Action* action) {
  return std::any_of(script.rules().begin(), script.rules().end(), [&](const mock::Rule& rule) {
    return !rule.actions.empty() && action >= rule.actions.data() && action < rule.actions.data() + rule.actions.size();
  });
}

std::vector<const mock::Action*> course(const std::shared_ptr<const mock::Script>& script, std::uint8_t seed, std::string_view deeds) {
  mock::ScriptState state(script, seed);
  base::Now now{1'000'000, 1'750'000'000'000'000'000};
  state.begin(now);
  std::uint32_t connection = 0;
  std::vector<const mock::Action*> all;
  Choices choices(deeds);
  while (!choices.empty()) {
    const std::uint8_t deed = choices.byte();
    const std::uint8_t value = choices.byte();
    const std::size_t before = all.size();
    switch (deed % 4) {
      case 0: {
        mock::ConnectFaults faults;
        state.on_connect(++connection, now, faults);
        all.insert(all.end(), faults.on_open.begin(), faults.on_open.end());
        break;
      }
      case 1: {
        const std::string token(4, "0123456789abcdef"[value % 16]);
        state.on_request({token, value % 2 == 0 ? "com.example.app" : "com.apple.mgmt.External.1", 1 + value % 3u}, now, all);
        if (all.size() > before && value > 200) state.hold(token, *all.back(), now);
        break;
      }
      case 2: {
        const std::int64_t edge = state.next_edge(now);
        FUZZ_CHECK(edge > now.mono_ns);
        const std::int64_t from = now.mono_ns;
        now.mono_ns = edge == base::kNever || edge > from + 3600 * base::kSecond ? from + value * base::kSecond : edge;
        state.on_time(connection, from, now.mono_ns, all);
        break;
      }
      default: {
        mock::Manner manner;
        state.overlay(connection, now, manner);
        const std::int64_t until = state.stalled_until(now);
        FUZZ_CHECK(until == 0 || until > now.mono_ns);
        now.mono_ns += value * base::kMillisecond;
        break;
      }
    }
  }
  for (const mock::Action* action : all) FUZZ_CHECK(owns(*script, action));
  return all;
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin;
  fuzz::Choices choices(data, size);
  const std::uint8_t seed = choices.byte();
  const std::string_view deeds = choices.take(choices.byte() % 128u * 2);
  const fuzz::Exact text(choices.rest());
  const auto script = mock::Script::parse(text.text(), "fuzz.faults");
  if (!script.ok()) {
    FUZZ_CHECK(script.error().message.starts_with("fuzz.faults:"));
    FUZZ_CHECK(fuzz::printable(script.error().message));
    return 0;
  }
  const auto lines = static_cast<std::uint32_t>(1 + std::count(text.text().begin(), text.text().end(), '\n'));
  std::uint32_t last = 0;
  for (const mock::Rule& rule : (*script)->rules()) {
    FUZZ_CHECK(rule.line > last && rule.line <= lines && !rule.actions.empty());
    last = rule.line;
  }
  FUZZ_CHECK((*script)->rules().size() <= mock::kRulesMax);
  const auto first = fuzz::course(*script, seed, deeds);
  FUZZ_CHECK(first == fuzz::course(*script, seed, deeds));
  return 0;
}
