// SPDX-License-Identifier: Apache-2.0
// APNs' answers: any status, apns-id and body.
//
// Input: status (2 bytes), length of the apns-id, apns-id, body. Properties: accepted if and only if the status is 200;
// a text only with Reason::other, inside what may hold it and within the bounds; a time of death only with 410.
#include "apns/answer.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin;
  fuzz::Choices choices(data, size);
  const unsigned status = (choices.byte() * 256u + choices.byte()) % 1000;
  const fuzz::Exact id(choices.take(choices.byte() % 64));
  const fuzz::Exact body(choices.rest());
  char scratch[256];
  const apns::Verdict verdict = apns::read_answer(status, id.text(), body.text(), scratch, sizeof scratch);
  FUZZ_CHECK((verdict.end == End::accepted) == (status == 200));
  FUZZ_CHECK(verdict.end == End::accepted || verdict.end == End::rejected);
  FUZZ_CHECK(verdict.end != End::accepted || verdict.reason == Reason::none);
  FUZZ_CHECK(verdict.reason == Reason::other || verdict.reason_text.empty());
  FUZZ_CHECK(verdict.unregistered_unix_ms >= 0);
  FUZZ_CHECK(verdict.unregistered_unix_ms == 0 || status == 410);
  FUZZ_CHECK(!verdict.has_apns_id || id.text().size() == 36);
  const std::string_view text = verdict.reason_text;
  const auto inside = [&](std::string_view whole) {
    return text.data() >= whole.data() && text.data() + text.size() <= whole.data() + whole.size();
  };
  FUZZ_CHECK(text.empty() || inside(body.text()) || inside({scratch, sizeof scratch}));
  fuzz::touch(text);
  return 0;
}
