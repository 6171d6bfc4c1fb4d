// SPDX-License-Identifier: Apache-2.0
// Answers and ends: every push that was taken leaves through end(), once (invariant 1).
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "apns/answer.h"
#include "base/assertion.h"
#include "base/hex.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

constexpr std::uint32_t kRefusedStream = 7;  // RFC 9113 section 7

// ExpiredProviderToken this often in a row for tokens that are young by our clock: the clock is wrong.
constexpr unsigned kTokensExpiredMax = 3;

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

void Shard::connection_proven(Connection& connection) {
  confirm(connection);
  if (connection.proven) return;
  connection.proven = true;
  Credential& credential = credentials_[connection.credential];
  credential.ever_proven = true;
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
  activate(connection.credential);
}

void Shard::on_answer(Connection& connection, const h2::Answer& answer) {
  const auto slot = static_cast<std::uint32_t>(answer.tag);
  TOCSIN_ASSERT(queue_.state(slot) == PushState::in_flight);
  --connection.in_flight;
  --counters_.in_flight;

  if (answer.kind == h2::AnswerKind::broken && !answer.headers_seen) {
    mark(Mark::broken_answer);
    stream_lost(slot, true, Reason::bad_answer, "the answer breaks HTTP rules");
    return;
  }
  if (answer.kind == h2::AnswerKind::reset && !answer.headers_seen) {
    if (answer.error_code == kRefusedStream) {
      const bool by_goaway = answer.stream_id > connection.goaway_last;
      mark(by_goaway ? Mark::goaway_replay : Mark::refused_stream);
      stream_lost(slot, false, Reason::refused_by_peer, "REFUSED_STREAM", by_goaway);
    } else {
      mark(Mark::stream_reset);
      stream_lost(slot, true, Reason::stream_reset, h2_error_name(answer.error_code));
    }
    return;
  }
  // A final :status counts even if what came behind it was cut off or broken (invariant 1).
  if (answer.kind != h2::AnswerKind::complete) mark(Mark::status_before_reset);
  if (apns::accepts(answer.status)) {
    count_accepted(connection, 1);
    return end_accepted(slot, 0, answer.captured[0], out_->accepted.emplace_back());
  }
  char scratch[256];
  const apns::Verdict verdict = apns::read_answer(answer.status, answer.captured[0], base::as_text(answer.body),
                                                  scratch, sizeof(scratch));
  apns::Rule rule = apns::rule_for(answer.status, verdict.reason);
  if (verdict.reason == Reason::invalid_provider_token && forget_future_token(connection)) {
    rule = apns::rule_for(answer.status, Reason::expired_provider_token);
  }
  // An answer about the credential itself does not show that the way is good.
  if (rule.scope != apns::Scope::credential) connection_proven(connection);
  count_answers(connection.credential, 1, verdict.reason == Reason::bad_device_token ? 1 : 0);
  note_rejection(slot, connection, rule, verdict, answer.status);
  if (retry(slot, connection, rule, answer.status, verdict.reason)) return;
  Outcome& outcome = add_outcome(slot, verdict.end);
  outcome.status = answer.status;
  outcome.unregistered_unix_ms = verdict.unregistered_unix_ms;
  if (verdict.has_apns_id) outcome.apns_id = verdict.apns_id;
  if (verdict.reason != Reason::none) set_reason(outcome, verdict.reason, verdict.reason_text);
  release(slot, false);
}

bool Shard::take_answers(Connection& connection) {
  // The record first; with it at hand, what its key leads to.
  constexpr std::size_t kAhead = 8;
  constexpr std::size_t kKeyAhead = 4;
  const std::span<const h2::Answer> answers = answers_;
  const std::span<const std::uint64_t> plain = connection.h2->plain_tags();
  std::size_t done = 0;  // of those
  const auto end_plain = [&](std::size_t until) {
    const std::span<const std::uint64_t> tags = plain.subspan(done, until - done);
    done = until;
    end_run(connection, tags.size(), [tags](std::size_t i) { return tags[i]; }, [](std::size_t) { return std::string_view{}; });
  };
  bool broken = false;
  for (std::size_t i = 0; i < answers.size();) {
    if (answers[i].plain_before != done) end_plain(answers[i].plain_before);
    std::size_t run = 0;
    const auto goes_on = [done](const h2::Answer& answer) {
      return answer.kind == h2::AnswerKind::complete && apns::accepts(answer.status) && answer.plain_before == done;
    };
    while (i + run < answers.size() && goes_on(answers[i + run])) ++run;
    if (run != 0) {
      const h2::Answer* const good = &answers[i];
      end_run(connection, run, [good](std::size_t k) { return good[k].tag; },
              [good](std::size_t k) { return good[k].captured[0]; });
      i += run;
      continue;
    }
    if (i + kAhead < answers.size()) queue_.expect(static_cast<std::uint32_t>(answers[i + kAhead].tag));
    if (i + kKeyAhead < answers.size()) queue_.expect_key(static_cast<std::uint32_t>(answers[i + kKeyAhead].tag));
    broken |= answers[i].kind == h2::AnswerKind::broken;
    on_answer(connection, answers[i++]);
  }
  if (done != plain.size()) end_plain(plain.size());
  return broken;
}

// Accepted pushes, one behind the other.
template <class TagOf, class IdOf>
void Shard::end_run(Connection& connection, std::size_t count, TagOf&& tag_of, IdOf&& apns_id_of) {
  // Answers come in another order than pushes lie, and little is done for each: far ahead.
  constexpr std::size_t kAhead = 24;
  constexpr std::size_t kKeyAhead = 12;
  std::uint64_t hashes[kKeyAhead] = {};
  const auto slot_of = [&](std::size_t i) { return static_cast<std::uint32_t>(tag_of(i)); };
  for (std::size_t i = 0; i < std::min(kAhead, count); ++i) queue_.expect(slot_of(i));
  connection.in_flight -= static_cast<std::uint32_t>(count);
  counters_.in_flight -= count;
  count_accepted(connection, static_cast<std::uint32_t>(count));
  const std::size_t before = out_->accepted.size();
  out_->accepted.resize(before + count);
  AcceptedPush* const pushes = out_->accepted.data() + before;
  for (std::size_t i = 0; i < std::min(kKeyAhead, count); ++i) hashes[i] = queue_.expect_key(slot_of(i));
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) queue_.expect(slot_of(i + kAhead));
    const std::uint64_t hash = hashes[i % kKeyAhead];
    if (i + kKeyAhead < count) hashes[i % kKeyAhead] = queue_.expect_key(slot_of(i + kKeyAhead));
    TOCSIN_ASSERT(queue_.state(slot_of(i)) == PushState::in_flight);
    end_accepted(slot_of(i), hash, apns_id_of(i), pushes[i]);
  }
}

// What so many accepted pushes say beyond themselves.
void Shard::count_accepted(Connection& connection, std::uint32_t count) {
  if (connection.confirming || !connection.proven) connection_proven(connection);
  if (connection.ramp.active() && connection.ramp.good_answers(count)) reaches_[connection.reach]->recovered();
  Credential& credential = credentials_[connection.credential];
  count_good_answers(connection.credential, count);
  credential.tokens_expired = 0;
  credential.budget.accepted(count);
  counters_.ends[static_cast<std::size_t>(End::accepted)] += count;
}

// hash: of its key, for Queue::finish().
void Shard::end_accepted(std::uint32_t slot, std::uint64_t hash, std::string_view apns_id, AcceptedPush& push) {
  const QueuedPush& record = queue_.record(slot);
  const Queue::Meta meta = queue_.known(slot);
  if (!token_holds_.empty()) token_holds_.forget(template_facts_[record.template_index].topic, record.token());
  push.id = record.id;
  push.apns_id = record.apns_id;
  if (Uuid theirs; !apns_id.empty() && base::uuid_parse(apns_id, theirs)) push.apns_id = theirs;
  push.submitted_unix_ns = record.submitted_wall_ns;
  push.sent_unix_ns = now_.wall_ns - (now_.mono_ns - meta.sent_mono_ns);  // as in add_outcome()
  push.ended_unix_ns = now_.wall_ns;
  push.attempts = meta.attempts;
  push.flags = meta.doubled ? std::uint8_t{kPossiblyDoubled} : std::uint8_t{0};
  release(slot, true, hash);
}

// What a rejection says beyond its push: about the token, the connection, the credential.
void Shard::note_rejection(std::uint32_t slot, Connection& connection, const apns::Rule& rule,
                           const apns::Verdict& verdict, std::uint16_t status) {
  const QueuedPush& record = queue_.record(slot);
  Credential& credential = credentials_[connection.credential];
  if (status == 410) {
    const std::int64_t since_ms =
        verdict.unregistered_unix_ms != 0 ? verdict.unregistered_unix_ms : now_.wall_ns / base::kMillisecond;
    add_dead(template_facts_[record.template_index].topic, record.token(), since_ms);
  }
  if (apns::slows_down(status, verdict.reason)) connection.rejected = true;
  const bool current = connection.version == credential.version;
  if (rule.scope == apns::Scope::credential && rule.retry == apns::Retry::never && current) {
    stop_credential(connection.credential, Reason::credential_stopped,
                    "APNs answered " + std::to_string(status) + " " + reason_name(verdict.reason) + ". " + rule.advice);
  }
  // Once for a connection: what was in flight beside it says the same of the same token.
  const bool first_word = verdict.reason == Reason::expired_provider_token && rule.retry == apns::Retry::new_token && current &&
                          connection.state == ConnectionState::ready;
  if (first_word && now_.mono_ns < connection.token_over_mono_ns && !credential.stopped &&
      ++credential.tokens_expired >= kTokensExpiredMax) {
    mark(Mark::clock_suspected);
    stop_credential(connection.credential, Reason::credential_stopped,
                    "APNs calls provider tokens expired that are less than an hour old by this machine's clock: the "
                    "clock is wrong; set it (NTP).");
  }
  if (rule.retry == apns::Retry::keep_token) {
    connection.token_turn_mono_ns = std::max(connection.token_turn_mono_ns, now_.mono_ns + 1200 * base::kSecond);
    connection.blocked_until_mono_ns = now_.mono_ns + 30 * base::kSecond;
  }
  const bool replace = rule.retry == apns::Retry::elsewhere || rule.retry == apns::Retry::new_token ||
                       rule.retry == apns::Retry::rebind || (rule.scope == apns::Scope::credential && !current);
  // Only marked as draining: who called closes it when nothing is in flight.
  if (replace && connection.state == ConnectionState::ready) {
    move(connection, ConnectionInput::retire);
    soon(credential, connection);
    mark_changed(credential);
  }
}

bool Shard::no_more_tries(const Queue::Meta& meta, bool waits) const {
  if (waits && options_.attempts_max > 1) return meta.delays >= kWaitsMax;
  return static_cast<unsigned>(meta.attempts - meta.delays) >= options_.attempts_max;
}

bool Shard::retry(std::uint32_t slot, const Connection& connection, const apns::Rule& rule, std::uint16_t status,
                  Reason reason) {
  const QueuedPush& record = queue_.record(slot);
  Queue::Meta& meta = queue_.meta(slot);
  Credential& credential = credentials_[queue_.credential_of(slot)];
  apns::Retry how = rule.retry;
  // Refused with a version of the credential that has been replaced: the new one is to be asked.
  if (how == apns::Retry::never && rule.scope == apns::Scope::credential && connection.version != credential.version) {
    how = apns::Retry::elsewhere;
  }
  const bool costs = how == apns::Retry::later || how == apns::Retry::token || how == apns::Retry::keep_token;
  if (how == apns::Retry::never || stopping_ || credential.removed || credential.stopped || no_more_tries(meta, costs)) {
    return false;
  }
  if (how == apns::Retry::rebind && meta.rebound) return false;
  const std::int64_t at = now_.mono_ns + retry_delay_ns(how, meta.delays, options_.retry_later_ns, prng_);
  Tick until = tick_at(at) + 1;
  if (how == apns::Retry::token) {
    until = token_holds_.hold(template_facts_[record.template_index].topic, record.token(), tick_at(now_.mono_ns), prng_);
  }
  if (record.deadline != kTickNone && until >= record.deadline) {
    mark(Mark::retry_past_deadline);
    return false;
  }
  switch (how) {
    case apns::Retry::later: mark(Mark::retry_later); break;
    case apns::Retry::token: mark(Mark::retry_token); break;
    case apns::Retry::new_token: mark(Mark::retry_new_token); break;
    case apns::Retry::keep_token: mark(Mark::retry_keep_token); break;
    case apns::Retry::rebind:
      mark(Mark::retry_rebind);
      meta.rebound = true;
      break;
    default: mark(Mark::retry_elsewhere); break;
  }
  if (costs) {
    ++meta.delays;
    meta.owes = true;
  }
  meta.last_status = status;
  meta.last_reason = reason;
  ++counters_.retries;
  requeue(slot, costs ? until : kTickNone);
  return true;
}

// Back to wait; or superseded meanwhile, or its group was cancelled.
void Shard::requeue(std::uint32_t slot, Tick not_before) {
  const QueuedPush& record = queue_.record(slot);
  const std::uint32_t index = queue_.credential_of(slot);
  if (const std::uint32_t group = queue_.group_of(slot); group != 0 && queue_.group_cancelled(group - 1)) {
    mark(Mark::cancelled_late);
    queue_.hold(slot);
    end(slot, End::cancelled, Reason::cancelled_by_caller, 0, {});
    return;
  }
  if (record.deadline != kTickNone && record.deadline <= tick_at(now_.mono_ns)) {
    mark(Mark::expired_delayed);
    queue_.hold(slot);
    end(slot, End::expired, Reason::deadline_passed, 0, {});
    return;
  }
  std::uint64_t by = 0;
  bool accepted = false;
  if (!queue_.requeue(slot, not_before, superseded_, by, accepted)) {
    mark(accepted ? Mark::superseded_accepted : Mark::superseded_retry);
    end(slot, End::superseded, Reason::newer_push, 0, {}, by);
    return;
  }
  activate(index);
}

Outcome& Shard::add_outcome(std::uint32_t slot, End end) {
  static constexpr Outcome kBlank{};  // copied: it is dearer to clear one
  const QueuedPush& record = queue_.record(slot);
  const Queue::Meta meta = queue_.known(slot);
  Outcome& outcome = out_->outcomes.emplace_back(kBlank);
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

void Shard::end(std::uint32_t slot, End end, Reason reason, std::uint16_t status, std::string_view text,
                std::uint64_t superseded_by) {
  // These promise that APNs never processed it: a push with an attempt of unknown fate may not say so.
  if (queue_.known(slot).maybe_processed && end != End::accepted && end != End::rejected) end = End::unknown;
  Outcome& outcome = add_outcome(slot, end);
  outcome.status = status;
  outcome.superseded_by = superseded_by;
  set_reason(outcome, reason, text);
  // A push that was tried again and ran out of time says what APNs had answered last.
  if (const Queue::Meta meta = queue_.known(slot); end == End::expired && meta.last_status != 0) {
    outcome.status = meta.last_status;
    set_reason(outcome, reason, reason_name(meta.last_reason));
  }
  release(slot, false);
}

void Shard::release(std::uint32_t slot, bool accepted, std::uint64_t hash) {
  const QueuedPush& record = queue_.record(slot);
  if (record.external()) {
    out_->released.push_back({record.block(), record.block_class(), static_cast<std::uint32_t>(record.data_bytes())});
  }
  queue_.finish(slot, accepted, superseded_, hash);
}

// Ends what the queue took out in favour of newer pushes; their ends may not name a newer one in turn.
void Shard::end_superseded() {
  for (std::size_t i = 0; i < superseded_.size(); ++i) {
    const Queue::Superseded one = superseded_[i];
    mark(one.accepted ? Mark::superseded_accepted : Mark::superseded_waiting);
    end(one.slot, End::superseded, Reason::newer_push, 0, {}, one.by);
  }
  superseded_.clear();
}

void Shard::stream_lost(std::uint32_t slot, bool processed_possible, Reason reason, std::string_view text,
                        bool by_goaway) {
  Queue::Meta& meta = queue_.meta(slot);
  const QueuedPush& record = queue_.record(slot);
  if (processed_possible) meta.maybe_processed = true;
  if (processed_possible && record.policy() == Policy::at_most_once) {
    mark(Mark::lost_unknown);
    end(slot, End::unknown, reason, 0, text);
    return;
  }
  if (stopping_) {
    end(slot, meta.maybe_processed ? End::unknown : End::returned, Reason::engine_stopped, 0, {});
    return;
  }
  // Refused again and again, a push waits between its attempts, or a spell of it would use them all up at once. A GOAWAY's
  // replay goes elsewhere at once.
  const bool waits = reason == Reason::refused_by_peer && !by_goaway && meta.attempts > 1;
  if (no_more_tries(meta, waits)) {
    mark(Mark::attempts_used_up);
    end(slot, meta.maybe_processed ? End::unknown : End::failed, reason, 0, text);
    return;
  }
  if (processed_possible) mark(Mark::lost_resent);
  if (waits) {
    const std::int64_t wait = retry_delay_ns(apns::Retry::later, meta.delays, options_.retry_later_ns, prng_);
    ++meta.delays;
    meta.owes = true;
    mark(Mark::refused_again);
    requeue(slot, tick_at(now_.mono_ns + wait) + 1);
    return;
  }
  requeue(slot, kTickNone);
}

void Shard::sweep(Connection& connection, Reason reason, std::string_view text) {
  if (connection.h2 == nullptr || connection.in_flight == 0) return;
  // Streams that ended while nothing was being read have their answers waiting in the session.
  answers_.clear();
  h2_events_.clear();
  static_cast<void>(connection.h2->receive({}, answers_, h2_events_));
  TOCSIN_ASSERT(connection.h2->plain_tags().empty());  // those come of bytes only
  for (const h2::Answer& answer : answers_) on_answer(connection, answer);
  orphans_.clear();
  connection.h2->open_tags(orphans_);
  TOCSIN_ASSERT(orphans_.size() == connection.in_flight);
  // Oldest first in the queue again: push_front in falling order of stream id.
  std::sort(orphans_.begin(), orphans_.end(),
            [](const h2::Orphan& a, const h2::Orphan& b) { return a.stream_id > b.stream_id; });
  for (const h2::Orphan& orphan : orphans_) orphaned(connection, orphan, reason, text);
}

// An open stream is given up.
void Shard::orphaned(Connection& connection, const h2::Orphan& orphan, Reason reason, std::string_view text) {
  if (orphan.status != 0) {  // answered, and only the rest of the answer was lost
    h2::Answer answer;
    answer.tag = orphan.tag;
    answer.stream_id = orphan.stream_id;
    answer.kind = h2::AnswerKind::reset;
    answer.headers_seen = true;
    answer.status = orphan.status;
    on_answer(connection, answer);
    return;
  }
  --connection.in_flight;
  --counters_.in_flight;
  stream_lost(static_cast<std::uint32_t>(orphan.tag), true, reason, text);
}

}  // namespace tocsin::dispatch
