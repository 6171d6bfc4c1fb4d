// SPDX-License-Identifier: Apache-2.0
// What a shard remembers of device tokens: those that APNs called unregistered, with its time, and those that it throttled.
//
// A token (with its topic) is kept as a fingerprint of 64 bits under a seed: two of a million tokens are taken for one
// another once in 40 million shards, and nobody can choose tokens that are. Threads: one at a time. Bounds: places given
// at construction; memory comes as it is needed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/prefetch.h"
#include "base/prng.h"
#include "dispatch/record.h"

namespace tocsin::dispatch {

// Two lanes of sixteen bytes each and one of topic and length, whose multiplications do not wait for one another, and a last
// one of all three. All factors are hidden under the seed, so that nobody can make one of them 0. Never 0.
inline std::uint64_t token_fingerprint(std::uint64_t seed, std::uint32_t topic, base::ByteView token) {
  __extension__ using Wide = unsigned __int128;
  const auto fold = [](std::uint64_t a, std::uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  const auto word = [](const std::byte* at) {
    std::uint64_t value = 0;
    std::memcpy(&value, at, sizeof(value));
    return value;
  };
  const std::uint64_t key = seed ^ 0xbf58476d1ce4e5b9ull;
  const std::uint64_t other = std::rotl(seed, 29) ^ 0x9e3779b97f4a7c15ull;
  std::uint64_t left = 0;
  std::uint64_t right = 0;
  const auto take = [&](const std::byte* at) {
    left = fold(word(at) ^ key ^ left, word(at + 8) ^ other);
    right = fold(word(at + 16) ^ other ^ right, word(at + 24) ^ key);
  };
  constexpr std::size_t kBlock = 32;
  if (token.size() == kBlock) {  // every device token of today
    take(token.data());
  } else {
    const std::byte* at = token.data();
    std::size_t more = token.size();
    for (; more >= kBlock; more -= kBlock, at += kBlock) take(at);
    if (more != 0) {
      std::byte last[kBlock] = {};
      std::memcpy(last, at, more);
      take(last);
    }
  }
  const std::uint64_t rest = fold((std::uint64_t{topic} << 32 | token.size()) ^ key, other);
  const std::uint64_t print = fold(left ^ rest, right ^ other);
  return print != 0 ? print : 1;
}

// Each token may stand in one of two buckets, each a cache line, and goes into the emptier. When the table has all its places
// (or, a rare thing, nothing can be moved out of two full buckets), the entry with the earliest 410 time there makes room. Before
// the table stands a Bloom filter of 16 bits a place, so that a token that is not dead costs one line of far less memory, but
// for one in a hundred. What was removed or replaced leaves its bits behind; when that is a quarter of all, another filter is
// filled beside it, a few buckets with each add(). At its full size it takes 23 to 24 bytes a place, and two more meanwhile.
class DeadTokens {
 public:
  DeadTokens(std::uint32_t places, std::uint64_t seed) : places_(places), seed_(seed) {}

  bool empty() const { return size_ == 0; }
  std::uint32_t size() const { return size_; }
  std::size_t bytes() const { return buckets_.size() * sizeof(Bucket) + (filter_.size() + next_.size()) * sizeof(Filter::value_type); }

  // Keeps the later of two times, which are not 0.
  void add(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms);
  // When it was called unregistered (Unix ms); 0: not known to be.
  std::int64_t find(std::uint32_t topic, base::ByteView token) const { return find(print_of(topic, token)); }
  // By its fingerprint, so that whoever asks about many has the memory of all of them come at once.
  std::int64_t find(std::uint64_t print) const {
    if (!may_be(print)) return 0;
    const Entry* entry = find_entry(print);
    return entry != nullptr ? entry->ms : 0;
  }
  // False: certainly not known to be dead.
  bool may_be(std::uint64_t print) const { return size_ != 0 && in(filter_, print); }
  std::uint64_t print_of(std::uint32_t topic, base::ByteView token) const { return token_fingerprint(seed_, topic, token); }
  void expect(std::uint64_t print) const {
    if (size_ != 0) base::prefetch(&filter_[word_of(filter_, print)]);
  }
  void remove(std::uint32_t topic, base::ByteView token);

 private:
  static constexpr std::size_t kBucket = 4;
  struct Entry {
    std::uint64_t print = 0;  // 0: a free place
    std::int64_t ms = 0;
  };
  struct alignas(64) Bucket {
    Entry entries[kBucket];
  };
  std::size_t bucket_of(std::uint32_t half) const { return std::size_t{half} * buckets_.size() >> 32; }
  using Filter = std::vector<std::uint64_t>;
  // By the upper half, and its bits by the lower one's last.
  static std::size_t word_of(const Filter& filter, std::uint64_t print) { return (print >> 32) * filter.size() >> 32; }
  static std::uint64_t bits_of(std::uint64_t print) {
    return std::uint64_t{1} << (print & 63) | std::uint64_t{1} << (print >> 6 & 63) | std::uint64_t{1} << (print >> 12 & 63);
  }
  static bool in(const Filter& filter, std::uint64_t print) {
    const std::uint64_t bits = bits_of(print);
    return (filter[word_of(filter, print)] & bits) == bits;
  }
  static void put(Filter& filter, std::uint64_t print) { filter[word_of(filter, print)] |= bits_of(print); }
  void renew_filter();
  const Entry* find_entry(std::uint64_t print) const;
  Entry* find_entry(std::uint64_t print) { return const_cast<Entry*>(std::as_const(*this).find_entry(print)); }
  static Entry* free_place(Bucket& bucket, std::size_t& free);
  Entry* make_place(std::uint64_t print);
  void insert(Entry entry);
  void grow();

  std::uint32_t places_;
  std::uint64_t seed_;
  std::uint32_t size_ = 0;
  std::vector<Bucket> buckets_;
  Filter filter_;
  Filter next_;              // the one that is being filled; empty: none is
  std::size_t swept_ = 0;    // buckets whose entries are in it
  std::uint32_t stale_ = 0;  // entries that went since the filter, or the next one, was begun
};

// Throttled tokens (429 TooManyRequests): nothing goes to one before its time.
class TokenHolds {
 public:
  static constexpr std::size_t kMost = 65'536;

  explicit TokenHolds(std::uint64_t seed) : seed_(seed) {}

  bool empty() const { return holds_.empty(); }
  std::size_t size() const { return holds_.size(); }
  // kTickNone: free to go.
  Tick until(std::uint32_t topic, base::ByteView token, Tick now) const;
  // Holds it for a second, doubling to five minutes with each call, with jitter; answers until when.
  Tick hold(std::uint32_t topic, base::ByteView token, Tick now, base::Prng& chance);
  void forget(std::uint32_t topic, base::ByteView token);

 private:
  struct Hold {
    Tick until = kTickNone;
    unsigned times = 0;
  };
  std::uint64_t seed_;
  Tick sweep_after_ = kTickNone;  // a full table is looked through for room at most once a second
  std::unordered_map<std::uint64_t, Hold> holds_;
};

}  // namespace tocsin::dispatch
