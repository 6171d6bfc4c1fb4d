// SPDX-License-Identifier: Apache-2.0
// From queues to streams: who may write, how many, and when another connection is worth its dial.
#include <algorithm>
#include <utility>

#include "base/assertion.h"
#include "dispatch/shard.h"

namespace tocsin::dispatch {
namespace {

// What has been written is encrypted, in full records, once it comes to so much: while it is in the first caches, and into a buffer
// that stays small.
constexpr std::size_t kRecordBytes = 16'384;  // of plain text in a TLS record (RFC 8446 section 5.1)
constexpr std::size_t kSealBytes = 2 * kRecordBytes;

// Stream ids are odd and end at 2^31 - 1; a connection this near the end is replaced.
constexpr std::int32_t kStreamIdRotate = 0x7fffff00;

}  // namespace

void Shard::schedule() {
  rate_deadline_ = base::kNever;
  activate_woken();
  do {
    serve_active();
    serve_lines();
  } while (!active_.empty());
  if (!engine_line_.empty() && queue_.waiting() != 0) {
    if (!engine_allowance_.asked) ask_for_line();
    for (const std::uint32_t group : leased_groups_) keep_lease(groups_[group], engine_allowance_);
  }
  std::erase_if(placeless_, [this](std::uint32_t index) {
    if (has_task(index)) return false;
    credentials_[index].placeless_since_mono_ns = base::kNever;
    return true;
  });
  std::erase_if(leased_groups_, [this](std::uint32_t group) {
    if (now_.mono_ns < groups_[group].void_mono_ns) return false;
    queue_.void_group(group);
    return true;
  });
  wanting_.clear();
  queue_.wanting_groups(wanting_);
  for (const auto& [group, waiting] : wanting_) ask(Pace::group, group, groups_[group], waiting);
}

void Shard::schedule_credential(std::uint32_t index, Credential& credential) {
  if (stopping_) {
    credential.opening = credential.letting_go = false;  // they go anyway
    return fail_waiting(index, End::returned, Reason::engine_stopped, {});
  }
  if (credential.removed) {
    credential.opening = false;
    mark_changed(credential);
    return fail_waiting(index, End::returned, Reason::credential_removed, {});
  }
  if (std::exchange(credential.letting_go, false)) let_go(credential);
  if (credential.stopped) {
    credential.opening = credential.renewing = false;
    return fail_waiting(index, End::failed, credential.stop_reason, credential.last_error);
  }
  // Those that APNs has slowed down for rejections come last.
  Strength strength;
  bool slowed = false;
  for (const base::Handle handle : credential.connections) {
    const Connection& connection = connections_[handle];
    if (connection.slowed) slowed = true; else serve(handle, index, credential, strength);
  }
  for (std::size_t i = 0; slowed && i < credential.connections.size(); ++i) {
    const base::Handle handle = credential.connections[i];
    if (connections_[handle].slowed) serve(handle, index, credential, strength);
  }
  want_connection(index, credential, strength);
}

void Shard::serve(base::Handle handle, std::uint32_t index, Credential& credential, Strength& strength) {
  Connection& connection = connections_[handle];
  const bool held = credential.paused || credential.alarmed;
  const bool current = connection.version == credential.version;
  switch (connection.state) {
    case ConnectionState::resolving:
    case ConnectionState::dialling:
    case ConnectionState::tunnelling:
    case ConnectionState::handshaking:
    case ConnectionState::settling: strength.dialling += current ? 1 : 0; return;
    case ConnectionState::ready: break;
    default: return;
  }
  if (connection.h2->next_stream_id() >= kStreamIdRotate) return retire(handle, connection);
  if (current || credential.renewing) ++strength.usable;
  const bool unsure = connection.confirming || connection.probing;  // it may yet turn out to be good
  if (unsure) ++strength.unsure;
  if (held || !queue_.has_ready(index)) return;
  if (now_.mono_ns < connection.blocked_until_mono_ns) return watch(handle, connection);
  if (!ready_token(index, handle, connection)) return;
  if (probe(handle, connection)) {
    strength.unsure += unsure ? 0 : 1;
    return;
  }
  while (connection.unsent_bytes() + connection.plain_out.size() < options_.wire_high_water_bytes) {
    if (write_batch(handle, connection, index, credential) == 0) break;
    if (connection.plain_out.size() < kSealBytes) continue;
    if (!seal(handle, connection, connection.plain_out.size() / kRecordBytes * kRecordBytes)) {
      if (current || credential.renewing) --strength.usable;
      return;
    }
    connection.plain_out.compact();
  }
  // The rest too, while it is in the caches, and the next connection writes into the same memory.
  if (!connection.plain_out.empty() && !seal_rest(handle, connection)) {
    if (current || credential.renewing) --strength.usable;
    return;
  }
  if (connection.takes_nothing_mono_ns != base::kNever &&
      now_.mono_ns - connection.takes_nothing_mono_ns >= connection.config->answer_timeout_ns) {
    mark(Mark::takes_nothing);
    lose(handle, connection, tls::Cause::none, connection.config->authority + " grants no stream and no window");
    if (current || credential.renewing) --strength.usable;
  }
}

// How many dials at once: one until there is a connection and while dials fail; then as many as there are connections, so
// that hundreds take the time of a few round trips, and no server sees more than twice what it serves already.
void Shard::dial_more(std::uint32_t index, Credential& credential, Strength strength, bool work) {
  const CredentialConfig& config = *credential.config;
  const unsigned at_once = credential.failures != 0 || strength.unsure != 0 ? 1 : std::clamp(strength.usable, 1u, options_.dials_max);
  // A new version waits to be taken into use.
  bool renew = credential.renewing && strength.dialling == 0 && strength.unsure == 0;
  bool others_first = serving_ == Line::none;
  for (;;) {
    const unsigned has = strength.usable + strength.dialling;
    const bool wanted = (work && has < config.connections_max) || (credential.opening && has < config.connections_min);
    if (!renew && (!wanted || strength.dialling + strength.unsure >= at_once)) return;
    if (now_.mono_ns < credential.next_dial_mono_ns) return wake_at(index, credential.next_dial_mono_ns);
    if (reaches_[credential.reach]->may_dial_at() > now_.mono_ns ||
        (others_first && !reach_lines_[credential.reach].waiting.empty())) {
      return await_reach(index, credential);
    }
    if (dials_left_ == 0 || (others_first && !dial_line_.empty())) return await_dial(index, credential);
    start_dial(index, strength.usable == 0);
    ++strength.dialling;
    renew = false;
    others_first = true;  // a turn in a line is for one
  }
}

void Shard::want_connection(std::uint32_t index, Credential& credential, Strength strength) {
  const unsigned usable = strength.usable;
  const bool held = credential.paused || credential.alarmed;
  // The last of an older version may have gone by itself: then nothing is left to be replaced.
  const auto older = [&](base::Handle handle) {
    return connections_[handle].state == ConnectionState::ready && connections_[handle].version != credential.version;
  };
  credential.renewing = credential.renewing &&
                        std::any_of(credential.connections.begin(), credential.connections.end(), older);
  // What waits for its rate needs no further connection.
  const auto spent = [](const Allowance& allowance) { return allowance.paced && allowance.left == 0; };
  const bool first = usable == 0;
  // Whoever has no connection that takes pushes dials, and keeps his place in that line, whatever his rate says.
  const bool work = !held && queue_.has_ready(index) && (first || (!spent(credential.allowance) && !spent(engine_allowance_)));
  const bool few = usable + strength.dialling < credential.config->connections_min;
  // For pushes that wait it is tried again after the back-off; for the minimum with the next push behind it.
  const bool in_vain = credential.failures != 0 && queue_.waiting(index) == 0 && now_.mono_ns < credential.next_dial_mono_ns;
  credential.opening = few && !held && !in_vain && (credential.opening || work);
  if (!work && !credential.opening && !credential.renewing) leave_line(index);
  dial_more(index, credential, strength, work);
  if (usable != 0 || queue_.waiting(index) == 0) return;
  const std::int64_t give_up_ns =
      credential.ever_proven ? credential.config->outage_give_up_ns : credential.config->give_up_ns;
  if (give_up_ns != 0 && credential.unreachable_since_mono_ns != base::kNever) {
    const std::int64_t give_up_at = credential.unreachable_since_mono_ns + give_up_ns;
    if (now_.mono_ns >= give_up_at) {
      credential.gave_up = true;
    } else {
      wake_at(index, give_up_at);
    }
  }
  if (credential.gave_up && !held) {
    mark(Mark::gave_up);
    mark_changed(credential);
    log(LogLevel::error, "gave_up",
        credential.config->name + ": no connection could be made; " + std::to_string(queue_.waiting(index)) +
            " waiting pushes end as failed. Last cause: " + credential.last_error);
    fail_waiting(index, End::failed, Reason::cannot_connect, credential.last_error);
  }
}

// How many requests may start on this connection now.
std::uint32_t Shard::room_of(const Connection& connection, const Credential& credential) const {
  std::uint32_t room = connection.h2->can_start();
  if (connection.ramp.active()) {
    const std::uint32_t most = connection.ramp.limit();
    room = std::min(room, most > connection.in_flight ? most - connection.in_flight : 0);
  }
  // Whatever the peer's SETTINGS say: one request shows whether it takes our provider token, before a thousand do.
  if (credential.config->provider_tokens && !connection.proven) {
    room = std::min(room, connection.in_flight == 0 ? 1u : 0u);
  }
  return room;
}

// What the rates of engine and credential allow now; asks for more where they allow nothing: for what this connection could
// take, and no more, because what is granted and not used is nobody's.
std::uint32_t Shard::allowed(std::uint32_t index, Credential& credential, std::uint32_t room) {
  std::uint32_t most = kBatchMax;
  // Its own lease is kept for it while it stands in the engine's line, however often it is looked at meanwhile.
  if (credential.allowance.paced && !credential.in_engine_line) lease_left(credential.allowance);
  if (engine_allowance_.paced) {
    if (lease_left(engine_allowance_) == 0 || (serving_ != Line::engine && !engine_line_.empty())) {
      credential.engine_want = std::min(room, queue_.ready(index));
      await_engine(index, credential);
      return 0;
    }
    most = std::min(most, engine_allowance_.left);
  }
  if (credential.allowance.paced) {
    if (credential.allowance.left == 0) {
      ask(Pace::credential, index, credential.allowance, std::min(room, queue_.ready(index)));
      keep_lease(engine_allowance_, credential.allowance);
      for (const std::uint32_t group : leased_groups_) keep_lease(groups_[group], credential.allowance);
      return 0;
    }
    most = std::min(most, credential.allowance.left);
  }
  return most;
}

// What one rate has granted is kept while another is waited for: slow ones would void each other's leases for ever.
void Shard::keep_lease(Allowance& held, const Allowance& awaited) const {
  held.void_mono_ns = std::max({held.void_mono_ns, awaited.ask_again_mono_ns + kLeaseNs, now_.mono_ns + kLeaseNs});
}

void Shard::use_allowance(Credential& credential, std::uint32_t count) {
  if (engine_allowance_.paced) engine_allowance_.left -= std::min(engine_allowance_.left, count);
  if (credential.allowance.paced) credential.allowance.left -= std::min(credential.allowance.left, count);
}

// For all that stand in the engine's line; who comes while this is on its way is asked for with the next.
void Shard::ask_for_line() {
  if (now_.mono_ns < engine_allowance_.ask_again_mono_ns) {
    rate_deadline_ = std::min(rate_deadline_, engine_allowance_.ask_again_mono_ns);
    return;
  }
  std::uint32_t count = 0;
  for (const std::uint32_t index : engine_line_) count += std::min(credentials_[index].engine_want, queue_.ready(index));
  if (count != 0) ask(Pace::engine, 0, engine_allowance_, count);
}

void Shard::ask(Pace pace, std::uint32_t index, Allowance& allowance, std::uint32_t count) {
  mark(Mark::paced_out);
  if (allowance.asked) {
    if (allowance.asked_step == steps_) out_->wants[allowance.want].count += count;
    return;
  }
  if (now_.mono_ns < allowance.ask_again_mono_ns) {
    if (pace == Pace::credential) {
      wake_at(index, allowance.ask_again_mono_ns);
    } else {
      rate_deadline_ = std::min(rate_deadline_, allowance.ask_again_mono_ns);
    }
    return;
  }
  allowance.asked = true;
  allowance.asked_step = steps_;
  allowance.want = static_cast<std::uint32_t>(out_->wants.size());
  out_->wants.push_back({pace, index, count});
}

// Which of a template's lists a push asks for: with its collapse id or without, and by how its content is kept.
inline std::size_t list_of(const QueuedPush& record) {
  static_assert(QueuedPush::kUuidUpper == 2 && QueuedPush::kUuidLower == 4);  // at most one of them is set
  return (std::size_t{record.flags} & (QueuedPush::kUuidUpper | QueuedPush::kUuidLower)) + (record.collapse_bytes != 0 ? 1 : 0);
}

inline std::uint32_t Shard::prepared_list(Connection& connection, const QueuedPush& record) {
  const std::size_t index = record.template_index;
  const std::size_t at = index < connection.lists_at.size() ? connection.lists_at[index] : 0;
  const std::uint32_t list = at == 0 ? 0 : connection.lists[at - 1][list_of(record)];
  return list != 0 ? list - 1 : prepare_list(connection, record);
}

std::uint32_t Shard::prepare_list(Connection& connection, const QueuedPush& record) {
  const std::size_t index = record.template_index;
  if (index >= connection.lists_at.size()) connection.lists_at.resize(std::max(index + 1, templates_.size()), 0);
  std::uint32_t& at = connection.lists_at[index];
  if (at == 0) {
    connection.lists.emplace_back();
    at = static_cast<std::uint32_t>(connection.lists.size());
  }
  const TemplateFacts& facts = template_facts_[index];
  base::BodyShape shape = base::BodyShape::whole();
  if (facts.form == PayloadForm::fixed) shape = base::BodyShape::fixed(base::as_text(facts.before));
  if (facts.form == PayloadForm::with_part) {
    shape.before = base::as_text(facts.before);
    shape.after = base::as_text(facts.after);
    if (record.uuid_content()) {
      shape.format = (record.flags & QueuedPush::kUuidUpper) != 0 ? base::SlotFormat::uuid_upper : base::SlotFormat::uuid;
    }
  }
  const bool collapse = record.collapse_bytes != 0;
  const std::uint32_t list = connection.h2->prepare(
      apns::request_fields(templates_[index]->options, connection.config->authority, collapse, connection.authorization), shape);
  connection.lists[at - 1][list_of(record)] = list + 1;
  return list;
}

// Of the request's fields each that is looked at is written; the rest is an earlier request's.
void Shard::add_request(std::uint32_t slot, Connection& connection) {
  const QueuedPush& record = queue_.record(slot);
  h2::Request& request = requests_[request_slots_.size()];
  request.tag = slot;
  request.prepared = prepared_list(connection, record);
  const std::byte* const data = record.data();
  request.slots[0] = {data, record.token_bytes};
  request.slots[1] = std::as_bytes(std::span(record.apns_id));
  request.slots[2] = {data + record.token_bytes, record.collapse_bytes};
  request.content = {data + record.token_bytes + record.collapse_bytes, record.content_bytes};
  request_slots_.push_back(slot);
}

// False: it may not go now (delayed, or ended).
bool Shard::may_go(std::uint32_t slot, bool suspect) {
  const QueuedPush& push = queue_.record(slot);
  const bool plain = (push.flags & QueuedPush::kSuspect) == 0 && !(push.tried | suspect) && token_holds_.empty();
  return plain || may_go_after_all(slot);
}

// While pushes that were looked at wait, tokens were called dead: the filter is asked again, its memory beforehand.
void Shard::add_rechecked(Connection& connection) {
  prints_.clear();
  for (const std::uint32_t slot : popped_) {
    prints_.push_back(queue_.print_of(slot));
    dead_tokens_.expect(prints_.back());
  }
  for (std::size_t i = 0; i < popped_.size(); ++i) {
    if (may_go(popped_[i], dead_tokens_.may_be(prints_[i]))) add_request(popped_[i], connection);
  }
}

bool Shard::may_go_after_all(std::uint32_t slot) {
  const QueuedPush& record = queue_.record(slot);
  const std::uint32_t topic = template_facts_[record.template_index].topic;
  if (!dead_tokens_.empty()) {
    if (const std::int64_t dead_ms = dead_tokens_.find(topic, record.token()); dead_ms != 0) {
      if (record.registered_unix_ms() <= dead_ms) {
        mark(Mark::dead_token_met);
        queue_.hold(slot);
        end(slot, End::failed, Reason::token_known_dead, 0, {});
        out_->outcomes.back().unregistered_unix_ms = dead_ms;
        return false;
      }
      mark(Mark::dead_token_registered);
    }
  }
  // A retry that is to wait for its turn among the retries pays for it here, as the time has come.
  if (queue_.known(slot).owes) {
    if (!credentials_[queue_.credential_of(slot)].budget.spend(now_.mono_ns)) {
      mark(Mark::retry_budget_empty);
      queue_.delay(slot, tick_at(now_.mono_ns) + 10 + static_cast<Tick>(prng_.below(90)));
      return false;
    }
    queue_.meta(slot).owes = false;
  }
  if (!token_holds_.empty()) {
    if (const Tick until = token_holds_.until(topic, record.token(), tick_at(now_.mono_ns)); until != kTickNone) {
      mark(Mark::token_held);
      queue_.delay(slot, until);
      return false;
    }
  }
  return true;
}

std::uint32_t Shard::write_batch(base::Handle handle, Connection& connection, std::uint32_t index,
                                 Credential& credential) {
  const std::uint32_t possible = room_of(connection, credential);
  if (possible == 0) {
    if (connection.h2->can_start() == 0) note_takes_nothing(handle, connection);
    if (connection.ramp.active() && connection.h2->can_start() != 0) mark(Mark::ramped);
    return 0;
  }
  const std::uint32_t room = std::min(possible, allowed(index, credential, possible));
  request_slots_.clear();
  while (request_slots_.size() < room) {
    popped_.clear();
    queue_.pop(index, room - static_cast<std::uint32_t>(request_slots_.size()), popped_);
    if (popped_.empty()) break;
    if (recheck_) {
      add_rechecked(connection);
      continue;
    }
    for (const std::uint32_t slot : popped_) {
      if (may_go(slot, false)) add_request(slot, connection);
    }
  }
  const std::size_t count = request_slots_.size();
  if (count == 0) return 0;
  plain_buffers_.lend(connection.plain_out);
  const std::size_t written = connection.h2->write(std::span(requests_).first(count), connection.plain_out);
  connection.window_shut = written < count;
  if (connection.window_shut) mark(Mark::window_blocked);
  if (written == 0) note_takes_nothing(handle, connection);
  for (std::size_t i = count; i > written; --i) queue_.unpop(request_slots_[i - 1]);
  std::uint32_t first_attempts = 0;
  for (std::size_t i = 0; i < written; ++i) {
    const std::uint32_t slot = request_slots_[i];
    first_attempts += queue_.sent(slot, now_.mono_ns) ? 1 : 0;
    if (!queue_.record(slot).tried) continue;
    if (Queue::Meta& meta = queue_.meta(slot); meta.maybe_processed) {
      meta.doubled = true;
      ++counters_.possibly_doubled;
    }
  }
  if (written != 0) {
    credential.budget.first_attempts(first_attempts);
    connection.takes_nothing_mono_ns = base::kNever;
    if (connection.in_flight == 0) {
      connection.last_answer_mono_ns = now_.mono_ns;
      connection.quiet_since_mono_ns = now_.mono_ns;
      connection.answer_deadline_mono_ns = now_.mono_ns + connection.config->answer_timeout_ns;
    }
    connection.used_mono_ns = now_.mono_ns;
    if (connection.token_iat_s != 0) use_token(connection);
    connection.in_flight += static_cast<std::uint32_t>(written);
    counters_.in_flight += written;
    counters_.attempts += written;
    watch(handle, connection);
    use_allowance(credential, static_cast<std::uint32_t>(written));
    mark_dirty(handle, connection);
  }
  return static_cast<std::uint32_t>(written);
}

// Answers of streams in flight may bring room; without any, it is the peer's to grant some, within the time for an answer.
void Shard::note_takes_nothing(base::Handle handle, Connection& connection) {
  if (connection.in_flight != 0 || connection.takes_nothing_mono_ns != base::kNever) return;
  connection.takes_nothing_mono_ns = now_.mono_ns;
  watch(handle, connection);
}

void Shard::fail_waiting(std::uint32_t index, End end_as, Reason reason, std::string_view text) {
  if (queue_.waiting(index) == 0) return;
  const std::string kept(text);  // may be the credential's own
  std::vector<std::uint32_t> waiting;
  queue_.take_waiting(index, waiting);
  for (const std::uint32_t slot : waiting) {
    if (end_as == End::returned) mark(Mark::returned_at_stop);
    end(slot, end_as, reason, 0, kept);
  }
}

}  // namespace tocsin::dispatch
