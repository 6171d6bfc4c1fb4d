// SPDX-License-Identifier: Apache-2.0
// Do two shards in one process get as much done as two processes? What is lost beyond the machine's own limits (caches,
// memory, clock) is ours: shared lines, the allocator, locks.
//
//   one        one shard's loop in one thread
//   threads    two, in one process
//   processes  two, in two processes
//
// The loop is StepLoop's, without sockets. The three run in turn for --rounds rounds, each worker on a CPU of its own, for
// --seconds after a warm-up and a common start; pushes are counted in that time. Ratios are taken within a round, of pushes
// a second of wall time, which counts waiting and wants a quiet machine, and of pushes a second of CPU time, which does not.
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/now.h"
#include "base/prng.h"
#include "step_loop.h"

namespace tocsin::bench {
namespace {

constexpr std::size_t kWorkers = 2;

struct Options {
  unsigned rounds = 5;
  double seconds = 1;
  std::uint32_t connections = 4;
  std::uint32_t streams = 1000;
  std::string codec = "fast";
  bool json = false;
};

// Pushes a second; negative if the work was not done.
struct Rate {
  double wall = -1;
  double cpu = -1;
  bool good() const { return wall > 0 && cpu > 0; }
};

std::int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * base::kSecond + now.tv_nsec;
}

std::vector<int> own_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);
}

// One worker. `meet` returns when all are ready.
template <class Meet>
Rate work(const Options& options, Meet&& meet) {
  StepLoopOptions loop_options;
  loop_options.codec = options.codec == "fast" ? Codec::fast : Codec::nghttp2;
  loop_options.connections = options.connections;
  loop_options.streams = options.streams;
  StepLoop loop(loop_options);
  const bool up = loop.connect();
  meet();
  if (!up) return {};
  const std::int64_t start = clock_ns(CLOCK_MONOTONIC), start_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  const std::int64_t end = start + static_cast<std::int64_t>(options.seconds * 1e9);
  std::uint64_t pushes = 0;
  std::int64_t now = start;
  while (now < end) {
    const StepLoopRun run = loop.run(1);
    if (!run.good) return {};
    pushes += run.pushes;
    now = clock_ns(CLOCK_MONOTONIC);
  }
  const double billions = static_cast<double>(pushes) * 1e9;
  return {billions / static_cast<double>(now - start),
          billions / static_cast<double>(clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_cpu)};
}

Rate sum(std::span<const Rate> rates) {
  Rate all{0, 0};
  for (const Rate& rate : rates) {
    if (!rate.good()) return {};
    all.wall += rate.wall;
    all.cpu += rate.cpu;
  }
  return all;
}

Rate with_threads(const Options& options, std::size_t workers, const std::vector<int>& cpus) {
  std::atomic<std::size_t> ready{0};
  std::vector<Rate> rates(workers);  // written once, at the end
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < workers; ++i) {
    threads.emplace_back([&, i] {
      pin(cpus[i]);
      rates[i] = work(options, [&] {
        ready.fetch_add(1);
        while (ready.load() != workers) std::this_thread::yield();
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  return sum(rates);
}

// Children say that they are ready, wait until all are, and send their rate.
Rate with_processes(const Options& options, const std::vector<int>& cpus) {
  int up[2], go[2];
  if (pipe(up) != 0 || pipe(go) != 0) return {};
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    const pid_t child = fork();
    if (child < 0) return {};
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    close(go[1]);
    pin(cpus[i]);
    const Rate rate = work(options, [&] {
      const Rate ready;
      char byte = 0;
      if (write(up[1], &ready, sizeof(ready)) != sizeof(ready) || read(go[0], &byte, 1) != 0) _exit(1);
    });
    _exit(write(up[1], &rate, sizeof(rate)) == sizeof(rate) ? 0 : 1);
  }
  close(up[1]);
  close(go[0]);
  std::vector<Rate> rates;
  Rate word;
  // As many words of readiness, then as many rates: no child measures before all are ready.
  for (std::size_t i = 0; i < kWorkers && read(up[0], &word, sizeof(word)) == sizeof(word);) ++i;
  close(go[1]);
  while (read(up[0], &word, sizeof(word)) == sizeof(word)) rates.push_back(word);
  close(up[0]);
  bool good = rates.size() == kWorkers;
  for (const pid_t child : children) {
    int status = 0;
    good &= waitpid(child, &status, 0) == child && status == 0;
  }
  return good ? sum(rates) : Rate{};
}

struct Interval {
  double median = 0, low = 0, high = 0;
};

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// 95 % percentile bootstrap of the median of the rounds' ratios; fixed seed.
Interval interval_of(const std::vector<double>& ratios) {
  base::Prng prng(1);
  std::vector<double> medians, drawn(ratios.size());
  for (int i = 0; i < 2000; ++i) {
    for (double& each : drawn) each = ratios[prng.below(ratios.size())];
    medians.push_back(median_of(drawn));
  }
  std::sort(medians.begin(), medians.end());
  return {median_of(ratios), medians[medians.size() * 25 / 1000], medians[medians.size() * 975 / 1000]};
}

// One kind of rate over the rounds.
struct Columns {
  std::vector<double> one, threads, processes, threads_to_one, processes_to_one, quotient;

  void add(double o, double t, double p) {
    one.push_back(o);
    threads.push_back(t);
    processes.push_back(p);
    threads_to_one.push_back(t / o);
    processes_to_one.push_back(p / o);
    quotient.push_back(t / p);
  }
  void print(const char* what) const {
    const Interval t = interval_of(threads_to_one), p = interval_of(processes_to_one), q = interval_of(quotient);
    std::printf("pushes a second of %s\n", what);
    std::printf("  one shard           %11.0f\n", median_of(one));
    std::printf("  two, one process    %11.0f  %.3f x one [%.3f, %.3f]\n", median_of(threads), t.median, t.low, t.high);
    std::printf("  two, two processes  %11.0f  %.3f x one [%.3f, %.3f]\n", median_of(processes), p.median, p.low, p.high);
    std::printf("  threads / processes        %.3f [%.3f, %.3f]\n", q.median, q.low, q.high);
  }
  void print_json(const char* what) const {
    const Interval q = interval_of(quotient);
    std::printf(",\"%s\":{\"one\":%.0f,\"threads\":%.0f,\"processes\":%.0f,\"threads_to_one\":%.4f,\"processes_to_one\":%.4f,"
                "\"threads_to_processes\":%.4f,\"low\":%.4f,\"high\":%.4f}",
                what, median_of(one), median_of(threads), median_of(processes), median_of(threads_to_one),
                median_of(processes_to_one), q.median, q.low, q.high);
  }
};

int run(const Options& options) {
  const std::vector<int> cpus = own_cpus();
  if (cpus.size() < kWorkers) {
    std::fprintf(stderr, "scaling: needs two CPUs; this process may use %zu\n", cpus.size());
    return 1;
  }
  Columns wall, cpu;
  for (unsigned round = 0; round < options.rounds; ++round) {
    // Which comes first changes, and so does the CPU that works alone.
    const bool even = round % 2 == 0;
    const std::vector<int> order = even ? cpus : std::vector<int>(cpus.rbegin(), cpus.rend());
    Rate processes = even ? Rate{} : with_processes(options, order);
    const Rate one = with_threads(options, 1, order);
    const Rate threads = with_threads(options, kWorkers, order);
    if (even) processes = with_processes(options, order);
    if (!one.good() || !threads.good() || !processes.good()) {
      std::fprintf(stderr, "scaling: a worker's pushes were not all accepted\n");
      return 1;
    }
    wall.add(one.wall, threads.wall, processes.wall);
    cpu.add(one.cpu, threads.cpu, processes.cpu);
  }
  std::printf("%u rounds of %.2f s, %u connections x %u streams a shard, codec %s; median [95 %% bootstrap of the rounds' ratios]\n",
              options.rounds, options.seconds, options.connections, options.streams, options.codec.c_str());
  wall.print("wall time");
  cpu.print("CPU time");
  if (options.json) {
    std::printf("{\"rounds\":%u,\"codec\":\"%s\"", options.rounds, options.codec.c_str());
    wall.print_json("wall");
    cpu.print_json("cpu");
    std::printf("}\n");
  }
  return 0;
}

}  // namespace
}  // namespace tocsin::bench

int main(int argc, char** argv) {
  tocsin::bench::Options options;
  CLI::App app{"Two shards in one process against two processes, without sockets: the ratio of their rates"};
  app.add_option("--rounds", options.rounds, "rounds; medians are reported")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds, "of each measurement")->capture_default_str()->check(CLI::Range(0.001, 60.0));
  app.add_option("--connections", options.connections, "of each shard")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_option("--streams", options.streams, "of each connection")->capture_default_str()->check(CLI::Range(1, 10000));
  app.add_option("--codec", options.codec, "what speaks HTTP/2")->capture_default_str()->check(CLI::IsMember({"fast", "nghttp2"}));
  app.add_flag("--json", options.json, "end with one line of JSON");
  CLI11_PARSE(app, argc, argv);
  return tocsin::bench::run(options);
}
