// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"

#include <fmt/format.h>

#include "cli/state_watch.h"
#include "cli/terminal.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace {

constexpr std::int64_t kLineEveryNs = 10'000'000'000;
constexpr double kSmoothing = 0.3;  // of a new reading of the rate: about a second's memory at 5 Hz

}  // namespace

std::string progress_text(const ProgressFacts& facts, double rate, double eta_s) {
  const Tally& tally = *facts.tally;
  std::string text;
  for (const CredentialStats& credential : facts.stats->credentials) {
    if (credential.unreachable_since_unix_ns == 0) continue;
    text += unreachable_text(credential, facts.stats->waiting, facts.now_unix_ns, facts.stats->credentials.size() > 1);
    text += "  ";
  }
  if (facts.interrupted) text += "stopping  ";
  text += fmt::format("sent {}  accepted {}  rejected {}", format_count(facts.stats->attempts),
                      format_count(tally.of(End::accepted)), format_count(tally.of(End::rejected)));
  const auto reasons = Tally::sorted(tally.rejected_by_reason);
  for (std::size_t i = 0; i < reasons.size() && i < 2; ++i) {
    text += fmt::format("{}{} {}", i == 0 ? " (" : ", ", reasons[i].first, format_count(reasons[i].second));
  }
  if (!reasons.empty()) text += ")";
  const std::uint64_t others = tally.outcomes - tally.of(End::accepted) - tally.of(End::rejected);
  if (others != 0) text += fmt::format("  other {}", format_count(others));
  text += fmt::format("  in flight {}  {}/s", format_count(facts.stats->in_flight),
                      format_count(static_cast<std::uint64_t>(rate)));
  if (tally.latency_ns.count() != 0) {
    text += fmt::format("  p50 {}  p99 {}", format_us(static_cast<double>(tally.latency_ns.percentile(50)) / 1000),
                        format_us(static_cast<double>(tally.latency_ns.percentile(99)) / 1000));
  }
  if (eta_s >= 0) text += "  ETA " + format_seconds(eta_s);
  return text;
}

void Progress::tick(const ProgressFacts& facts, std::int64_t mono_ns) {
  if (mode_ == Mode::off) return;
  if (started_ns_ == 0) started_ns_ = said_ns_ = last_ns_ = mono_ns;
  if (mono_ns > last_ns_) {
    const double now_rate =
        static_cast<double>(facts.tally->outcomes - last_outcomes_) * 1e9 / static_cast<double>(mono_ns - last_ns_);
    rate_ = last_outcomes_ == 0 ? now_rate : rate_ + kSmoothing * (now_rate - rate_);
  }
  last_ns_ = mono_ns;
  last_outcomes_ = facts.tally->outcomes;
  if (mode_ == Mode::lines && mono_ns - said_ns_ < kLineEveryNs) return;
  said_ns_ = mono_ns;
  double eta_s = -1;
  const double passed_s = static_cast<double>(mono_ns - started_ns_) / 1e9;
  if (facts.share_read > 0.001 && passed_s > 0.5) eta_s = passed_s * (1 - facts.share_read) / facts.share_read;
  const std::string text = progress_text(facts, rate_, eta_s);
  if (mode_ == Mode::in_place)
    show_progress_line(text);
  else
    say(text);
}

void Progress::finish() {
  if (mode_ == Mode::in_place) show_progress_line("");
}

}  // namespace tocsin::cli
