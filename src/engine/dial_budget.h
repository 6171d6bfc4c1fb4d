// SPDX-License-Identifier: Apache-2.0
// DialBudget: how many dials one engine may have under way, and the shards that wait for one.
//
// Who found none stands in line and is told when there is one again, one shard for each that is given back; nobody polls. What a
// shard is told of is kept for it until it has taken it or passed it on, so that no other one, which did not wait, is quicker.
// A shard may stand here at rest; close() comes before the first of them ends, and after it nobody is told.
//
// Threads: any; touched per dial, so a lock does. Bounds: one place in line and one dial kept per shard.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace tocsin::engine {

class DialBudget {
 public:
  explicit DialBudget(std::uint64_t dials) : free_(dials) {}

  // How a shard is told; set once, before the first of them runs. Called with the lock held, so that close() waits for it: it
  // may not come back here.
  void set_tell(std::function<void(unsigned)> tell) { tell_ = std::move(tell); }

  // Whoever stands in line has found none, and what is free is kept for its first: so nobody is overtaken here.
  bool take(unsigned shard) {
    const std::lock_guard lock(mutex_);
    if (std::erase(kept_, shard) != 0) return true;
    if (free_ == 0) return false;
    --free_;
    return true;
  }
  void give() {
    const std::lock_guard lock(mutex_);
    ++free_;
    tell_next();
  }
  // For this shard.
  std::uint64_t free(unsigned shard) const {
    const std::lock_guard lock(mutex_);
    return free_ + static_cast<std::uint64_t>(std::count(kept_.begin(), kept_.end(), shard));
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
    free_ += kept_.size();
    kept_.clear();
  }
  // From a shard that was told and has taken what it needs: what was kept for it and is left is the next one's.
  void pass_on(unsigned shard) {
    const std::lock_guard lock(mutex_);
    free_ += std::erase(kept_, shard);
    tell_next();
  }

 private:
  void tell_next() {
    if (line_.empty() || free_ == 0) return;
    const unsigned next = line_.front();
    line_.pop_front();
    --free_;
    kept_.push_back(next);
    if (tell_) tell_(next);
  }

  mutable std::mutex mutex_;
  std::uint64_t free_;  // guarded by mutex_, as the line is
  std::deque<unsigned> line_;
  std::vector<unsigned> kept_;  // shards that were told and have not answered; one dial for each, no longer in free_
  bool closed_ = false;
  std::function<void(unsigned)> tell_;
};

}  // namespace tocsin::engine
