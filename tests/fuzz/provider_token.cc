// SPDX-License-Identifier: Apache-2.0
// Provider keys (.p8), public keys and the tokens that clients send.
//
// Input: which reader, bytes; for tokens also changes to a good one, two bytes each. Properties: a text that is not the
// very token its key made does not verify; what verifies has the shape; a key that is read signs what its public half
// verifies; an error holds nothing of the text it is about.
#include <memory>

#include "apns/encoding.h"
#include "apns/provider_token.h"
#include "fuzz.h"

namespace tocsin::fuzz {
namespace {

constexpr std::int64_t kIat = 1'749'999'600;

// Of these tests alone; nobody else trusts it.
constexpr std::string_view kKey =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfD+3wPa/C14rjAMQ\n"
    "0JHMCk1BJWKHK4z2Uv6orEkEZKyhRANCAATR59KMgeJ1mEo1Z8iJ8jWiLCbqHy+N\n"
    "DUBjEAGNJJstudvklFY1lJJI9WwhCa4qXpuPPcNXTUs0orTeb3PLQ7bt\n"
    "-----END PRIVATE KEY-----\n";

std::shared_ptr<const apns::ProviderKey> key() {
  static const std::shared_ptr<const apns::ProviderKey> made = [] {
    auto read = apns::read_p8(kKey, "ABCDE12345", "TEAM123456");
    FUZZ_CHECK(read.ok());
    return std::move(read).value();
  }();
  return made;
}

const std::string& good_token() {
  static const std::string made = apns::make_provider_token(*key(), kIat);
  FUZZ_CHECK(!made.empty());
  return made;
}

void token(std::string_view text) {
  const auto claims = apns::parse_provider_token(text);
  if (claims.ok()) {
    FUZZ_CHECK(claims->key_id.size() == 10 && claims->team_id.size() == 10);
  } else {
    FUZZ_CHECK(printable(claims.error().message) && !claims.error().message.empty());
  }
  const bool good = apns::verify_provider_token(text, key()->public_key());
  FUZZ_CHECK(!good || (claims.ok() && text == good_token()));
}

void changed(Choices& choices) {
  std::string text = good_token();
  while (!choices.empty()) {
    const std::size_t at = choices.byte() % text.size();
    text[at] = static_cast<char>(text[at] ^ choices.byte());
  }
  token(text);
  if (text == good_token()) FUZZ_CHECK(apns::verify_provider_token(text, key()->public_key()));
}

void keys(std::string_view text) {
  if (const auto read = apns::read_p8(text, "ABCDE12345", "TEAM123456"); read.ok()) {
    const std::string made = apns::make_provider_token(**read, kIat);
    FUZZ_CHECK(apns::verify_provider_token(made, (*read)->public_key()));
  } else {
    FUZZ_CHECK(!read.error().message.empty() && printable(read.error().message));
  }
  if (const auto read = apns::read_public_key(text); read.ok()) FUZZ_CHECK(read->point[0] == 4);
}

void base64(std::string_view text) {
  std::string out;
  if (apns::decode_base64url(text, out)) {
    std::string again;
    apns::append_base64url(out, again);
    FUZZ_CHECK(again == text);
  }
  std::string encoded, back;
  apns::append_base64url(text, encoded);
  FUZZ_CHECK(apns::decode_base64url(encoded, back) && back == text);
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  switch (choices.byte() % 4) {
    case 0: token(Exact(choices.rest()).text()); break;
    case 1: changed(choices); break;
    case 2: keys(Exact(choices.rest()).text()); break;
    default: base64(Exact(choices.rest()).text()); break;
  }
  return 0;
}
