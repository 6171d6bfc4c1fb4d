// SPDX-License-Identifier: Apache-2.0
// The table of contents of `tocsin bench`: CPUs, the mock's ceiling, the runs, what else was asked for, the judgement.
#include "cli/bench/bench.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/bench/comparison.h"
#include "cli/bench/environment.h"
#include "cli/bench/fail_if.h"
#include "cli/bench/memory_probe.h"
#include "cli/bench/options.h"
#include "cli/bench/profile_result.h"
#include "cli/bench/report.h"
#include "cli/bench/results.h"
#include "cli/bench/run_result.h"
#include "cli/bench/usage.h"
#include "cli/exit_codes.h"
#include "cli/signals.h"
#include "cli/terminal.h"
#include "cli/units.h"

namespace tocsin::cli {
namespace bench {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCeilingMs = 1000;

int fail(Exit code, const std::string& text) {
  say("tocsin bench: " + text);
  return exit_number(code);
}

// Removed with all that is in it.
class WorkDirectory {
 public:
  static Result<WorkDirectory> make() {
    std::error_code error;
    std::string pattern = (fs::temp_directory_path(error) / "tocsin-bench-XXXXXX").string();
    if (error || ::mkdtemp(pattern.data()) == nullptr) return Error{Code::io, "cannot make a directory like " + pattern};
    return WorkDirectory(pattern);
  }
  WorkDirectory(WorkDirectory&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  WorkDirectory& operator=(WorkDirectory&&) = delete;
  ~WorkDirectory() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  explicit WorkDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The mock on the last CPUs, the engine on the others; nothing is pinned where there are too few.
void share_cpus(RunSpec& spec) {
  const std::vector<int> cpus = allowed_cpus();
  if (cpus.size() <= spec.mock_workers) return;
  const auto middle = cpus.end() - spec.mock_workers;
  spec.engine_cpus.assign(cpus.begin(), middle);
  spec.mock_cpus.assign(middle, cpus.end());
}

// A line that is rewritten, where a person watches.
void show(const std::string& text) {
  if (is_terminal(STDERR_FILENO)) show_progress_line(text);
}

class Bench {
 public:
  Bench(const BenchOptions& options, const AllocationCounter& allocations, std::string directory)
      : options_(options), allocations_(allocations), directory_(std::move(directory)) {}

  Result<ProfileResult> run_profile(const std::string& profile) {
    ProfileResult out;
    out.profile = profile;
    out.spread_max = options_.spread_max;
    RunSpec spec = spec_of(options_, profile);
    Result<RunResult> first = ceiling(spec);
    if (!first.ok()) return first.error();
    const double capacity = first->pushes_per_second;
    out.ceiling = std::move(first).value();
    if (options_.rate_share) spec.rate = *options_.rate_share * capacity;
    for (unsigned i = 0; i < options_.runs; ++i) {
      Result<RunResult> run = measured(spec, fmt::format("run {} of {}", i + 1, options_.runs));
      if (!run.ok()) return run.error();
      out.runs.push_back(std::move(run).value());
    }
    if (Result<void> more = further(spec, capacity, out); !more.ok()) return more.error();
    return out;
  }

 private:
  Result<RunResult> measured(const RunSpec& spec, const std::string& what) {
    show(fmt::format("{}: {}", spec.profile, what));
    Result<RunResult> run = run_once(spec, directory_, allocations_);
    show("");
    return run;
  }

  // What the mock's own CPU per push allows, and roughly what the engine can do: one short closed loop.
  Result<RunResult> ceiling(RunSpec spec) {
    spec.rate = 0;
    spec.main_ms = std::min(spec.main_ms, kCeilingMs);
    return measured(spec, "the mock's ceiling");
  }

  Result<void> further(const RunSpec& spec, double capacity, ProfileResult& out) {
    if (options_.base.stages) {
      RunSpec staged = spec;
      staged.stages = true;
      Result<RunResult> run = measured(staged, "stages");
      if (!run.ok()) return run.error();
      out.staged = std::move(run).value();
    }
    if (Result<void> done = options_.curve ? curve(spec, capacity, out) : Result<void>{}; !done.ok()) return done;
    for (const Sweep& sweep : options_.sweeps) {
      for (const std::string& value : sweep.values) {
        RunSpec varied = spec;
        if (Result<void> set = set_dimension(varied, sweep.name, value); !set.ok()) return set;
        Result<RunResult> run = measured(varied, sweep.name + "=" + value);
        if (!run.ok()) return run.error();
        out.sweeps.push_back({sweep.name, value, std::move(run).value()});
      }
    }
    if (!options_.memory) return {};
    show(out.profile + ": memory");
    const Result<MemoryResult> memory = probe_memory(spec, options_.memory_pushes, directory_);
    show("");
    if (!memory.ok()) return memory.error();
    out.memory = *memory;
    return {};
  }

  Result<void> curve(RunSpec spec, double capacity, ProfileResult& out) {
    double last = 0;
    for (const double rate : {1e3, 1e4, 1e5, 0.25 * capacity, 0.5 * capacity, 0.75 * capacity, 0.9 * capacity}) {
      if (rate <= last || rate > 0.95 * capacity) continue;
      spec.rate = last = rate;
      Result<RunResult> run = measured(spec, fmt::format("{}/s", format_count(static_cast<std::uint64_t>(rate))));
      if (!run.ok()) return run.error();
      out.curve.push_back(std::move(run).value());
    }
    return {};
  }

  const BenchOptions& options_;
  const AllocationCounter allocations_;
  const std::string directory_;
};

Result<void> write_results(const BenchOptions& options, const nlohmann::ordered_json& document, const std::vector<ProfileResult>& results) {
  if (!options.report.empty()) {
    if (Result<void> written = write_text(options.report, report_html(document, nullptr)); !written.ok()) return written;
  }
  if (options.out.empty()) return {};
  std::error_code error;
  fs::create_directories(options.out, error);
  if (error) return Error{Code::io, "cannot make the directory " + options.out + ": " + error.message()};
  if (Result<void> written = write_text(options.out + "/" + kResultsFile, document.dump(1) + "\n"); !written.ok()) return written;
  for (const ProfileResult& result : results) {
    Result<void> written = write_text(options.out + "/" + result.profile + ".hgrm", hgrm_text(merged_latency(result)));
    if (!written.ok()) return written;
  }
  return {};
}

// The exit code; says why it is not 0.
int judged(const BenchOptions& options, const std::vector<ProfileResult>& results) {
  Exit code = Exit::done;
  for (const ProfileResult& result : results) {
    const nlohmann::ordered_json line = headline(result);
    for (const FailIf& condition : options.fail_if) {
      if (!holds(condition, line)) continue;
      say(fmt::format("tocsin bench: {}: {} is {}: --fail-if '{}'", result.profile, condition.metric, line.at(condition.metric).dump(),
                      condition.text));
      code = Exit::threshold;
    }
  }
  for (const ProfileResult& result : results) {
    if (!void_reasons(result).empty()) code = Exit::void_result;
  }
  return exit_number(code);
}

int run(BenchOptions options, const AllocationCounter& allocations) {
  if (const std::string wrong = check_options(options); !wrong.empty()) return fail(Exit::usage, wrong);
  install_signals();
  const Result<WorkDirectory> work = WorkDirectory::make();
  if (!work.ok()) return fail(Exit::failed, work.error().message);
  nlohmann::ordered_json document{{"environment", environment()}, {"profiles", nlohmann::ordered_json::array()}};
  share_cpus(options.base);
  if (options.base.engine_cpus.empty()) say("tocsin bench: too few CPUs to keep engine and mock apart: nothing is pinned, and figures mix");
  else if (!pin_this_thread(options.base.engine_cpus)) say("tocsin bench: this process could not be pinned to its CPUs");
  Bench bench(options, allocations, work->path());
  std::vector<ProfileResult> results;
  std::ostream& people = options.json ? std::cerr : std::cout;
  for (const std::string& profile : options.profiles) {
    Result<ProfileResult> result = bench.run_profile(profile);
    if (!result.ok() || interrupted()) {
      if (interrupted()) return fail(Exit::interrupted, "interrupted; the mock has ended, nothing was written");
      return fail(Exit::failed, profile + ": " + result.error().message);
    }
    people << text_summary(*result) << std::flush;
    document["profiles"].push_back(full_record(*result));
    results.push_back(std::move(result).value());
  }
  if (Result<void> written = write_results(options, document, results); !written.ok()) return fail(Exit::failed, written.error().message);
  if (options.json) {
    for (const ProfileResult& result : results) std::cout << headline(result).dump() << "\n";
    std::cout << std::flush;
  }
  return judged(options, results);
}

struct CompareOptions {
  std::string before, after, report;
  bool json = false;
};

int run_compare(const CompareOptions& options) {
  const auto wrong = [](const Error& error) { return fail(error.code == Code::io ? Exit::usage : Exit::bad_input, error.message); };
  const Result<nlohmann::ordered_json> before = read_results(options.before);
  if (!before.ok()) return wrong(before.error());
  const Result<nlohmann::ordered_json> after = read_results(options.after);
  if (!after.ok()) return wrong(after.error());
  const Comparison comparison = compare_results(*before, *after);
  if (comparison.figures.empty()) return fail(Exit::bad_input, "the two results have no profile in common");
  if (!options.report.empty()) {
    const Result<void> written = write_text(options.report, report_html(*after, &comparison));
    if (!written.ok()) return fail(Exit::failed, written.error().message);
  }
  if (options.json) std::cout << comparison_json(comparison).dump() << std::endl;
  else std::cout << comparison_text(comparison) << std::flush;
  return exit_number(comparison.valid ? Exit::done : Exit::void_result);
}

CLI::App& add_compare(CLI::App& bench, std::function<int()>& action) {
  CLI::App& app = *bench.add_subcommand("compare", "Two results of tocsin bench, figure by figure, with intervals and what else differs");
  const auto options = std::make_shared<CompareOptions>();
  app.add_option("BEFORE", options->before, "an --out directory or its results.json")->required()->option_text("BEFORE");
  app.add_option("AFTER", options->after, "the other")->required()->option_text("AFTER");
  app.add_flag("--json", options->json, "one line of JSON instead of text");
  app.add_option("--report", options->report, "the second result as an HTML page, with the comparison")->option_text("FILE");
  app.footer("Example:\n  tocsin bench compare results-before results-after --report compared.html");
  app.callback([options, &action] { action = [options] { return run_compare(*options); }; });
  return app;
}

}  // namespace
}  // namespace bench

void register_bench(CLI::App& root, std::function<int()>& action, bench::AllocationCounter allocations) {
  CLI::App& app = *root.add_subcommand("bench", "Measures the engine against the mock: rate, CPU a push, latency, and whether to believe it");
  const auto options = std::make_shared<bench::BenchOptions>();
  bench::add_options(app, *options);
  app.footer(
      "The mock runs as a process of its own on the last CPU, the engine on the others; certificates are made and thrown away.\n"
      "The engine is used whole: a million dead tokens in its filter, coalescing, deadlines, each outcome read.\n"
      "A result is void, and the exit code 9, when ledger and outcomes differ, the mock was busy over 90 % of its CPU time,\n"
      "or the runs differ too much.\n\n"
      "Examples:\n"
      "  tocsin bench --runs 3 --json\n"
      "  tocsin bench --rate 50% --fail-if 'p999_us>2000' --out results\n"
      "  tocsin bench --sweep connections=1,4,64 --sweep tls=1.2,1.3 --curve");
  const CLI::App& compare = bench::add_compare(app, action);
  app.callback([options, allocations, &compare, &action] {
    if (!compare.parsed()) action = [options, allocations] { return bench::run(*options, allocations); };
  });
}

}  // namespace tocsin::cli
