// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/memory_probe.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cli/bench/load.h"
#include "cli/bench/mock_child.h"
#include "cli/bench/usage.h"
#include "cli/signals.h"

namespace tocsin::cli::bench {
namespace {

constexpr std::int64_t kPatienceNs = 60'000'000'000;
constexpr unsigned kConnections = 64;

// What earlier engines gave back to the allocator must not hide what this one takes.
std::int64_t settled_rss() {
  ::malloc_trim(0);
  return rss_bytes();
}

Result<double> bytes_of_a_push(const EngineSetup& setup, std::uint64_t pushes) {
  Engine& engine = *setup.engine;
  if (Result<void> paused = engine.pause(setup.credential); !paused.ok()) return paused.error();
  Result<Submitter> submitter = engine.submitter();
  if (!submitter.ok()) return submitter.error();
  PushMaker maker(setup);
  const std::int64_t before = settled_rss();
  const std::int64_t end = mono_ns() + kPatienceNs;
  for (std::uint64_t done = 0; done < pushes;) {
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(PushMaker::kBatch, pushes - done));
    const SubmitResult said = submitter->submit(maker.make(done, count, wall_ns()));
    if (said.error != Code::ok) return Error{said.error, said.message};
    done += said.taken;
    if (said.taken != 0) continue;
    if (interrupted()) return Error{Code::stopped, "interrupted"};
    if (mono_ns() > end) return Error{Code::io, fmt::format("the engine took {} of {} pushes", done, pushes)};
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // The inbox is read when the shard has taken them all: what it holds then is the queue.
  while (engine.stats().waiting < pushes && mono_ns() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  return static_cast<double>(rss_bytes() - before) / static_cast<double>(pushes);
}

// What an engine takes while it opens so many connections and fills their streams.
Result<std::int64_t> bytes_of_connections(RunSpec spec, unsigned connections, MockChild& mock, const std::string& directory) {
  spec.connections = connections;
  Result<std::unique_ptr<Load>> load = Load::start(spec, mock, directory, AllocationCounter{});
  if (!load.ok()) return load.error();
  const std::int64_t before = settled_rss();
  if (Result<void> filled = (*load)->fill(); !filled.ok()) return filled.error();
  if (const unsigned open = (*load)->connections_open(); open < connections) {
    return Error{Code::io, fmt::format("{} of {} connections opened, too few to tell the memory of one", open, connections)};
  }
  if (Result<void> settled = (*load)->settle(); !settled.ok()) return settled.error();
  return settled_rss() - before;
}

// Of many against one, with the same number of pushes under way, so that their memory falls out.
Result<double> bytes_of_a_connection(RunSpec spec, MockChild& mock, const std::string& directory) {
  const unsigned many = std::max(kConnections, spec.connections);
  spec.shards = 1;
  spec.inside = std::min<std::uint64_t>(std::uint64_t{2} * many * spec.streams, 1'000'000);
  const Result<std::int64_t> one = bytes_of_connections(spec, 1, mock, directory);
  if (!one.ok()) return one.error();
  const Result<std::int64_t> all = bytes_of_connections(spec, many, mock, directory);
  if (!all.ok()) return all.error();
  return static_cast<double>(*all - *one) / (many - 1);
}

}  // namespace

Result<MemoryResult> probe_memory(const RunSpec& spec, std::uint64_t pushes, const std::string& directory) {
  Result<std::unique_ptr<MockChild>> mock = MockChild::start(spec, directory);
  if (!mock.ok()) return mock.error();
  MemoryResult out;
  {
    Result<EngineSetup> setup = set_up_engine(spec, **mock, directory, pushes);
    if (!setup.ok()) return setup.error();
    const Result<double> bytes = bytes_of_a_push(*setup, pushes);
    if (!bytes.ok()) return bytes.error();
    out.bytes_per_queued_push = *bytes;
  }
  const Result<double> bytes = bytes_of_a_connection(spec, **mock, directory);
  if (!bytes.ok()) return bytes.error();
  out.bytes_per_connection = *bytes;
  if (Result<MockTotals> totals = (*mock)->stop(); !totals.ok()) return totals.error();
  return out;
}

}  // namespace tocsin::cli::bench
