// SPDX-License-Identifier: Apache-2.0
#include "tls/identity.h"

#include <gtest/gtest.h>

#include "pki.h"
#include "tls/certificate.h"
#include "tls/der.h"

namespace tocsin::tls {
namespace {

using testing::Pki;

Identity must(Result<Identity> result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? std::move(*result) : Identity{};
}

Error refused(Result<Identity> result) {
  EXPECT_FALSE(result.ok());
  if (result.ok()) return {Code::ok, {}};
  EXPECT_EQ(result.error().message.find("sesame"), std::string::npos);
  return result.error();
}

TEST(Identity, FactsOfAPushCertificate) {
  const Identity identity = Pki::get().identity("client");
  EXPECT_EQ(identity.facts.subject, "UID=com.apple.mgmt.External.42, CN=APSP:42, C=US");
  EXPECT_EQ(identity.facts.common_name, "APSP:42");
  EXPECT_EQ(identity.facts.uid, "com.apple.mgmt.External.42");
  EXPECT_EQ(identity.facts.issuer, "O=Tests, CN=root");
  EXPECT_EQ(identity.facts.key, "RSA 2048");
  EXPECT_EQ(identity.facts.topics, (std::vector<std::string>{"com.example.app", "com.example.app.voip"}));
  EXPECT_EQ(identity.facts.serial_hex.size(), 40u);
  EXPECT_EQ(identity.facts.not_after_unix_s - identity.facts.not_before_unix_s, 30 * 86'400);
  EXPECT_EQ(identity.chain_der.size(), 1u);
}

TEST(Identity, FactsWithoutUidAndTopics) {
  const Result<CertificateFacts> facts = facts_from_pem(Pki::get().file("server.pem"));
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->key, "P-256");
  EXPECT_EQ(facts->uid, "");
  EXPECT_TRUE(facts->topics.empty());
}

TEST(Identity, Dates) {
  const CertificateFacts facts = Pki::get().identity("client").facts;
  EXPECT_TRUE(check_dates(facts, facts.not_before_unix_s).ok());
  EXPECT_TRUE(check_dates(facts, facts.not_after_unix_s).ok());
  const Result<void> late = check_dates(facts, facts.not_after_unix_s + 1);
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, Code::expired);
  EXPECT_NE(late.error().message.find("APSP:42"), std::string::npos);
  EXPECT_NE(late.error().message.find(der::date_text(facts.not_after_unix_s)), std::string::npos);
  EXPECT_EQ(check_dates(facts, facts.not_before_unix_s - 1).error().code, Code::expired);
}

TEST(Identity, OneFileForBothAndEncryptedKeys) {
  const Pki& pki = Pki::get();
  const std::string certificate = pki.file("client.pem");
  const Identity plain = pki.identity("client");
  const Identity both = must(identity_from_pem(pki.file("client.key") + "Bag Attributes\n" + certificate, {}, {}));
  EXPECT_EQ(both.key_der, plain.key_der);
  for (const char* name : {"client.pkcs8.key", "client.pkcs1.key"}) {
    const Identity identity = must(identity_from_pem(certificate, pki.file(name), "sesame"));
    EXPECT_EQ(identity.facts.uid, plain.facts.uid) << name;
    EXPECT_FALSE(identity.key_der.empty());
    EXPECT_EQ(refused(identity_from_pem(certificate, pki.file(name), "wrong")).code, Code::bad_password) << name;
    EXPECT_EQ(refused(identity_from_pem(certificate, pki.file(name), {})).code, Code::bad_password) << name;
  }
}

TEST(Identity, ChainIsOrdered) {
  // The file has leaf, root, inner.
  const Identity identity = Pki::get().identity("chained");
  ASSERT_EQ(identity.chain_der.size(), 3u);
  std::vector<std::string> subjects;
  for (const auto& der : identity.chain_der) {
    Certificate certificate;
    ASSERT_TRUE(parse_certificate(base::as_bytes({reinterpret_cast<const char*>(der.data()), der.size()}), certificate));
    subjects.push_back(name_text(certificate.subject));
  }
  EXPECT_EQ(subjects, (std::vector<std::string>{"CN=localhost", "O=Tests, CN=inner", "O=Tests, CN=root"}));
}

TEST(Identity, TheLeafIsTheOneTheKeyBelongsTo) {
  const Pki& pki = Pki::get();
  const Identity identity = must(identity_from_pem(pki.file("root.pem") + pki.file("client.pem"), pki.file("client.key"), {}));
  EXPECT_EQ(identity.facts.common_name, "APSP:42");
  EXPECT_EQ(identity.chain_der.size(), 2u);
}

TEST(Identity, BadPem) {
  const Pki& pki = Pki::get();
  const std::string certificate = pki.file("client.pem");
  const std::string key = pki.file("client.key");
  const Error mismatch = refused(identity_from_pem(certificate, pki.file("outsider.key"), {}));
  EXPECT_EQ(mismatch.code, Code::key_mismatch);
  EXPECT_NE(mismatch.message.find("APSP:42"), std::string::npos);
  EXPECT_EQ(refused(identity_from_pem(certificate, pki.file("server.key"), {})).code, Code::key_mismatch);
  EXPECT_EQ(refused(identity_from_pem("hello", key, {})).code, Code::bad_certificate);
  EXPECT_EQ(refused(identity_from_pem({}, key, {})).code, Code::bad_certificate);
  EXPECT_EQ(refused(identity_from_pem(certificate, "hello", {})).code, Code::bad_key);
  EXPECT_EQ(refused(identity_from_pem(certificate, certificate, {})).code, Code::bad_key);
  EXPECT_NE(refused(identity_from_pem(pki.file("client.csr"), key, {})).message.find("request"), std::string::npos);
  std::string damaged = certificate;
  damaged.replace(damaged.find('\n') + 1, 8, "AAAAAAAA");
  EXPECT_EQ(refused(identity_from_pem(damaged, key, {})).code, Code::bad_certificate);
  std::string cut_key = key;
  cut_key.erase(cut_key.find('\n') + 65, 65 * 5);
  EXPECT_EQ(refused(identity_from_pem(certificate, cut_key, {})).code, Code::bad_key);
}

TEST(Identity, Pkcs12) {
  const Pki& pki = Pki::get();
  const Identity plain = pki.identity("client");
  for (const char* name : {"modern.p12", "des.p12"}) {
    const std::string p12 = pki.file(name);
    const Identity identity = must(identity_from_pkcs12(base::as_bytes(p12), "sesame"));
    EXPECT_EQ(identity.facts.uid, "com.apple.mgmt.External.42") << name;
    EXPECT_EQ(identity.chain_der.front(), plain.chain_der.front()) << name;
    EXPECT_EQ(refused(identity_from_pkcs12(base::as_bytes(p12), "wrong")).code, Code::bad_password) << name;
    EXPECT_EQ(refused(identity_from_pkcs12(base::as_bytes(p12), {})).code, Code::bad_password) << name;
  }
  EXPECT_EQ(must(identity_from_pkcs12(base::as_bytes(pki.file("modern.p12")), "sesame")).chain_der.size(), 2u);
}

TEST(Identity, BadPkcs12) {
  const Pki& pki = Pki::get();
  const std::string legacy = pki.file("legacy.p12");
  const Error unsupported = refused(identity_from_pkcs12(base::as_bytes(legacy), "sesame"));
  EXPECT_EQ(unsupported.code, Code::unsupported_p12);
  EXPECT_NE(unsupported.message.find("openssl pkcs12 -legacy -in old.p12 -nodes -out push.pem"), std::string::npos);
  EXPECT_EQ(refused(identity_from_pkcs12(base::as_bytes(legacy), "wrong")).code, Code::bad_password);
  const Error no_key = refused(identity_from_pkcs12(base::as_bytes(pki.file("nokey.p12")), "sesame"));
  EXPECT_EQ(no_key.code, Code::bad_key) << no_key.message;
  EXPECT_EQ(refused(identity_from_pkcs12(base::as_bytes("hello"), "sesame")).code, Code::bad_certificate);
  EXPECT_EQ(refused(identity_from_pkcs12({}, "sesame")).code, Code::bad_certificate);
}

TEST(Identity, DamagedPkcs12NeverCrashes) {
  const std::string p12 = Pki::get().file("modern.p12");
  for (std::size_t cut = 0; cut < p12.size(); cut += 97) {
    refused(identity_from_pkcs12(base::as_bytes(std::string_view(p12).substr(0, cut)), "sesame"));
  }
}

TEST(Identity, MoveAssignmentKeepsTheNewKey) {
  Identity identity = Pki::get().identity("client");
  const Identity server = Pki::get().identity("server");
  identity = Pki::get().identity("server");
  EXPECT_EQ(identity.key_der, server.key_der);
  EXPECT_EQ(identity.facts.common_name, "localhost");
}

TEST(Der, Times) {
  const auto time = [](std::string text) {
    text.insert(0, 1, static_cast<char>(text.size()));
    text.insert(0, 1, text.size() == 14 ? '\x17' : '\x18');
    der::Reader reader(base::as_bytes(text));
    std::int64_t unix_s = -1;
    return der::parse_time(reader.next(), unix_s) ? unix_s : -1;
  };
  EXPECT_EQ(time("700101000000Z"), 0);
  EXPECT_EQ(time("991231235959Z"), 946'684'799);
  EXPECT_EQ(time("20240229120000Z"), 1'709'208'000);
  EXPECT_EQ(time("20500101000000Z"), 2'524'608'000);
  EXPECT_EQ(time("20241301000000Z"), -1);
  EXPECT_EQ(time("2024022912000 Z"), -1);
  EXPECT_EQ(der::date_text(1'709'208'000), "2024-02-29");
  EXPECT_EQ(der::date_text(0), "1970-01-01");
  EXPECT_EQ(der::date_text(-1), "1969-12-31");
}

TEST(Der, DamagedCertificatesNeverReadBeyond) {
  const Identity identity = Pki::get().identity("client");
  const auto& der = identity.chain_der.front();
  for (std::size_t i = 0; i < der.size(); ++i) {
    // Heap copies of exact size, so that the sanitizer sees one byte too far.
    const std::vector<unsigned char> cut(der.begin(), der.begin() + static_cast<std::ptrdiff_t>(i));
    Certificate certificate;
    EXPECT_FALSE(parse_certificate({reinterpret_cast<const std::byte*>(cut.data()), cut.size()}, certificate));
    for (const int value : {0x00, 0x7f, 0x80, 0x84, 0xff}) {
      std::vector<unsigned char> damaged(der);
      damaged[i] = static_cast<unsigned char>(value);
      Certificate other;
      const base::ByteView bytes(reinterpret_cast<const std::byte*>(damaged.data()), damaged.size());
      if (parse_certificate(bytes, other)) {
        facts_of(other);
        names_for_people(other);
      }
    }
  }
}

}  // namespace
}  // namespace tocsin::tls
