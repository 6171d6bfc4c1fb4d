// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "tls/context.h"
#include "tls/gcm.h"
#include "tls/library.h"
#include "tls/seal_place.h"

namespace tocsin::tls {
namespace {

// One counter for all threads would be one cache line for all threads, once a record.
struct alignas(64) Counter {
  std::atomic<std::uint64_t> calls{0};
};
std::array<Counter, 16> g_counters;
std::atomic<unsigned> g_threads{0};

void count_call() {
  thread_local const unsigned slot = g_threads.fetch_add(1, std::memory_order_relaxed) % g_counters.size();
  g_counters[slot].calls.fetch_add(1, std::memory_order_relaxed);
}

// aesgcm_enc and aesgcm_dec have the same fields but for the tag's constness.
template <class Operation>
bool prepare(const Operation& operation, GcmText& text) {
  const Aes* aes = operation.aes;
  if (aes == nullptr || (aes->keylen != 16 && aes->keylen != 32)) return false;
  if (operation.ivSz != kGcmIvBytes || operation.authTagSz != kGcmTagBytes) return false;
  text.key = reinterpret_cast<const std::uint8_t*>(aes->devKey);
  text.key_bytes = static_cast<std::size_t>(aes->keylen);
  text.iv = operation.iv;
  text.aad = operation.authIn;
  text.aad_bytes = operation.authInSz;
  text.in = operation.in;
  text.out = operation.out;
  text.bytes = operation.sz;
  return true;
}

#ifdef WOLFSSL_CIPHER_TEXT_CHECK
constexpr bool kSealElsewhere = false;  // wolfSSL looks at what it believes to be sealed
#else
constexpr bool kSealElsewhere = true;
#endif

// False: the record before was not sent yet.
bool seal(GcmText& text, std::uint8_t* tag) {
  if (SealPlace* const place = SealPlace::here(); kSealElsewhere && place != nullptr) {
    if (place->broken()) return false;
    if (std::uint8_t* const out = place->begin(text, tag)) {
      text.out = out;
      gcm_seal(text, out + text.bytes);
      std::memcpy(tag, out + text.bytes, kGcmTagBytes);
      return true;
    }
  }
  gcm_seal(text, tag);
  return true;
}

}  // namespace

// What this answers "unavailable" to, wolfSSL does itself.
int crypto_callback(int, wc_CryptoInfo* info, void*) {
  if (info == nullptr || info->algo_type != WC_ALGO_TYPE_CIPHER || info->cipher.type != WC_CIPHER_AES_GCM) {
    return CRYPTOCB_UNAVAILABLE;
  }
  GcmText text;
  if (info->cipher.enc != 0) {
    if (!prepare(info->cipher.aesgcm_enc, text)) return CRYPTOCB_UNAVAILABLE;
    if (!seal(text, info->cipher.aesgcm_enc.authTag)) return WC_HW_E;
  } else {
    if (!prepare(info->cipher.aesgcm_dec, text)) return CRYPTOCB_UNAVAILABLE;
    if (!gcm_open(text, info->cipher.aesgcm_dec.authTag)) return AES_GCM_AUTH_E;
  }
  count_call();
  return 0;
}

void free_tables_at_thread_exit() {
  struct Tables {
    bool used = false;
    ~Tables() {
      if (used) wc_ecc_fp_free();
    }
  };
  thread_local Tables tables;
  tables.used = true;
}

Result<void> init_library() {
  free_tables_at_thread_exit();
  static const int result = wolfSSL_Init();
  if (result == WOLFSSL_SUCCESS) return {};
  return Error{Code::internal, "wolfSSL could not be initialised (error " + std::to_string(result) + ")"};
}

Result<void> register_crypto_callback() {
  static const int result = wc_CryptoCb_RegisterDevice(kCryptoDeviceId, crypto_callback, nullptr);
  if (result == 0) return {};
  return Error{Code::capacity, "wolfSSL has no free place for a crypto callback (error " + std::to_string(result) +
                                   "); choose the crypto 'wolfssl'"};
}

Result<CryptoChoice> choose_crypto(Crypto wanted) {
  if (wanted == Crypto::wolfssl) return CryptoChoice{Crypto::wolfssl, "wolfssl", "it was asked for"};
  const GcmBackend& backend = gcm_backend();
  if (backend.usable) return CryptoChoice{Crypto::ipsec_mb, backend.name, {}};
  if (wanted == Crypto::ipsec_mb) {
    return Error{Code::unsupported, "ipsec-mb was asked for, but " + backend.why + "; use 'automatic' or 'wolfssl'"};
  }
  return CryptoChoice{Crypto::wolfssl, "wolfssl", backend.why};
}

std::uint64_t crypto_callback_calls() {
  std::uint64_t sum = 0;
  for (const Counter& counter : g_counters) sum += counter.calls.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace tocsin::tls
