// SPDX-License-Identifier: Apache-2.0
// Answers and ends: every push that was taken leaves through end(), once (invariant 1).
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "apns/answer.h"
#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

constexpr std::uint32_t kRefusedStream = 7;  // RFC 9113 section 7

const char* h2_error_name(std::uint32_t code) {
  static constexpr const char* kNames[] = {
      "NO_ERROR",          "PROTOCOL_ERROR", "INTERNAL_ERROR",    "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
      "STREAM_CLOSED",     "FRAME_SIZE_ERROR", "REFUSED_STREAM",  "CANCEL",             "COMPRESSION_ERROR",
      "CONNECT_ERROR",     "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"};
  return code < std::size(kNames) ? kNames[code] : "unknown error code";
}

void set_reason(Outcome& outcome, Reason reason, std::string_view text) {
  outcome.reason = reason;
  const std::size_t bytes = std::min(text.size(), kReasonTextBytes);
  if (bytes != 0) std::memcpy(outcome.reason_text, text.data(), bytes);
  outcome.reason_text_bytes = static_cast<std::uint8_t>(bytes);
  if (bytes < text.size()) outcome.flags |= kReasonCut;
}

}  // namespace

void Shard::on_answer(Connection& connection, const h2::Answer& answer) {
  const auto slot = static_cast<std::uint32_t>(answer.tag);
  TOCSIN_ASSERT(slot < pool_fresh_ && metas_[slot].state == PushState::in_flight);
  --connection.in_flight;
  --counters_.in_flight;

  if (answer.kind == h2::AnswerKind::broken && !answer.headers_seen) {
    stream_lost(slot, true, Reason::bad_answer, "the answer breaks HTTP rules");
    return;
  }
  if (answer.kind == h2::AnswerKind::reset && !answer.headers_seen) {
    if (answer.error_code == kRefusedStream) {
      stream_lost(slot, false, Reason::refused_by_peer, "REFUSED_STREAM");
    } else {
      stream_lost(slot, true, Reason::stream_reset, h2_error_name(answer.error_code));
    }
    return;
  }
  // A final :status counts even if what came behind it was cut off or broken (invariant 1).
  if (!connection.proven) {
    connection.proven = true;
    Credential& credential = credentials_[connection.credential];
    credential.failures = 0;
    credential.same_cause = 0;
    credential.last_cause = tls::Cause::none;
    for (const base::Handle each : credential.connections) {
      connections_[each].unreachable_before_mono_ns = base::kNever;
    }
    // A dial beside this connection may have failed before it had answered anything; that says no more.
    if (credential.unreachable_since_mono_ns != base::kNever || credential.gave_up) {
      credential.unreachable_since_mono_ns = base::kNever;
      credential.unreachable_since_wall_ns = 0;
      credential.gave_up = false;
      mark_changed(credential);
    }
  }
  char scratch[256];
  const apns::Verdict verdict = apns::read_answer(answer.status, answer.captured[0], base::as_text(answer.body),
                                                  scratch, sizeof(scratch));
  Outcome& outcome = add_outcome(slot, verdict.end);
  outcome.status = answer.status;
  outcome.unregistered_unix_ms = verdict.unregistered_unix_ms;
  if (verdict.has_apns_id) outcome.apns_id = verdict.apns_id;
  if (verdict.reason != Reason::none) set_reason(outcome, verdict.reason, verdict.reason_text);
  release(slot);
}

Outcome& Shard::add_outcome(std::uint32_t slot, End end) {
  const PushRecord& record = records_[slot];
  const Meta& meta = metas_[slot];
  Outcome& outcome = out_->outcomes.emplace_back();
  outcome.id = record.id;
  outcome.apns_id = record.apns_id;
  outcome.submitted_unix_ns = record.submitted_wall_ns;
  // Wall time may step; the stamps of one push are told on the wall clock as it stands now.
  if (meta.attempts != 0) outcome.sent_unix_ns = now_.wall_ns - (now_.mono_ns - meta.sent_mono_ns);
  outcome.ended_unix_ns = now_.wall_ns;
  outcome.attempts = meta.attempts;
  outcome.end = end;
  if (meta.doubled) outcome.flags |= kPossiblyDoubled;
  ++counters_.ends[static_cast<std::size_t>(end)];
  return outcome;
}

void Shard::end(std::uint32_t slot, End end, Reason reason, std::uint16_t status, std::string_view text) {
  // Failed and returned promise that APNs never processed it: a push with an attempt of unknown fate may not say so.
  if (metas_[slot].maybe_processed && (end == End::failed || end == End::returned)) end = End::unknown;
  Outcome& outcome = add_outcome(slot, end);
  outcome.status = status;
  set_reason(outcome, reason, text);
  release(slot);
}

void Shard::stream_lost(std::uint32_t slot, bool processed_possible, Reason reason, std::string_view text) {
  Meta& meta = metas_[slot];
  PushRecord& record = records_[slot];
  if (processed_possible) meta.maybe_processed = true;
  if (processed_possible && record.policy == Policy::at_most_once) {
    end(slot, End::unknown, reason, 0, text);
    return;
  }
  if (stopping_) {
    end(slot, meta.maybe_processed ? End::unknown : End::returned, Reason::engine_stopped, 0, {});
    return;
  }
  if (meta.attempts >= options_.attempts_max) {
    end(slot, meta.maybe_processed ? End::unknown : End::failed, reason, 0, text);
    return;
  }
  meta.state = PushState::waiting;
  push_front(credentials_[record.credential], slot);
  activate(record.credential);
}

void Shard::sweep(Connection& connection, Reason reason, std::string_view text) {
  if (connection.h2 == nullptr || connection.in_flight == 0) return;
  // Streams that ended while nothing was being read have their answers waiting in the session.
  answers_.clear();
  h2_events_.clear();
  static_cast<void>(connection.h2->receive({}, answers_, h2_events_));
  for (const h2::Answer& answer : answers_) on_answer(connection, answer);
  orphans_.clear();
  connection.h2->open_tags(orphans_);
  TOCSIN_ASSERT(orphans_.size() == connection.in_flight);
  // Oldest first in the queue again: push_front in falling order of stream id.
  std::sort(orphans_.begin(), orphans_.end(),
            [](const h2::Orphan& a, const h2::Orphan& b) { return a.stream_id > b.stream_id; });
  for (const h2::Orphan& orphan : orphans_) {
    if (orphan.status != 0) {  // answered, and only the rest of the answer was lost
      h2::Answer answer;
      answer.tag = orphan.tag;
      answer.stream_id = orphan.stream_id;
      answer.kind = h2::AnswerKind::reset;
      answer.headers_seen = true;
      answer.status = orphan.status;
      on_answer(connection, answer);
      continue;
    }
    --connection.in_flight;
    --counters_.in_flight;
    stream_lost(static_cast<std::uint32_t>(orphan.tag), true, reason, text);
  }
}

}  // namespace tocsin::dispatch
