// SPDX-License-Identifier: Apache-2.0
#include "cli/run_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "cli/outcome_scan.h"
#include "cli/terminal.h"

namespace tocsin::cli {
namespace {

constexpr std::size_t kEndBytes = 1 << 20;  // of the input, at either end, that are hashed

std::int64_t mono_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

struct File {
  int fd = -1;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

RunRefusal refuse(Exit code, std::string text) { return {code, std::move(text)}; }
RunRefusal refuse(const Error& error) {
  switch (error.code) {
    case Code::io:
      return {Exit::failed, error.message};
    case Code::stopped:
      return {Exit::refused, error.message};
    default:
      return {Exit::bad_input, error.message};
  }
}

bool regular_or_absent(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return errno == ENOENT;
  return S_ISREG(facts.st_mode);
}

std::uint64_t size_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

// Size and hash of a regular file; of anything else the marks alone must tell.
void identify_input(const std::string& path, RunHeader& header) {
  header.input = path;
  struct stat facts {};
  File file{path == "-" ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0 || ::fstat(file.fd, &facts) != 0 || !S_ISREG(facts.st_mode)) return;
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  std::string ends(2 * kEndBytes, '\0');
  const std::uint64_t last = size > kEndBytes ? size - kEndBytes : 0;
  const ssize_t first_got = ::pread(file.fd, ends.data(), kEndBytes, 0);
  const ssize_t last_got = ::pread(file.fd, ends.data() + kEndBytes, kEndBytes, static_cast<off_t>(last));
  if (first_got < 0 || last_got < 0) return;
  header.input_known = true;
  header.input_bytes = size;
  header.input_hash = hash_text(hash_of(ends));
}

const char* policy_text(Policy policy) { return policy == Policy::at_most_once ? "at-most-once" : "at-least-once"; }

std::string rejects_of(const PushOptions& options) {
  return options.rejects.empty() ? rejects_path_for(options.out) : options.rejects;
}

RunHeader header_of(const PushOptions& options, const std::string& topic) {
  RunHeader header;
  identify_input(options.input, header);
  header.from_line = options.reading.from_line;
  const char* formats[] = {"by name", "ndjson", "csv"};
  header.settings = {
      {"--policy", policy_text(options.policy)},
      {"--topic", topic},
      {"--push-type", options.push_type ? push_type_name(*options.push_type) : ""},
      {"--priority", options.priority ? std::to_string(*options.priority) : ""},
      {"--expiration", options.expiration},
      {"--alert and its kin", options.has_app_payload() ? hash_text(hash_of(app_payload(options))) : ""},
      {"--format", formats[static_cast<std::size_t>(options.reading.format)]},
      {"--endpoint", options.sandbox ? "api.sandbox.push.apple.com" : options.endpoint.host},
      {"--rejects", rejects_of(options)},
  };
  return header;
}

// "" or what differs.
std::string difference(const RunHeader& then, const RunHeader& now) {
  for (const auto& [name, value] : now.settings) {
    for (const auto& [old_name, old_value] : then.settings) {
      if (name != old_name || value == old_value) continue;
      return fmt::format("{} was '{}' when the run began and is '{}' now", name, old_value, value);
    }
  }
  if (!then.input_known || !now.input_known) return {};  // a pipe: judged by its lines
  if (then.input_bytes != now.input_bytes) {
    return fmt::format("{} had {} bytes when the run began and has {} now", now.input, then.input_bytes,
                       now.input_bytes);
  }
  if (then.input_hash != now.input_hash) return now.input + " is not the file that the run began with";
  return {};
}

// Cuts what a crash left behind the last whole line, and says so.
RunRefusal cut_tail(const std::string& path, const TailFacts& tail) {
  if (tail.good_bytes >= tail.file_bytes) return {};
  if (::truncate(path.c_str(), static_cast<off_t>(tail.good_bytes)) != 0)
    return refuse(Exit::failed, fmt::format("{}: cannot be cut: {}", path, std::strerror(errno)));
  std::string shown;
  append_json_string(tail.tail, shown);
  say(fmt::format("{}: cut {} bytes behind byte {} that are no whole line: {}", path, tail.file_bytes - tail.good_bytes,
                  tail.good_bytes, shown));
  return {};
}

Result<void> sync(const std::string& path) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd >= 0 && ::fsync(file.fd) == 0) return {};
  return Error{Code::io, fmt::format("{}: cannot be written to the disk: {}", path, std::strerror(errno))};
}

Result<void> begin_journal(const PushOptions& options, RunHeader header, std::unique_ptr<SystemFile> file,
                           LineWriter& out, RunRecord& run) {
  const bool append = options.reading.from_line > 1;
  const std::string rejects = rejects_of(options);
  // The old journal is gone from the disk before the outcomes are, and both before there is a new one: at no
  // moment could old outcomes pass for the new run's.
  if (auto cut = file->keep(0); !cut.ok()) return cut;
  if (auto synced = file->wait(file->start_sync()); !synced.ok()) return synced;
  if (auto opened = out.open(options.out, append); !opened.ok()) return opened;
  if (!append && size_of(rejects) != 0 && ::truncate(rejects.c_str(), 0) != 0)
    return Error{Code::io, fmt::format("{}: cannot be emptied: {}", rejects, std::strerror(errno))};
  if (auto synced = sync(options.out); !synced.ok()) return synced;
  if (auto synced = sync_directory_of(options.out); !synced.ok()) return synced;
  header.key = run.key;
  header.rejects_from = size_of(rejects);
  run.from_line = header.from_line;
  run.journal = std::make_unique<RunJournal>(std::move(file), mono_ns);
  if (auto begun = run.journal->begin(header); !begun.ok()) return begun;
  return run.journal->begin_session({size_of(options.out), false, 0});
}

RunRefusal begin_run(const PushOptions& options, const std::string& topic, LineWriter& out, RunRecord& run) {
  const std::string path = journal_path_for(options.out);
  auto file = SystemFile::open(path);
  if (!file.ok()) return refuse(file.error());
  if (!options.overwrite && options.reading.from_line == 1) {
    auto bytes = (*file)->read_all();
    if (!bytes.ok()) return refuse(bytes.error());
    auto facts = read_journal(*bytes);
    if (!facts.ok()) {
      return refuse(Exit::refused,
                    fmt::format("{}: {}; name another --out, or give --overwrite", path, facts.error().message));
    }
    if (facts->unfinished()) {
      return refuse(Exit::refused,
                    fmt::format("{} holds the outcomes of a run that is not finished; continue it with --resume, or "
                                "give --overwrite to begin anew and send all again",
                                options.out));
    }
  }
  if (auto begun = begin_journal(options, header_of(options, topic), std::move(*file), out, run); !begun.ok())
    return refuse(begun.error());
  return {};
}

RunRefusal resume_run(const PushOptions& options, const std::string& topic, LineWriter& out, RunRecord& run) {
  const std::string path = journal_path_for(options.out);
  if (::access(path.c_str(), F_OK) != 0) {
    return refuse(Exit::usage, fmt::format("--resume: there is no {}, the journal of a run to continue; begin one "
                                           "without --resume",
                                           path));
  }
  auto file = SystemFile::open(path);
  if (!file.ok()) return refuse(file.error());
  auto bytes = (*file)->read_all();
  if (!bytes.ok()) return refuse(bytes.error());
  auto facts = read_journal(*bytes);
  if (!facts.ok()) return refuse(Exit::bad_input, fmt::format("--resume: {}: {}", path, facts.error().message));
  if (!facts->begun || facts->sessions.empty()) {
    return refuse(Exit::usage, fmt::format("--resume: {}: the run was cut off before it sent anything; begin it again "
                                           "without --resume",
                                           path));
  }
  const RunHeader now = header_of(options, topic);
  if (const std::string differs = difference(facts->header, now); !differs.empty()) {
    return refuse(Exit::usage, fmt::format("--resume: {}; continue with what the run began with, or begin a new one "
                                           "with another --out",
                                           differs));
  }
  if (options.reading.from_line != 1 && options.reading.from_line != facts->header.from_line) {
    return refuse(Exit::usage, fmt::format("--resume goes on where the run stopped; leave --from-line out (it began at "
                                           "line {})",
                                           facts->header.from_line));
  }
  if (!options.run_key.empty() && run_key_from(options.run_key) != facts->header.key)
    return refuse(Exit::usage, "--resume: --run-key is not the one that the run began with; leave it out");
  run.key = facts->header.key;
  run.from_line = facts->header.from_line;
  run.resumed = true;
  run.retry_failed = options.retry_failed;
  run.history = std::make_unique<RunHistory>(options.policy);
  run.checks = std::move(facts->checks);
  auto outcomes = scan_outcomes(options.out, *facts, *run.history);
  if (!outcomes.ok()) return refuse(outcomes.error());
  const std::string rejects = rejects_of(options);
  auto rejected = scan_rejects(rejects, facts->header.rejects_from, run.rejected);
  if (!rejected.ok()) return refuse(rejected.error());
  // After a power cut the journal may know of an end whose outcomes are not all there.
  run.all_done = facts->ended && facts->end.done && facts->end.limit == 0 && !options.retry_failed &&
                 outcomes->good_bytes >= facts->end.outcomes;
  if (run.all_done) return {};
  if (auto cut = cut_tail(options.out, *outcomes); !cut.text.empty()) return cut;
  if (auto cut = cut_tail(rejects, *rejected); !cut.text.empty()) return cut;
  if (auto synced = sync(options.out); !synced.ok()) return refuse(synced.error());
  if (auto kept = (*file)->keep(facts->bytes); !kept.ok()) return refuse(kept.error());
  if (auto opened = out.open(options.out, true); !opened.ok()) return refuse(opened.error());
  run.journal = std::make_unique<RunJournal>(std::move(*file), mono_ns);
  if (auto begun = run.journal->begin_session({outcomes->good_bytes, options.retry_failed, 0}); !begun.ok())
    return refuse(begun.error());
  return {};
}

}  // namespace

std::string journal_path_for(const std::string& out) { return out + ".run"; }

RunRefusal open_run(const PushOptions& options, const std::string& topic, LineWriter& out, RunRecord& run) {
  run.key = options.run_key.empty() ? random_run_key() : run_key_from(options.run_key);
  run.from_line = options.reading.from_line;
  if (options.out.empty()) return {};
  const bool kept = options.out != "-" && regular_or_absent(options.out);
  if (options.resume && !kept) {
    return refuse(Exit::usage,
                  fmt::format("--resume reads its outcomes back from --out, which {} cannot be; give a file",
                              options.out == "-" ? "standard output" : options.out));
  }
  if (options.resume) return resume_run(options, topic, out, run);
  if (kept) return begin_run(options, topic, out, run);
  if (auto opened = out.open(options.out, options.reading.from_line > 1); !opened.ok()) return refuse(opened.error());
  return {};
}

bool InputWatch::compare(std::uint64_t line, std::string_view text) {
  while (next_ < checks_.size() && checks_[next_].line <= line) {
    if (checks_[next_].line != line || checks_[next_].hash != hash_of(text)) return false;
    ++next_;
  }
  return true;
}

}  // namespace tocsin::cli
