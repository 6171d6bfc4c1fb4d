// SPDX-License-Identifier: Apache-2.0
#include "apns/p256.h"

#include <algorithm>

#include <string.h>  // explicit_bzero

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/sha256.h>

namespace tocsin::apns {
namespace {

constexpr word32 kScalarBytes = sizeof(P256Scalar);
constexpr word32 kPointBytes = sizeof(P256Point);
using Hash = std::array<std::uint8_t, WC_SHA256_DIGEST_SIZE>;

class EccKey {
 public:
  EccKey() : ready_(wc_ecc_init_ex(&key_, nullptr, INVALID_DEVID) == 0) {}
  ~EccKey() {
    if (ready_) wc_ecc_free(&key_);
  }
  EccKey(const EccKey&) = delete;
  EccKey& operator=(const EccKey&) = delete;

  bool set_scalar(const P256Scalar& scalar) {
    return ready_ && wc_ecc_import_private_key_ex(scalar.data(), kScalarBytes, nullptr, 0, &key_, ECC_SECP256R1) == 0 &&
           wc_ecc_make_pub_ex(&key_, nullptr, nullptr) == 0;
  }
  bool set_point(const P256Point& point) {
    return ready_ && wc_ecc_import_x963_ex(point.data(), kPointBytes, &key_, ECC_SECP256R1) == 0;
  }
  ecc_key* get() { return &key_; }

 private:
  ecc_key key_{};
  bool ready_;
};

class Rng {
 public:
  Rng() : ready_(wc_InitRng(&rng_) == 0) {}
  ~Rng() {
    if (ready_) wc_FreeRng(&rng_);
  }
  Rng(const Rng&) = delete;
  Rng& operator=(const Rng&) = delete;
  explicit operator bool() const { return ready_; }
  WC_RNG* get() { return &rng_; }

 private:
  WC_RNG rng_{};
  bool ready_;
};

bool hash_of(std::string_view message, Hash& hash) {
  return wc_Sha256Hash(reinterpret_cast<const byte*>(message.data()), static_cast<word32>(message.size()), hash.data()) == 0;
}

// wolfCrypt gives numbers without leading zeros.
void put_padded(const std::uint8_t* number, word32 bytes, std::uint8_t* out) {
  std::fill_n(out, 32 - bytes, std::uint8_t{0});
  std::copy_n(number, bytes, out + 32 - bytes);
}

}  // namespace

void wipe(void* memory, std::size_t bytes) {
  if (bytes != 0) ::explicit_bzero(memory, bytes);
}

bool p256_point_of(const P256Scalar& scalar, P256Point& point) {
  EccKey key;
  word32 bytes = kPointBytes;
  return key.set_scalar(scalar) && wc_ecc_export_x963(key.get(), point.data(), &bytes) == 0 && bytes == kPointBytes;
}

bool p256_on_curve(const P256Point& point) {
  EccKey key;
  return point[0] == 4 && key.set_point(point) && wc_ecc_check_key(key.get()) == 0;
}

bool p256_sign(const P256Scalar& scalar, std::string_view message, P256Signature& out) {
  out.fill(0);
  EccKey key;
  Rng rng;
  Hash hash{};
  std::array<byte, ECC_MAX_SIG_SIZE> der{};
  word32 der_bytes = der.size();
  if (!rng || !hash_of(message, hash) || !key.set_scalar(scalar) || wc_ecc_set_deterministic(key.get(), 1) != 0 ||
      wc_ecc_sign_hash(hash.data(), hash.size(), der.data(), &der_bytes, rng.get(), key.get()) != 0) {
    return false;
  }
  std::array<byte, 33> r{};
  std::array<byte, 33> s{};
  word32 r_bytes = r.size();
  word32 s_bytes = s.size();
  if (wc_ecc_sig_to_rs(der.data(), der_bytes, r.data(), &r_bytes, s.data(), &s_bytes) != 0 || r_bytes > 32 || s_bytes > 32) {
    return false;
  }
  put_padded(r.data(), r_bytes, out.data());
  put_padded(s.data(), s_bytes, out.data() + 32);
  return true;
}

bool p256_verify(const P256Point& point, std::string_view message, const P256Signature& signature) {
  EccKey key;
  Hash hash{};
  std::array<byte, ECC_MAX_SIG_SIZE> der{};
  word32 der_bytes = der.size();
  int right = 0;
  return key.set_point(point) && hash_of(message, hash) &&
         wc_ecc_rs_raw_to_sig(signature.data(), 32, signature.data() + 32, 32, der.data(), &der_bytes) == 0 &&
         wc_ecc_verify_hash(der.data(), der_bytes, hash.data(), hash.size(), &right, key.get()) == 0 && right == 1;
}

}  // namespace tocsin::apns
