// SPDX-License-Identifier: Apache-2.0
// Lines in and lines out: a fleet file from a descriptor to records, with and without the checks that follow; outcome lines.
//
//   input/FORMAT            Input::next over a whole file in memory: ndjson, csv, ndjson.gz, csv.gz
//   input_prepare/FORMAT    and Preparer::prepare with each record: everything `tocsin push` does before the engine
//   outcome_line            append_outcome
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include <isa-l/igzip_lib.h>

#include "cli/fleet_generate.h"
#include "cli/input.h"
#include "cli/outputs.h"
#include "cli/prepare.h"
#include "micro.h"

namespace tocsin::bench {
namespace {

constexpr std::uint64_t kLines = 20'000;

class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(memfd_create("micro", MFD_CLOEXEC)) {
    whole_ = fd_ >= 0;
    while (whole_ && !bytes.empty()) {
      const ssize_t wrote = write(fd_, bytes.data(), bytes.size());
      whole_ = wrote > 0;
      if (whole_) bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }
  ~MemoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  bool whole() const { return whole_; }

 private:
  int fd_;
  bool whole_ = false;
};

std::string gzip(std::string_view text) {
  std::string out(text.size() + 4096, '\0');
  std::vector<std::uint8_t> work(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream{};
  isal_deflate_init(&stream);
  stream.level = 1;
  stream.level_buf = work.data();
  stream.level_buf_size = static_cast<std::uint32_t>(work.size());
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<std::uint32_t>(text.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = static_cast<std::uint32_t>(out.size());
  const bool good = isal_deflate(&stream) == COMP_OK && stream.internal_state.state == ZSTATE_END;
  out.resize(good ? stream.total_out : 0);
  return out;
}

struct Fleet {
  std::string text;
  std::string topic;
};

Fleet make_fleet(cli::Format format) {
  cli::FleetOptions options;
  options.devices = kLines;
  options.format = format;
  cli::FleetGenerator generator(options);
  Fleet fleet;
  fleet.topic = generator.topic();
  generator.append_header(fleet.text);
  std::string dead;
  while (!generator.done()) generator.append_next(fleet.text, dead);
  return fleet;
}

void input(benchmark::State& state, cli::Format format, bool zipped, bool prepare) {
  const Fleet fleet = make_fleet(format);
  const MemoryFile file(zipped ? gzip(fleet.text) : fleet.text);
  cli::Defaults defaults;
  defaults.topic = fleet.topic;
  defaults.routes.emplace_back();
  defaults.routes.back().certificate.uid = fleet.topic;
  cli::Preparer preparer(defaults, [](const TemplateOptions&) -> Result<TemplateHandle> { return TemplateHandle{1}; });
  cli::InputOptions options;
  options.format = format;
  Stopwatch watch;
  std::uint64_t lines = 0;
  if (!require(state, file.whole(), "no file in memory can be made")) return;
  for (auto _ : state) {
    std::uint64_t records = 0, digits = 0;
    watch.start();
    auto opened = cli::Input::open(file.path(), options);
    if (!require(state, opened.ok(), "the file cannot be opened")) return;
    cli::Record record;
    cli::Reject reject;
    cli::Prepared prepared;
    cli::InputState got = cli::InputState::record;
    while ((got = (*opened)->next(record, reject)) == cli::InputState::record) {
      if (prepare && !preparer.prepare(record, prepared, reject)) break;
      digits += record.token.size();
      ++records;
    }
    watch.stop();
    if (!require(state, got == cli::InputState::end && records == kLines && digits == kLines * 64, "lines were lost")) return;
    state.SetIterationTime(watch.take_seconds());
    lines += records;
  }
  per_item(state, "per_line", lines);
  state.SetBytesProcessed(static_cast<std::int64_t>(lines / kLines * fleet.text.size()));
}

void outcome_line(benchmark::State& state) {
  Outcome outcome;
  outcome.end = End::accepted;
  outcome.status = 200;
  outcome.attempts = 1;
  cli::OutcomeOf of;
  cli::TimeText time;
  constexpr std::string_view kToken = "0011223344556677889900aabbccddeeff00112233445566778899aabbccddee";
  of.token = kToken;
  of.id = "\"device-17\"";
  std::string out;
  constexpr std::uint64_t kBatch = 1024;
  std::uint64_t lines = 0, bytes = 0;
  for (auto _ : state) {
    out.clear();
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      of.line = ++lines;
      outcome.submitted_unix_ns = 1'800'000'000'000'000'000 + static_cast<std::int64_t>(lines) * 1000;
      outcome.sent_unix_ns = outcome.submitted_unix_ns + 1'000'000;
      outcome.ended_unix_ns = outcome.submitted_unix_ns + 9'000'000;
      std::memcpy(outcome.apns_id.data(), &lines, sizeof(lines));
      cli::append_outcome(outcome, of, time, out);
    }
    bytes += out.size();
    benchmark::DoNotOptimize(out.data());
  }
  std::uint64_t ends = 0;
  for (const char c : out) ends += c == '\n' ? 1u : 0u;
  if (!require(state, ends == kBatch && out.find(kToken) != std::string::npos, "not one line for each outcome")) return;
  per_item(state, "per_line", lines);
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

}  // namespace

void register_text() {
  for (const bool prepare : {false, true}) {
    for (const bool zipped : {false, true}) {
      for (const cli::Format format : {cli::Format::ndjson, cli::Format::csv}) {
        const std::string name = std::string(prepare ? "input_prepare/" : "input/") +
                                 (format == cli::Format::csv ? "csv" : "ndjson") + (zipped ? ".gz" : "");
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { input(state, format, zipped, prepare); })
            ->UseManualTime();
      }
    }
  }
  benchmark::RegisterBenchmark("outcome_line", outcome_line);
}

}  // namespace tocsin::bench
