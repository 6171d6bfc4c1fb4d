// SPDX-License-Identifier: Apache-2.0
#include "dispatch/token_table.h"

#include <algorithm>
#include <cstring>

namespace tocsin::dispatch {
namespace {

constexpr Tick kSecondTicks = static_cast<Tick>(base::kSecond / kTickNs);
constexpr Tick kHoldMostTicks = 300 * kSecondTicks;
// A hold is remembered this long after its end, so that the next one is longer.
constexpr Tick kRememberTicks = 600 * kSecondTicks;

}  // namespace

std::uint64_t token_fingerprint(std::uint64_t seed, std::uint32_t topic, base::ByteView token) {
  std::uint64_t print = base::mix64(seed ^ (std::uint64_t{topic} << 32 | token.size()));
  for (std::size_t i = 0; i < token.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, token.data() + i, std::min<std::size_t>(8, token.size() - i));
    print = base::mix64(print ^ word) + seed;
  }
  print = base::mix64(print);
  return print != 0 ? print : 1;
}

DeadTokens::Entry* DeadTokens::find_entry(std::uint64_t print) {
  if (entries_.empty()) return nullptr;
  const std::size_t buckets = entries_.size() / kBucket;
  const std::size_t first = print % buckets;
  for (const std::size_t bucket : {first, (first + 1) % buckets}) {
    for (std::size_t i = 0; i < kBucket; ++i) {
      Entry& entry = entries_[bucket * kBucket + i];
      if (entry.print == print) return &entry;
    }
  }
  return nullptr;
}

std::int64_t DeadTokens::find(std::uint32_t topic, base::ByteView token) const {
  if (size_ == 0) return 0;
  const Entry* entry = const_cast<DeadTokens*>(this)->find_entry(token_fingerprint(seed_, topic, token));
  return entry != nullptr ? entry->ms : 0;
}

void DeadTokens::add(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms) {
  if (places_ == 0) return;
  const std::uint64_t print = token_fingerprint(seed_, topic, token);
  if (Entry* known = find_entry(print)) {
    known->ms = std::max(known->ms, unregistered_unix_ms);
    return;
  }
  // Half full at most, up to the size that holds all places so.
  if (entries_.size() < 2 * std::size_t{places_} && entries_.size() < 2 * (std::size_t{size_} + 1)) grow();
  insert({print, unregistered_unix_ms});
}

void DeadTokens::insert(Entry entry) {
  const std::size_t buckets = entries_.size() / kBucket;
  const std::size_t first = entry.print % buckets;
  Entry* oldest = nullptr;
  for (const std::size_t bucket : {first, (first + 1) % buckets}) {
    for (std::size_t i = 0; i < kBucket; ++i) {
      Entry& place = entries_[bucket * kBucket + i];
      if (place.print == 0 && size_ < places_) {
        place = entry;
        ++size_;
        return;
      }
      if (place.print != 0 && (oldest == nullptr || place.ms < oldest->ms)) oldest = &place;
    }
  }
  // Full here: what was called dead longest ago is likeliest to have been dropped by its owner, too. With no entry here
  // at all the table as a whole is full, and this one is not kept: it will be told again.
  if (oldest != nullptr && oldest->ms <= entry.ms) *oldest = entry;
}

void DeadTokens::grow() {
  std::vector<Entry> old(std::max<std::size_t>(2 * entries_.size(), 64 * kBucket));
  old.swap(entries_);
  size_ = 0;
  for (const Entry& entry : old) {
    if (entry.print != 0) insert(entry);
  }
}

void DeadTokens::remove(std::uint32_t topic, base::ByteView token) {
  if (Entry* entry = find_entry(token_fingerprint(seed_, topic, token))) {
    *entry = Entry{};
    --size_;
  }
}

Tick TokenHolds::until(std::uint32_t topic, base::ByteView token, Tick now) const {
  const auto found = holds_.find(token_fingerprint(seed_, topic, token));
  return found != holds_.end() && found->second.until > now ? found->second.until : kTickNone;
}

Tick TokenHolds::hold(std::uint32_t topic, base::ByteView token, Tick now, base::Prng& chance) {
  if (holds_.size() >= kMost) {
    std::erase_if(holds_, [now](const auto& item) { return item.second.until <= now; });
    // All of them still hold: one more is not remembered, its push alone waits.
    if (holds_.size() >= kMost) return now + kSecondTicks + static_cast<Tick>(chance.below(kSecondTicks));
  }
  Hold& hold = holds_[token_fingerprint(seed_, topic, token)];
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
