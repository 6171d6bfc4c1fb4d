// SPDX-License-Identifier: Apache-2.0
// Places: the process-wide bound of connections, and the line of those who wait for one without having any.
//
// A place goes to a credential without a connection before it goes to one that wants another, and among the first to the one
// that waits longest. Nobody is called: askers come again (every few milliseconds, see Shard), and who has not come
// for kForgetNs has lost interest. Threads: any; touched per dial and per close. Bounds: one entry for each (shard,
// credential) that waits.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/now.h"

namespace tocsin::engine {

class Places {
 public:
  static constexpr std::int64_t kForgetNs = 100 * base::kMillisecond;

  explicit Places(std::uint64_t total) : free_(total), total_(total) {}

  // who: shard and credential. since: from when on it has had none and has wanted one; kNever: it has some.
  bool take(std::uint64_t who, std::int64_t since_mono_ns, std::int64_t now_mono_ns) {
    const std::lock_guard lock(mutex_);
    const std::pair<std::int64_t, std::uint64_t> key(since_mono_ns, who);
    const bool waits = since_mono_ns != base::kNever;
    // Who left the line and comes anew stands in it once.
    if (const auto known = since_.find(who); known != since_.end() && known->second != since_mono_ns) {
      line_.erase({known->second, who});
      since_.erase(known);
    }
    std::uint64_t ahead = 0;
    for (auto each = line_.begin(); ahead < free_ && each != line_.end() && each->first < key;) {
      if (now_mono_ns - each->second > kForgetNs) {
        since_.erase(each->first.second);
        each = line_.erase(each);
        continue;
      }
      ++ahead;
      ++each;
    }
    if (ahead < free_) {
      --free_;
      if (waits && since_.erase(who) != 0) line_.erase(key);
      return true;
    }
    if (waits) {
      line_[key] = now_mono_ns;
      since_[who] = since_mono_ns;
    }
    return false;
  }
  void give(std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    free_ += count;
  }
  std::uint64_t used() const {
    const std::lock_guard lock(mutex_);
    return total_ - free_;
  }

 private:
  mutable std::mutex mutex_;
  std::uint64_t free_;
  const std::uint64_t total_;
  std::map<std::pair<std::int64_t, std::uint64_t>, std::int64_t> line_;  // since, who -> came last
  std::unordered_map<std::uint64_t, std::int64_t> since_;                // who -> since, of those in line_
};

}  // namespace tocsin::engine
