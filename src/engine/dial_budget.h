// SPDX-License-Identifier: Apache-2.0
// DialBudget: how many dials one engine may have under way, and the shards that wait for one.
//
// Who found none stands in line and is told when there is one again, one shard for each that is given back; nobody polls.
// Being told is a chance and no promise: another shard may be quicker. A shard may stand here at rest; close() comes before the
// first of them ends, and after it nobody is told.
//
// Threads: any; touched per dial, so a lock does. Bounds: one place in line per shard.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace tocsin::engine {

class DialBudget {
 public:
  explicit DialBudget(std::uint64_t dials) : free_(dials) {}

  // How a shard is told; set once, before the first of them runs. Called with the lock held, so that close() waits for it: it
  // may not come back here.
  void set_tell(std::function<void(unsigned)> tell) { tell_ = std::move(tell); }

  bool take() {
    const std::lock_guard lock(mutex_);
    if (free_ == 0) return false;
    --free_;
    return true;
  }
  void give() { tell_next(1); }
  std::uint64_t free() const {
    const std::lock_guard lock(mutex_);
    return free_;
  }

  // True: the shard stands in line and will be told. False: there is something now.
  bool await(unsigned shard) {
    const std::lock_guard lock(mutex_);
    if (free_ != 0) return false;
    if (closed_) return true;
    if (std::find(line_.begin(), line_.end(), shard) == line_.end()) line_.push_back(shard);
    return true;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    line_.clear();
  }
  // From a shard that was told and has taken what it needs: what is left is the next one's.
  void pass_on() { tell_next(0); }

 private:
  void tell_next(std::uint64_t given) {
    const std::lock_guard lock(mutex_);
    free_ += given;
    if (line_.empty() || free_ == 0) return;
    const unsigned next = line_.front();
    line_.pop_front();
    if (tell_) tell_(next);
  }

  mutable std::mutex mutex_;
  std::uint64_t free_;  // guarded by mutex_, as the line is
  std::deque<unsigned> line_;
  bool closed_ = false;
  std::function<void(unsigned)> tell_;
};

}  // namespace tocsin::engine
