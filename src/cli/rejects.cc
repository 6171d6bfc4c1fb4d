// SPDX-License-Identifier: Apache-2.0
#include "cli/rejects.h"

#include <fmt/format.h>

#include "cli/terminal.h"

namespace tocsin::cli {
namespace {

// The messages begin with the field's name, which stands before them already.
std::string_view without_field(std::string_view error, std::string_view field) {
  if (error.starts_with(field) && error.size() > field.size() && error[field.size()] == ' ')
    return error.substr(field.size() + 1);
  return error;
}

}  // namespace

Result<void> RejectLog::add(const Reject& reject) {
  if (count_ == 0) {
    if (auto opened = writer_.open(path_, append_); !opened.ok()) return opened;
  }
  if (count_ < kRejectsSaid) {
    say(fmt::format("{}:{}: {}: {}", input_name_, reject.line, reject.field,
                    without_field(reject.error, reject.field)));
  }
  ++count_;
  append_reject(reject, writer_.buffer());
  return writer_.flush_if_full();
}

Result<void> RejectLog::finish() {
  if (count_ > kRejectsSaid && !finished_)
    say(fmt::format("... and {} more such lines; all are in {}", format_count(count_ - kRejectsSaid), path_));
  finished_ = true;
  return flush();
}

}  // namespace tocsin::cli
