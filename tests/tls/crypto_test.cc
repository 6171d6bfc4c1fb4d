// SPDX-License-Identifier: Apache-2.0
// The crypto callback against libcrypto's AES-GCM: through wolfSSL's own door, as TLS uses it.
#include <cstdint>
#include <string>
#include <vector>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <gtest/gtest.h>

#include "base/prng.h"
#include "need_ipsec_mb.h"
#include "reference_gcm.h"
#include "tls/context.h"
#include "tls/gcm.h"
#include "tls/library.h"

namespace tocsin::tls {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes noise(std::size_t bytes, base::Prng& prng) {
  Bytes out(bytes);
  for (auto& octet : out) octet = static_cast<std::uint8_t>(prng.next());
  return out;
}

class Gcm : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(init_library().ok());
    testing::need_ipsec_mb();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(register_crypto_callback().ok());
  }
  static void set_key(Aes& aes, const Bytes& key) {
    ASSERT_EQ(wc_AesInit(&aes, nullptr, kCryptoDeviceId), 0);
    ASSERT_EQ(wc_AesGcmSetKey(&aes, key.data(), static_cast<word32>(key.size())), 0);
  }
};

TEST_F(Gcm, KnownAnswer) {
  // Test case 2 of the GCM specification: all-zero key, IV and block.
  const Bytes key(16, 0), iv(12, 0), plain(16, 0);
  Aes aes;
  set_key(aes, key);
  Bytes out(16), tag(16);
  ASSERT_EQ(wc_AesGcmEncrypt(&aes, out.data(), plain.data(), 16, iv.data(), 12, tag.data(), 16, nullptr, 0), 0);
  EXPECT_EQ(out, (Bytes{0x03, 0x88, 0xda, 0xce, 0x60, 0xb6, 0xa3, 0x92, 0xf3, 0x28, 0xc2, 0xb9, 0x71, 0xb2, 0xfe, 0x78}));
  EXPECT_EQ(tag, (Bytes{0xab, 0x6e, 0x47, 0xd4, 0x2c, 0xec, 0x13, 0xbd, 0xf5, 0x3a, 0x67, 0xb2, 0x12, 0x57, 0xbd, 0xdf}));
  wc_AesFree(&aes);
}

TEST_F(Gcm, AgreesWithLibcrypto) {
  base::Prng prng(7);
  for (const std::size_t key_bytes : {16u, 32u}) {
    for (const std::size_t aad_bytes : {0u, 5u, 13u, 100u}) {
      for (const std::size_t bytes : {0u, 1u, 15u, 16u, 17u, 255u, 256u, 1'400u, 16'385u}) {
        const Bytes key = noise(key_bytes, prng), iv = noise(12, prng), aad = noise(aad_bytes, prng), plain = noise(bytes, prng);
        Bytes expected, expected_tag;
        ASSERT_TRUE(reference_gcm_seal(key, iv, aad, plain, expected, expected_tag));
        Aes aes;
        set_key(aes, key);
        Bytes text = plain, tag(16);  // in place, as TLS does it
        const std::uint64_t before = crypto_callback_calls();
        ASSERT_EQ(wc_AesGcmEncrypt(&aes, text.data(), text.data(), static_cast<word32>(bytes), iv.data(), 12, tag.data(), 16,
                                   aad.data(), static_cast<word32>(aad_bytes)), 0);
        EXPECT_EQ(text, expected);
        EXPECT_EQ(tag, expected_tag);
        ASSERT_EQ(wc_AesGcmDecrypt(&aes, text.data(), text.data(), static_cast<word32>(bytes), iv.data(), 12, tag.data(), 16,
                                   aad.data(), static_cast<word32>(aad_bytes)), 0);
        EXPECT_EQ(text, plain);
        EXPECT_EQ(crypto_callback_calls() - before, 2u);
        wc_AesFree(&aes);
      }
    }
  }
}

TEST_F(Gcm, WrongTagGivesNoPlainText) {
  base::Prng prng(8);
  const Bytes key = noise(16, prng), iv = noise(12, prng), plain = noise(100, prng);
  Aes aes;
  set_key(aes, key);
  Bytes sealed(100), tag(16), opened(100, 0x55);
  ASSERT_EQ(wc_AesGcmEncrypt(&aes, sealed.data(), plain.data(), 100, iv.data(), 12, tag.data(), 16, nullptr, 0), 0);
  for (std::size_t i = 0; i < 16; ++i) {
    tag[i] ^= 0x80;
    EXPECT_EQ(wc_AesGcmDecrypt(&aes, opened.data(), sealed.data(), 100, iv.data(), 12, tag.data(), 16, nullptr, 0), AES_GCM_AUTH_E);
    EXPECT_EQ(opened, Bytes(100, 0));
    tag[i] ^= 0x80;
  }
  wc_AesFree(&aes);
}

TEST_F(Gcm, ANewKeyOnTheSameObjectIsNoticed) {
  base::Prng prng(9);
  Aes aes;
  ASSERT_EQ(wc_AesInit(&aes, nullptr, kCryptoDeviceId), 0);
  const Bytes iv = noise(12, prng), plain = noise(64, prng);
  for (int round = 0; round < 5; ++round) {
    const Bytes key = noise(round % 2 == 0 ? 16 : 32, prng);
    ASSERT_EQ(wc_AesGcmSetKey(&aes, key.data(), static_cast<word32>(key.size())), 0);
    Bytes out(64), tag(16), expected, expected_tag;
    ASSERT_EQ(wc_AesGcmEncrypt(&aes, out.data(), plain.data(), 64, iv.data(), 12, tag.data(), 16, nullptr, 0), 0);
    ASSERT_TRUE(reference_gcm_seal(key, iv, {}, plain, expected, expected_tag));
    EXPECT_EQ(out, expected);
    EXPECT_EQ(tag, expected_tag);
  }
  wc_AesFree(&aes);
}

// More keys than the cache holds, twice over, with colliding first bytes.
TEST_F(Gcm, MoreKeysThanTheCacheHolds) {
  base::Prng prng(10);
  const Bytes iv = noise(12, prng), plain = noise(32, prng);
  std::vector<Bytes> keys;
  for (int i = 0; i < 2'000; ++i) {
    keys.push_back(noise(16, prng));
    if (i % 2 == 0) keys.back()[0] = 1;
  }
  for (int pass = 0; pass < 2; ++pass) {
    for (const Bytes& key : keys) {
      Bytes out(32), tag(16), expected, expected_tag;
      GcmText text{key.data(), 16, iv.data(), nullptr, 0, plain.data(), out.data(), 32};
      gcm_seal(text, tag.data());
      ASSERT_TRUE(reference_gcm_seal(key, iv, {}, plain, expected, expected_tag));
      ASSERT_EQ(out, expected);
      ASSERT_EQ(tag, expected_tag);
    }
  }
}

TEST_F(Gcm, OtherIvAndTagLengthsGoToWolfSsl) {
  base::Prng prng(11);
  const Bytes key = noise(16, prng), plain = noise(48, prng);
  Aes aes;
  set_key(aes, key);
  const std::uint64_t before = crypto_callback_calls();
  Bytes out(48), tag(16), back(48);
  const Bytes iv = noise(16, prng);
  ASSERT_EQ(wc_AesGcmEncrypt(&aes, out.data(), plain.data(), 48, iv.data(), 16, tag.data(), 16, nullptr, 0), 0);
  ASSERT_EQ(wc_AesGcmDecrypt(&aes, back.data(), out.data(), 48, iv.data(), 16, tag.data(), 16, nullptr, 0), 0);
  EXPECT_EQ(back, plain);
  ASSERT_EQ(wc_AesGcmEncrypt(&aes, out.data(), plain.data(), 48, iv.data(), 12, tag.data(), 12, nullptr, 0), 0);
  EXPECT_EQ(crypto_callback_calls(), before);
  wc_AesFree(&aes);
}

TEST(ChooseCrypto, SaysWhatAndWhy) {
  const auto own = choose_crypto(Crypto::wolfssl);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(own->name, "wolfssl");
  const auto automatic = choose_crypto(Crypto::automatic);
  ASSERT_TRUE(automatic.ok());
  const auto wanted = choose_crypto(Crypto::ipsec_mb);
  EXPECT_EQ(wanted.ok(), gcm_backend().usable);
  if (gcm_backend().usable) {
    EXPECT_EQ(automatic->crypto, Crypto::ipsec_mb);
    EXPECT_TRUE(automatic->name.starts_with("ipsec-mb ("));
    EXPECT_EQ(automatic->why, "");
  } else {
    EXPECT_EQ(automatic->crypto, Crypto::wolfssl);
    EXPECT_NE(automatic->why, "");
    EXPECT_EQ(wanted.error().code, Code::unsupported);
  }
}

}  // namespace
}  // namespace tocsin::tls
