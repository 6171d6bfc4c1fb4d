// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "../h2/frames.h"
#include "base/hex.h"

namespace tocsin::dispatch::test {
namespace {

std::uint64_t hash_of(base::ByteView bytes) {
  std::uint64_t hash = bytes.size();
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3ull;
  return hash;
}

}  // namespace

std::array<std::byte, 32> token_of(std::uint64_t id) {
  std::array<std::byte, 32> token{};
  for (std::size_t i = 0; i < 8; ++i) token[i] = static_cast<std::byte>(id >> (56 - 8 * i));
  for (std::size_t i = 8; i < 32; ++i) token[i] = static_cast<std::byte>(base::mix64(id + i));
  return token;
}

std::vector<FrameTap::Head> FrameTap::feed(base::ByteView bytes) {
  held_ += base::as_text(bytes);
  std::vector<Head> heads;
  std::size_t at = 0;
  if (skip_ != 0) {
    if (held_.size() < skip_) return heads;
    at = std::exchange(skip_, 0);
  }
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(held_[at + i])); };
  while (held_.size() - at >= 9) {
    const std::size_t whole = 9 + (byte(0) << 16 | byte(1) << 8 | byte(2));
    if (held_.size() - at < whole) break;
    heads.push_back({static_cast<std::uint8_t>(byte(3)), static_cast<std::uint8_t>(byte(4)),
                     (byte(5) & 0x7f) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)});
    at += whole;
  }
  held_.erase(0, at);
  return heads;
}

World::World(const ShardOptions& options, std::uint64_t seed) : options_(options), prng_(seed) {
  shard_ = std::make_unique<Shard>(options);
}

World::~World() = default;

CredentialConfig World::plain_credential() {
  CredentialConfig config;
  config.name = "test";
  config.host = "apns.test";
  config.authority = "apns.test";
  return config;
}

std::uint32_t World::add_credential(CredentialConfig config) {
  const auto index = static_cast<std::uint32_t>(credentials_.size());
  credentials_.push_back(config);
  Event added;
  added.kind = EventKind::credential_added;
  added.index = index;
  added.credential = std::make_shared<const CredentialConfig>(std::move(config));
  configs_.push_back(added.credential);
  events_.push_back(std::move(added));
  return index;
}

std::uint32_t World::add_template(PayloadForm form, std::string payload, std::string topic) {
  const auto index = static_cast<std::uint32_t>(templates_.size());
  auto made = std::make_shared<TemplateConfig>();
  made->options.topic = std::move(topic);
  made->options.form = form;
  made->options.payload = payload;
  if (form == PayloadForm::with_part) {
    made->halves = apns::split_payload(payload);
  } else {
    made->halves.before = std::move(payload);
  }
  templates_.push_back(made);
  Event added;
  added.kind = EventKind::template_added;
  added.index = index;
  added.template_config = made;
  events_.push_back(std::move(added));
  return index;
}

std::uint64_t World::push(const PushSpec& spec) {
  const std::uint64_t id = pushes_.size() + 1;
  Pushed& pushed = pushes_[id];
  pushed.spec = spec;
  pushed.submitted_ns = now_ns_ + kWallOffset;
  for (std::size_t i = 0; i < pushed.apns_id.size(); ++i) {
    pushed.apns_id[i] = static_cast<std::uint8_t>(base::mix64(id * 16 + i));
  }
  const TemplateConfig& config = *templates_.at(spec.template_index);
  pushed.body = config.options.form == PayloadForm::own ? spec.payload
                                                        : config.halves.before + spec.part + config.halves.after;
  PushRecord record;
  record.id = id;
  record.apns_id = pushed.apns_id;
  record.submitted_wall_ns = pushed.submitted_ns;
  record.template_index = spec.template_index;
  record.credential = spec.credential;
  record.policy = spec.policy;
  const std::array<std::byte, 32> token = token_of(id);
  std::string data(base::as_text(token));
  Uuid uuid;
  record.flags = pack_uuid_content(spec.part, uuid);
  const std::string kept = record.uuid_content() ? std::string(uuid.begin(), uuid.end()) : spec.part;
  data += spec.collapse + kept + spec.payload;
  record.token_bytes = 32;
  record.collapse_bytes = static_cast<std::uint8_t>(spec.collapse.size());
  record.content_bytes = static_cast<std::uint16_t>(kept.size() + spec.payload.size());
  std::byte* to = record.inline_bytes;
  if (spec.external || data.size() > kInlineBytes) {
    auto block = std::make_unique<std::byte[]>(data.size());
    to = block.get();
    record.set_block(to, static_cast<std::uint32_t>(data.size()));
    blocks_[to] = std::move(block);
  }
  std::memcpy(to, data.data(), data.size());
  new_pushes_.push_back(record);
  return id;
}

std::vector<std::uint64_t> World::push_many(std::size_t count, const PushSpec& spec) {
  std::vector<std::uint64_t> ids;
  for (std::size_t i = 0; i < count; ++i) ids.push_back(push(spec));
  return ids;
}

void World::stop(std::int64_t grace_ns) {
  Event stopping;
  stopping.kind = EventKind::stop;
  stopping.deadline_mono_ns = now_ns_ + grace_ns;
  events_.push_back(std::move(stopping));
}

void World::at(std::int64_t delay_ns, std::function<void()> call) {
  calls_[{now_ns_ + delay_ns, order_++}] = std::move(call);
}

bool World::run(std::int64_t limit_ns, const std::function<bool()>& done) {
  const std::int64_t end = now_ns_ + limit_ns;
  while (!testing::Test::HasFailure()) {
    if (done && events_.empty() && new_pushes_.empty() && done()) return true;
    std::int64_t next = output_.deadline_mono_ns;
    if (!calls_.empty()) next = std::min(next, calls_.begin()->first.first);
    if (!events_.empty() || !new_pushes_.empty()) next = now_ns_;
    if (next > end) {
      now_ns_ = end;
      return false;
    }
    now_ns_ = std::max(now_ns_, next);
    while (!calls_.empty() && calls_.begin()->first.first <= now_ns_) {
      const std::function<void()> call = std::move(calls_.begin()->second);
      calls_.erase(calls_.begin());
      call();
    }
    // No step without a cause: the shard must have named the moments that it needs.
    if (!events_.empty() || !new_pushes_.empty() || now_ns_ >= output_.deadline_mono_ns) step();
  }
  return false;
}

void World::step() {
  check_lent();
  std::vector<Event> events;
  events.swap(events_);
  std::vector<PushRecord> pushes;
  pushes.swap(new_pushes_);
  ++steps;
  shard_->step({now_ns_, now_ns_ + kWallOffset}, events, pushes, output_);
  held_.clear();
  check_lent();
  was_at_rest = output_.at_rest;
  output_.for_each_outcome([this](const Outcome& outcome) { take_outcome(outcome); });
  for (const Released& block : output_.released) {
    const auto found = blocks_.find(block.block);
    ASSERT_NE(found, blocks_.end()) << "a block was released that is not out";
    EXPECT_EQ(block.bytes, block.block_class) << "the harness put the size there";
    blocks_.erase(found);
    ++released;
  }
  for (const Action& action : output_.actions) perform(action);
  for (const CredentialStatus& status : output_.statuses) statuses[status.credential] = status;
  for (const LogEvent& log : output_.logs) logs.push_back(log);
  for (const Want& want : output_.wants) {
    ASSERT_TRUE(on_want) << "nobody said that there is a rate";
    on_want(want);
  }
  check_counts();
  EXPECT_EQ(shard_->overslept(output_.deadline_mono_ns), "");
  EXPECT_GT(output_.deadline_mono_ns, now_ns_) << "a deadline that has passed makes its worker spin";
}

void World::check_lent() {
  for (const auto& [handle, link] : live_) {
    if (link->lent) {
      ASSERT_EQ(hash_of(link->bytes), link->bytes_hash) << "lent bytes changed, link " << link->number;
    }
  }
}

void World::check_counts() {
  const Counters& counters = shard_->counters();
  std::uint64_t ended = 0;
  for (const std::uint64_t count : counters.ends) ended += count;
  EXPECT_EQ(counters.taken, ended + counters.waiting + counters.in_flight);
  EXPECT_EQ(ended, outcomes.size());
  EXPECT_EQ(counters.taken, pushes_.size());
  EXPECT_EQ(shard_->connections_in_use(), live_.size());
}

void World::take_outcome(const Outcome& outcome) {
  const auto found = pushes_.find(outcome.id);
  ASSERT_NE(found, pushes_.end()) << "an outcome for push " << outcome.id << ", which was never made";
  const bool first = outcomes.emplace(outcome.id, outcome).second;
  ASSERT_TRUE(first) << "push " << outcome.id << " ended twice";
  const Pushed& pushed = found->second;
  EXPECT_EQ(outcome.apns_id, pushed.apns_id);
  EXPECT_EQ(outcome.submitted_unix_ns, pushed.submitted_ns);
  EXPECT_EQ(outcome.ended_unix_ns, now_ns_ + kWallOffset);
  EXPECT_EQ(outcome.sent_unix_ns != 0, outcome.attempts != 0);
  EXPECT_LE(outcome.attempts, options_.attempts_max + kWaitsMax);
  if ((outcome.flags & kPossiblyDoubled) != 0) {
    EXPECT_EQ(pushed.spec.policy, Policy::at_least_once);
    EXPECT_GE(outcome.attempts, 2);
  }
  mix(outcome.id);
  mix(static_cast<std::uint64_t>(outcome.end) << 32 | static_cast<std::uint64_t>(outcome.reason) << 16 | outcome.flags);
  mix(static_cast<std::uint64_t>(outcome.status) << 16 | outcome.attempts);
}

// What the peer truly took against what was reported, once all is over: bytes may arrive after an outcome.
void World::check_ledger() {
  for (const auto& [id, outcome] : outcomes) {
    const auto found = ledger.find(id);
    const unsigned taken = found == ledger.end() ? 0 : found->second;
    if (outcome.end == End::accepted) {
      EXPECT_GE(taken, 1u) << "false success of push " << id;
    }
    if (outcome.end == End::failed || outcome.end == End::returned) {
      EXPECT_EQ(taken, 0u) << "push " << id << " was processed and reported as " << end_name(outcome.end);
    }
    if (taken > 1) {
      EXPECT_NE(outcome.flags & kPossiblyDoubled, 0) << "push " << id << " was doubled silently";
    }
    if (pushes_.at(id).spec.policy == Policy::at_most_once) {
      EXPECT_LE(taken, 1u) << "push " << id;
    }
  }
}

void World::finish(std::int64_t grace_ns) {
  stop(grace_ns);
  run(grace_ns + 10 * kSec, [this] { return was_at_rest; });
  if (testing::Test::HasFailure()) return;
  EXPECT_TRUE(was_at_rest);
  EXPECT_TRUE(shard_->at_rest());
  EXPECT_TRUE(live_.empty());
  EXPECT_EQ(pending(), 0u);
  EXPECT_TRUE(blocks_.empty());
  EXPECT_EQ(output_.deadline_mono_ns, base::kNever) << "a timer is armed at rest";
  run(kSec);  // what is still on the wires arrives
  check_ledger();
}

void World::perform(const Action& action) {
  mix(static_cast<std::uint64_t>(action.kind) << 32 | action.credential);
  mix(action.handle);
  if (action.kind == ActionKind::resolve) return start_link(action);
  if (action.kind == ActionKind::need_token) {
    tokens_asked.emplace_back(steps, action.credential);
    Event made;
    made.kind = tokens_fail ? EventKind::token_failed : EventKind::token_ready;
    made.index = action.credential;
    made.token_iat_s = action.token_iat_s;
    made.text = tokens_fail ? "no key" : "token";
    events_.push_back(std::move(made));
    return;
  }
  const auto found = live_.find(action.handle);
  ASSERT_NE(found, live_.end()) << "an action for a connection that is gone";
  Link& link = *found->second;
  EXPECT_EQ(action.credential, link.credential);
  switch (action.kind) {
    case ActionKind::dial:
      EXPECT_EQ(action.address, address_);
      connect(link);
      break;
    case ActionKind::dial_settled:
      EXPECT_TRUE(link.dial_open) << "a dial was settled twice, link " << link.number;
      link.dial_open = false;
      break;
    case ActionKind::send: lend(link, action.bytes); break;
    default:
      EXPECT_FALSE(link.close_asked) << "link " << link.number << " was closed twice";
      EXPECT_FALSE(link.dial_open) << "link " << link.number << " keeps its place in the budget of dials";
      link.close_asked = true;
      at(net.close_ns, [this, &link] { finish_close(link); });
      break;
  }
}

void World::start_link(const Action& action) {
  ASSERT_EQ(live_.count(action.handle), 0u);
  unsigned usable = 0;
  unsigned dials = 1;
  unsigned served = 0;
  for (const auto& [handle, other] : live_) {
    if (other->credential != action.credential || other->close_asked) continue;
    ++(other->dial_open ? dials : served);
    if (!other->goaway_read && !other->cut) ++usable;
  }
  EXPECT_LE(dials, std::max(served, 1u)) << "more dials at once than the credential has connections";
  EXPECT_LT(usable, credentials_.at(action.credential).connections_max);
  Link& link = links_.emplace_back();
  link.handle = action.handle;
  link.credential = action.credential;
  link.number = static_cast<unsigned>(links_.size() - 1);
  live_[link.handle] = &link;
  link.waiting_since_ns = action.waiting_since_mono_ns;
  dial_times.push_back(now_ns_);
  EXPECT_EQ(action.name, credentials_.at(action.credential).host);
  link.way = on_dial ? on_dial(action.credential) : Dial::accept;
  if (link.way == Dial::no_place) {
    link.dial_open = false;
    at(1, [this, &link] { tell(EventKind::dial_deferred, link, 1); });
    return;
  }
  if (link.way == Dial::defer) {
    link.dial_open = false;  // it never had a place
    at(1, [this, &link] { tell(EventKind::dial_deferred, link); });
    if (dial_word_ns >= 0) {
      at(dial_word_ns, [this] {
        Event freed;
        freed.kind = EventKind::dial_freed;
        freed.result = 1;
        events_.push_back(std::move(freed));
      });
    }
    return;
  }
  at(1, [this, &link] {
    tell(EventKind::resolved, link);
    if (!link.gone) events_.back().addresses = std::span(&address_, 1);
  });
}

void World::connect(Link& link) {
  switch (link.way) {
    case Dial::hang: break;
    case Dial::refuse:
      at(net.dial_ns, [this, &link] { tell(EventKind::dial_failed, link, 0, "connection refused"); });
      break;
    default:
      at(net.dial_ns, [this, &link] {
        tell(EventKind::dialled, link);
        link.up = true;
        if (link.way == Dial::raw) return;
        link.server = h2::make_nghttp2_server(server).value();
        server_flush(link);
      });
      break;
  }
}

void World::lend(Link& link, base::ByteView bytes) {
  ASSERT_FALSE(link.lent) << "a send while one is outstanding, link " << link.number;
  ASSERT_TRUE(link.up && !link.close_asked);
  ASSERT_FALSE(bytes.empty());
  if (!link.rest.empty()) {
    ASSERT_EQ(base::as_text(bytes), link.rest) << "the rest of a short send must come first and alone";
    link.rest.clear();
  } else {
    for (const FrameTap::Head& head : link.client_tap.feed(bytes)) {
      if (head.type != h2::test::kHeaders || !link.goaway_read) continue;
      EXPECT_NE(link.old_sends, 0u) << "stream " << head.id << " started after GOAWAY, link " << link.number;
    }
    if (link.goaway_read && link.old_sends != 0) --link.old_sends;
  }
  link.lent = true;
  link.bytes = bytes;
  link.bytes_hash = hash_of(bytes);
  mix(link.bytes_hash);
  at(net.send_ns, [this, &link] { complete_send(link); });
}

void World::complete_send(Link& link) {
  if (link.gone || !link.lent || link.stalled) return;
  ASSERT_EQ(hash_of(link.bytes), link.bytes_hash) << "lent bytes changed";
  link.lent = false;
  if (link.cut) return tell(EventKind::sent, link, -32, "broken pipe");
  std::size_t taken = link.bytes.size();
  if (taken > 1 && prng_.chance(net.short_sends)) taken = 1 + prng_.below(taken - 1);
  std::string bytes(base::as_text(link.bytes.first(taken)));
  link.rest = base::as_text(link.bytes.subspan(taken));
  link.to_server_ns = std::max(link.to_server_ns, now_ns_ + net.latency_ns);
  at(link.to_server_ns - now_ns_, [this, &link, bytes = std::move(bytes)] { arrive(link, bytes); });
  tell(EventKind::sent, link, static_cast<std::int64_t>(taken));
}

void World::finish_close(Link& link) {
  if (link.lent) {
    ASSERT_EQ(hash_of(link.bytes), link.bytes_hash) << "lent bytes changed before closed";
    link.lent = false;
    // A kernel may tell of the cancelled send, or be quiet about it.
    if (prng_.chance(0.5)) tell(EventKind::sent, link, -125, "cancelled");
  }
  tell(EventKind::closed, link);
  link.gone = true;
  live_.erase(link.handle);
}

void World::tell(EventKind kind, const Link& link, std::int64_t result, std::string_view text) {
  if (link.gone) return;
  Event event;
  event.kind = kind;
  event.handle = link.handle;
  event.result = result;
  event.text = text;  // literals only
  events_.push_back(std::move(event));
}

Link* World::newest() { return links_.empty() ? nullptr : &links_.back(); }

std::vector<Link*> World::usable_links() {
  std::vector<Link*> found;
  for (const auto& [handle, link] : live_) {
    if (link->usable()) found.push_back(link);
  }
  return found;
}

std::size_t World::ended_as(End end) const {
  return static_cast<std::size_t>(
      std::count_if(outcomes.begin(), outcomes.end(), [end](const auto& one) { return one.second.end == end; }));
}

std::size_t World::logged(std::string_view event) const {
  return static_cast<std::size_t>(
      std::count_if(logs.begin(), logs.end(), [event](const LogEvent& log) { return log.event == event; }));
}

// --- the peers

void World::arrive(Link& link, const std::string& bytes) {
  if (link.cut) return;
  if (link.server == nullptr) {
    link.raw_in += bytes;
    return;
  }
  std::vector<h2::ServerRequest> requests;
  const Result<void> result = link.server->receive(base::as_bytes(bytes), requests);
  ASSERT_TRUE(result) << "the shard broke the peer's rules: " << result.error().message;
  link.open_most = std::max(link.open_most, link.server->open_streams());
  for (const h2::ServerRequest& request : requests) on_request(link, request);
  server_flush(link);
}

void World::on_request(Link& link, const h2::ServerRequest& request) {
  ++link.requests;
  std::map<std::string, std::string> fields;
  for (const h2::FieldView& field : request.fields) {
    const bool fresh = fields.emplace(std::string(field.name), std::string(field.value)).second;
    EXPECT_TRUE(fresh) << field.name << " came twice";
  }
  constexpr std::string_view kPath = "/3/device/";
  const std::string& path = fields[":path"];
  ASSERT_TRUE(path.starts_with(kPath)) << path;
  const std::string hex = path.substr(kPath.size());
  std::array<std::uint8_t, 32> token{};
  ASSERT_TRUE(hex.size() == 64 && base::hex_decode(hex, token.data())) << path;
  Seen seen;
  for (std::size_t i = 0; i < 8; ++i) seen.id = seen.id << 8 | token[i];
  const auto found = pushes_.find(seen.id);
  ASSERT_NE(found, pushes_.end());
  ASSERT_EQ(std::memcmp(token.data(), token_of(seen.id).data(), token.size()), 0);
  Pushed& pushed = found->second;
  EXPECT_EQ(pushed.spec.credential, link.credential);
  EXPECT_EQ(fields[":method"], "POST");
  EXPECT_EQ(fields[":authority"], credentials_.at(link.credential).authority);
  EXPECT_EQ(fields["apns-topic"], templates_.at(pushed.spec.template_index)->options.topic);
  EXPECT_EQ(fields["apns-id"], base::uuid_format(pushed.apns_id)) << "each attempt carries the same apns-id";
  EXPECT_EQ(fields["apns-collapse-id"], pushed.spec.collapse);
  EXPECT_EQ(base::as_text(request.body), pushed.body);
  seen.collapse = fields["apns-collapse-id"];
  seen.stream_id = request.stream_id;
  seen.attempt = ++pushed.seen;

  const Verdict verdict = judge ? judge(link, seen) : Verdict::accept();
  if (verdict.kind == Verdict::Kind::hold) {
    if (verdict.processed) {
      ++ledger[seen.id];
      link.decided = std::max(link.decided, seen.stream_id);
    }
    return;
  }
  if (verdict.kind == Verdict::Kind::answer ? verdict.status == 200 : verdict.processed) ++ledger[seen.id];
  if (verdict.kind != Verdict::Kind::reset || verdict.code != 7) link.decided = std::max(link.decided, seen.stream_id);
  const std::int64_t delay = verdict.delay_ns >= 0 ? verdict.delay_ns : net.answer_ns;
  Verdict told = verdict;
  told.processed = false;  // booked already
  at(delay, [this, &link, stream_id = seen.stream_id, id = seen.id, told] { answer(link, stream_id, id, told); });
}

void World::answer(Link& link, std::int32_t stream_id, std::uint64_t id, const Verdict& verdict) {
  if (link.cut || link.gone) return;
  const std::string uuid = base::uuid_format(pushes_.at(id).apns_id);
  switch (verdict.kind) {
    case Verdict::Kind::answer: {
      const h2::FieldView fields[] = {{"apns-id", uuid, true}};
      const std::size_t count = bare_answers && verdict.status == 200 && id % 2 == 0 ? 0 : 1;
      link.server->respond(stream_id, verdict.status, {fields, count}, base::as_bytes(verdict.body));
      break;
    }
    case Verdict::Kind::reset: link.server->reset(stream_id, verdict.code); break;
    case Verdict::Kind::headers_then_reset:
      // 0x88: the static table's `:status: 200`.
      inject(link, h2::test::headers(stream_id, "\x88", false));
      link.server->reset(stream_id, verdict.code);
      break;
    default: break;
  }
  server_flush(link);
}

void World::goaway(Link& link, std::int32_t last, std::uint32_t code, std::string_view debug) {
  link.goaway_sent = true;
  link.server->goaway(last, code, debug);
  server_flush(link);
}

void World::set_streams_max(Link& link, std::uint32_t streams_max) {
  link.server->set_streams_max(streams_max);
  server_flush(link);
}

void World::inject(Link& link, std::string frames) {
  if (link.server != nullptr) server_flush(link);
  send_to_client(link, std::move(frames));
}

void World::server_flush(Link& link) {
  base::ByteBuffer out;
  link.server->write_pending(out);
  if (!out.empty()) send_to_client(link, std::string(base::as_text(out.readable())));
}

void World::send_to_client(Link& link, std::string bytes) {
  if (link.cut || link.gone) return;
  link.to_client_ns = std::max(link.to_client_ns, now_ns_ + net.latency_ns);
  while (bytes.size() > 1 && prng_.chance(net.cuts)) {
    const std::size_t part = 1 + prng_.below(bytes.size() - 1);
    at(link.to_client_ns - now_ns_, [this, &link, piece = bytes.substr(0, part)] { deliver(link, piece); });
    bytes.erase(0, part);
    if (prng_.chance(0.5)) link.to_client_ns += kMs / 10;  // in another step
  }
  at(link.to_client_ns - now_ns_, [this, &link, bytes = std::move(bytes)] { deliver(link, bytes); });
}

void World::deliver(Link& link, std::string bytes) {
  if (link.cut || link.gone) return;
  for (const FrameTap::Head& head : link.server_tap.feed(base::as_bytes(bytes))) {
    if (head.type != h2::test::kGoaway || link.goaway_read) continue;
    link.goaway_read = true;
    // Behind an outstanding send there may be requests that were encoded before this.
    const bool sending = link.lent || !link.rest.empty() ||
                         std::any_of(events_.begin(), events_.end(), [&link](const Event& event) {
                           return event.kind == EventKind::sent && event.handle == link.handle;
                         });
    link.old_sends = sending ? 1 : 0;
  }
  Event event;
  event.kind = EventKind::received;
  event.handle = link.handle;
  event.bytes = base::as_bytes(held_.emplace_back(std::move(bytes)));
  events_.push_back(std::move(event));
}

void World::hang_up(Link& link) {
  link.to_client_ns = std::max(link.to_client_ns, now_ns_ + net.latency_ns);
  at(link.to_client_ns - now_ns_, [this, &link] {
    if (std::exchange(link.cut, true)) return;
    tell(EventKind::peer_closed, link, 0, "the peer closed");
  });
}

void World::break_wire(Link& link) {
  if (std::exchange(link.cut, true)) return;
  tell(EventKind::peer_closed, link, -104, "connection reset by peer");
}

}  // namespace tocsin::dispatch::test
