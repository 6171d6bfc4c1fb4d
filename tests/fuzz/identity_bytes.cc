// SPDX-License-Identifier: Apache-2.0
// Certificates, keys and PKCS#12 files as people hand them in: PEM texts and DER.
//
// Input: which reader, bytes. Properties: views lie within the bytes; text from a certificate is fit for a terminal; an
// identity that is taken has a chain and a key; errors say something and hold no byte of a key.
#include "fuzz.h"
#include "tls/certificate.h"
#include "tls/der.h"
#include "tls/identity.h"
#include "tls/pem.h"

namespace tocsin::fuzz {
namespace {

void check(const tls::CertificateFacts& facts) {
  for (const std::string* text : {&facts.subject, &facts.common_name, &facts.uid, &facts.issuer, &facts.serial_hex, &facts.key})
    FUZZ_CHECK(printable(*text));
  for (const std::string& topic : facts.topics) FUZZ_CHECK(printable(topic));
  for (const std::int64_t now : {std::int64_t{0}, std::int64_t{1'750'000'000}, facts.not_after_unix_s + 1}) {
    const auto valid = tls::check_dates(facts, now);
    FUZZ_CHECK(valid.ok() == (now >= facts.not_before_unix_s && now <= facts.not_after_unix_s));
    FUZZ_CHECK(valid.ok() || printable(valid.error().message));
  }
}

void check(const Result<tls::Identity>& identity) {
  if (!identity.ok()) {
    FUZZ_CHECK(!identity.error().message.empty());
    return;
  }
  FUZZ_CHECK(!identity->chain_der.empty() && !identity->key_der.empty());
  check(identity->facts);
}

// Every element, nested ones too, lies within its parent.
void walk(base::ByteView bytes, unsigned depth) {
  tls::der::Reader reader(bytes);
  std::size_t used = 0;
  while (!reader.empty() && depth < 40) {
    const tls::der::Element element = reader.next();
    if (!element.ok) break;
    FUZZ_CHECK(element.whole.data() == bytes.data() + used);
    used += element.whole.size();
    FUZZ_CHECK(used <= bytes.size() && element.content.size() < element.whole.size());
    FUZZ_CHECK(element.content.data() + element.content.size() == element.whole.data() + element.whole.size());
    if (element.is(tls::der::kOid)) FUZZ_CHECK(printable(tls::der::oid_text(element.content)));
    if (std::int64_t unix_s = 0; tls::der::parse_time(element, unix_s)) touch(tls::der::date_text(unix_s));
    if ((element.tag & 0x20) != 0) walk(element.content, depth + 1);
  }
}

void certificate(base::ByteView der) {
  walk(der, 0);
  tls::Certificate read;
  if (!tls::parse_certificate(der, read)) return;
  check(tls::facts_of(read));
  FUZZ_CHECK(printable(tls::name_text(read.subject)) && printable(tls::names_for_people(read)));
  FUZZ_CHECK(printable(tls::name_attribute(read.issuer, tls::kOidCommonName)));
  const std::byte address[16] = {};
  tls::has_ip_address(read, address);
}

void pem(std::string_view text) {
  std::size_t end = 0;
  for (const tls::PemBlock& block : tls::pem_blocks(text)) {
    const auto at = static_cast<std::size_t>(block.text.data() - text.data());
    FUZZ_CHECK(at >= end && at + block.text.size() <= text.size());
    end = at + block.text.size();
    touch(block.label);
  }
  std::vector<std::vector<unsigned char>> der;
  std::size_t bad = 0;
  if (tls::pem_certificates(text, der, bad)) {
    for (const auto& one : der) certificate(std::as_bytes(std::span(one)));
  } else {
    FUZZ_CHECK(bad >= 1);
  }
  if (const auto facts = tls::facts_from_pem(text); facts.ok()) check(*facts);
  check(tls::identity_from_pem(text, text, ""));
  check(tls::identity_from_pem(text, text, "tocsin"));
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::uint8_t which = choices.byte();
  const Exact bytes(choices.rest());
  switch (which % 3) {
    case 0: pem(bytes.text()); break;
    case 1: certificate(bytes.bytes()); break;
    default:
      check(tocsin::tls::identity_from_pkcs12(bytes.bytes(), which % 2 == 0 ? "tocsin" : ""));
      break;
  }
  return 0;
}
