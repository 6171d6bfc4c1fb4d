// SPDX-License-Identifier: Apache-2.0
// What a server sends to our client session, each codec, with requests open, in any cut.
//
// Input: options, first stream id, cuts (fuzz.h), then frames: HTTP/2's own or, by an option, their short form
// (h2_wire.h). Properties: each tag ends at most once and only if it was open; no answer for anybody else; `complete`
// only with a status that a whole header block of that very stream named; counters agree with the tags; what we write
// is whole frames; after an error nothing more is answered.
#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "h2/fast_client.h"
#include "h2/nghttp2_client.h"
#include "h2_wire.h"

namespace tocsin::fuzz {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class Run {
 public:
  using Make = Result<std::unique_ptr<h2::ClientSession>> (*)(const h2::ClientOptions&, std::int32_t);
  Run(Make make, std::uint8_t options, std::uint8_t first) : options_(options) {
    h2::ClientOptions client;
    client.captures = {"apns-id", "retry-after"};
    client.streams_max = (options & 2) != 0 ? 2 : 20;
    client.answer_body_max = (options & 4) != 0 ? 8 : 4096;
    client.header_list_max = (options & 8) != 0 ? 128 : 16 * 1024;
    client.window_bytes = (options & 16) != 0 ? 65'535 : 1u << 20;
    streams_max_ = client.streams_max;
    body_max_ = client.answer_body_max;
    // Near the end of the ids, or from their beginning.
    const std::int32_t first_id = first < 8 && first != 0 ? 0x7fffffff - 2 * (first - 1) : 1;
    auto made = make(client, first_id);
    FUZZ_CHECK(made.ok());
    session_ = std::move(made).value();
    base::FieldList fields;
    fields.constant(":method", "POST");
    fields.constant(":scheme", "https");
    fields.constant(":authority", "api.push.apple.com");
    fields.slot(":path", base::SlotFormat::hex, "/3/device/");
    fields.slot("apns-id", base::SlotFormat::uuid);
    prepared_ = session_->prepare(fields, {});
    with_body_ = session_->prepare(fields, {{}, "tail", true});
  }

  void begin() {
    if ((options_ & 32) == 0) {
      // A server that is no trouble at first: SETTINGS with a limit of 100 streams, and ours acknowledged.
      receive(std::string_view("\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\0\x04\x01\0\0\0\0", 24));
    }
    write(3, false);
  }

  // False: the connection is over.
  bool step(std::string_view wire, unsigned deed) {
    switch (deed) {
      case 1: write(2, false); break;
      case 2: write(1, true); break;
      case 3: cancel(); break;
      case 4: session_->ping(++pings_); break;
      case 5: session_->goaway(); break;
      case 6: pending(); break;
      default: break;
    }
    return receive(wire);
  }

  void end() {
    pending();
    check();
    if (!failed_) return;
    std::vector<h2::Answer> answers;
    std::vector<h2::Event> events;
    FUZZ_CHECK(!session_->receive(base::as_bytes(std::string_view("\0\0\0\x04\x01\0\0\0\0", 9)), answers, events).ok());
    FUZZ_CHECK(session_->can_start() == 0);
    pending();
  }

 private:
  void write(std::size_t count, bool body) {
    static const std::string kBody(40'000, 'b');
    static const std::array<std::uint8_t, 32> kToken{1, 2, 3};
    static const std::array<std::uint8_t, 16> kId{4, 5, 6};
    std::vector<h2::Request> requests(count);
    for (std::size_t i = 0; i < count; ++i) {
      requests[i].tag = next_tag_ + i;
      requests[i].prepared = body ? with_body_ : prepared_;
      requests[i].slots[0] = std::as_bytes(std::span(kToken));
      requests[i].slots[1] = std::as_bytes(std::span(kId));
      requests[i].content = base::as_bytes(kBody);
    }
    const std::uint32_t room = session_->can_start();
    base::ByteBuffer out;
    const std::size_t taken = session_->write(requests, out);
    FUZZ_CHECK(taken <= room);
    for (std::size_t i = 0; i < taken; ++i) open_[next_tag_ + i] = 0;
    next_tag_ += taken;
    learn_ids();
    wrote(out);
    check();
  }

  void cancel() {
    if (open_.empty()) return;
    const std::uint64_t tag = open_.begin()->first;
    // The session may have settled it already; the answer then comes with the next receive().
    if (session_->cancel(tag)) {
      FUZZ_CHECK(!session_->cancel(tag));
      open_.erase(tag);
    }
    FUZZ_CHECK(!session_->cancel(next_tag_));
    check();
  }

  void pending() {
    base::ByteBuffer out;
    session_->write_pending(out);
    wrote(out);
  }

  bool receive(std::string_view wire) {
    witness_.feed(wire);
    const Exact exact(wire);
    std::vector<h2::Answer> answers;
    std::vector<h2::Event> events;
    const auto result = session_->receive(exact.bytes(), answers, events);
    for (const h2::Answer& answer : answers) judge(answer);
    for (const h2::Event& event : events) touch(event.debug);
    if (!result.ok()) {
      failed_ = true;
      FUZZ_CHECK(!result.error().message.empty());
    }
    check();
    return !failed_;
  }

  void judge(const h2::Answer& answer) {
    const auto found = open_.find(answer.tag);
    FUZZ_CHECK(found != open_.end());
    FUZZ_CHECK(found->second == 0 || found->second == answer.stream_id);
    open_.erase(found);
    for (const std::string_view text : answer.captured) touch(text);
    touch(answer.body);
    FUZZ_CHECK(answer.body.size() <= body_max_);
    if (answer.kind == h2::AnswerKind::complete) {
      FUZZ_CHECK(answer.status >= 200 && answer.status <= 599);
      FUZZ_CHECK(witness_.saw(answer.stream_id, answer.status));
    }
  }

  void learn_ids() {
    std::vector<h2::Orphan> orphans;
    session_->open_tags(orphans);
    for (const h2::Orphan& orphan : orphans) {
      const auto found = open_.find(orphan.tag);
      FUZZ_CHECK(found != open_.end());
      FUZZ_CHECK(found->second == 0 || found->second == orphan.stream_id);
      found->second = orphan.stream_id;
    }
  }

  // Tags that the session holds open are a subset of those we have no answer of; the rest was settled outside
  // receive() and comes with its next call, or never does if the connection has failed.
  void check() {
    std::vector<h2::Orphan> orphans;
    session_->open_tags(orphans);
    FUZZ_CHECK(orphans.size() == session_->open_streams());
    FUZZ_CHECK(orphans.size() <= open_.size());
    std::vector<std::uint64_t> tags;
    for (const h2::Orphan& orphan : orphans) {
      FUZZ_CHECK(open_.contains(orphan.tag));
      FUZZ_CHECK(orphan.status == 0 || witness_.saw(orphan.stream_id, orphan.status));
      tags.push_back(orphan.tag);
    }
    std::sort(tags.begin(), tags.end());
    FUZZ_CHECK(std::adjacent_find(tags.begin(), tags.end()) == tags.end());
    FUZZ_CHECK(session_->open_streams() <= streams_max_);
    FUZZ_CHECK(session_->can_start() <= streams_max_);
    FUZZ_CHECK(session_->can_start() == 0 ||
               session_->can_start() + session_->open_streams() <= std::min(streams_max_, session_->peer_streams_max()));
  }

  void wrote(const base::ByteBuffer& out) {
    std::string_view text = base::as_text(out.readable());
    if (!prefaced_ && !text.empty()) {
      FUZZ_CHECK(text.starts_with(kPreface));
      text.remove_prefix(kPreface.size());
      prefaced_ = true;
    }
    FrameReader frames;
    frames.feed(text, [](std::uint32_t type, std::uint32_t, std::int32_t, std::string_view payload) {
      FUZZ_CHECK(type <= 9);
      touch(payload);
    });
    FUZZ_CHECK(frames.whole());
  }

  std::uint8_t options_;
  std::uint32_t streams_max_ = 0;
  std::size_t body_max_ = 0;
  std::unique_ptr<h2::ClientSession> session_;
  std::uint32_t prepared_ = 0;
  std::uint32_t with_body_ = 0;
  StatusWitness witness_;
  std::map<std::uint64_t, std::int32_t> open_;  // tag: stream id, 0 while unknown
  std::uint64_t next_tag_ = 100;
  std::uint64_t pings_ = 0;
  bool prefaced_ = false;
  bool failed_ = false;
};

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  for (const Run::Make make : {&tocsin::h2::make_fast_client_at, &tocsin::h2::make_nghttp2_client_at}) {
    Choices choices(data, size);
    const std::uint8_t options = choices.byte();
    Run run(make, options, choices.byte());
    Cuts cuts(choices);
    const std::string spelled = (options & 1) != 0 ? spell_frames(choices.rest()) : std::string(choices.rest());
    std::string_view wire = spelled;
    run.begin();
    while (!wire.empty() || cuts.more()) {
      unsigned deed = 0;
      const std::string_view piece = cuts.next(wire, deed);
      if (!run.step(piece, deed)) break;
    }
    run.end();
  }
  return 0;
}
