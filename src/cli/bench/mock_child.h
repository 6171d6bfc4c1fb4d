// SPDX-License-Identifier: Apache-2.0
// MockChild: `tocsin mock` of this same binary as a child process, pinned to its own CPUs, ended on every path: by stop(),
// by the destructor, and by the kernel should this process die.
//
// Threads: one. Ownership: the child and the pipe from it. Bounds: start-up 30 s, its end 60 s. Errors say what the mock said last.
// It stands in a process group of its own: Ctrl-C reaches the bench alone, which then ends it in order.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include <tocsin/result.h>

#include "cli/bench/spec.h"

namespace tocsin::cli::bench {

struct MockTotals {
  std::uint64_t requests = 0;
  std::uint64_t accepted = 0;
  std::uint64_t rejected = 0;
  std::uint64_t doubled = 0;
  std::uint64_t validated = 0;  // of the requests: judged in full
  std::string by_reason;     // "BadDeviceToken 3, ...", "" without rejections
  std::int64_t cpu_ns = 0;   // of its whole life, from wait4
};

class MockChild {
 public:
  // `directory`: of the certificates (made there if it is empty) and of the log.
  static Result<std::unique_ptr<MockChild>> start(const RunSpec& spec, const std::string& directory);
  ~MockChild();
  MockChild(const MockChild&) = delete;
  MockChild& operator=(const MockChild&) = delete;

  const std::string& host() const { return host_; }
  std::uint16_t port() const { return port_; }
  const std::string& topic() const { return topic_; }          // of the push certificate
  const std::string& key_id() const { return key_id_; }        // of provider.p8
  const std::string& team_id() const { return team_id_; }
  pid_t pid() const { return pid_; }

  Result<void> check();          // an error if it has ended by itself
  Result<MockTotals> stop();     // SIGTERM; once

 private:
  MockChild() = default;
  Result<std::string> read_line(std::int64_t timeout_ms);
  Result<void> read_ready();
  std::string tail() const;      // of its log
  std::string how_it_ended();    // reaps it

  pid_t pid_ = -1;               // -1: reaped
  int out_ = -1;
  std::string pending_;
  std::string log_;
  std::string host_, topic_, key_id_, team_id_;
  std::uint16_t port_ = 0;
  std::int64_t cpu_ns_ = 0;
  int status_ = 0;
};

}  // namespace tocsin::cli::bench
