// SPDX-License-Identifier: Apache-2.0
// The client of the conformance table: two requests stand open, the row's bytes come, what it does is written down.
// Threads, ownership, bounds: a test's.
#pragma once

#include <algorithm>
#include <memory>

#include "codecs.h"
#include "conformance.h"

namespace tocsin::h2::test {

inline const std::string kOk = "\x88";  // :status 200
inline const std::string kId = "00000000-1111-2222-3333-444444444444";
inline const std::string kOkId = kOk + literal("apns-id", kId);

// An answer, copied: its views live only until the next receive().
struct Seen {
  std::uint64_t tag;
  AnswerKind kind;
  std::uint32_t error_code;
  std::uint16_t status;
  bool headers_seen;
  std::string apns_id;
  std::string body;
};

// A client whose requests 100 and 101 stand open on streams 1 and 3.
struct Peer {
  explicit Peer(const ClientOptions& options) : client(std::move(codec.make(options)).value()) {
    base::FieldList list;
    list.constant(":method", "POST");
    list.constant(":scheme", "https");
    list.constant(":authority", "api.push.apple.com");
    list.constant(":path", "/3/device/aa");
    prepared = client->prepare(list, base::BodyShape::whole());
  }
  void start(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries = {{3, 1000}},
      std::string_view body = {}) {
    ASSERT_TRUE(feed(settings(entries) + settings_ack())) << error;
    ASSERT_EQ(send(100, body) + send(101), 2u);
    written();
  }
  std::size_t send(std::uint64_t tag, std::string_view body = {}) {
    Request request;
    request.tag = tag;
    request.prepared = prepared;
    request.content = base::as_bytes(body);
    return client->write({&request, 1}, out);
  }
  bool feed(std::string_view bytes) {
    std::vector<Answer> answers;
    const auto result = client->receive(base::as_bytes(bytes), answers, events);
    for (const Answer& one : answers) {
      seen.push_back({one.tag, one.kind, one.error_code, one.status, one.headers_seen, std::string(one.captured[0]),
                      std::string(base::as_text(one.body))});
    }
    if (!result.ok()) error = result.error().message;
    return result.ok();
  }
  // Whole or byte by byte, until it fails.
  bool feed(std::string_view bytes, bool whole) {
    if (whole) return feed(bytes);
    for (const char& byte : bytes) {
      if (!feed({&byte, 1})) return false;
    }
    return true;
  }
  std::vector<Frame> written() {
    client->write_pending(out);
    return parse(take(out));
  }
  const Seen* answer_to(std::uint64_t tag) const {
    const Seen* found = nullptr;
    for (const Seen& one : seen) {
      if (one.tag != tag) continue;
      EXPECT_EQ(found, nullptr) << "tag " << tag << " was answered twice";
      found = &one;
    }
    return found;
  }
  std::size_t completed() const {
    return static_cast<std::size_t>(
        std::count_if(seen.begin(), seen.end(), [](const Seen& one) { return one.kind == AnswerKind::complete; }));
  }

  std::unique_ptr<ClientSession> client;
  std::uint32_t prepared = 0;
  base::ByteBuffer out;
  std::vector<Seen> seen;
  std::vector<Event> events;
  std::string error;
  bool cancelled = false;
  std::vector<Frame> frames;  // what the row's bytes made it write
};

using ClientRow = Row<Peer>;

// Starts with other options than the usual; a row that needs them makes its own client.
inline std::function<void(Peer&)> with(ClientOptions options, std::vector<std::pair<std::uint32_t,
    std::uint32_t>> entries = {{3, 1000}},
                                std::string body = {}) {
  options.captures = {"apns-id"};
  return [=](Peer& peer) {
    peer = Peer(options);
    peer.start(entries, body);
  };
}
inline std::function<void(Peer&)> fed(std::string bytes) {
  return [=](Peer& peer) { ASSERT_TRUE(peer.feed(bytes)) << peer.error; };
}
inline void fresh(Peer& peer) { peer = Peer(ClientOptions{.captures = {"apns-id"}}); }
inline void cancelled(Peer& peer) {
  ASSERT_TRUE(peer.client->cancel(100));
  peer.cancelled = true;
}

// For `also`.
inline std::function<void(Peer&)> answered(std::uint16_t status, std::string body = {}, std::string id = {}) {
  return [=](Peer& peer) {
    const Seen* answer = peer.answer_to(100);
    ASSERT_NE(answer, nullptr);
    EXPECT_EQ(answer->kind, AnswerKind::complete);
    EXPECT_EQ(answer->status, status);
    EXPECT_EQ(answer->body, body);
    EXPECT_EQ(answer->apns_id, id);
  };
}
inline std::function<void(Peer&)> was_reset(std::uint32_t code) {
  return [=](Peer& peer) {
    const Seen* answer = peer.answer_to(100);
    ASSERT_NE(answer, nullptr);
    EXPECT_EQ(answer->kind, AnswerKind::reset);
    EXPECT_EQ(answer->error_code, code);
  };
}
inline std::function<void(Peer&)> writes(std::uint8_t type, std::uint8_t flags, std::string payload,
    std::size_t times = 1) {
  return [=](Peer& peer) {
    const auto found = of_type(peer.frames, type);
    ASSERT_EQ(found.size(), times);
    for (const Frame& one : found) {
      EXPECT_EQ(one.flags, flags);
      EXPECT_EQ(one.payload, payload);
    }
    EXPECT_EQ(peer.frames.size(), times);
  };
}
inline std::function<void(Peer&)> quiet(std::uint16_t status) {
  return [=](Peer& peer) {
    answered(status)(peer);
    EXPECT_TRUE(peer.frames.empty());
  };
}
inline std::string sent_data(const std::vector<Frame>& frames) {
  std::string text;
  for (const Frame& one : of_type(frames, kData)) text += one.payload;
  return text;
}

}  // namespace tocsin::h2::test
