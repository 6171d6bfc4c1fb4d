// SPDX-License-Identifier: Apache-2.0
// A client session whose peer is the test, for the tests that run with every codec.
// Threads, ownership, bounds: a test's.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/hex.h"
#include "base/prng.h"
#include "codecs.h"
#include "frames.h"

namespace tocsin::h2::test {

inline base::FieldList push_fields() {
  base::FieldList list;
  list.constant(":method", "POST");
  list.constant(":scheme", "https");
  list.constant(":authority", "api.push.apple.com");
  list.slot(":path", base::SlotFormat::hex, "/3/device/");
  list.constant("apns-topic", "com.apple.mgmt.External.1");
  list.constant("apns-push-type", "mdm");
  list.slot("apns-id", base::SlotFormat::uuid);
  list.slot("apns-collapse-id", base::SlotFormat::text, "c-");
  return list;
}

// The three slot values of request n.
struct Values {
  std::array<std::uint8_t, 32> token{};
  std::array<std::uint8_t, 16> id{};
  std::string collapse;
  explicit Values(std::uint64_t n) : collapse(std::to_string(n)) {
    for (std::size_t i = 0; i < token.size(); ++i) token[i] = static_cast<std::uint8_t>(base::mix64(n + i * 77));
    for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(base::mix64(n * 31 + i));
  }
  std::string id_text() const { return base::uuid_format(id); }
};

inline Request make_request(std::uint64_t tag, std::uint32_t prepared, const Values& values, std::string_view body = {}) {
  Request request;
  request.tag = tag;
  request.prepared = prepared;
  request.slots[0] = std::as_bytes(std::span(values.token));
  request.slots[1] = std::as_bytes(std::span(values.id));
  request.slots[2] = base::as_bytes(values.collapse);
  request.content = base::as_bytes(body);
  return request;
}

// A client whose peer is the test.
struct Raw {
  explicit Raw(ClientOptions options = {.captures = {"apns-id", "apns-unique-id"}}, std::int32_t first_id = 1)
      : client(std::move(codec.make_at(options, first_id)).value()), prepared(client->prepare(push_fields(), base::BodyShape::whole())) {}

  // With the peer's SETTINGS behind it.
  static Raw open(std::vector<std::pair<std::uint32_t, std::uint32_t>> entries = {{3, 1000}}) {
    Raw raw;
    raw.begin(entries);
    return raw;
  }
  void begin(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& entries) {
    feed(settings(entries) + settings_ack());
    written();
    events.clear();
  }
  bool feed(std::string_view bytes) {
    const auto result = client->receive(base::as_bytes(bytes), answers, events);
    if (!result.ok()) error = result.error().message;
    return result.ok();
  }
  std::vector<Frame> written() {
    client->write_pending(out);
    return parse(take(out));
  }
  // Requests tagged 100, 101, ... from `first`.
  std::size_t send(std::size_t count, std::string_view body = {}, std::uint64_t first = 100) {
    std::vector<Values> values;
    std::vector<Request> requests;
    for (std::size_t i = 0; i < count; ++i) values.emplace_back(first + i);
    for (std::size_t i = 0; i < count; ++i) requests.push_back(make_request(first + i, prepared, values[i], body));
    return client->write(requests, out);
  }
  std::vector<std::uint64_t> open_tags() {
    std::vector<Orphan> orphans;
    client->open_tags(orphans);
    std::vector<std::uint64_t> tags;
    for (const Orphan& orphan : orphans) tags.push_back(orphan.tag);
    std::sort(tags.begin(), tags.end());
    return tags;
  }

  std::unique_ptr<ClientSession> client;
  std::uint32_t prepared;
  base::ByteBuffer out;
  std::vector<Answer> answers;
  std::vector<Event> events;
  std::string error;
};

inline const std::string kStatus200 = "\x88";
inline const std::string kId = "00000000-1111-2222-3333-444444444444";

}  // namespace tocsin::h2::test
