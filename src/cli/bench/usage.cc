// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/usage.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <memory>

namespace tocsin::cli::bench {
namespace {

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  if (clock_gettime(clock, &now) != 0) return -1;
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

}  // namespace

std::int64_t mono_ns() { return read_clock(CLOCK_MONOTONIC); }
std::int64_t wall_ns() { return read_clock(CLOCK_REALTIME); }
std::int64_t thread_cpu_ns() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

OwnCpu own_cpu() {
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) != 0) return {-1, 0};
  const auto ns = [](const timeval& t) { return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_usec * std::int64_t{1000}; };
  return {ns(used.ru_utime), ns(used.ru_stime)};
}

std::int64_t process_cpu_ns(pid_t pid) {
  clockid_t clock{};
  return clock_getcpuclockid(pid, &clock) == 0 ? read_clock(clock) : -1;
}

std::int64_t machine_busy_ns() {
  const File file(std::fopen("/proc/stat", "re"));
  if (!file) return -1;
  // user nice system idle iowait irq softirq steal; guest time is in user already.
  std::int64_t t[8] = {};
  if (std::fscanf(file.get(), "cpu %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
                  &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) < 7) {
    return -1;
  }
  const std::int64_t ticks = t[0] + t[1] + t[2] + t[5] + t[6];
  return ticks * (1'000'000'000 / sysconf(_SC_CLK_TCK));
}

std::int64_t rss_bytes() {
  const File file(std::fopen("/proc/self/statm", "re"));
  std::int64_t pages = 0;
  if (!file || std::fscanf(file.get(), "%*d %" SCNd64, &pages) != 1) return -1;
  return pages * sysconf(_SC_PAGESIZE);
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return out;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) out.push_back(cpu);
  }
  return out;
}

bool pin_this_thread(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof(set), &set) == 0;
}

}  // namespace tocsin::cli::bench
