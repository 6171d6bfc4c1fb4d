// SPDX-License-Identifier: Apache-2.0
// What a shard remembers of device tokens: those that APNs called unregistered, with its time, and those that it throttled.
//
// A token (with its topic) is kept as a fingerprint of 64 bits under a seed: two of a million tokens are taken for one
// another once in 40 million shards, and nobody can choose tokens that are. Threads: one at a time. Bounds: places given
// at construction; memory comes as it is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/prng.h"
#include "dispatch/record.h"

namespace tocsin::dispatch {

std::uint64_t token_fingerprint(std::uint64_t seed, std::uint32_t topic, base::ByteView token);  // never 0

// Each token may stand in one of two buckets, each a cache line, and goes into the emptier: a lookup costs two lines. When
// the table has all its places (or, a rare thing, nothing can be moved out of two full buckets), the entry with the
// earliest 410 time there makes room. At its full size it takes 21 to 22 bytes a place.
class DeadTokens {
 public:
  DeadTokens(std::uint32_t places, std::uint64_t seed) : places_(places), seed_(seed) {}

  bool empty() const { return size_ == 0; }
  std::uint32_t size() const { return size_; }
  std::size_t bytes() const { return buckets_.size() * sizeof(Bucket); }

  // Keeps the later of two times, which are not 0.
  void add(std::uint32_t topic, base::ByteView token, std::int64_t unregistered_unix_ms);
  // When it was called unregistered (Unix ms); 0: not known to be.
  std::int64_t find(std::uint32_t topic, base::ByteView token) const { return find(print_of(topic, token)); }
  // By its fingerprint, so that whoever asks about many has
  // the memory of all of them come at once: the table of a million is in no near cache.
  std::int64_t find(std::uint64_t print) const;
  std::uint64_t print_of(std::uint32_t topic, base::ByteView token) const { return token_fingerprint(seed_, topic, token); }
  void expect(std::uint64_t print) const {
    __builtin_prefetch(&buckets_[bucket_of(static_cast<std::uint32_t>(print))]);
    __builtin_prefetch(&buckets_[bucket_of(static_cast<std::uint32_t>(print >> 32))]);
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
