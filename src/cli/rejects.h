// SPDX-License-Identifier: Apache-2.0
// RejectLog: the lines that could not be used: all of them to a file, the first few to standard error.
//
// Threads: one at a time. Ownership: owns its file, which is made at the first reject. Bounds: at most
// kRejectsSaid on standard error, then a count at the end.
#pragma once

#include <cstdint>
#include <string>

#include <tocsin/result.h>

#include "cli/outputs.h"
#include "cli/record.h"

namespace tocsin::cli {

class RejectLog {
 public:
  static constexpr std::uint64_t kRejectsSaid = 5;

  RejectLog(std::string input_name, std::string path, bool append)
      : input_name_(std::move(input_name)), path_(std::move(path)), append_(append) {}

  Result<void> add(const Reject& reject);
  Result<void> flush() { return writer_.is_open() ? writer_.flush() : Result<void>(); }
  Result<void> finish();  // writes what is buffered and says how many were not shown

  std::uint64_t count() const { return count_; }
  const std::string& path() const { return path_; }

 private:
  std::string input_name_;
  std::string path_;
  bool append_;
  bool finished_ = false;
  std::uint64_t count_ = 0;
  LineWriter writer_;
};

}  // namespace tocsin::cli
