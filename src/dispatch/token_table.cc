// SPDX-License-Identifier: Apache-2.0
#include "dispatch/token_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace tocsin::dispatch {
namespace {

constexpr Tick kSecondTicks = static_cast<Tick>(base::kSecond / kTickNs);
constexpr Tick kHoldMostTicks = 300 * kSecondTicks;
// A hold is remembered this long after its end, so that the next one is longer.
constexpr Tick kRememberTicks = 600 * kSecondTicks;

}  // namespace

namespace {

__extension__ using Wide = unsigned __int128;

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t word_at(const std::byte* at) {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

}  // namespace

// Sixteen bytes a multiplication. Both factors are hidden under the seed, so that nobody can make one of them 0.
std::uint64_t token_fingerprint(std::uint64_t seed, std::uint32_t topic, base::ByteView token) {
  const std::uint64_t other = std::rotl(seed, 29) ^ 0x9e3779b97f4a7c15ull;
  std::uint64_t print = fold((std::uint64_t{topic} << 32 | token.size()) ^ seed, other);
  const std::byte* at = token.data();
  std::size_t left = token.size();
  for (; left >= 16; left -= 16, at += 16) print = fold(word_at(at) ^ print, word_at(at + 8) ^ other);
  if (left != 0) {
    std::uint64_t words[2] = {};
    std::memcpy(words, at, left);
    print = fold(words[0] ^ print, words[1] ^ other);
  }
  print = fold(print ^ seed, 0xbf58476d1ce4e5b9ull);
  return print != 0 ? print : 1;
}

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

std::int64_t DeadTokens::find(std::uint64_t print) const {
  const Entry* entry = find_entry(print);
  return entry != nullptr ? entry->ms : 0;
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
  if (oldest != nullptr && oldest->ms <= entry.ms) *oldest = entry;
}

void DeadTokens::grow() {
  const std::size_t full = (std::size_t{places_} * 4 / 3 + kBucket) / kBucket;
  std::vector<Bucket> old(std::min(std::max<std::size_t>(2 * buckets_.size(), 64), full));
  old.swap(buckets_);
  size_ = 0;
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
