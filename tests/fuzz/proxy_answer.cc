// SPDX-License-Identifier: Apache-2.0
// A proxy's answer to CONNECT.
//
// Input: cuts (fuzz.h), bytes. Properties: cuts do not matter; `used` stays within the bytes and ends at the head's end;
// open only with 2xx; a refusal says why, without a byte of what the proxy wrote but the status.
#include "dispatch/tunnel.h"
#include "fuzz.h"

namespace tocsin::fuzz {
namespace {

using dispatch::TunnelAnswer;

void check(TunnelAnswer::State state, const TunnelAnswer& answer, std::string_view head) {
  FUZZ_CHECK(head.size() <= TunnelAnswer::kHeadBytesMax + 1);
  if (state == TunnelAnswer::State::open) {
    FUZZ_CHECK(answer.status() >= 200 && answer.status() < 300);
    FUZZ_CHECK(head.ends_with("\n\n") || head.ends_with("\n\r\n"));
  }
  if (state == TunnelAnswer::State::refused) {
    FUZZ_CHECK(!answer.text().empty() && printable(answer.text()));
    FUZZ_CHECK(answer.text().size() < 200);
  }
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  Cuts cuts(choices);
  const Exact all(choices.rest());

  TunnelAnswer whole;
  std::size_t whole_used = 0;
  const TunnelAnswer::State whole_state = whole.feed(all.bytes(), whole_used);
  FUZZ_CHECK(whole_used <= all.text().size());
  FUZZ_CHECK(whole_state != TunnelAnswer::State::more || whole_used == all.text().size());
  check(whole_state, whole, all.text().substr(0, whole_used));

  TunnelAnswer cut;
  std::size_t cut_used = 0;
  TunnelAnswer::State cut_state = TunnelAnswer::State::more;
  std::string_view rest = all.text();
  while (!rest.empty() && cut_state == TunnelAnswer::State::more) {
    unsigned deed = 0;
    const Exact piece(cuts.next(rest, deed));
    std::size_t used = 0;
    cut_state = cut.feed(piece.bytes(), used);
    FUZZ_CHECK(used <= piece.text().size());
    cut_used += used;
  }
  FUZZ_CHECK(cut_state == whole_state && cut_used == whole_used);
  FUZZ_CHECK(cut.status() == whole.status() && cut.text() == whole.text() && cut.definite() == whole.definite());
  return 0;
}
