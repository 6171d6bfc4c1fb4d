// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate.h"

#include <bit>
#include <utility>

#include "base/hex.h"

namespace tocsin::tls {
namespace {

constexpr std::string_view kOidSubjectAltName = "2.5.29.17";
constexpr std::string_view kOidAppleTopics = "1.2.840.113635.100.6.3.6";
constexpr unsigned kDnsNameTag = 0x82;
constexpr unsigned kIpAddressTag = 0x87;
constexpr std::size_t kTopicsMax = 64;

std::string_view attribute_label(std::string_view oid) {
  static constexpr std::pair<std::string_view, std::string_view> kLabels[] = {
      {kOidCommonName, "CN"}, {"2.5.4.5", "serialNumber"}, {"2.5.4.6", "C"}, {"2.5.4.7", "L"},
      {"2.5.4.8", "ST"}, {"2.5.4.10", "O"}, {"2.5.4.11", "OU"}, {kOidUserId, "UID"},
      {"0.9.2342.19200300.100.1.25", "DC"}, {"1.2.840.113549.1.9.1", "emailAddress"}};
  for (const auto& [known, label] : kLabels) {
    if (known == oid) return label;
  }
  return {};
}

void append_clean(std::string& text, unsigned char character) {
  text.push_back(character < 0x20 || character == 0x7f ? '?' : static_cast<char>(character));
}

// BMPString is UTF-16BE without surrogates; everything else in use is ASCII or UTF-8 already.
std::string string_value(const der::Element& element) {
  std::string text;
  if (element.tag != der::kBmpString) {
    for (const std::byte octet : element.content) append_clean(text, static_cast<unsigned char>(octet));
    return text;
  }
  for (std::size_t i = 0; i + 1 < element.content.size(); i += 2) {
    const unsigned unit = static_cast<unsigned>(element.content[i]) << 8 | static_cast<unsigned>(element.content[i + 1]);
    if (unit < 0x80) {
      append_clean(text, static_cast<unsigned char>(unit));
    } else if (unit < 0x800) {
      text.push_back(static_cast<char>(0xc0 | unit >> 6));
      text.push_back(static_cast<char>(0x80 | (unit & 0x3f)));
    } else {
      text.push_back(static_cast<char>(0xe0 | unit >> 12));
      text.push_back(static_cast<char>(0x80 | (unit >> 6 & 0x3f)));
      text.push_back(static_cast<char>(0x80 | (unit & 0x3f)));
    }
  }
  return text;
}

// Calls visit(oid, value element) for each attribute, until it answers false.
template <class Visit>
void for_each_attribute(base::ByteView name, Visit&& visit) {
  der::Reader whole(name);
  der::Reader sets(whole.next().content);
  while (!sets.empty()) {
    const der::Element set = sets.next();
    if (!set.is(der::kSet)) return;
    der::Reader attributes(set.content);
    while (!attributes.empty()) {
      const der::Element pair = attributes.next();
      if (!pair.is(der::kSequence)) return;
      der::Reader parts(pair.content);
      const der::Element oid = parts.next();
      const der::Element value = parts.next();
      if (!oid.is(der::kOid) || !value.ok) return;
      if (!visit(der::oid_text(oid.content), value)) return;
    }
  }
}

// Content of the extension's value, empty if absent.
base::ByteView extension(const Certificate& certificate, std::string_view wanted) {
  der::Reader extensions(certificate.extensions);
  while (!extensions.empty()) {
    const der::Element item = extensions.next();
    if (!item.is(der::kSequence)) return {};
    der::Reader parts(item.content);
    const der::Element oid = parts.next();
    if (!oid.is(der::kOid)) return {};
    if (parts.peek() == der::kBoolean) parts.next();
    const der::Element value = parts.next();
    if (value.is(der::kOctetString) && der::oid_text(oid.content) == wanted) return value.content;
  }
  return {};
}

// SEQUENCE of (UTF8String topic, SEQUENCE of UTF8String purposes), flat.
std::vector<std::string> topics_of(const Certificate& certificate) {
  std::vector<std::string> topics;
  der::Reader whole(extension(certificate, kOidAppleTopics));
  if (whole.empty()) return topics;
  der::Reader items(whole.next().content);
  while (!items.empty() && topics.size() < kTopicsMax) {
    const der::Element item = items.next();
    if (!item.ok) break;
    if (item.tag != der::kSequence) topics.push_back(string_value(item));
  }
  return topics;
}

std::string curve_text(std::string_view oid) {
  if (oid == "1.2.840.10045.3.1.7") return "P-256";
  if (oid == "1.3.132.0.34") return "P-384";
  if (oid == "1.3.132.0.35") return "P-521";
  return "EC " + std::string(oid);
}

std::string rsa_text(base::ByteView bit_string) {
  if (bit_string.empty()) return "RSA";
  der::Reader whole(bit_string.subspan(1));  // behind the count of unused bits
  der::Reader numbers(whole.next().content);
  base::ByteView modulus = numbers.next().content;
  while (!modulus.empty() && modulus[0] == std::byte{0}) modulus = modulus.subspan(1);
  if (modulus.empty()) return "RSA";
  const std::size_t bits = (modulus.size() - 1) * 8 + std::bit_width(static_cast<unsigned>(modulus[0]));
  return "RSA " + std::to_string(bits);
}

std::string key_text(base::ByteView public_key_info) {
  der::Reader whole(public_key_info);
  der::Reader parts(whole.next().content);
  der::Reader algorithm(parts.next().content);
  const der::Element bits = parts.next();
  const std::string oid = der::oid_text(algorithm.next().content);
  if (oid == "1.2.840.113549.1.1.1") return rsa_text(bits.content);
  if (oid == "1.2.840.10045.2.1") return curve_text(der::oid_text(algorithm.next().content));
  if (oid == "1.3.101.112") return "Ed25519";
  return oid;
}

std::string address_text(base::ByteView bytes) {
  std::string text;
  if (bytes.size() == 4) {
    for (const std::byte octet : bytes) {
      if (!text.empty()) text.push_back('.');
      text += std::to_string(static_cast<unsigned>(octet));
    }
    return text;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto octet = static_cast<std::uint8_t>(bytes[i]);
    if (i != 0 && i % 2 == 0) text.push_back(':');
    text += base::hex_encode({&octet, 1});
  }
  return text;
}

template <class Visit>
void for_each_alt_name(const Certificate& certificate, Visit&& visit) {
  const base::ByteView value = extension(certificate, kOidSubjectAltName);
  if (value.empty()) return;
  der::Reader whole(value);
  der::Reader names(whole.next().content);
  while (!names.empty()) {
    const der::Element name = names.next();
    if (!name.ok) return;
    visit(name);
  }
}

}  // namespace

bool parse_certificate(base::ByteView der, Certificate& certificate) {
  der::Reader whole(der);
  const der::Element outer = whole.next();
  if (!outer.is(der::kSequence)) return false;
  der::Reader outer_parts(outer.content);
  const der::Element body = outer_parts.next();
  if (!body.is(der::kSequence)) return false;
  der::Reader parts(body.content);
  if (parts.peek() == 0xa0) parts.next();  // version
  const der::Element serial = parts.next();
  const der::Element signature = parts.next();
  const der::Element issuer = parts.next();
  const der::Element validity = parts.next();
  const der::Element subject = parts.next();
  const der::Element key = parts.next();
  if (!serial.is(der::kInteger) || !signature.is(der::kSequence) || !issuer.is(der::kSequence) ||
      !validity.is(der::kSequence) || !subject.is(der::kSequence) || !key.is(der::kSequence)) {
    return false;
  }
  der::Reader dates(validity.content);
  if (!der::parse_time(dates.next(), certificate.not_before_unix_s) ||
      !der::parse_time(dates.next(), certificate.not_after_unix_s)) {
    return false;
  }
  certificate.serial = serial.content;
  certificate.issuer = issuer.whole;
  certificate.subject = subject.whole;
  certificate.public_key_info = key.whole;
  certificate.extensions = {};
  while (!parts.empty()) {
    const der::Element part = parts.next();
    if (!part.is(0xa3)) continue;
    der::Reader wrapped(part.content);
    certificate.extensions = wrapped.next().content;
  }
  return true;
}

std::string name_attribute(base::ByteView name, std::string_view oid) {
  std::string found;
  for_each_attribute(name, [&](const std::string& here, const der::Element& value) {
    if (here != oid) return true;
    found = string_value(value);
    return false;
  });
  return found;
}

std::string name_text(base::ByteView name) {
  std::string text;
  for_each_attribute(name, [&](const std::string& oid, const der::Element& value) {
    const std::string_view label = attribute_label(oid);
    if (!text.empty()) text += ", ";
    text += label.empty() ? std::string_view(oid) : label;
    text.push_back('=');
    text += string_value(value);
    return true;
  });
  return text;
}

std::string names_for_people(const Certificate& certificate) {
  std::string text;
  std::size_t left = 0;
  std::size_t shown = 0;
  for_each_alt_name(certificate, [&](const der::Element& name) {
    if (name.tag != kDnsNameTag && name.tag != kIpAddressTag) return;
    if (shown == 4) {  // enough to see what it is
      ++left;
      return;
    }
    ++shown;
    if (!text.empty()) text += ", ";
    text += name.tag == kDnsNameTag ? string_value(name) : address_text(name.content);
  });
  if (left != 0) text += " and " + std::to_string(left) + " more";
  if (!text.empty()) return text;
  text = name_attribute(certificate.subject, kOidCommonName);
  return text.empty() ? name_text(certificate.subject) : text;
}

bool has_ip_address(const Certificate& certificate, base::ByteView address) {
  bool found = false;
  for_each_alt_name(certificate, [&](const der::Element& name) {
    if (name.tag == kIpAddressTag && base::as_text(name.content) == base::as_text(address)) found = true;
  });
  return found;
}

CertificateFacts facts_of(const Certificate& certificate) {
  CertificateFacts facts;
  facts.subject = name_text(certificate.subject);
  facts.common_name = name_attribute(certificate.subject, kOidCommonName);
  facts.uid = name_attribute(certificate.subject, kOidUserId);
  facts.issuer = name_text(certificate.issuer);
  base::ByteView serial = certificate.serial;
  if (serial.size() > 1 && serial[0] == std::byte{0}) serial = serial.subspan(1);  // only DER's sign octet
  facts.serial_hex = base::hex_encode({reinterpret_cast<const std::uint8_t*>(serial.data()), serial.size()});
  facts.not_before_unix_s = certificate.not_before_unix_s;
  facts.not_after_unix_s = certificate.not_after_unix_s;
  facts.key = key_text(certificate.public_key_info);
  facts.topics = topics_of(certificate);
  return facts;
}

}  // namespace tocsin::tls
