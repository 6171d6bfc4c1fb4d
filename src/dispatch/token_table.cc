// SPDX-License-Identifier: Apache-2.0
#include "dispatch/token_table.h"

#include <algorithm>

namespace tocsin::dispatch {
namespace {

constexpr Tick kSecondTicks = static_cast<Tick>(base::kSecond / kTickNs);
constexpr Tick kHoldMostTicks = 300 * kSecondTicks;
// A hold is remembered this long after its end, so that the next one is longer.
constexpr Tick kRememberTicks = 600 * kSecondTicks;

}  // namespace

const DeadTokens::Entry* DeadTokens::find_entry(std::uint64_t print) const {
  if (size_ == 0) return nullptr;
  const Bucket& second = buckets_[bucket_of(static_cast<std::uint32_t>(print >> 32))];
  for (const Entry& entry : buckets_[bucket_of(static_cast<std::uint32_t>(print))].entries) {
    if (entry.print == print) return &entry;
  }
  for (const Entry& entry : second.entries) {
    if (entry.print == print) return &entry;
  }
  return nullptr;
}

void DeadTokens::add(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms) {
  if (places_ == 0) return;
  const std::uint64_t print = token_fingerprint(seed_, topic, token);
  if (Entry* known = find_entry(print)) {
    known->ms = std::max(known->ms, unregistered_unix_ms);
    return;
  }
  // Three quarters full at most.
  if (size_ < places_ && 4 * (std::size_t{size_} + 1) > 3 * kBucket * buckets_.size()) grow();
  insert({print, unregistered_unix_ms});
  renew_filter();
}

void DeadTokens::renew_filter() {
  constexpr std::size_t kBucketsAnAdd = 16;
  if (next_.empty()) {
    if (stale_ <= size_ / 4) return;
    next_.assign(filter_.size(), 0);
    swept_ = stale_ = 0;
  }
  for (const std::size_t until = std::min(swept_ + kBucketsAnAdd, buckets_.size()); swept_ < until; ++swept_) {
    for (const Entry& entry : buckets_[swept_].entries) {
      if (entry.print != 0) put(next_, entry.print);
    }
  }
  if (swept_ < buckets_.size()) return;
  filter_.swap(next_);
  next_ = Filter();
}

DeadTokens::Entry* DeadTokens::free_place(Bucket& bucket, std::size_t& free) {
  Entry* place = nullptr;
  free = 0;
  for (Entry& each : bucket.entries) {
    if (each.print != 0) continue;
    ++free;
    place = &each;
  }
  return place;
}

// A place for this fingerprint, if need be by moving a neighbour to its other bucket; nullptr: there is none.
DeadTokens::Entry* DeadTokens::make_place(std::uint64_t print) {
  Bucket* const buckets[] = {&buckets_[bucket_of(static_cast<std::uint32_t>(print))],
                             &buckets_[bucket_of(static_cast<std::uint32_t>(print >> 32))]};
  std::size_t free[2] = {};
  Entry* const places[] = {free_place(*buckets[0], free[0]), free_place(*buckets[1], free[1])};
  if (free[0] + free[1] != 0) return places[free[1] > free[0] ? 1 : 0];
  for (Bucket* const bucket : buckets) {
    for (Entry& each : bucket->entries) {
      for (const std::uint64_t half : {each.print, each.print >> 32}) {
        std::size_t unused = 0;
        Entry* const other = free_place(buckets_[bucket_of(static_cast<std::uint32_t>(half))], unused);
        if (other == nullptr) continue;
        // It may go from where the next filter has not looked yet to where it has.
        if (!next_.empty()) put(next_, each.print);
        *other = std::exchange(each, Entry{});
        return &each;
      }
    }
  }
  return nullptr;
}

void DeadTokens::insert(Entry entry) {
  if (Entry* const place = size_ < places_ ? make_place(entry.print) : nullptr) {
    *place = entry;
    ++size_;
    put(filter_, entry.print);
    if (!next_.empty()) put(next_, entry.print);
    return;
  }
  // No room: what was called dead longest ago is likeliest to have been dropped by its owner, too. Where nothing stands
  // here or all is younger, this one is not kept: APNs will tell it again.
  Entry* oldest = nullptr;
  for (const std::uint64_t half : {entry.print, entry.print >> 32}) {
    for (Entry& each : buckets_[bucket_of(static_cast<std::uint32_t>(half))].entries) {
      if (each.print != 0 && (oldest == nullptr || each.ms < oldest->ms)) oldest = &each;
    }
  }
  if (oldest == nullptr || oldest->ms > entry.ms) return;
  *oldest = entry;
  ++stale_;
  put(filter_, entry.print);
  if (!next_.empty()) put(next_, entry.print);
}

void DeadTokens::grow() {
  const std::size_t full = (std::size_t{places_} * 4 / 3 + kBucket) / kBucket;
  std::vector<Bucket> old(std::min(std::max<std::size_t>(2 * buckets_.size(), 64), full));
  old.swap(buckets_);
  filter_.assign(buckets_.size(), 0);
  next_ = Filter();
  size_ = stale_ = 0;
  for (const Bucket& bucket : old) {
    for (const Entry& entry : bucket.entries) {
      if (entry.print != 0) insert(entry);
    }
  }
}

void DeadTokens::remove(std::uint32_t topic, base::ByteView token) {
  if (Entry* entry = find_entry(token_fingerprint(seed_, topic, token))) {
    *entry = Entry{};
    --size_;
    ++stale_;
  }
}

Tick TokenHolds::until(std::uint32_t topic, base::ByteView token, Tick now) const {
  const auto found = holds_.find(token_fingerprint(seed_, topic, token));
  return found != holds_.end() && found->second.until > now ? found->second.until : kTickNone;
}

Tick TokenHolds::hold(std::uint32_t topic, base::ByteView token, Tick now, base::Prng& chance) {
  const std::uint64_t print = token_fingerprint(seed_, topic, token);
  if (holds_.size() >= kMost && !holds_.contains(print)) {
    if (now >= sweep_after_) {
      sweep_after_ = now + kSecondTicks;
      std::erase_if(holds_, [now](const auto& item) { return item.second.until <= now; });
    }
    // All of them still hold: one more is not remembered, its push alone waits.
    if (holds_.size() >= kMost) return now + kSecondTicks + static_cast<Tick>(chance.below(kSecondTicks));
  }
  Hold& hold = holds_[print];
  if (hold.times != 0 && now > hold.until + kRememberTicks) hold.times = 0;
  if (hold.until > now) return hold.until;  // several were in flight: one hold for all
  Tick bound = kSecondTicks;
  for (unsigned i = 0; i < hold.times && bound < kHoldMostTicks; ++i) bound *= 2;
  bound = std::min(bound, kHoldMostTicks);
  ++hold.times;
  hold.until = now + bound / 2 + 1 + static_cast<Tick>(chance.below(bound / 2));
  return hold.until;
}

void TokenHolds::forget(std::uint32_t topic, base::ByteView token) { holds_.erase(token_fingerprint(seed_, topic, token)); }

}  // namespace tocsin::dispatch
