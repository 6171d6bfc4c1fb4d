// SPDX-License-Identifier: Apache-2.0
// What the network sees of each push's writes and of their answers, for the oracles of fates.h.
#include <algorithm>
#include <cstring>

#include "base/hex.h"
#include "world.h"

namespace tocsin::sim {
namespace {

constexpr std::uint8_t kHeaders = 1, kReset = 3, kGoaway = 7, kContinuation = 9;
constexpr std::uint8_t kEndStream = 1, kEndHeaders = 4, kPriority = 0x20;
constexpr std::uint32_t kRefusedStream = 7;
constexpr std::int64_t kFarewellNs = kSec;  // a connection that says farewell reads no more

std::uint32_t number_at(base::ByteView bytes, std::size_t at) {
  std::uint32_t number = 0;
  for (std::size_t i = at; i < at + 4; ++i) number = number << 8 | static_cast<std::uint32_t>(bytes[i]);
  return number;
}

}  // namespace

// HEADERS that left as a whole. A client's header blocks are read in order, as a server would, whether or not it does.
void World::wrote(Link& link, std::uint32_t stream, std::uint8_t flags, base::ByteView body) {
  if (link.inflater == nullptr) {
    nghttp2_hd_inflater* made = nullptr;
    if (nghttp2_hd_inflate_new(&made) != 0) return verdicts_.say(0, "no memory");
    link.inflater.reset(made);
    nghttp2_hd_inflate_change_table_size(made, 65'536);  // whatever SETTINGS may allow
  }
  if ((flags & kEndHeaders) == 0) return verdicts_.say(0, "a client's header block in more than one frame");
  if ((flags & kPriority) != 0) body = body.subspan(5);
  Uuid uuid{};
  const std::uint8_t* at = reinterpret_cast<const std::uint8_t*>(body.data());
  std::size_t left = body.size();
  for (;;) {
    nghttp2_nv field{};
    int what = 0;
    const auto read = nghttp2_hd_inflate_hd2(link.inflater.get(), &field, &what, at, left, 1);
    if (read < 0) return verdicts_.say(4, "a header block that cannot be read");
    at += read;
    left -= static_cast<std::size_t>(read);
    if ((what & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      const std::string_view name(reinterpret_cast<const char*>(field.name), field.namelen);
      if (name == "apns-id") base::uuid_parse({reinterpret_cast<const char*>(field.value), field.valuelen}, uuid);
    }
    if ((what & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
  }
  nghttp2_hd_inflate_end_headers(link.inflater.get());
  Attempt attempt;
  std::memcpy(&attempt.push, uuid.data(), 8);
  const auto found = pushes_.find(attempt.push);
  if (found == pushes_.end()) return verdicts_.say(2, "a request with an apns-id that no push has was written");
  attempt.connection = link.number;
  attempt.encoded_from = link.encoded_from;
  attempt.written = link.sending_at;
  attempt.retry_later_ns = hosts_[link.host]->retry_later_ns;
  const std::string& topic = templates_[found->second.spec.template_index]->options.topic;
  attempt.token = hash_bytes(base::as_bytes(topic + found->second.token)) + link.host;
  found->second.first_written = std::min(found->second.first_written, attempt.written);
  // Bytes that stood before a GOAWAY was read may leave after it; the client knew when it read that.
  const auto refuses = [stream](const auto& goaway) { return stream > goaway.first; };
  const auto first = std::find_if(link.goaways.begin(), link.goaways.end(), refuses);
  if (first != link.goaways.end()) attempt.refused = first->second;
  link.attempts[stream] = &fates_.wrote(attempt);
}

// The client's RST_STREAM left. It was encoded earlier: until then an answer may have been read.
void World::gave_up(Link& link, std::uint32_t stream) {
  const auto found = link.attempts.find(stream);
  if (found == link.attempts.end() || found->second->known_by(link.encoded_from)) return;
  found->second->given_up = true;
}

// A frame of the gateway's was handed over to its last byte.
void World::read_to_the_end(Link& link, const FrameTap::Head& head, base::ByteView body) {
  if (head.type == kGoaway && body.size() >= 8) {
    const std::uint32_t last = number_at(body, 0) & 0x7fffffff;
    link.goaways.emplace_back(last, now_);
    for (auto& [stream, attempt] : link.attempts) {
      if (stream > last && !attempt->known_by(now_)) attempt->refused = now_;
    }
    return;
  }
  const auto found = link.attempts.find(head.id);
  if (found == link.attempts.end()) return;
  Attempt& attempt = *found->second;
  if (head.type == kHeaders && base::as_text(body) == kNoAnswer) {
    if (!attempt.known_by(now_)) attempt.given_up = true;  // no answer counts behind it
    return;
  }
  if ((head.type == kHeaders || head.type == kContinuation) && (head.flags & kEndHeaders) != 0 && !attempt.known_by(now_)) {
    attempt.answered = now_;
    // A client that waited for its answer's whole time may have stopped doing so.
    attempt.doubtful |= now_ - attempt.encoded_from >= credentials_[link.credential]->answer_timeout_ns - kSec;
    attempt.older = link.version != hosts_[link.host]->versions[link.credential] ||
                    (apns::rule_for(attempt.status, attempt.reason).scope == apns::Scope::credential &&
                     draw_.menu[static_cast<std::size_t>(Kind::clock_steps)] != 0);
  }
  if (head.type == kReset && body.size() >= 4 && !attempt.known_by(now_)) {
    if (number_at(body, 0) == kRefusedStream) attempt.refused = now_;
    else attempt.given_up = true;  // its fate stays open, whatever a GOAWAY says behind it
  }
  if (head.type <= kHeaders && (head.flags & kEndStream) != 0 && draw_.script.find("-body") == std::string::npos) attempt.whole = true;
}

void World::closing(Link& link) {
  for (auto& [stream, attempt] : link.attempts) {
    if (std::min(attempt->answered, attempt->refused) >= now_ - kFarewellNs - kMs) attempt->doubtful = true;
  }
}

}  // namespace tocsin::sim
