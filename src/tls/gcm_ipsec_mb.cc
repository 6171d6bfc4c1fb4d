// SPDX-License-Identifier: Apache-2.0
#include "tls/gcm.h"

#include <cstring>
#include <memory>

#include <intel-ipsec-mb.h>

#include "base/assertion.h"
#include "tls/wipe.h"

namespace tocsin::tls {
namespace {

struct Engine {
  GcmBackend backend;
  IMB_MGR* manager = nullptr;  // only read after construction: its function pointers are the code paths
};

const char* arch_name(IMB_ARCH arch) {
  switch (arch) {
    case IMB_ARCH_SSE: return "sse";
    case IMB_ARCH_AVX: return "avx";
    case IMB_ARCH_AVX2: return "avx2";
    case IMB_ARCH_AVX512: return "avx512";
    default: return nullptr;
  }
}

Engine make_engine() {
  Engine engine;
  engine.manager = alloc_mb_mgr(0);
  if (engine.manager == nullptr) {
    engine.backend.why = "libipsec-mb could not be set up (out of memory)";
    return engine;
  }
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(engine.manager, &arch);
  const std::uint64_t features = engine.manager->features;
  const char* name = arch_name(arch);
  if ((features & IMB_FEATURE_AESNI) == 0 || (features & IMB_FEATURE_PCLMULQDQ) == 0 || name == nullptr) {
    engine.backend.why = "this CPU has no AES instructions (AES-NI with PCLMULQDQ)";
  } else if ((features & IMB_FEATURE_SELF_TEST) != 0 && (features & IMB_FEATURE_SELF_TEST_PASS) == 0) {
    engine.backend.why = "libipsec-mb failed its self-test on this CPU";
  } else {
    engine.backend.usable = true;
    engine.backend.name = std::string("ipsec-mb (") + name + ")";
  }
  return engine;
}

// Lives until the process ends: threads may still encrypt while statics are destroyed.
const Engine& engine() {
  static const Engine* const instance = new Engine(make_engine());
  return *instance;
}

struct alignas(64) ExpandedKey {
  gcm_key_data data;
  std::uint8_t key[32];
  std::uint32_t key_bytes = 0;  // 0: unused
  std::uint32_t used = 0;
};

// Traffic keys are uniformly random, so the key's first bytes are its hash. Nothing tells us when a
// connection dies: its keys stay until others take their place.
class KeyCache {
 public:
  const gcm_key_data* find(const std::uint8_t* key, std::size_t key_bytes) {
    auto& set = sets_[key[0]];
    if (!set) set.reset(new Set);
    ++tick_;
    ExpandedKey* oldest = &set->ways[0];
    for (ExpandedKey& way : set->ways) {
      if (way.key_bytes == key_bytes && std::memcmp(way.key, key, key_bytes) == 0) {
        way.used = tick_;
        return &way.data;
      }
      if (way.key_bytes == 0 || (oldest->key_bytes != 0 && tick_ - way.used > tick_ - oldest->used)) oldest = &way;
    }
    expand(*oldest, key, key_bytes);
    return &oldest->data;
  }

 private:
  static constexpr std::size_t kSets = 256;
  static constexpr std::size_t kWays = 4;
  struct Set {
    ExpandedKey ways[kWays];
    ~Set() { wipe(ways, sizeof ways); }
  };

  void expand(ExpandedKey& way, const std::uint8_t* key, std::size_t key_bytes) {
    if (key_bytes == 16) {
      engine().manager->gcm128_pre(key, &way.data);
    } else {
      engine().manager->gcm256_pre(key, &way.data);
    }
    std::memcpy(way.key, key, key_bytes);
    way.key_bytes = static_cast<std::uint32_t>(key_bytes);
    way.used = tick_;
  }

  std::unique_ptr<Set> sets_[kSets];
  std::uint32_t tick_ = 0;
};

thread_local KeyCache t_keys;

bool same_tag(const std::uint8_t* a, const std::uint8_t* b) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < kGcmTagBytes; ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

const GcmBackend& gcm_backend() { return engine().backend; }

void gcm_seal(const GcmText& text, std::uint8_t* tag) {
  TOCSIN_ASSERT(text.key_bytes == 16 || text.key_bytes == 32);
  const gcm_key_data* key = t_keys.find(text.key, text.key_bytes);
  gcm_context_data context;
  const auto seal = text.key_bytes == 16 ? engine().manager->gcm128_enc : engine().manager->gcm256_enc;
  seal(key, &context, text.out, text.in, text.bytes, text.iv, text.aad, text.aad_bytes, tag, kGcmTagBytes);
}

bool gcm_open(const GcmText& text, const std::uint8_t* tag) {
  TOCSIN_ASSERT(text.key_bytes == 16 || text.key_bytes == 32);
  const gcm_key_data* key = t_keys.find(text.key, text.key_bytes);
  gcm_context_data context;
  std::uint8_t computed[kGcmTagBytes] = {};
  const auto open = text.key_bytes == 16 ? engine().manager->gcm128_dec : engine().manager->gcm256_dec;
  open(key, &context, text.out, text.in, text.bytes, text.iv, text.aad, text.aad_bytes, computed, kGcmTagBytes);
  if (same_tag(computed, tag)) return true;
  if (text.bytes != 0) wipe(text.out, text.bytes);
  return false;
}

}  // namespace tocsin::tls
