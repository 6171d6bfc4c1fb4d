// SPDX-License-Identifier: Apache-2.0
// What a client sends to our server session, and through it to the mock's gateway, in any cut.
//
// Input: options, cuts (fuzz.h), then frames: HTTP/2's own or, by an option, their short form (h2_wire.h); the preface
// stands before them by itself. Properties of the session: a request comes once, on an odd stream, within its bounds;
// what we write is whole frames. Of the gateway: requests = accepted + rejected, and the ledger says the same; nothing
// is accepted without a client certificate where one is required.
#include <memory>
#include <set>
#include <vector>

#include "h2/server_session.h"
#include "h2_wire.h"
#include "mock/conversation.h"

namespace tocsin::fuzz {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum Options : std::uint8_t { kBrief = 1, kNoPreface = 2, kThroughGateway = 4, kSmall = 8, kDelays = 16, kNoCertificate = 32 };

h2::ServerOptions server_options(std::uint8_t options) {
  h2::ServerOptions server;
  if ((options & kSmall) == 0) return server;
  server.streams_max = 2;
  server.window_bytes = 100;
  server.header_list_max = 300;
  server.header_table_bytes = 64;
  server.body_max = 16;
  return server;
}

void whole_frames(base::ByteBuffer& out) {
  FrameReader frames;
  frames.feed(base::as_text(out.readable()), [](std::uint32_t, std::uint32_t, std::int32_t, std::string_view) {});
  FUZZ_CHECK(frames.whole());
  out.clear();
}

// The session alone, with every fault that it can play.
void run_session(std::uint8_t options, Cuts& cuts, std::string_view wire) {
  const h2::ServerOptions limits = server_options(options);
  auto made = h2::make_nghttp2_server(limits);
  FUZZ_CHECK(made.ok());
  h2::ServerSession& session = **made;
  std::set<std::int32_t> seen;
  std::vector<std::int32_t> waiting;
  base::ByteBuffer out;
  bool lies = false;  // forbidden settings went out
  bool failed = false;
  while ((!wire.empty() || cuts.more()) && !failed) {
    unsigned deed = 0;
    const Exact piece(cuts.next(wire, deed));
    const std::int32_t one = waiting.empty() ? 1 : waiting.back();
    switch (deed) {
      case 1: {
        const h2::FieldView fields[] = {{"apns-id", "00000000-1111-2222-3333-444444444444", true}};
        for (const std::int32_t id : waiting) {
          FUZZ_CHECK(!session.respond(id + 1, 200, fields, {}));
          if (session.respond(id, 400, fields, base::as_bytes(R"({"reason":"BadDeviceToken"})")))
            FUZZ_CHECK(!session.respond(id, 200, fields, {}));
        }
        waiting.clear();
        break;
      }
      case 2: session.reset(one, 7); break;
      case 3: session.goaway(one, 0, "bye"); break;
      case 4: session.set_streams_max(1); break;
      case 5: session.set_auto_window_update(one % 4 == 1); break;
      case 6: session.split_headers(static_cast<std::size_t>(one)); break;
      case 7: {
        lies = true;
        const std::pair<std::uint16_t, std::uint32_t> entries[] = {{1, 0}, {4, static_cast<std::uint32_t>(one) << 30}};
        session.set_settings(entries);
        break;
      }
      default: break;
    }
    std::vector<h2::ServerRequest> requests;
    failed = !session.receive(piece.bytes(), requests).ok();
    for (const h2::ServerRequest& request : requests) {
      FUZZ_CHECK(request.stream_id % 2 == 1);
      FUZZ_CHECK(request.stream_id <= session.last_stream_id());
      FUZZ_CHECK(seen.insert(request.stream_id).second);
      FUZZ_CHECK(request.body.size() <= limits.body_max);
      FUZZ_CHECK(request.body.size() <= request.body_bytes);
      FUZZ_CHECK(request.body_cut == (request.body.size() < request.body_bytes));
      std::size_t list = 0;
      for (const h2::FieldView& field : request.fields) {
        touch(field.name);
        touch(field.value);
        list += field.name.size() + field.value.size() + 32;
      }
      FUZZ_CHECK(lies || list <= limits.header_list_max);
      touch(request.body);
      waiting.push_back(request.stream_id);
    }
    session.write_pending(out);
    whole_frames(out);
  }
  session.write_pending(out);
  whole_frames(out);
}

void run_gateway(std::uint8_t options, Cuts& cuts, std::string_view wire) {
  auto config = std::make_shared<mock::GatewayConfig>();
  config->dead["00"] = 1'700'000'000'000;
  config->dead_share = 0.25;
  config->dead_base_unix_ms = 1'700'000'000'000;
  config->sandbox = (options & kSmall) != 0;
  if ((options & kDelays) != 0) {
    config->delay_ns = 100'000;
    config->jitter_ns = 400'000;
  }
  mock::Service service(config, nullptr, server_options(options), 1);
  mock::Peer peer;
  peer.has_certificate = (options & kNoCertificate) == 0;
  peer.uid = "com.apple.mgmt.External.1";
  peer.topics = {"com.example.app", "com.example.app.voip"};
  base::Now now{1'000, 1'750'000'000'000'000'000};
  base::ByteBuffer out;
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
      whole_frames(out);
      FUZZ_CHECK(conversation->deadline() > now.mono_ns);
    }
    if (conversation->deadline() != base::kNever) now.mono_ns += 10'000'000;
    conversation->run(now);
    conversation->write(out, now);
    whole_frames(out);
    FUZZ_CHECK(conversation->deadline() == base::kNever);
  }
  const mock::Traffic& traffic = service.traffic();
  const mock::LedgerTotals totals = service.gateway().ledger().totals();
  FUZZ_CHECK(traffic.requests == traffic.accepted + traffic.rejected);
  FUZZ_CHECK(traffic.answers_waiting == 0);
  FUZZ_CHECK(totals.requests == traffic.requests);
  FUZZ_CHECK(totals.accepted == traffic.accepted);
  FUZZ_CHECK(totals.rejected == traffic.rejected);
  FUZZ_CHECK(peer.has_certificate || traffic.accepted == 0);
  std::uint64_t sum = 0;
  for (const auto& [reason, count] : totals.by_reason) sum += count;
  FUZZ_CHECK(sum == totals.rejected);
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::uint8_t options = choices.byte();
  Cuts cuts(choices);
  std::string wire((options & kNoPreface) != 0 ? std::string_view() : kPreface);
  wire += (options & kBrief) != 0 ? spell_frames(choices.rest()) : std::string(choices.rest());
  if ((options & kThroughGateway) != 0)
    run_gateway(options, cuts, wire);
  else
    run_session(options, cuts, wire);
  return 0;
}
