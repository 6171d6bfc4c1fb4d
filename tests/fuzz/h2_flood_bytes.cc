// SPDX-License-Identifier: Apache-2.0
// What a client sends to the flood server, from the preface on, after a hand-over, or through the mock's conversation that
// hands over by itself; in any cut.
//
// Input: options (with kIds the requests' apns-id is given back), where the hand-over is, cuts (fuzz.h), then
// frames: HTTP/2's own or, by an option, their short form (h2_wire.h); the preface stands before them by itself. Properties: what is written is whole frames; a stream
// is answered at most once, is odd, and was begun; counts agree with what waits and what is open; a failed connection says
// why and stays failed. Of the conversation: requests = judged + counted, and the ledger has exactly the judged ones.
#include <memory>
#include <set>
#include <vector>

#include "h2/flood_server.h"
#include "h2_wire.h"
#include "mock/conversation.h"

namespace tocsin::fuzz {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum Options : std::uint8_t { kBrief = 1, kNoPreface = 2, kThroughService = 4, kSmall = 8, kDelays = 16, kTakeOver = 32, kIds = 64 };

h2::ServerOptions server_options(std::uint8_t options) {
  h2::ServerOptions server;
  server.literal_answers = true;
  if ((options & kSmall) == 0) return server;
  server.streams_max = 2;
  server.window_bytes = 100;
  server.header_list_max = 300;
  server.body_max = 16;
  return server;
}

// What goes to the client.
struct Witness {
  FrameReader frames;
  std::set<std::int32_t> answered;
  unsigned goaways = 0;

  void feed(base::ByteBuffer& out, std::int32_t last) {
    frames.feed(base::as_text(out.readable()), [&](std::uint32_t type, std::uint32_t, std::int32_t id, std::string_view) {
      if (type == 7) ++goaways;
      if (type != 1) return;
      FUZZ_CHECK(id % 2 == 1);
      FUZZ_CHECK(id <= last);
      FUZZ_CHECK(answered.insert(id).second);
    });
    FUZZ_CHECK(frames.whole());
    out.clear();
  }
};

// The server alone; `split` bytes go to another session first, which it takes over if it can.
void run_server(std::uint8_t options, std::size_t split, Cuts& cuts, std::string_view wire) {
  const h2::ServerOptions limits = server_options(options);
  std::unique_ptr<h2::ServerSession> older;
  std::unique_ptr<h2::FloodServer> server;
  Witness witness;
  base::ByteBuffer out;
  std::vector<h2::ServerRequest> requests;
  std::unique_ptr<h2::RequestEcho> echo;
  if ((options & kIds) != 0) echo = std::make_unique<h2::RequestEcho>("apns-id", 1);
  if ((options & kTakeOver) != 0) {
    older = std::move(h2::make_nghttp2_server(limits)).value();
    h2::FrameCursor cursor;
    cursor.read_blocks(echo.get());
    std::size_t to = cursor.advance(base::as_bytes(wire.substr(0, split)), false);
    to += cursor.advance(base::as_bytes(wire.substr(to)), true);
    const Exact before(wire.substr(0, to));
    wire.remove_prefix(to);
    if (!older->receive(before.bytes(), requests).ok()) return;
    older->write_pending(out);
    witness.feed(out, older->last_stream_id());
    if (!cursor.between_frames() || !older->settings_acknowledged()) return;
    server = std::make_unique<h2::FloodServer>(limits, *older, std::move(echo));
  } else {
    server = std::make_unique<h2::FloodServer>(limits, std::move(echo));
  }
  std::vector<std::int32_t> waiting;
  for (const h2::ServerRequest& request : requests) waiting.push_back(request.stream_id);
  bool failed = false;
  while ((!wire.empty() || cuts.more()) && !failed) {
    unsigned deed = 0;
    const Exact piece(cuts.next(wire, deed));
    if (deed == 1) {
      for (const std::int32_t id : waiting) (void)older->respond(id, 410, {}, base::as_bytes("{}"));
      waiting.clear();
    }
    if (deed == 2) server->answer(1);
    if (deed == 3) server->answer(server->waiting());
    if (deed == 4) server->goaway(-1, 0, "bye");
    if (deed > 4) {
      server->write_pending(out);
      witness.feed(out, server->last_stream_id());
    }
    for (base::ByteView rest = piece.bytes(); !rest.empty() && !failed;) {
      requests.clear();
      const auto read = server->receive(rest, requests);
      for (const h2::ServerRequest& request : requests) {
        FUZZ_CHECK(older != nullptr);
        FUZZ_CHECK(request.stream_id <= older->last_stream_id());
        for (const h2::FieldView& field : request.fields) touch(field.value);
        touch(request.body);
        waiting.push_back(request.stream_id);
      }
      failed = !read.ok();
      if (failed) {
        FUZZ_CHECK(!read.error().message.empty());
        break;
      }
      FUZZ_CHECK(*read <= rest.size());
      FUZZ_CHECK(*read == rest.size() || !requests.empty());
      rest = rest.subspan(*read);
    }
    const h2::FloodServer::Counts& counts = server->counts();
    FUZZ_CHECK(counts.end_streams + counts.resets <= 2 * counts.streams);
    FUZZ_CHECK(counts.end_streams <= counts.streams);
    FUZZ_CHECK(server->open_streams() <= limits.streams_max);
    FUZZ_CHECK(older != nullptr || witness.answered.size() <= counts.end_streams);
  }
  server->answer(server->waiting());
  server->write_pending(out);
  witness.feed(out, server->last_stream_id());
  if (failed) {
    FUZZ_CHECK(!server->receive(base::as_bytes(kPreface), requests).ok());
    server->write_pending(out);
    FUZZ_CHECK(out.empty());
    return;
  }
  FUZZ_CHECK(server->waiting() == 0);
}

void run_service(std::uint8_t options, std::size_t first, Cuts& cuts, std::string_view wire) {
  auto config = std::make_shared<mock::GatewayConfig>();
  if ((options & kDelays) != 0) {
    config->delay_ns = 100'000;
    config->jitter_ns = 400'000;
  }
  mock::Service service(config, nullptr, server_options(options), 1, {}, 
                        {(options & kIds) != 0 ? mock::Profile::apns : mock::Profile::flood, first % 4});
  mock::Peer peer;
  peer.has_certificate = true;
  peer.uid = "com.apple.mgmt.External.1";
  peer.topics = {"com.example.app"};
  base::Now now{1'000, 1'750'000'000'000'000'000};
  base::ByteBuffer out;
  Witness witness;
  {
    const auto conversation = service.converse(peer, service.on_connect(now), now);
    while ((!wire.empty() || cuts.more()) && conversation->ending() == mock::Conversation::Ending::none) {
      unsigned deed = 0;
      const Exact piece(cuts.next(wire, deed));
      if (deed == 1) conversation->drain();
      now.mono_ns += deed * 100'000;
      conversation->receive(piece.bytes(), now);
      FUZZ_CHECK(!conversation->broken() || !conversation->why().empty());
      conversation->run(now);
      conversation->write(out, now);
      witness.feed(out, 0x7fffffff);
      FUZZ_CHECK(conversation->deadline() > now.mono_ns);
    }
    if (conversation->deadline() != base::kNever) now.mono_ns += 10'000'000;
    conversation->run(now);
    conversation->write(out, now);
    witness.feed(out, 0x7fffffff);
    FUZZ_CHECK(conversation->deadline() == base::kNever);
  }
  const mock::Traffic& traffic = service.traffic();
  const mock::LedgerTotals totals = service.gateway().ledger().totals();
  FUZZ_CHECK(traffic.requests == traffic.accepted + traffic.rejected);
  FUZZ_CHECK(traffic.requests == totals.requests + traffic.flood.end_streams);
  FUZZ_CHECK(traffic.accepted == totals.accepted + traffic.flood.end_streams);
  FUZZ_CHECK(traffic.answers_waiting == 0);
  FUZZ_CHECK(witness.answered.size() <= traffic.requests);
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::uint8_t options = choices.byte();
  const std::size_t first = choices.byte() * 4u;
  Cuts cuts(choices);
  std::string wire((options & kNoPreface) != 0 ? std::string_view() : kPreface);
  wire += (options & kBrief) != 0 ? spell_frames(choices.rest()) : std::string(choices.rest());
  if ((options & kThroughService) != 0)
    run_service(options, first / 4, cuts, wire);
  else
    run_server(options, first, cuts, wire);
  return 0;
}
