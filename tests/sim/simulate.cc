// SPDX-License-Identifier: Apache-2.0
// simulate: runs of the simulation by their seeds. tools/replay and tools/soak --sim call it, and the tests.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "world.h"

namespace {

using namespace tocsin;
using namespace tocsin::sim;

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t failed = 0;
  std::uint64_t pushes = 0;
  std::uint64_t steps = 0;
  std::uint64_t ends[kEnds + 1] = {};
  std::uint64_t faults[kKinds] = {};
  std::uint64_t script[mock::kFaults] = {};
  std::uint64_t edges[dispatch::kConnectionStates][dispatch::kConnectionInputs] = {};
  std::uint64_t marks[dispatch::kMarks] = {};

  void add(const Report& report) {
    ++seeds;
    failed += report.good ? 0 : 1;
    pushes += report.pushes;
    steps += report.steps;
    for (std::size_t i = 0; i <= kEnds; ++i) ends[i] += report.ends[i];
    for (std::size_t i = 0; i < kKinds; ++i) faults[i] += report.faults[i];
    for (std::size_t i = 0; i < mock::kFaults; ++i) script[i] += report.script.done[i];
    for (std::size_t s = 0; s < dispatch::kConnectionStates; ++s) {
      for (std::size_t i = 0; i < dispatch::kConnectionInputs; ++i) edges[s][i] += report.edges[s][i];
    }
    for (std::size_t i = 0; i < dispatch::kMarks; ++i) marks[i] += report.marks[i];
  }
  void add(const Totals& other) {
    const auto* from = reinterpret_cast<const std::uint64_t*>(&other);
    auto* to = reinterpret_cast<std::uint64_t*>(this);
    for (std::size_t i = 0; i < sizeof(Totals) / sizeof(std::uint64_t); ++i) to[i] += from[i];
  }
};

// Smaller and smaller, while it still fails: half the load, then without one kind of fault or one rule after the other.
Draw shrink(Draw draw) {
  const auto fails = [](const Draw& each) { return !World(each).run().good; };
  for (bool smaller = true; smaller;) {
    smaller = false;
    if (draw.pushes > 1) {
      Draw half = draw;
      half.pushes /= 2;
      if (fails(half)) draw = half, smaller = true;
    }
    for (std::size_t k = 0; k < kKinds; ++k) {
      if (draw.menu[k] == 0) continue;
      Draw without = draw;
      without.menu[k] = 0;
      if (fails(without)) draw = without, smaller = true;
    }
    for (std::size_t from = 0; from < draw.script.size();) {
      const std::size_t end = draw.script.find('\n', from) + 1;
      Draw without = draw;
      without.script.erase(from, end - from);
      if (fails(without)) {
        draw = without, smaller = true;
      } else {
        from = end;
      }
    }
    for (unsigned* one : {&draw.shards, &draw.credentials, &draw.topics}) {
      if (*one == 1) continue;
      const unsigned before = std::exchange(*one, 1u);
      if (fails(draw)) {
        smaller = true;
      } else {
        *one = before;
      }
    }
    for (double* one : {&draw.paced, &draw.coalesce, &draw.deadlines, &draw.large, &draw.shared_tokens}) {
      if (*one == 0) continue;
      const double before = std::exchange(*one, 0.0);
      if (fails(draw)) {
        smaller = true;
      } else {
        *one = before;
      }
    }
  }
  return draw;
}

void show(const Draw& draw, bool whole) {
  World world(draw, true);
  const Report report = world.run();
  std::printf("%s\n", draw.text().c_str());
  std::vector<std::string>& lines = world.trace();
  const std::size_t from = whole || lines.size() < 80 ? 0 : lines.size() - 80;
  for (std::size_t i = from; i < lines.size(); ++i) std::printf("%s\n", lines[i].c_str());
  for (const std::string& said : report.said) std::printf("BROKEN %s\n", said.c_str());
  std::printf("%s: %llu pushes, %.1f s of virtual time, hash %016llx\n", report.good ? "good" : "FAILED",
              static_cast<unsigned long long>(report.pushes), static_cast<double>(report.virtual_ns) / 1e9,
              static_cast<unsigned long long>(report.hash));
}

struct Wanted {
  std::uint64_t first = 1, last = 2000;
  unsigned jobs = 1;
  bool twice = false;
  bool coverage = false;
  bool quiet = false;
};

Totals run_seeds(const Wanted& wanted, std::uint64_t first, std::uint64_t step, std::vector<std::uint64_t>& sizes) {
  Totals totals;
  for (std::uint64_t seed = first; seed <= wanted.last; seed += step) {
    const Draw draw = Draw::from(seed);
    const Report report = World(draw).run();
    totals.add(report);
    sizes.push_back(report.pushes);
    bool good = report.good;
    if (good && wanted.twice && World(draw).run().hash != report.hash) {
      good = false;
      ++totals.failed;
      std::printf("FAILED seed %llu: the second run went another way\n", static_cast<unsigned long long>(seed));
    }
    if (good) continue;
    std::printf("FAILED seed %llu, commit %s; tools/replay %llu\n", static_cast<unsigned long long>(seed), TOCSIN_COMMIT,
                static_cast<unsigned long long>(seed));
    for (const std::string& said : report.said) std::printf("  %s\n", said.c_str());
    std::fflush(stdout);
  }
  return totals;
}

// What a run must have met, or it has shown nothing: answers how much is missing.
unsigned uncovered(const Totals& totals, std::uint64_t median) {
  unsigned missing = 0;
  const auto complain = [&](const std::string& text) {
    ++missing;
    std::printf("NOT COVERED: %s\n", text.c_str());
  };
  if (median < 500) complain("the median seed has " + std::to_string(median) + " pushes, fewer than 500");
  for (std::size_t k = 0; k < kKinds; ++k) {
    if (totals.faults[k] < 50) complain(std::string("fault ") + kind_name(static_cast<Kind>(k)) + ": " + std::to_string(totals.faults[k]) + " times");
  }
  for (std::size_t f = 0; f < mock::kFaults; ++f) {
    const auto fault = static_cast<mock::Fault>(f);
    if (totals.script[f] < 50) complain("fault of the script " + std::string(mock::fault_word(fault)) + ": " + std::to_string(totals.script[f]) + " times");
  }
  for (std::size_t s = 0; s < dispatch::kConnectionStates; ++s) {
    for (std::size_t i = 0; i < dispatch::kConnectionInputs; ++i) {
      if (dispatch::kTransitions[s][i] == dispatch::kNoTransition || totals.edges[s][i] != 0) continue;
      complain(std::string("edge from ") + dispatch::state_name(static_cast<dispatch::ConnectionState>(s)) + " by input " + std::to_string(i));
    }
  }
  for (std::size_t m = 0; m < dispatch::kMarks; ++m) {
    if (totals.marks[m] == 0) complain(std::string("mark ") + dispatch::mark_name(static_cast<dispatch::Mark>(m)));
  }
  return missing;
}

int run_all(const Wanted& wanted) {
  Totals totals;
  std::vector<std::uint64_t> sizes;
  if (wanted.jobs <= 1) {
    totals = run_seeds(wanted, wanted.first, 1, sizes);
  } else {
    std::vector<int> pipes;
    for (unsigned job = 0; job < wanted.jobs; ++job) {
      int ends[2];
      if (::pipe(ends) != 0) return 1;
      std::fflush(stdout);
      if (::fork() == 0) {
        std::vector<std::uint64_t> own;
        const Totals mine = run_seeds(wanted, wanted.first + job, wanted.jobs, own);
        std::fflush(stdout);
        const std::uint64_t count = own.size();
        std::string bytes(reinterpret_cast<const char*>(&mine), sizeof(mine));
        bytes.append(reinterpret_cast<const char*>(&count), sizeof(count));
        bytes.append(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(own[0]));
        for (std::size_t at = 0; at < bytes.size();) {
          const ssize_t some = ::write(ends[1], bytes.data() + at, bytes.size() - at);
          if (some <= 0) ::_exit(1);
          at += static_cast<std::size_t>(some);
        }
        ::_exit(0);
      }
      ::close(ends[1]);
      pipes.push_back(ends[0]);
    }
    for (const int fd : pipes) {
      std::string bytes;
      char buffer[65536];
      for (ssize_t some; (some = ::read(fd, buffer, sizeof(buffer))) > 0;) bytes.append(buffer, static_cast<std::size_t>(some));
      ::close(fd);
      if (bytes.size() < sizeof(Totals) + sizeof(std::uint64_t)) {
        std::printf("FAILED: a process ended before its seeds did\n");
        ++totals.failed;
        continue;
      }
      Totals one;
      std::memcpy(static_cast<void*>(&one), bytes.data(), sizeof(one));
      totals.add(one);
      for (std::size_t at = sizeof(one) + sizeof(std::uint64_t); at + 8 <= bytes.size(); at += 8) {
        std::uint64_t size = 0;
        std::memcpy(&size, bytes.data() + at, 8);
        sizes.push_back(size);
      }
    }
    while (::wait(nullptr) > 0) {
    }
  }
  std::sort(sizes.begin(), sizes.end());
  const std::uint64_t median = sizes.empty() ? 0 : sizes[sizes.size() / 2];
  const unsigned missing = wanted.coverage ? uncovered(totals, median) : 0;

  unsigned edges = 0, edges_hit = 0, marks_hit = 0;
  for (std::size_t s = 0; s < dispatch::kConnectionStates; ++s) {
    for (std::size_t i = 0; i < dispatch::kConnectionInputs; ++i) {
      if (dispatch::kTransitions[s][i] == dispatch::kNoTransition) continue;
      ++edges;
      edges_hit += totals.edges[s][i] != 0 ? 1 : 0;
    }
  }
  for (const std::uint64_t mark : totals.marks) marks_hit += mark != 0 ? 1 : 0;
  std::string line = std::to_string(totals.seeds) + " seeds, " + std::to_string(totals.failed) + " failed; " +
                     std::to_string(totals.pushes) + " pushes (median " + std::to_string(median) + "):";
  for (std::size_t e = 1; e <= kEnds; ++e) line += std::string(" ") + end_name(static_cast<End>(e)) + " " + std::to_string(totals.ends[e]);
  line += "; faults:";
  for (std::size_t k = 0; k < kKinds; ++k) line += std::string(" ") + kind_name(static_cast<Kind>(k)) + " " + std::to_string(totals.faults[k]);
  for (std::size_t f = 0; f < mock::kFaults; ++f) {
    line += " " + std::string(mock::fault_word(static_cast<mock::Fault>(f))) + " " + std::to_string(totals.script[f]);
  }
  line += "; edges " + std::to_string(edges_hit) + " of " + std::to_string(edges) + ", marks " + std::to_string(marks_hit) + " of " +
          std::to_string(dispatch::kMarks);
  std::printf("%s\n", line.c_str());
  return totals.failed == 0 && missing == 0 && totals.seeds != 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs of the simulation by their seeds: the production shard on virtual time, network, clock and gateway."};
  Wanted wanted;
  std::uint64_t count = 2000, seed = 0;
  bool trace = false, small = false;
  app.add_option("--seeds", count, "how many")->capture_default_str();
  app.add_option("--from", wanted.first, "the first of them")->capture_default_str();
  app.add_option("--jobs", wanted.jobs, "processes")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--seed", seed, "only this one; shows its table of events");
  app.add_flag("--trace", trace, "with --seed: the whole table, not its last 80 lines");
  app.add_flag("--shrink", small, "with --seed, if it fails: the smallest load and menu that still fail");
  app.add_flag("--twice", wanted.twice, "each seed twice: both runs must go the same way");
  app.add_flag("--coverage", wanted.coverage,
               "fail unless the run met every fault 50 times, every edge of the transition table and every mark");
  CLI11_PARSE(app, argc, argv);
  if (seed != 0) {
    Draw draw = Draw::from(seed);
    const bool good = World(draw).run().good;
    if (small && !good) draw = shrink(draw);
    show(draw, trace);
    return good ? 0 : 1;
  }
  wanted.last = wanted.first + count - 1;
  return run_all(wanted);
}
