// SPDX-License-Identifier: Apache-2.0
// What a client sends to the admin and metrics addresses.
//
// Input: how large a head may be, cuts (fuzz.h), bytes. Properties: however the bytes are cut, the same requests come out
// and the same refusal; paths begin with a slash; a refusal is a whole answer.
#include <algorithm>
#include <vector>

#include "fuzz.h"
#include "http/parser.h"

namespace tocsin::fuzz {
namespace {

struct Seen {
  std::vector<std::string> requests;
  unsigned refused = 0;
};

bool take_all(http::Parser& parser, Seen& seen) {
  for (;;) {
    http::Incoming incoming;
    switch (parser.next(incoming)) {
      case http::Parsed::more: return true;
      case http::Parsed::request: {
        const http::Request& request = incoming.request;
        FUZZ_CHECK(request.method == "GET" || request.method == "HEAD");
        FUZZ_CHECK(request.path.starts_with('/'));
        FUZZ_CHECK(request.path.find('?') == std::string::npos);
        seen.requests.push_back(request.method + " " + request.path + "?" + request.query + (incoming.keep_alive ? " +" : " -"));
        break;
      }
      case http::Parsed::refused: {
        seen.refused = incoming.refusal.status;
        FUZZ_CHECK(seen.refused >= 400 && seen.refused < 500);
        FUZZ_CHECK(!incoming.keep_alive);
        const std::string answer = http::serialise(incoming.refusal, false, false, incoming.allow_header);
        FUZZ_CHECK(answer.starts_with("HTTP/1.1 4") && answer.ends_with(incoming.refusal.body));
        return false;
      }
    }
  }
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::size_t head_max = 64 + 32u * choices.byte();
  Cuts cuts(choices);
  const Exact all(choices.rest());

  Seen cut;
  tocsin::http::Parser parser(head_max);
  std::string_view rest = all.text();
  while (!rest.empty()) {
    unsigned deed = 0;
    parser.feed(Exact(cuts.next(rest, deed)).text());
    if (!take_all(parser, cut)) break;
  }
  Seen whole;
  tocsin::http::Parser at_once(head_max);
  at_once.feed(all.text());
  take_all(at_once, whole);
  // A head that never ends may be refused or waited for: Beast looks at what has come, and too large is said of what has
  // come. What is served does not depend on that.
  if (cut.refused == 431 || whole.refused == 431) {
    const std::size_t common = std::min(cut.requests.size(), whole.requests.size());
    cut.requests.resize(common);
    whole.requests.resize(common);
  } else if (cut.refused != 0 && whole.refused != 0) {
    FUZZ_CHECK(cut.refused == whole.refused);
  }
  FUZZ_CHECK(cut.requests == whole.requests);
  return 0;
}
