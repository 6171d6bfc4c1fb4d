// SPDX-License-Identifier: Apache-2.0
// floor: what a push costs on this machine at the least, so that the engine's figure can be told as a ratio of the same run.
//
// FloorClient over as many connections as `tocsin bench --profile flood` has. With --engine, `tocsin bench` runs in turn with it,
// on the same CPUs, and the ratio of the medians is told.
//
// Threads: one, pinned to the first CPU; the mock is a child, this same program, on the last. Errors: one sentence and exit 1;
// also when an answer is no 200, the mock's ledger counts another number, or a result of the engine is void.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/bench/mock_child.h"
#include "cli/bench/usage.h"
#include "cli/exit_codes.h"
#include "cli/mock.h"
#include "cli/signals.h"
#include "cli/units.h"
#include "floor_client.h"
#include "tls/library_memory.h"

namespace tocsin::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kJudgedMost = 100'000;  // by the mock, in full; as in `tocsin bench`

struct Options : FloorOptions {
  unsigned rounds = 3;
  unsigned delay_ms = 0;
  bool engine = false;
  bool json = false;
  std::vector<int> cpus;  // this process may run on
};

Result<Figures> run_floor(const Options& options, const std::string& directory) {
  cli::bench::RunSpec spec;
  spec.profile = "flood";
  spec.connections = options.connections;
  spec.streams = options.streams;
  spec.validate_first = std::min(kJudgedMost, options.warmup / 2);
  spec.delay_ms = options.delay_ms;
  const bool apart = options.cpus.size() > 1;
  if (apart) spec.mock_cpus = {options.cpus.back()};
  auto mock = cli::bench::MockChild::start(spec, directory);
  if (!mock.ok()) return mock.error();
  if (apart && !cli::bench::pin_this_thread({options.cpus.front()})) return Error{Code::io, "this thread could not be pinned to a CPU"};
  FloorClient client(options, **mock);
  if (Result<void> dialled = client.dial(directory + cli::bench::certificates_of(spec)); !dialled.ok()) return dialled.error();
  const Result<Figures> figures = client.measure();
  if (!figures.ok()) return figures;
  const auto totals = (*mock)->stop();
  if (!totals.ok()) return totals.error();
  if (totals->accepted != client.answered() || totals->rejected != 0 || totals->validated < spec.validate_first) {
    return Error{Code::io, fmt::format("the mock's ledger has {} accepted, {} rejected and {} judged in full; {} pushes were answered 200",
                                       totals->accepted, totals->rejected, totals->validated, client.answered())};
  }
  return figures;
}

// `tocsin bench` of the same build: one run. Its words for people go to a file, and are shown when it fails.
Result<Figures> run_engine(const Options& options, const std::string& directory) {
  std::error_code error;
  const std::string program = (fs::read_symlink("/proc/self/exe", error).parent_path().parent_path() / "tocsin").string();
  const std::string log = directory + "/engine.log", out = directory + "/engine.json";
  const long main_ms = std::lround(options.seconds * 1000);
  std::vector<std::string> words{program, "bench", "--profile", "flood", "--runs", "1", "--json",
                                 "--connections", std::to_string(options.connections), "--streams", std::to_string(options.streams),
                                 "--time", fmt::format("{}ms", main_ms), "--warmup", fmt::format("{}ms", std::min(main_ms, 1000l)),
                                 "--delay", fmt::format("{}ms", options.delay_ms),
                                 "--validate-first", std::to_string(std::min(kJudgedMost, options.warmup / 2))};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  cli::bench::pin_this_thread(options.cpus);  // it shares the CPUs out itself
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&files, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  pid_t pid = -1;
  const int refused = ::posix_spawn(&pid, program.c_str(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (refused != 0) return Error{Code::io, "cannot run " + program + ": " + std::strerror(refused) + "; build it first (ninja tocsin)"};
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    if (cli::interrupted()) ::kill(pid, SIGTERM);
  }
  if (cli::interrupted()) return Error{Code::stopped, "interrupted"};
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const Result<std::string> said = read_file(log);
    const bool void_result = WIFEXITED(status) && WEXITSTATUS(status) == exit_number(cli::Exit::void_result);
    return Error{Code::io, fmt::format("tocsin bench {}: {}", void_result ? "gave a void result" : "failed", said.ok() ? *said : "")};
  }
  const Result<std::string> text = read_file(out);
  if (!text.ok()) return text.error();
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("client_user_ns_per_push")) return Error{Code::io, "tocsin bench gave no figures, but: " + *text};
  const auto figure = [&json](const char* name) { return json.value(name, 0.0); };
  return Figures{figure("pushes_per_second"),    figure("client_user_ns_per_push"), figure("client_system_ns_per_push"),
                 figure("mock_cpu_ns_per_push"), figure("bytes_sent_per_push"),     figure("io_enters_per_push")};
}

double median(const std::vector<Figures>& all, double (*figure)(const Figures&)) {
  std::vector<double> values;
  for (const Figures& each : all) values.push_back(figure(each));
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

double client_median(const std::vector<Figures>& all) {
  return median(all, [](const Figures& f) { return f.client_ns(); });
}

void show(const std::string& name, const Figures& f) {
  fmt::print("{:<14} {:>10} pushes/s, {:6.1f} ns of CPU a push ({:.1f} user, {:.1f} system), mock {:.1f} ns; {:.1f} bytes out, {:.5f} enters\n", name,
             cli::format_count(static_cast<std::uint64_t>(f.pushes_per_second)), f.client_ns(), f.user_ns, f.system_ns, f.mock_ns, f.bytes_sent, f.enters);
  std::fflush(stdout);
}

Result<void> run_rounds(const Options& options, const std::string& directory) {
  std::vector<Figures> floors, engines;
  for (unsigned round = 0; round < options.rounds; ++round) {
    // Which comes first changes.
    for (const bool engine : {round % 2 != 0, round % 2 == 0}) {
      if (engine && !options.engine) continue;
      Result<Figures> figures = engine ? run_engine(options, directory) : run_floor(options, directory);
      if (!figures.ok()) return figures.error();
      show(engine ? "engine" : "floor", *figures);
      (engine ? engines : floors).push_back(*figures);
      const double busy = figures->mock_ns * figures->pushes_per_second / 1e9;
      if (busy > 0.9) fmt::print(stderr, "floor: the mock was busy for {:.0f} % of its CPU time: this measures the mock\n", busy * 100);
    }
  }
  const double floor = client_median(floors);
  nlohmann::ordered_json line{{"floor_cpu_ns_per_push", floor}};
  fmt::print("median: floor {:.1f} ns of CPU a push", floor);
  if (options.engine) {
    const double engine = client_median(engines);
    fmt::print(", engine {:.1f} ns; engine / floor {:.3f}", engine, engine / floor);
    line["engine_cpu_ns_per_push"] = engine;
    line["ratio"] = engine / floor;
  } else {
    line["mock_cpu_ns_per_push"] = median(floors, [](const Figures& f) { return f.mock_ns; });
    line["pushes_per_second"] = median(floors, [](const Figures& f) { return f.pushes_per_second; });
  }
  fmt::print("\n");
  if (options.json) fmt::print("{}\n", line.dump());
  return {};
}

int run(Options options) {
  cli::install_signals();
  options.cpus = cli::bench::allowed_cpus();
  if (options.cpus.size() < 2) fmt::print(stderr, "floor: too few CPUs to keep client and mock apart: nothing is pinned, and figures mix\n");
  std::error_code error;
  std::string directory = (fs::temp_directory_path(error) / "tocsin-floor-XXXXXX").string();
  if (error || ::mkdtemp(directory.data()) == nullptr) {
    fmt::print(stderr, "floor: cannot make a directory like {}\n", directory);
    return exit_number(cli::Exit::failed);
  }
  const Result<void> ran = run_rounds(options, directory);
  fs::remove_all(directory, error);
  if (ran.ok()) return exit_number(cli::Exit::done);
  fmt::print(stderr, "floor: {}\n", ran.error().message);
  return exit_number(cli::interrupted() ? cli::Exit::interrupted : cli::Exit::failed);
}

// What MockChild starts: `tocsin mock` in this program.
int run_mock(int argc, char** argv) {
  CLI::App app{"The mock that is measured against"};
  std::function<int()> action;
  cli::register_mock(app, action);
  CLI11_PARSE(app, argc, argv);
  return action ? action() : exit_number(cli::Exit::usage);
}

}  // namespace
}  // namespace tocsin::bench

int main(int argc, char** argv) {
  if (const auto kept = tocsin::tls::keep_library_memory(); !kept.ok()) {
    fmt::print(stderr, "floor: {}\n", kept.error().message);
    return 1;
  }
  if (argc > 1 && std::string_view(argv[1]) == "mock") return tocsin::bench::run_mock(argc, argv);
  tocsin::bench::Options options;
  CLI::App app{"What a push costs on this machine at the least: HTTP/2 session, TLS and io_uring against the mock's flood, without an engine"};
  app.add_option("--connections", options.connections, "to the mock")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--streams", options.streams, "of each connection, always full")->capture_default_str()->check(CLI::Range(1, 10000));
  app.add_option("--warmup", options.warmup, "pushes before the main phase; the mock judges the first half in full, at most 100000")
      ->capture_default_str()
      ->check(CLI::Range(2, 100'000'000));
  app.add_option("--seconds", options.seconds, "of each main phase")->capture_default_str()->check(CLI::Range(0.05, 60.0));
  app.add_option("--rounds", options.rounds, "rounds; medians are reported")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--delay", options.delay_ms, "of the mock's answers, in milliseconds")->capture_default_str()->check(CLI::Range(0, 10'000));
  app.add_flag("--engine", options.engine, "also tocsin bench of this build in turn, and the ratio of the two");
  app.add_flag("--json", options.json, "end with one line of JSON");
  CLI11_PARSE(app, argc, argv);
  return tocsin::bench::run(options);
}
