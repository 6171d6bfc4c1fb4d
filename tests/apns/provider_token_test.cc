// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <gtest/gtest.h>

#include <tocsin/result.h>

#include "apns/encoding.h"
#include "apns/provider_token.h"
#include "base/hex.h"
#include "base/prng.h"

namespace tocsin::apns {
namespace {

constexpr std::string_view kKid = "ABC123DEFG";
constexpr std::string_view kTeam = "TEAM567890";

// RFC 6979, A.2.5: the key, and two messages with their SHA-256 signatures.
constexpr std::string_view kRfcScalar = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
constexpr std::string_view kRfcPoint =
    "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

std::string bytes_of(std::string_view hex) {
  std::string out(hex.size() / 2, '\0');
  EXPECT_TRUE(base::hex_decode(hex, reinterpret_cast<std::uint8_t*>(out.data())));
  return out;
}

// Plain base64 in lines, made from the other alphabet.
std::string pem(const std::string& label, const std::string& der, const char* line_end = "\n", std::size_t width = 64) {
  std::string text;
  append_base64url(der, text);
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  text.append((4 - text.size() % 4) % 4, '=');
  std::string out = "-----BEGIN " + label + "-----" + line_end;
  for (std::size_t at = 0; at < text.size(); at += width) out += text.substr(at, width) + line_end;
  return out + "-----END " + label + "-----" + line_end;
}

std::string element(char tag, const std::string& content) {
  std::string out(1, tag);
  if (content.size() >= 0x80) out += '\x81';
  return out + static_cast<char>(content.size()) + content;
}

const std::string kEcOid = bytes_of("06072a8648ce3d0201");
const std::string kP256Oid = bytes_of("06082a8648ce3d030107");

// PKCS#8 of a scalar; `point` empty: without the public half.
std::string pkcs8(const std::string& scalar, const std::string& point, const std::string& curve = kP256Oid) {
  std::string inner = bytes_of("020101") + element(0x04, scalar);
  if (!point.empty()) inner += element('\xa1', element(0x03, std::string(1, '\0') + point));
  return element(0x30, bytes_of("020100") + element(0x30, kEcOid + curve) + element(0x04, element(0x30, inner)));
}

std::shared_ptr<const ProviderKey> rfc_key() {
  auto key = read_p8(pem("PRIVATE KEY", pkcs8(bytes_of(kRfcScalar), bytes_of(kRfcPoint))), kKid, kTeam);
  EXPECT_TRUE(key.ok()) << key.error().message;
  return *key;
}

std::string signature_hex(const ProviderKey& key, std::string_view message) {
  std::array<std::uint8_t, 64> signature{};
  EXPECT_TRUE(sign_es256(key, message, signature));
  return base::hex_encode(signature);
}

// ---- libcrypto ----

struct Free {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
  void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
  void operator()(ECDSA_SIG* p) const { ECDSA_SIG_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(bytes)};
}

std::string private_pem(EVP_PKEY* key, const char* password = nullptr) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, password ? EVP_aes_256_cbc() : nullptr, password,
                                          password ? static_cast<int>(std::strlen(password)) : 0, nullptr, nullptr), 1);
  return text_of(bio.get());
}

std::string sec1_pem(EVP_PKEY* key) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(PEM_write_bio_PrivateKey_traditional(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr), 1);
  return text_of(bio.get());
}

std::string public_pem(EVP_PKEY* key) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  EXPECT_EQ(PEM_write_bio_PUBKEY(bio.get(), key), 1);
  return text_of(bio.get());
}

Owned<EVP_PKEY> private_of(const std::string& text) {
  const Owned<BIO> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  return Owned<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

bool libcrypto_verifies(EVP_PKEY* key, std::string_view jwt) {
  const std::size_t dot = jwt.rfind('.');
  std::string raw;
  if (!decode_base64url(jwt.substr(dot + 1), raw) || raw.size() != 64) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(raw.data());
  const Owned<ECDSA_SIG> signature(ECDSA_SIG_new());
  ECDSA_SIG_set0(signature.get(), BN_bin2bn(bytes, 32, nullptr), BN_bin2bn(bytes + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int der_bytes = i2d_ECDSA_SIG(signature.get(), &der);
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  EXPECT_EQ(EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key), 1);
  const int right = EVP_DigestVerify(context.get(), der, static_cast<std::size_t>(der_bytes),
                                     reinterpret_cast<const unsigned char*>(jwt.data()), dot);
  OPENSSL_free(der);
  return right == 1;
}

std::string libcrypto_signs(EVP_PKEY* key, const std::string& header, const std::string& claims) {
  std::string token;
  append_base64url(header, token);
  token += '.';
  append_base64url(claims, token);
  const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
  EXPECT_EQ(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key), 1);
  unsigned char der[128];
  std::size_t der_bytes = sizeof der;
  EXPECT_EQ(EVP_DigestSign(context.get(), der, &der_bytes, reinterpret_cast<const unsigned char*>(token.data()), token.size()), 1);
  const unsigned char* at = der;
  const Owned<ECDSA_SIG> signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der_bytes)));
  unsigned char raw[64];
  BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), raw, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), raw + 32, 32);
  token += '.';
  append_base64url({reinterpret_cast<const char*>(raw), sizeof raw}, token);
  return token;
}

const std::string kHeader = R"({"alg":"ES256","kid":"ABC123DEFG"})";
const std::string kClaims = R"({"iss":"TEAM567890","iat":1700000000})";

std::string unsigned_token(const std::string& header, const std::string& claims, std::size_t signature_bytes = 64) {
  std::string token;
  append_base64url(header, token);
  token += '.';
  append_base64url(claims, token);
  token += '.';
  append_base64url(std::string(signature_bytes, 's'), token);
  return token;
}

// ---- base64 and PEM ----

TEST(Encoding, Base64UrlBothWays) {
  // RFC 4648, section 10, without the padding.
  const std::pair<const char*, const char*> vectors[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  std::string back;
  for (const auto& [plain, text] : vectors) {
    std::string out = "x";
    append_base64url(plain, out);
    EXPECT_EQ(out, std::string("x") + text);
    EXPECT_TRUE(decode_base64url(text, back));
    EXPECT_EQ(back, plain);
  }
  std::string out;
  append_base64url("\xfb\xff\xbf", out);
  EXPECT_EQ(out, "-_-_");
  for (const char* bad : {"Zg==", "Z", "Zm9vY", "Zh", "Zm9", "+/+/", "Zm 9v", "Zm9v\n"}) EXPECT_FALSE(decode_base64url(bad, back)) << bad;
  base::Prng prng(5);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(prng.below(100), ' ');
    for (char& c : bytes) c = static_cast<char>(prng.next());
    out.clear();
    append_base64url(bytes, out);
    ASSERT_TRUE(decode_base64url(out, back));
    EXPECT_EQ(back, bytes);
  }
}

TEST(Encoding, PemBlocksWhateverStandsAround) {
  const std::string text = "note\n-----BEGIN A-----\r\nQUJD\r\n-----END A-----\r\n-----BEGIN broken\n-----BEGIN B C-----\nQQ==\n"
                           "-----END B C-----\n-----BEGIN D-----\nQQ==\n-----END E-----\n";
  const std::vector<PemText> blocks = pem_texts(text);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].label, "A");
  EXPECT_EQ(blocks[1].label, "B C");
  std::vector<std::uint8_t> bytes;
  ASSERT_TRUE(decode_pem_body(blocks[0].body, bytes));
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{'A', 'B', 'C'}));
  ASSERT_TRUE(decode_pem_body(" Q Q\t=\r\n=", bytes));
  EXPECT_EQ(bytes, std::vector<std::uint8_t>{'A'});
  for (const char* bad : {"QQ", "QQ=", "QQ===", "Q===", "QR==", "QQ==QQ==", "Q!==", "====", "Proc-Type: 4,ENCRYPTED\n\nQQ=="}) {
    EXPECT_FALSE(decode_pem_body(bad, bytes)) << bad;
  }
}

// ---- keys ----

TEST(ProviderKeys, SignaturesAreRfc6979s) {
  const auto key = rfc_key();
  EXPECT_EQ(base::hex_encode(key->public_key().point), kRfcPoint);
  EXPECT_EQ(key->key_id(), kKid);
  EXPECT_EQ(key->team_id(), kTeam);
  EXPECT_EQ(signature_hex(*key, "sample"), "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
                                           "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
  EXPECT_EQ(signature_hex(*key, "test"), "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
                                         "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083");
}

TEST(ProviderKeys, FormsOfTheSameKey) {
  const std::string scalar = bytes_of(kRfcScalar);
  const std::string with = pkcs8(scalar, bytes_of(kRfcPoint));
  const std::string without = pkcs8(scalar, "");
  const std::string forms[] = {
      pem("PRIVATE KEY", with),
      pem("PRIVATE KEY", without),
      pem("PRIVATE KEY", with, "\r\n"),
      pem("PRIVATE KEY", with, "  \t\r\n"),
      pem("PRIVATE KEY", with) + " \r\n\n\t ",
      "\xef\xbb\xbf" "Bag Attributes\n" + pem("PRIVATE KEY", with) + "the end",
      pem("PRIVATE KEY", with, "\n", 1000),
      pem("EC PARAMETERS", kP256Oid) + pem("PRIVATE KEY", with),
      private_pem(private_of(pem("PRIVATE KEY", with)).get()),
  };
  const std::string token = make_provider_token(*rfc_key(), 1'700'000'000);
  for (const std::string& form : forms) {
    const auto key = read_p8(form, kKid, kTeam);
    ASSERT_TRUE(key.ok()) << key.error().message;
    EXPECT_EQ(make_provider_token(**key, 1'700'000'000), token);
  }
  // A scalar whose leading zeros were dropped is the same number.
  const auto small = read_p8(pem("PRIVATE KEY", pkcs8("\x02", "")), kKid, kTeam);
  const auto padded = read_p8(pem("PRIVATE KEY", pkcs8(std::string(31, '\0') + "\x02", "")), kKid, kTeam);
  ASSERT_TRUE(small.ok() && padded.ok());
  EXPECT_EQ((*small)->public_key(), (*padded)->public_key());
}

TEST(ProviderKeys, WhatIsNoKeyIsNamed) {
  const std::string scalar = bytes_of(kRfcScalar);
  const std::string good = pkcs8(scalar, bytes_of(kRfcPoint));
  const Owned<EVP_PKEY> p256(EVP_EC_gen("P-256"));
  const Owned<EVP_PKEY> p384(EVP_EC_gen("P-384"));
  const Owned<EVP_PKEY> rsa(EVP_RSA_gen(1024));
  const Owned<EVP_PKEY> ed25519(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  std::string other_point = bytes_of(kRfcPoint);
  other_point.back() ^= 1;
  std::string bad_base64 = pem("PRIVATE KEY", good);
  bad_base64[40] = '!';
  const std::pair<std::string, const char*> cases[] = {
      {"", "is no key"},
      {"not a key", "is no key"},
      {good, "is no key"},
      {"-----BEGIN PRIVATE KEY-----\nMIGH", "is no key"},
      {pem("EC PARAMETERS", kP256Oid), "EC PARAMETERS"},
      {sec1_pem(p256.get()), "SEC 1"},
      {pem("EC PARAMETERS", kP256Oid) + sec1_pem(p256.get()), "SEC 1"},
      {private_pem(p256.get(), "secret word"), "encrypted"},
      {private_pem(rsa.get()), "RSA"},
      {sec1_pem(rsa.get()), "RSA"},
      {private_pem(p384.get()), "another curve"},
      {private_pem(ed25519.get()), "no EC key"},
      {public_pem(p256.get()), "no PRIVATE KEY but another"},
      {pem("CERTIFICATE", good), "no PRIVATE KEY but another"},
      {pem("PRIVATE KEY", good) + pem("PRIVATE KEY", good), "more than one key"},
      {pem("PRIVATE KEY", pkcs8(scalar, other_point)), "do not belong together"},
      {pem("PRIVATE KEY", pkcs8(scalar, bytes_of("04"))), "do not belong together"},
      {pem("PRIVATE KEY", pkcs8(std::string(32, '\0'), "")), "damaged"},
      {pem("PRIVATE KEY", pkcs8(std::string(32, '\xff'), "")), "damaged"},
      {pem("PRIVATE KEY", pkcs8(scalar + "x", "")), "damaged"},
      {pem("PRIVATE KEY", pkcs8("", "")), "damaged"},
      {pem("PRIVATE KEY", good + "x"), "damaged"},
      {pem("PRIVATE KEY", "x"), "damaged"},
      {pem("PRIVATE KEY", ""), "damaged"},
      {bad_base64, "damaged"},
      {std::string(17 * 1024, ' ') + pem("PRIVATE KEY", good), "16 KiB"},
  };
  for (const auto& [text, what] : cases) {
    const auto key = read_p8(text, kKid, kTeam);
    ASSERT_FALSE(key.ok()) << what;
    EXPECT_EQ(key.error().code, Code::bad_key);
    EXPECT_NE(key.error().message.find(what), std::string::npos) << what << ": " << key.error().message;
    EXPECT_EQ(key.error().message.find("MI"), std::string::npos) << "no key bytes in messages";
  }
  // Cut anywhere, it is refused and never read beyond its end.
  for (std::size_t bytes = 0; bytes < good.size(); ++bytes) {
    EXPECT_FALSE(read_p8(pem("PRIVATE KEY", good.substr(0, bytes)), kKid, kTeam).ok()) << bytes;
  }
}

TEST(ProviderKeys, RandomDamageNeverBreaksTheReader) {
  base::Prng prng(11);
  const std::string good = pkcs8(bytes_of(kRfcScalar), bytes_of(kRfcPoint));
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string der = good;
    der[prng.below(der.size())] = static_cast<char>(prng.next());
    const auto key = read_p8(pem("PRIVATE KEY", der), kKid, kTeam);
    refused += !key.ok();
    // What is still a key is the same key: its public half vouches for it.
    if (key.ok()) {
      EXPECT_EQ(base::hex_encode((*key)->public_key().point), kRfcPoint);
    }
  }
  EXPECT_GT(refused, 200);
}

TEST(ProviderKeys, IdsAreTenCharacters) {
  const std::string text = pem("PRIVATE KEY", pkcs8(bytes_of(kRfcScalar), ""));
  for (const char* bad : {"", "ABC123DEF", "ABC123DEFGH", "abc123defg", "ABC123DEF\"", "ABC 23DEFG", "ABC123DE\xc3\x84"}) {
    const auto by_kid = read_p8(text, bad, kTeam);
    ASSERT_FALSE(by_kid.ok()) << bad;
    EXPECT_EQ(by_kid.error().code, Code::invalid_argument);
    EXPECT_TRUE(by_kid.error().message.starts_with("the key id ")) << by_kid.error().message;
    const auto by_team = read_p8(text, kKid, bad);
    ASSERT_FALSE(by_team.ok()) << bad;
    EXPECT_TRUE(by_team.error().message.starts_with("the team id ")) << by_team.error().message;
  }
}

TEST(ProviderKeys, PublicKeys) {
  const Owned<EVP_PKEY> p256(EVP_EC_gen("P-256"));
  const auto mine = read_p8(private_pem(p256.get()), kKid, kTeam);
  const auto theirs = read_public_key(public_pem(p256.get()));
  ASSERT_TRUE(mine.ok() && theirs.ok());
  EXPECT_EQ((*mine)->public_key(), *theirs);

  const Owned<EVP_PKEY> p384(EVP_EC_gen("P-384"));
  std::string off_curve = bytes_of(kRfcPoint);
  off_curve.back() ^= 1;
  const auto spki = [](const std::string& point) {
    return pem("PUBLIC KEY", element(0x30, element(0x30, kEcOid + kP256Oid) + element(0x03, std::string(1, '\0') + point)));
  };
  EXPECT_TRUE(read_public_key(spki(bytes_of(kRfcPoint))).ok());
  const std::pair<std::string, const char*> cases[] = {
      {"", "is no key"},
      {private_pem(p256.get()), "no PUBLIC KEY but another"},
      {public_pem(p384.get()), "another curve"},
      {spki(off_curve), "no point"},
      {spki(std::string(65, '\x04')), "no point"},
      {spki(bytes_of(kRfcPoint).substr(0, 33)), "damaged"},
      {pem("PUBLIC KEY", "xx"), "damaged"},
  };
  for (const auto& [text, what] : cases) {
    const auto key = read_public_key(text);
    ASSERT_FALSE(key.ok()) << what;
    EXPECT_EQ(key.error().code, Code::bad_key);
    EXPECT_NE(key.error().message.find(what), std::string::npos) << what << ": " << key.error().message;
  }
}

// ---- tokens ----

TEST(ProviderTokens, HaveApplesShape) {
  const auto key = rfc_key();
  const std::string token = make_provider_token(*key, 1'700'000'000);
  std::string header;
  std::string claims;
  ASSERT_TRUE(decode_base64url(token.substr(0, token.find('.')), header));
  const std::size_t first = token.find('.') + 1;
  ASSERT_TRUE(decode_base64url(token.substr(first, token.rfind('.') - first), claims));
  EXPECT_EQ(header, kHeader);
  EXPECT_EQ(claims, kClaims);
  EXPECT_EQ(token.size() - token.rfind('.') - 1, 86u);  // 64 bytes without padding
  EXPECT_EQ(token.find('='), std::string::npos);
  const auto parsed = parse_provider_token(token);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->key_id, kKid);
  EXPECT_EQ(parsed->team_id, kTeam);
  EXPECT_EQ(parsed->iat_unix_s, 1'700'000'000);
}

TEST(ProviderTokens, AreAFunctionOfKeyAndTime) {
  const std::string text = private_pem(Owned<EVP_PKEY>(EVP_EC_gen("P-256")).get());
  // Two readings, as two processes would do it.
  const auto one = read_p8(text, kKid, kTeam);
  const auto two = read_p8(text, kKid, kTeam);
  ASSERT_TRUE(one.ok() && two.ok());
  std::set<std::string> tokens;
  for (std::int64_t step = 0; step < 20; ++step) {
    const std::string token = make_provider_token(**one, step * kTokenGridS);
    EXPECT_EQ(token, make_provider_token(**two, step * kTokenGridS));
    EXPECT_TRUE(tokens.insert(token).second);
  }
  EXPECT_NE(make_provider_token(**one, 0), make_provider_token(**read_p8(text, "ABC123DEFH", kTeam), 0));
  EXPECT_NE(make_provider_token(**one, 0), make_provider_token(**read_p8(text, kKid, "TEAM567891"), 0));
}

TEST(ProviderTokens, LibcryptoAgreesBothWays) {
  for (int round = 0; round < 10; ++round) {
    const Owned<EVP_PKEY> theirs(EVP_EC_gen("P-256"));
    const Owned<EVP_PKEY> strangers(EVP_EC_gen("P-256"));
    const auto key = read_p8(private_pem(theirs.get()), kKid, kTeam);
    const auto stranger = read_public_key(public_pem(strangers.get()));
    ASSERT_TRUE(key.ok() && stranger.ok());

    const std::string ours = make_provider_token(**key, 1'700'000'000 + round);
    EXPECT_TRUE(libcrypto_verifies(theirs.get(), ours));
    EXPECT_FALSE(libcrypto_verifies(strangers.get(), ours));
    EXPECT_TRUE(verify_provider_token(ours, (*key)->public_key()));
    EXPECT_FALSE(verify_provider_token(ours, *stranger));

    const std::string foreign = libcrypto_signs(theirs.get(), kHeader, kClaims);
    EXPECT_TRUE(verify_provider_token(foreign, (*key)->public_key()));
    EXPECT_FALSE(verify_provider_token(foreign, *stranger));
  }
}

TEST(ProviderTokens, AnyChangedCharacterIsRefused) {
  const auto key = rfc_key();
  const std::string token = make_provider_token(*key, 1'700'000'000);
  ASSERT_TRUE(verify_provider_token(token, key->public_key()));
  for (std::size_t at = 0; at < token.size(); ++at) {
    std::string changed = token;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(verify_provider_token(changed, key->public_key())) << at;
  }
  for (const std::string& changed : {token + "A", token + "=", token + ".", token.substr(1), token.substr(0, token.size() - 1),
                                     std::string(), unsigned_token(kHeader, kClaims)}) {
    EXPECT_FALSE(verify_provider_token(changed, key->public_key()));
  }
  // Zeros for a signature, the classic.
  const std::size_t dot = token.rfind('.');
  EXPECT_FALSE(verify_provider_token(token.substr(0, dot + 1) + std::string(86, 'A'), key->public_key()));
}

TEST(ProviderTokens, ShapesThatAreRefusedAreNamed) {
  ASSERT_TRUE(parse_provider_token(unsigned_token(kHeader, kClaims)).ok());
  // Other fields and spaces do no harm.
  ASSERT_TRUE(parse_provider_token(unsigned_token(R"({ "typ":"JWT", "kid":"ABC123DEFG", "alg":"ES256" })",
                                                  R"({"iat":1,"iss":"TEAM567890","exp":9})")).ok());
  const std::string good = unsigned_token(kHeader, kClaims);
  const std::pair<std::string, const char*> cases[] = {
      {"", "three parts"},
      {"a.b", "three parts"},
      {good + ".", "three parts"},
      {std::string(kProviderTokenBytesMax + 1, 'a'), "bytes"},
      {"=" + good, "header that is no base64url"},
      {unsigned_token("[1]", kClaims), "header that is no JSON"},
      {unsigned_token(R"({"alg":"none","kid":"ABC123DEFG"})", kClaims), "ES256"},
      {unsigned_token(R"({"kid":"ABC123DEFG"})", kClaims), "ES256"},
      {unsigned_token(R"({"alg":"ES256"})", kClaims), "key id"},
      {unsigned_token(R"({"alg":"ES256","kid":"short"})", kClaims), "key id"},
      {unsigned_token(kHeader, "x"), "claims that are no JSON"},
      {unsigned_token(kHeader, R"({"iat":1700000000})"), "team id"},
      {unsigned_token(kHeader, R"({"iss":"team567890","iat":1700000000})"), "team id"},
      {unsigned_token(kHeader, R"({"iss":"TEAM567890"})"), "iat"},
      {unsigned_token(kHeader, R"({"iss":"TEAM567890","iat":"1700000000"})"), "iat"},
      {unsigned_token(kHeader, R"({"iss":"TEAM567890","iat":1700000000.5})"), "iat"},
      {unsigned_token(kHeader, R"({"iss":"TEAM567890","iat":-1})"), "iat"},
      {unsigned_token(kHeader, kClaims, 63), "64 bytes"},
      {unsigned_token(kHeader, kClaims, 72), "64 bytes"},
      {good + "==", "64 bytes"},
  };
  for (const auto& [token, what] : cases) {
    const auto claims = parse_provider_token(token);
    ASSERT_FALSE(claims.ok()) << what;
    EXPECT_EQ(claims.error().code, Code::invalid_argument);
    EXPECT_TRUE(claims.error().message.starts_with("the provider token ")) << claims.error().message;
    EXPECT_NE(claims.error().message.find(what), std::string::npos) << what << ": " << claims.error().message;
  }
}

TEST(ProviderTokens, TheGrid) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  static_assert(grid_iat(0) == 0);
  static_assert(grid_iat(kTokenGridS * kSecond - 1) == 0);
  static_assert(grid_iat(kTokenGridS * kSecond) == kTokenGridS);
  static_assert(grid_iat(-1) == -kTokenGridS);
  static_assert(grid_iat(1'700'000'123 * kSecond + 456) == 1'699'999'200);
  // A token changed at each grid step obeys both of Apple's bounds.
  static_assert(kTokenChangeMinS < kTokenGridS && kTokenGridS < kTokenAgeMaxS && kTokenAgeMaxS < kTokenExpiresS);
  for (std::int64_t minute = 0; minute < 24 * 60; ++minute) {
    const std::int64_t wall_s = 1'700'000'000 + minute * 60;
    const std::int64_t iat = grid_iat(wall_s * kSecond);
    EXPECT_EQ(iat % kTokenGridS, 0);
    EXPECT_GE(wall_s - iat, 0);
    EXPECT_LT(wall_s - iat, kTokenGridS);
  }
}

}  // namespace
}  // namespace tocsin::apns
