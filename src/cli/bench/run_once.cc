// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/format.h>

#include "cli/bench/load.h"
#include "cli/bench/usage.h"
#include "cli/units.h"

namespace tocsin::cli::bench {

void judge(RunResult& run) {
  const auto because = [&run](std::string text) { run.void_because.push_back(std::move(text)); };
  const std::uint64_t accepted = run.ends[static_cast<std::size_t>(End::accepted)];
  if (run.ended != run.submitted) {
    because(fmt::format("{} of {} pushes had no outcome", format_count(run.submitted - run.ended), format_count(run.submitted)));
  }
  if (accepted != run.ended) {
    because(fmt::format("{} pushes were not accepted, first {}", format_count(run.ended - accepted), run.first_failure));
  }
  if (run.mock.accepted != accepted || run.mock.rejected != 0) {
    because(fmt::format("the mock's ledger has {} accepted and {} rejected{}{}, the outcomes say {} accepted",
                        format_count(run.mock.accepted), format_count(run.mock.rejected), run.mock.by_reason.empty() ? "" : ": ",
                        run.mock.by_reason, format_count(accepted)));
  }
  if (run.connections_open < run.spec.connections) {
    because(fmt::format("{} of {} connections were open", run.connections_open, run.spec.connections));
  }
  if (const Profile* known = find_profile(run.spec.profile); known != nullptr && !known->validates_all) {
    // The ones that were not judged rest on those that were, by the same binary on the same connections.
    if (run.mock.validated < std::min(run.spec.validate_first, run.mock.requests)) {
      because(fmt::format("only {} of the first {} pushes were judged in full", format_count(run.mock.validated),
                          format_count(run.spec.validate_first)));
    }
    if (run.mock.validated == run.mock.requests) because("every push was judged in full: the profile did not begin");
  }
  if (run.mock_busy > 0.9) {
    because(fmt::format("the mock was busy for {:.0f} % of its CPU time: this measures the mock", run.mock_busy * 100));
  }
}

Result<RunResult> run_once(const RunSpec& spec, const std::string& directory, const AllocationCounter& allocations) {
  Result<std::unique_ptr<MockChild>> mock = MockChild::start(spec, directory);
  if (!mock.ok()) return mock.error();
  RunResult out;
  out.spec = spec;
  {
    Result<std::unique_ptr<Load>> load = Load::start(spec, **mock, directory, allocations);
    if (!load.ok()) return load.error();
    Result<void> ran = (*load)->fill();
    if (ran.ok()) ran = (*load)->warm_up();
    if (ran.ok()) ran = (*load)->main_phase(out);
    if (ran.ok()) ran = (*load)->cool_down(out);
    if (!ran.ok()) return ran.error();
  }
  Result<MockTotals> totals = (*mock)->stop();
  if (!totals.ok()) return totals.error();
  out.mock = *std::move(totals);
  judge(out);
  return out;
}

}  // namespace tocsin::cli::bench
