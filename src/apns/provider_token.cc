// SPDX-License-Identifier: Apache-2.0
#include "apns/provider_token.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <simdjson.h>

#include "apns/encoding.h"
#include "apns/p256.h"

namespace tocsin::apns {
namespace {

constexpr std::size_t kPemBytesMax = 16 * 1024;
constexpr std::size_t kIdCharacters = 10;

constexpr std::uint8_t kSequence = 0x30, kInteger = 0x02, kOctets = 0x04, kBits = 0x03, kOid = 0x06, kPublicPart = 0xa1;
constexpr std::string_view kOidEc = "\x2a\x86\x48\xce\x3d\x02\x01";         // 1.2.840.10045.2.1
constexpr std::string_view kOidP256 = "\x2a\x86\x48\xce\x3d\x03\x01\x07";   // 1.2.840.10045.3.1.7
constexpr std::string_view kOidRsa = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";  // 1.2.840.113549.1.1.1

using Der = std::span<const std::uint8_t>;

Error bad_key(std::string text) { return {Code::bad_key, std::move(text)}; }

// Takes one element with this tag off the front; false and nothing taken if another stands there or it is cut off.
bool take(Der& in, std::uint8_t tag, Der& content) {
  if (in.size() < 2 || in[0] != tag) return false;
  std::size_t bytes = in[1];
  std::size_t at = 2;
  if (bytes >= 0x80) {
    const std::size_t length_bytes = bytes & 0x7f;
    if (length_bytes == 0 || length_bytes > 2 || in.size() < 2 + length_bytes) return false;
    bytes = 0;
    for (; at < 2 + length_bytes; ++at) bytes = bytes << 8 | in[at];
  }
  if (in.size() - at < bytes) return false;
  content = in.subspan(at, bytes);
  in = in.subspan(at + bytes);
  return true;
}

bool is(Der content, std::string_view bytes) {
  return content.size() == bytes.size() && std::memcmp(content.data(), bytes.data(), bytes.size()) == 0;
}

// Decoded key material, wiped however the reading ends.
struct Secret {
  std::vector<std::uint8_t> bytes;
  Secret() = default;
  ~Secret() { wipe(bytes.data(), bytes.size()); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
};

Error damaged() { return bad_key("the key is damaged (its base64 or its contents cannot be decoded); download or export it again"); }

// The AlgorithmIdentifier that PKCS#8 and SubjectPublicKeyInfo share (RFC 5480 section 2.1.1).
Result<void> check_algorithm(Der& in) {
  Der algorithm;
  Der oid;
  Der curve;
  if (!take(in, kSequence, algorithm) || !take(algorithm, kOid, oid)) return damaged();
  if (is(oid, kOidRsa)) return bad_key("the key is an RSA key; a provider token needs the EC key (P-256) of an APNs .p8 file");
  if (!is(oid, kOidEc)) return bad_key("the key is no EC key; a provider token needs the EC key (P-256) of an APNs .p8 file");
  if (!take(algorithm, kOid, curve) || !is(curve, kOidP256)) {
    return bad_key("the key is an EC key on another curve; a provider token needs P-256 (prime256v1)");
  }
  return {};
}

// What a label other than the wanted one says about the file.
Error wrong_label(std::string_view label, const char* wanted) {
  if (label == "ENCRYPTED PRIVATE KEY") {
    return bad_key("the key is encrypted with a password; Apple's .p8 files are not: remove it with "
                   "`openssl pkcs8 -in KEY -out KEY.p8`");
  }
  if (label == "RSA PRIVATE KEY") return bad_key("the key is an RSA key; a provider token needs the EC key (P-256) of an APNs .p8 file");
  if (label == "EC PRIVATE KEY") {
    return bad_key("the key is in SEC 1 form (EC PRIVATE KEY); convert it with "
                   "`openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.p8`");
  }
  if (label == "EC PARAMETERS") {
    return bad_key(std::string("the text holds the name of a curve (EC PARAMETERS) and no key; give the block ") + wanted);
  }
  return bad_key(std::string("the text holds no ") + wanted + " but another PEM block; give the right file");
}

Result<std::string_view> only_block(std::string_view pem, const char* label) {
  if (pem.size() > kPemBytesMax) return bad_key("the text has more than 16 KiB; a key is some hundred bytes, give the right file");
  const std::vector<PemText> blocks = pem_texts(pem);
  if (blocks.empty()) {
    return bad_key(std::string("the text is no key: it has no whole PEM block (-----BEGIN ") + label + "-----)");
  }
  const auto wanted = [label](const PemText& block) { return block.label == label; };
  const auto found = std::find_if(blocks.begin(), blocks.end(), wanted);
  if (found == blocks.end()) {
    // A SEC 1 file begins with its curve; the key behind it says more.
    return wrong_label(blocks.back().label, label);
  }
  if (std::find_if(found + 1, blocks.end(), wanted) != blocks.end()) {
    return bad_key("the text holds more than one key; give a file with one");
  }
  return found->body;
}

Result<void> check_id(std::string_view id, const char* what, const char* where) {
  const bool good = id.size() == kIdCharacters && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
  if (good) return {};
  return Error{Code::invalid_argument, std::string(what) + " must be 10 characters of A-Z and 0-9, but has " +
               std::to_string(id.size()) + (id.size() == kIdCharacters ? " with another among them" : "") + "; " + where};
}

// The scalar of a PrivateKeyInfo (RFC 5958) around an ECPrivateKey (RFC 5915).
Result<void> read_private(Der der, P256Scalar& scalar, P256Point& point) {
  Der info, version, inner, key, number, parameters, bits, public_part;
  if (!take(der, kSequence, info) || !der.empty() || !take(info, kInteger, version)) return damaged();
  if (Result<void> algorithm = check_algorithm(info); !algorithm) return algorithm;
  if (!take(info, kOctets, inner) || !take(inner, kSequence, key) || !take(key, kInteger, version) ||
      !take(key, kOctets, number) || number.empty() || number.size() > scalar.size()) {
    return damaged();
  }
  std::copy(number.begin(), number.end(), scalar.end() - static_cast<std::ptrdiff_t>(number.size()));
  if (!p256_point_of(scalar, point)) return damaged();
  if (take(key, 0xa0, parameters) && parameters.empty()) return damaged();
  if (take(key, kPublicPart, public_part)) {
    if (!take(public_part, kBits, bits) || bits.empty() || bits[0] != 0) return damaged();
    if (bits.size() != 1 + point.size() || std::memcmp(bits.data() + 1, point.data(), point.size()) != 0) {
      return bad_key("the key's private and public halves do not belong together; download or export it again");
    }
  }
  return {};
}

}  // namespace

ProviderKey::~ProviderKey() { wipe(scalar_.data(), scalar_.size()); }

Result<std::shared_ptr<const ProviderKey>> read_p8(std::string_view pem, std::string_view key_id,
                                                   std::string_view team_id) {
  if (auto id = check_id(key_id, "the key id", "it stands in the .p8 file's name and in the developer account"); !id) {
    return std::move(id).error();
  }
  if (auto id = check_id(team_id, "the team id", "it stands in the developer account's membership details"); !id) {
    return std::move(id).error();
  }
  const Result<std::string_view> body = only_block(pem, "PRIVATE KEY");
  if (!body) return body.error();
  Secret der;
  if (!decode_pem_body(*body, der.bytes)) return damaged();
  auto key = std::make_shared<ProviderKey>();
  if (auto read = read_private(der.bytes, key->scalar_, key->public_.point); !read) return std::move(read).error();
  key->key_id_ = key_id;
  key->team_id_ = team_id;
  return std::shared_ptr<const ProviderKey>(std::move(key));
}

Result<ProviderPublicKey> read_public_key(std::string_view pem) {
  const Result<std::string_view> body = only_block(pem, "PUBLIC KEY");
  if (!body) return body.error();
  std::vector<std::uint8_t> bytes;
  if (!decode_pem_body(*body, bytes)) return damaged();
  Der der = bytes;
  Der info, bits;
  ProviderPublicKey key;
  if (!take(der, kSequence, info) || !der.empty()) return damaged();
  if (auto algorithm = check_algorithm(info); !algorithm) return std::move(algorithm).error();
  if (!take(info, kBits, bits) || bits.size() != 1 + key.point.size() || bits[0] != 0) return damaged();
  std::copy(bits.begin() + 1, bits.end(), key.point.begin());
  if (!p256_on_curve(key.point)) return bad_key("the key is no point of P-256; export it again");
  return key;
}

bool sign_es256(const ProviderKey& key, std::string_view message, std::array<std::uint8_t, 64>& signature) {
  return p256_sign(key.scalar_, message, signature);
}

std::string make_provider_token(const ProviderKey& key, std::int64_t iat_unix_s) {
  // The ids are A-Z and 0-9: nothing to escape.
  std::string token;
  append_base64url(R"({"alg":"ES256","kid":")" + key.key_id() + "\"}", token);
  token.push_back('.');
  append_base64url(R"({"iss":")" + key.team_id() + R"(","iat":)" + std::to_string(iat_unix_s) + "}", token);
  P256Signature signature;
  if (!sign_es256(key, token, signature)) return {};
  token.push_back('.');
  append_base64url({reinterpret_cast<const char*>(signature.data()), signature.size()}, token);
  return token;
}

namespace {

struct Parts {
  std::string_view header, claims, signature;
  std::string_view signed_text;
};

bool split_token(std::string_view jwt, Parts& parts) {
  const std::size_t first = jwt.find('.');
  if (first == std::string_view::npos) return false;
  const std::size_t second = jwt.find('.', first + 1);
  if (second == std::string_view::npos || jwt.find('.', second + 1) != std::string_view::npos) return false;
  parts = {jwt.substr(0, first), jwt.substr(first + 1, second - first - 1), jwt.substr(second + 1), jwt.substr(0, second)};
  return true;
}

Error bad_token(std::string text) { return {Code::invalid_argument, "the provider token " + std::move(text)}; }

bool decode_signature(std::string_view text, P256Signature& signature) {
  std::string bytes;
  if (!decode_base64url(text, bytes) || bytes.size() != signature.size()) return false;
  std::memcpy(signature.data(), bytes.data(), bytes.size());
  return true;
}

}  // namespace

Result<ProviderClaims> parse_provider_token(std::string_view jwt) {
  using simdjson::SUCCESS;
  if (jwt.size() > kProviderTokenBytesMax) {
    return bad_token("has " + std::to_string(jwt.size()) + " bytes; at most " + std::to_string(kProviderTokenBytesMax) + " are read");
  }
  Parts parts;
  if (!split_token(jwt, parts)) return bad_token("is not three parts with dots between them");
  std::string text;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  std::string_view value;
  ProviderClaims claims;
  if (!decode_base64url(parts.header, text)) return bad_token("has a header that is no base64url without padding");
  if (parser.parse(text).get_object().get(object) != SUCCESS) return bad_token("has a header that is no JSON object");
  if (object.at_key("alg").get_string().get(value) != SUCCESS || value != "ES256") {
    return bad_token("is not signed with ES256 (header field alg)");
  }
  if (object.at_key("kid").get_string().get(value) != SUCCESS || !check_id(value, "", "")) {
    return bad_token("has no key id of 10 characters A-Z and 0-9 (header field kid)");
  }
  claims.key_id = value;
  if (!decode_base64url(parts.claims, text)) return bad_token("has claims that are no base64url without padding");
  if (parser.parse(text).get_object().get(object) != SUCCESS) return bad_token("has claims that are no JSON object");
  if (object.at_key("iss").get_string().get(value) != SUCCESS || !check_id(value, "", "")) {
    return bad_token("has no team id of 10 characters A-Z and 0-9 (claim iss)");
  }
  claims.team_id = value;
  if (object.at_key("iat").get_int64().get(claims.iat_unix_s) != SUCCESS || claims.iat_unix_s < 0) {
    return bad_token("has no whole number of seconds as its time of issue (claim iat)");
  }
  P256Signature signature;
  if (!decode_signature(parts.signature, signature)) return bad_token("has a signature that is not 64 bytes in base64url");
  return claims;
}

bool verify_provider_token(std::string_view jwt, const ProviderPublicKey& key) {
  Parts parts;
  P256Signature signature;
  return parse_provider_token(jwt).ok() && split_token(jwt, parts) && decode_signature(parts.signature, signature) &&
         p256_verify(key.point, parts.signed_text, signature);
}

}  // namespace tocsin::apns
