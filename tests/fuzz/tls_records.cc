// SPDX-License-Identifier: Apache-2.0
// Bytes to TLS channels: a stranger's from the first on, or ours, damaged on their way.
//
// Input: mode, cuts (fuzz.h), then records for a fresh client or server channel; or, by the mode, what happens to the
// traffic of a client and a server that talk to each other: three bytes a deed (which flight, where, what). Properties:
// nothing is given out before the handshake; what comes out is a beginning of what went in, whatever was done to it on
// the way; a failed channel says why and stays failed. The handshake's own random numbers are not the input's, so that
// an input's way through the library may differ from run to run; the properties do not.
#include <algorithm>
#include <memory>

#include "fuzz.h"
#include "portal/portal.h"
#include "tls/context.h"

namespace tocsin::fuzz {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.error().message.c_str());
  FUZZ_CHECK(result.ok());
  return std::move(result).value();
}

// Made once: a CA, a server that asks for certificates, a client that has one.
struct Peers {
  std::shared_ptr<tls::ClientContext> client[2];  // TLS 1.3 at most, TLS 1.2 only
  std::shared_ptr<tls::ServerContext> server;

  Peers() {
    portal::Validity validity;
    validity.now_unix_s = ::time(nullptr);
    validity.from_days = -1;
    const auto authority = must(portal::Authority::make(validity));
    portal::ServerSpec spec;
    spec.validity = validity;
    const portal::Issued issued = must(authority->issue_server(spec));
    const tls::Identity identity = must(tls::identity_from_pem(issued.certificate_pem, issued.key_pem, ""));
    tls::ServerOptions server_options;
    server_options.identity = &identity;
    server = must(tls::make_server_context(server_options));
    for (unsigned i = 0; i < 2; ++i) {
      tls::ClientOptions options;
      options.ca_pem = authority->ca_pem();
      options.version_max = 13 - i;
      client[i] = must(tls::make_client_context(options));
    }
  }
};

Peers& peers() {
  static Peers made;
  return made;
}

// A channel and what was put in and came out of it.
struct End {
  std::unique_ptr<tls::Channel> channel;
  std::string sent, got;
  base::ByteBuffer wire_out;

  void receive(base::ByteView wire) {
    const tls::State before = channel->state();
    base::ByteBuffer plain;
    const tls::State after = channel->receive(wire, plain, wire_out);
    FUZZ_CHECK(after == channel->state());
    FUZZ_CHECK(before != tls::State::failed || after == tls::State::failed);
    FUZZ_CHECK(plain.empty() || before == tls::State::open || after != tls::State::handshaking);
    if (after == tls::State::failed) {
      FUZZ_CHECK(channel->failure().cause != tls::Cause::none);
      FUZZ_CHECK(!channel->failure().text.empty() && printable(channel->failure().text));
    }
    got += base::as_text(plain.readable());
  }
  void say(std::string_view text) {
    if (channel->state() != tls::State::open) return;
    channel->send(base::as_bytes(text), wire_out);
    sent += text;
  }
};

void alone(bool server, std::uint8_t options, Cuts& cuts, std::string_view wire) {
  End end;
  end.channel = server ? must(peers().server->accept()) : must(peers().client[options & 1]->connect("localhost"));
  end.channel->start(end.wire_out);
  while ((!wire.empty() || cuts.more()) && end.channel->state() != tls::State::failed) {
    unsigned deed = 0;
    const Exact piece(cuts.next(wire, deed));
    end.receive(piece.bytes());
    end.wire_out.clear();
  }
  FUZZ_CHECK(end.got.empty());
  end.channel->close(end.wire_out);
}

// Does one deed to the bytes under way.
void damage(std::string& flight, std::uint8_t at, std::uint8_t what) {
  if (flight.empty()) return;
  const std::size_t place = (at < 128 ? at : at * std::size_t{37}) % flight.size();
  switch (what >> 5) {
    case 0: flight[place] = static_cast<char>(flight[place] ^ (1 << (what & 7))); break;
    case 1: flight.erase(place, 1 + (what & 31u)); break;
    case 2: flight.insert(place, 1 + (what & 31u), static_cast<char>(what)); break;
    case 3:  // said twice
      if (flight.size() < 100'000) flight += flight.substr(place);
      break;
    case 4: flight.resize(place); break;
    case 5: flight[place] = static_cast<char>(what); break;
    case 6: std::rotate(flight.begin(), flight.begin() + static_cast<std::ptrdiff_t>(place), flight.end()); break;
    default: break;  // left alone
  }
}

void together(std::uint8_t options, std::string_view deeds) {
  End client, server;
  client.channel = must(peers().client[options & 1]->connect("localhost"));
  server.channel = must(peers().server->accept());
  client.channel->start(client.wire_out);
  server.channel->start(server.wire_out);
  const bool clean = deeds.empty();
  for (unsigned turn = 0; turn < 24; ++turn) {
    End& from = turn % 2 == 0 ? client : server;
    End& to = turn % 2 == 0 ? server : client;
    if (turn >= 6) from.say(turn % 4 < 2 ? "hello, hello" : std::string(20'000, 'x'));
    std::string flight(base::as_text(from.wire_out.readable()));
    from.wire_out.clear();
    while (deeds.size() >= 3 && static_cast<std::uint8_t>(deeds.front()) % 24 == turn) {
      damage(flight, static_cast<std::uint8_t>(deeds[1]), static_cast<std::uint8_t>(deeds[2]));
      deeds.remove_prefix(3);
    }
    const Exact exact(flight);
    to.receive(exact.bytes());
    FUZZ_CHECK(server.got.size() <= client.sent.size() && client.sent.starts_with(server.got));
    FUZZ_CHECK(client.got.size() <= server.sent.size() && server.sent.starts_with(client.got));
  }
  if (clean) {
    FUZZ_CHECK(client.channel->state() == tls::State::open && server.channel->state() == tls::State::open);
    FUZZ_CHECK(!client.sent.empty() && server.got == client.sent && client.got == server.sent);
    FUZZ_CHECK(client.channel->facts().alpn == "h2");
  }
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  const std::uint8_t options = choices.byte();
  if ((options & 6) == 4) {
    together(options, choices.rest());
  } else {
    Cuts cuts(choices);
    alone((options & 2) != 0, options, cuts, choices.rest());
  }
  return 0;
}
