// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/mock_child.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/bench/usage.h"
#include "cli/signals.h"
#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

constexpr std::int64_t kStartMs = 30'000;
constexpr std::int64_t kStopMs = 60'000;
constexpr std::size_t kTailBytes = 600;

std::vector<std::string> command_of(const RunSpec& spec, const std::string& directory) {
  std::vector<std::string> out{"/proc/self/exe", "mock",    "--listen", "127.0.0.1:0",         "--admin", "none",
                               "--certs",        directory + certificates_of(spec), "--json", "--log-level", "warning", "--workers",
                               std::to_string(spec.mock_workers), "--connections-max",
                               std::to_string(std::max(1024u, 2 * spec.connections)), "--streams-max",
                               std::to_string(spec.streams)};
  const auto add = [&out](const char* name, std::string value) {
    out.emplace_back(name);
    out.push_back(std::move(value));
  };
  add("--profile", spec.profile);
  if (const Profile* known = find_profile(spec.profile); known != nullptr && !known->validates_all) {
    add("--validate-first", std::to_string(spec.validate_first));
  }
  if (!sends_mdm(spec)) add("--topic", kAppTopic);
  std::string cpus;
  for (const int cpu : spec.mock_cpus) cpus.append(cpus.empty() ? "" : ",").append(std::to_string(cpu));
  if (!cpus.empty()) add("--cpu", cpus);
  if (spec.delay_ms >= 0) add("--delay", std::to_string(spec.delay_ms) + "ms");
  if (spec.jitter_ms >= 0) add("--jitter", std::to_string(spec.jitter_ms) + "ms");
  if (spec.window != 0) add("--window", std::to_string(spec.window));
  if (!spec.script.empty()) add("--script", spec.script);
  return out;
}

// In the child: nothing here may allocate, another thread of the parent might have held the allocator's lock.
[[noreturn]] void become_mock(char* const* arguments, int out, int log, const cpu_set_t* cpus, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent died before it could be asked to take us along
  if (cpus != nullptr) ::sched_setaffinity(0, sizeof(*cpus), cpus);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(out, 1);
  ::dup2(log, 2);
  std::signal(SIGPIPE, SIG_DFL);
  ::execv("/proc/self/exe", arguments);
  ::_exit(127);
}

}  // namespace

Result<std::unique_ptr<MockChild>> MockChild::start(const RunSpec& spec, const std::string& directory) {
  std::unique_ptr<MockChild> mock(new MockChild);
  mock->log_ = directory + "/mock.log";
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error{Code::io, std::string("cannot make a pipe: ") + std::strerror(errno)};
  mock->out_ = ends[0];
  const int log = ::open(mock->log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (log < 0) {
    ::close(ends[1]);
    return Error{Code::io, "cannot write " + mock->log_ + ": " + std::strerror(errno)};
  }
  std::vector<std::string> command = command_of(spec, directory);
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const int cpu : spec.mock_cpus) CPU_SET(cpu, &cpus);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become_mock(arguments.data(), ends[1], log, spec.mock_cpus.empty() ? nullptr : &cpus, parent);
  const int error = errno;
  ::close(ends[1]);
  ::close(log);
  if (pid < 0) return Error{Code::io, std::string("cannot start the mock: ") + std::strerror(error)};
  mock->pid_ = pid;
  if (Result<void> ready = mock->read_ready(); !ready.ok()) return ready.error();
  return mock;
}

MockChild::~MockChild() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    (void)how_it_ended();
  }
  if (out_ >= 0) ::close(out_);
}

Result<std::string> MockChild::read_line(std::int64_t timeout_ms) {
  const std::int64_t end = mono_ns() + timeout_ms * 1'000'000;
  for (;;) {
    if (const std::size_t at = pending_.find('\n'); at != std::string::npos) {
      std::string line = pending_.substr(0, at);
      pending_.erase(0, at + 1);
      return line;
    }
    if (interrupted()) return Error{Code::stopped, "interrupted"};
    if (mono_ns() > end) {
      return Error{Code::io, fmt::format("the mock said nothing for {} s{}", timeout_ms / 1000, tail())};
    }
    pollfd wait{out_, POLLIN, 0};
    if (::poll(&wait, 1, 100) <= 0) continue;
    char buffer[4096];
    const ssize_t got = ::read(out_, buffer, sizeof(buffer));
    if (got > 0) pending_.append(buffer, static_cast<std::size_t>(got));
    else if (got == 0) return Error{Code::io, how_it_ended()};
  }
}

Result<void> MockChild::read_ready() {
  Result<std::string> line = read_line(kStartMs);
  if (!line.ok()) return line.error();
  const nlohmann::json ready = nlohmann::json::parse(*line, nullptr, false);
  const auto text = [&ready](const char* name) {
    const auto found = ready.find(name);
    return found != ready.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const Result<Endpoint> where = parse_endpoint(ready.is_object() ? text("listen") : "");
  if (!where.ok()) return Error{Code::io, "the mock did not say where it listens, but: " + *line + tail()};
  host_ = where->host;
  port_ = where->port;
  topic_ = text("topic");
  key_id_ = text("provider_key_id");
  team_id_ = text("provider_team_id");
  return {};
}

Result<void> MockChild::check() {
  siginfo_t info{};
  if (pid_ > 0 && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) return {};
  return Error{Code::io, how_it_ended()};
}

Result<MockTotals> MockChild::stop() {
  if (Result<void> alive = check(); !alive.ok()) return alive.error();
  ::kill(pid_, SIGTERM);
  const Result<std::string> line = read_line(kStopMs);
  if (!line.ok()) return line.error();
  const std::string ended = how_it_ended();
  if (!WIFEXITED(status_) || WEXITSTATUS(status_) != 0) return Error{Code::io, ended};
  const nlohmann::json json = nlohmann::json::parse(*line, nullptr, false);
  if (!json.is_object()) return Error{Code::io, "the mock's totals are no JSON: " + *line};
  MockTotals totals;
  totals.requests = json.value("requests", std::uint64_t{0});
  totals.accepted = json.value("accepted", std::uint64_t{0});
  totals.rejected = json.value("rejected", std::uint64_t{0});
  totals.doubled = json.value("doubled", std::uint64_t{0});
  totals.validated = json.value("validated", totals.requests);
  totals.cpu_ns = cpu_ns_;
  if (const auto reasons = json.find("by_reason"); reasons != json.end() && reasons->is_object()) {
    for (const auto& [reason, count] : reasons->items()) {
      totals.by_reason += fmt::format("{}{} {}", totals.by_reason.empty() ? "" : ", ", reason, count.get<std::uint64_t>());
    }
  }
  return totals;
}

std::string MockChild::tail() const {
  std::ifstream file(log_);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.empty()) return "";
  if (text.size() > kTailBytes) text.erase(0, text.size() - kTailBytes);
  return "; its last words: " + text;
}

std::string MockChild::how_it_ended() {
  if (pid_ > 0) {
    rusage used{};
    while (::wait4(pid_, &status_, 0, &used) < 0 && errno == EINTR) {
    }
    const auto ns = [](const timeval& t) { return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_usec * std::int64_t{1000}; };
    cpu_ns_ = ns(used.ru_utime) + ns(used.ru_stime);
    pid_ = -1;
  }
  const std::string how = WIFSIGNALED(status_) ? fmt::format("by signal {} ({})", WTERMSIG(status_), strsignal(WTERMSIG(status_)))
                                               : fmt::format("with exit code {}", WEXITSTATUS(status_));
  return "the mock ended " + how + tail();
}

}  // namespace tocsin::cli::bench
