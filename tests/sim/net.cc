// SPDX-License-Identifier: Apache-2.0
// Network and kernel: names, dials, links and the bytes on them, and the gateway at their other end.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "apns/reasons.h"
#include "base/hex.h"
#include "world.h"

namespace tocsin::sim {
namespace {

constexpr std::uint8_t kHeadersFrame = 1;
constexpr std::uint8_t kDataFrame = 0;
constexpr std::uint8_t kResetFrame = 3;
constexpr std::uint8_t kSettingsFrame = 4;
constexpr std::uint8_t kPingFrame = 6;
constexpr std::uint8_t kGoawayFrame = 7;
constexpr std::uint8_t kEndStream = 1;
constexpr std::uint8_t kAck = 1;

base::Address address_of(std::size_t number) {
  base::Address address;
  address.storage[0] = 2;
  address.storage[4] = 10;
  address.storage[7] = static_cast<unsigned char>(1 + number);
  address.size = 16;
  return address;
}

}  // namespace

template <class F, class G>
void FrameTap::feed(base::ByteView bytes, F&& begin, G&& end) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (skip_ != 0) {
      const std::size_t some = std::min(skip_, bytes.size() - at);
      skip_ -= some;
      at += some;
    } else if (body_left_ != 0) {
      const std::size_t some = std::min(body_left_, bytes.size() - at);
      if (current_.type != kDataFrame) body_.append(base::as_text(bytes.subspan(at, some)));
      body_left_ -= some;
      at += some;
      if (body_left_ == 0) end(current_, base::as_bytes(body_));
    } else {
      head_[head_bytes_++] = static_cast<std::uint8_t>(bytes[at++]);
      if (head_bytes_ < 9) continue;
      head_bytes_ = 0;
      body_left_ = static_cast<std::size_t>(head_[0]) << 16 | static_cast<std::size_t>(head_[1]) << 8 | head_[2];
      current_ = {head_[3], head_[4],
                  static_cast<std::uint32_t>(head_[5] & 0x7f) << 24 | static_cast<std::uint32_t>(head_[6]) << 16 |
                      static_cast<std::uint32_t>(head_[7]) << 8 | head_[8]};
      body_.clear();
      begin(current_);
      if (body_left_ == 0) end(current_, {});
    }
  }
}

void World::perform(Host& host, const dispatch::Action& action) {
  using dispatch::ActionKind;
  if (action.kind == ActionKind::resolve) return resolve(host, action);
  if (action.kind == ActionKind::need_token) {
    const bool fails = happens(Kind::token_fails, 0.3);
    dispatch::Event& event = tell(host, fails ? dispatch::EventKind::token_failed : dispatch::EventKind::token_ready);
    event.index = action.credential;
    event.token_iat_s = action.token_iat_s;
    if (fails) {
      event.text = "no provider token could be signed";
      return;
    }
    const std::string& token = provider_token(host.keys.at(action.credential), action.token_iat_s);
    event.text = token;
    host.tokens[token] = {now_, clock().wall_ns - action.token_iat_s * kSec};
    return;
  }
  const auto found = host.links.find(action.handle);
  if (found == host.links.end()) {
    verdicts_.say(9, "an action for a connection that is gone");
    return;
  }
  Link& link = *found->second;
  switch (action.kind) {
    case ActionKind::dial: dial(host, link, action); break;
    case ActionKind::dial_settled:
      if (!link.dial_open) verdicts_.say(9, "a dial was settled twice");
      link.dial_open = false;
      ++budget_dials_;
      tell_dials_free();
      stampede_.settled(host.number, link.credential);
      break;
    case ActionKind::send: send(host, link, action.bytes); break;
    default: close(host, link); break;
  }
}

// One shard of those that wait, as the engine's budget does.
void World::tell_dials_free() {
  if (budget_dials_ == 0) return;
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    Host& host = *hosts_[(dials_told_ + i) % hosts_.size()];
    if (!host.out.dials_wait || host.stopping) continue;
    dials_told_ = host.number + 1;
    tell(host, dispatch::EventKind::dial_freed).result = budget_dials_;
    return;
  }
}

// As the engine does. busy: who asks has waited for long, so that the credential with most connections is to give one up.
void World::ask_to_shed(const Host& asking, bool busy) {
  if (now_ < shed_asked_at_ + 100 * kMs) return;
  shed_asked_at_ = now_;
  for (auto& other : hosts_) {
    if (other.get() != &asking) tell(*other, dispatch::EventKind::shed);
  }
  if (!busy) return;
  Host* chosen = hosts_[shed_turn_++ % hosts_.size()].get();
  std::uint32_t index = 0;
  unsigned most = 1;
  for (std::uint32_t credential = 0; credential < credentials_.size(); ++credential) {
    unsigned open = 0, there = 0;
    Host* where = nullptr;
    for (auto& host : hosts_) {
      const unsigned here = host->open[credential];
      open += here;
      if (here <= there) continue;
      there = here;
      where = host.get();
    }
    if (open <= most) continue;
    most = open;
    chosen = where;
    index = credential;
  }
  dispatch::Event& event = tell(*chosen, dispatch::EventKind::shed);
  event.result = most > 1 ? 2 : 1;
  event.index = index;
}

void World::resolve(Host& host, const dispatch::Action& action) {
  Link& link = *links_.emplace_back(std::make_unique<Link>());
  link.number = static_cast<unsigned>(links_.size());
  link.handle = action.handle;
  link.credential = action.credential;
  link.host = host.number;
  link.version = host.versions[action.credential];
  link.latency = draw_.latency_ns / 2 + static_cast<std::int64_t>(chance_.below(static_cast<std::uint64_t>(draw_.latency_ns)));
  if (!host.links.try_emplace(action.handle, &link).second) verdicts_.say(9, "a handle is used for two connections");
  link.port = action.port;
  const std::uint64_t who = std::uint64_t{host.number} << 32 | action.credential;
  const std::int64_t since = action.waiting_since_mono_ns;
  if (budget_dials_ == 0 || !places_.take(who, since, now_)) {
    count(Kind::budget_used_up);
    const bool connections = budget_dials_ != 0;
    tell_link(link, dispatch::EventKind::dial_deferred, connections ? 1 : 0);
    link.accept_hangs = false;
    link.rst = true;  // never reached the kernel: it holds no place of the budget
    if (connections && action.needed) ask_to_shed(host, since != base::kNever && now_ - since >= dispatch::kPlaceWaitNs);
    return;
  }
  --budget_dials_;
  ++dials_;
  link.dial_open = true;
  const auto serving = std::count_if(host.links.begin(), host.links.end(), [&link](const auto& each) {
    const Link& other = *each.second;
    return &other != &link && other.credential == link.credential && !other.dial_open && !other.close_asked && !other.rst;
  });
  stampede_.dial(host.number, link.credential, static_cast<unsigned>(serving), now_);
  if (mass_death_at_ != 0 && now_ < mass_death_at_ + kSec) mass_dials_.push_back(now_);
  note("link " + std::to_string(link.number) + ": dial of credential " + std::to_string(link.credential) + " by shard " + std::to_string(host.number));
  const std::int64_t takes = static_cast<std::int64_t>(100 + chance_.below(20'000)) * 1000;
  if (now_ < outage_until_ && chance_.chance(0.3)) return;  // no answer at all
  if (now_ < outage_until_ || happens(Kind::resolve_fails, 0.1)) {
    at(now_ + takes, [this, &link] { tell_link(link, dispatch::EventKind::dial_failed, 0, "the name cannot be resolved"); });
    return;
  }
  at(now_ + takes, [this, &host, &link] {
    if (link.gone || link.close_asked) return;
    auto& addresses = host.addresses.emplace_back();
    const std::size_t first = chance_.below(dead_address_until_.size());
    for (std::size_t i = 0, many = 1 + chance_.below(3); i < many; ++i) addresses.push_back(address_of((first + i) % dead_address_until_.size()));
    dispatch::Event& event = tell(host, dispatch::EventKind::resolved);
    event.handle = link.handle;
    event.addresses = addresses;
  });
}

void World::dial(Host& host, Link& link, const dispatch::Action& action) {
  const std::size_t number = static_cast<std::size_t>(action.address.storage[7]) - 1;
  if (script_zero_ == 0) script_zero_ = now_;
  link.faults = service_->on_connect(true_clock());
  const std::int64_t takes = link.latency + static_cast<std::int64_t>(chance_.below(3000)) * 1000;
  const bool proxied = !credentials_[link.credential]->proxy_host.empty();
  const bool dead_address = now_ < dead_address_until_[number] && !proxied;
  if (now_ < outage_until_ || dead_address) {
    if (chance_.chance(0.4)) return;  // hangs
    at(now_ + takes, [this, &link] { tell_link(link, dispatch::EventKind::dial_failed, 0, "no route to host"); });
    return;
  }
  if (happens(Kind::dial_hangs, 0.1)) return;
  if (happens(Kind::dial_refused, 0.15) || link.faults.accept == mock::AcceptFault::refuse) {
    at(now_ + takes, [this, &link] { tell_link(link, dispatch::EventKind::dial_failed, 0, "connection refused"); });
    return;
  }
  link.accept_hangs = link.faults.accept == mock::AcceptFault::hang || link.faults.tls == mock::TlsFault::hang;
  link.tunnelled = !proxied;
  at(now_ + takes, [this, &host, &link] {
    if (link.gone || link.close_asked) return;
    link.up = true;
    tell_link(link, dispatch::EventKind::dialled);
    if (link.accept_hangs) return;
    mock::Peer peer;
    if (!wants_tokens(link.credential)) {
      peer.has_certificate = true;
      peer.uid = mdm_topic(link.credential);
      peer.topics = topics_of_credential(link.credential);
    }
    link.conversation = service_->converse(peer, link.faults, true_clock());
    by_connection_[link.faults.connection] = &link;
    static_cast<void>(host);
  });
}

void World::send(Host& host, Link& link, base::ByteView bytes) {
  if (!link.up || link.close_asked) verdicts_.say(9, "a send on a connection that is not up");
  if (bytes.empty()) verdicts_.say(9, "a send of nothing");
  lent_.lend(link.number, bytes);
  // The rest of a short send was encoded when its beginning was.
  if (!std::exchange(link.rest_follows, false)) {
    link.encoded_from = link.sending_at;
    link.sending_at = now_;
  }
  std::size_t taken = bytes.size();
  if (taken > 1 && happens(Kind::short_send, 0.3)) taken = 1 + chance_.below(taken - 1);
  link.rest_follows = taken < bytes.size();
  std::int64_t takes = static_cast<std::int64_t>(1 + chance_.below(300)) * 1000;
  if (happens(Kind::slow_send, 0.05)) takes += static_cast<std::int64_t>(chance_.below(500)) * kMs;
  if (link.silent) takes += chance_.chance(0.3) ? 3600 * kSec : 0;  // the socket's buffer is full, now or a little later
  at(now_ + takes, [this, &host, &link, bytes, taken] {
    if (link.gone) return;
    lent_.give_back(link.number);
    if (link.close_asked && chance_.chance(0.5)) return;  // swallowed, as after a close
    std::string copy(base::as_text(bytes.first(taken)));
    if (link.tunnelled) {
      link.client_tap.feed(base::as_bytes(copy), [&](const FrameTap::Head& head) {
        if (head.type == kResetFrame) {
          link.open_streams.erase(head.id);
          first_answer_.ended(link.number, head.id);
        }
        if (head.type != kHeadersFrame) return;
        link.open_streams.insert(head.id);
        if (credentials_[link.credential]->provider_tokens) first_answer_.started(link.number, head.id);
        version_rule_.started({host.number, link.credential}, link.number, link.encoded_from);
        link.started[head.id] = {link.encoded_from, now_};
        after_goaway_.started(link.number, head.id, link.encoded_from);
        if (link.silent) dead_peer_.died(link.number, now_);
      }, [&](const FrameTap::Head& head, base::ByteView body) {
        if (head.type == kHeadersFrame) wrote(link, head.id, head.flags, body);
        if (head.type == kResetFrame) gave_up(link, head.id);
      });
    }
    if (link.passes()) {
      link.to_server = std::max({link.to_server, now_ + link.latency, link.stalled_until});
      at(link.to_server, [this, &link, copy = std::move(copy)]() mutable { arrive(link, std::move(copy)); });
    }
    send_done(host, link, taken);
  });
}

void World::send_done(Host& host, Link& link, std::size_t bytes) {
  if (link.close_asked) return;
  dispatch::Event& event = tell(host, dispatch::EventKind::sent);
  event.handle = link.handle;
  event.result = static_cast<std::int64_t>(bytes);
  if (link.broken && chance_.chance(0.5)) {
    event.result = -104;
    event.text = "connection reset by peer";
  }
}

void World::arrive(Link& link, std::string bytes) {
  if (!link.passes() || link.ended || link.accept_hangs) return;
  if (!link.tunnelled) return arrive_tunnel(link, bytes);
  if (link.conversation == nullptr) return;
  if (!link.greeted) {
    link.hello += bytes;
    if (link.hello.size() < kHelloBytes) return;
    if (!link.hello.starts_with("HI\n")) verdicts_.say(4, "a connection that begins with " + link.hello.substr(0, 40));
    link.greeted = true;
    bytes = link.hello.substr(kHelloBytes);
    const std::string answer = handshake_answer(link.faults.tls);
    if (!answer.empty()) deliver(link, answer, true);
    if (link.faults.tls != mock::TlsFault::none) link.ended = true;
    if (link.ended) return;
  }
  link.conversation->receive(base::as_bytes(bytes), true_clock());
  if (link.conversation->broken()) peer_rules_.broken(link.number, link.conversation->why());
  pump(link);
}

void World::arrive_tunnel(Link& link, const std::string& bytes) {
  link.tunnel += bytes;
  const std::size_t end = link.tunnel.find("\r\n\r\n");
  if (end == std::string::npos) return;
  if (!link.tunnel.starts_with("CONNECT ") || end + 4 != link.tunnel.size()) {
    verdicts_.say(4, "what the proxy read is no CONNECT: " + link.tunnel.substr(0, 80));
  }
  if (happens(Kind::proxy_refuses, 0.2)) {
    deliver(link, chance_.chance(0.5) ? "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n" : "HTTP/1.0 503 No\n\n", true);
    return;
  }
  deliver(link, "HTTP/1.1 200 Connection established\r\nVia: sim\r\n\r\n", true);
  link.tunnelled = true;
}

// Whatever the gateway has to say now, and when it wants to be asked again.
void World::pump(Link& link) {
  if (link.conversation == nullptr || link.gone || link.ended) return;
  mock::Conversation& conversation = *link.conversation;
  if (const std::int64_t stalled = service_->stalled_until(true_clock()); stalled > now_) {
    if (link.timer_at != stalled) {
      link.timer_at = stalled;
      at(stalled, [this, &link, stalled] {
        if (link.timer_at != stalled) return;
        link.timer_at = base::kNever;
        pump(link);
      });
    }
    return;
  }
  conversation.run(true_clock());
  base::ByteBuffer out;
  conversation.write(out, true_clock());
  const mock::Pace pace = conversation.pace();
  std::string bytes(base::as_text(out.readable()));
  // Slow: so many bytes an interval, however many there are.
  while (pace.bytes != 0 && bytes.size() > pace.bytes) {
    deliver(link, bytes.substr(0, pace.bytes));
    bytes.erase(0, pace.bytes);
    link.to_client += pace.interval_ns;
  }
  if (!bytes.empty()) deliver(link, std::move(bytes));
  if (conversation.vanished()) return silence(link);
  using Ending = mock::Conversation::Ending;
  if (const Ending ending = conversation.ending(); ending != Ending::none) {
    link.ended = true;
    if (ending == Ending::reset) {
      break_link(link, "connection reset by peer");
    } else {
      const std::int64_t when = std::max(link.to_client, now_ + link.latency);
      at(when, [this, &link] {
        if (link.passes()) tell_link(link, dispatch::EventKind::peer_closed, 0, "the peer closed");
      });
    }
    return;
  }
  if (const std::int64_t due = conversation.deadline(); due != base::kNever && due != link.timer_at) {
    link.timer_at = due;
    at(due, [this, &link, due] {
      if (link.timer_at != due) return;
      link.timer_at = base::kNever;
      pump(link);
    });
  }
}

void World::deliver(Link& link, std::string bytes, bool of_proxy) {
  link.to_client = std::max({link.to_client, now_ + link.latency, link.stalled_until});
  const auto hand_over = [this, &link, of_proxy](std::string piece) {
    at(link.to_client, [this, &link, of_proxy, piece = std::move(piece)] {
      if (!link.passes() || link.close_asked) return;
      if (!of_proxy) {
        link.server_tap.feed(base::as_bytes(piece), [&](const FrameTap::Head& head) {
          read_frame(link, head);
        }, [&](const FrameTap::Head& head, base::ByteView body) { read_to_the_end(link, head, body); });
      }
      Host& host = *hosts_[link.host];
      const std::string& kept = host.held.emplace_back(piece);
      dispatch::Event& event = tell(host, dispatch::EventKind::received);
      event.handle = link.handle;
      event.bytes = base::as_bytes(kept);
    });
  };
  while (bytes.size() > 1 && happens(Kind::cut_bytes, 0.3)) {
    const std::size_t part = 1 + chance_.below(bytes.size() - 1);
    hand_over(bytes.substr(0, part));
    bytes.erase(0, part);
    if (chance_.chance(0.5)) link.to_client += kMs / 2;  // in another step
  }
  hand_over(std::move(bytes));
}

// A frame of the gateway's, as it is handed over.
void World::read_frame(Link& link, const FrameTap::Head& head) {
  if (head.type == kSettingsFrame) link.settled = true;
  if (head.type == kGoawayFrame) {
    link.going_away = true;
    after_goaway_.read(link.number, now_ + kMs);
  }
  if (head.type == kHeadersFrame && link.shows_nothing.count(head.id) == 0) first_answer_.shown(link.number);
  const bool ends = (head.type == kHeadersFrame || head.type == kDataFrame) && (head.flags & kEndStream) != 0;
  if (ends || head.type == kResetFrame) {
    link.open_streams.erase(head.id);
    first_answer_.ended(link.number, head.id);
  }
  const bool answers = head.type == kHeadersFrame || (head.type == kPingFrame && (head.flags & kAck) != 0);
  if (answers && link.version == hosts_[link.host]->versions[link.credential]) {
    version_rule_.answered({link.host, link.credential}, link.number, now_);
  }
}

void World::version_changed(Host& host, std::uint32_t credential) {
  if (removed_[credential]) return;
  ++host.versions[credential];
  std::set<unsigned> older;
  for (const auto& [handle, link] : host.links) {
    if (link->credential == credential && link->settled && !link->going_away && !link->close_asked) older.insert(link->number);
  }
  version_rule_.changed({host.number, credential}, std::move(older));
}

void World::tell_link(Link& link, dispatch::EventKind kind, std::int64_t result, std::string_view text) {
  if (link.gone) return;
  Host& host = *hosts_[link.host];
  dispatch::Event& event = tell(host, kind);
  event.handle = link.handle;
  event.result = result;
  event.text = text;  // literals only
}

void World::break_link(Link& link, const char* why) {
  if (link.gone || link.broken) return;
  link.broken = true;
  note("link " + std::to_string(link.number) + ": " + why);
  if (link.up && !link.close_asked) tell_link(link, dispatch::EventKind::peer_closed, -104, why);
}

void World::silence(Link& link) {
  if (link.gone || link.silent || !link.up) return;
  link.silent = true;
  note("link " + std::to_string(link.number) + ": half open");
  if (!link.open_streams.empty()) dead_peer_.died(link.number, now_);
}

void World::mass_death(bool reset) {
  mass_death_at_ = now_;
  mass_dials_.clear();
  for (auto& link : links_) {
    if (!link->passes()) continue;
    if (reset) {
      break_link(*link, "connection reset by peer");
    } else {
      silence(*link);
    }
  }
  at(now_ + kSec, [this] { stampede_.after_mass_death(mass_dials_); });
}

void World::close(Host& host, Link& link) {
  if (link.close_asked) verdicts_.say(9, "a connection was closed twice");
  link.close_asked = true;
  closing(link);
  at(now_ + static_cast<std::int64_t>(100 + chance_.below(5000)) * 1000, [this, &host, &link] {
    tell_link(link, dispatch::EventKind::closed);
    link.gone = true;
    lent_.forget(link.number);
    dead_peer_.closed(link.number);
    host.links.erase(link.handle);
    if (!link.rst) places_.give(1);
    by_connection_.erase(link.faults.connection);
    link.conversation.reset();
  });
}

World::Link* World::any_link() {
  std::vector<Link*> usable;
  for (auto& host : hosts_) {
    for (auto& [handle, link] : host->links) {
      if (link->passes() && !link->close_asked && !link->ended) usable.push_back(link);
    }
  }
  return usable.empty() ? nullptr : usable[chance_.below(usable.size())];
}

void World::look_for_dead_peers() {
  dead_peer_.look(
      now_,
      [](void* context, unsigned connection) {
        const Link& link = *static_cast<World*>(context)->links_[connection - 1];
        return !link.gone && !link.close_asked && link.silent && !link.open_streams.empty();
      },
      this);
  version_rule_.look(now_, [this](unsigned connection) {
    const Link& link = *links_[connection - 1];
    return link.passes() && !link.close_asked && !link.ended && link.stalled_until <= now_ && link.open_streams.empty();
  });
  if (pending() != 0 || faults_on_) at(now_ + kSec, [this] { look_for_dead_peers(); });
}

// What the gateway refuses about our tokens, unless its script or a clock that goes wrong made it.
void World::judge_refusal(const Link& link, Reason reason) {
  const bool clock_wrong = draw_.menu[static_cast<std::size_t>(Kind::clock_steps)] != 0;
  switch (reason) {
    case Reason::expired_provider_token:
      if (clock_wrong || draw_.script.find("ExpiredProviderToken") != std::string::npos) return;
      break;
    case Reason::invalid_provider_token:
      if (clock_wrong || draw_.script.find("InvalidProviderToken") != std::string::npos) return;
      break;
    case Reason::unrelated_key_id_in_token:
      if (draw_.script.find("UnrelatedKeyIdInToken") != std::string::npos) return;
      break;
    case Reason::too_many_provider_token_updates:
      // A request that the script answered brought the gateway no token: it counts from a later one.
      if (!draw_.script.empty()) return;
      break;
    case Reason::missing_provider_token:
    case Reason::topic_disallowed: break;
    default: return;
  }
  provider_tokens_.refused(link.number, reason_name(reason));
}

// A request that the gateway has judged, and what it answered.
void World::see_request(const mock::Peer& peer, const h2::ServerRequest& request, const mock::Reply& reply) {
  const auto link_found = by_connection_.find(peer.connection);
  if (link_found == by_connection_.end()) return;
  Link& link = *link_found->second;
  std::string_view id_text, authorization, path;
  for (const h2::FieldView& field : request.fields) {
    if (field.name == "apns-id") id_text = field.value;
    if (field.name == "authorization") authorization = field.value;
    if (field.name == ":path") path = field.value;
  }
  Uuid uuid{};
  std::uint64_t id = 0;
  if (!base::uuid_parse(id_text, uuid)) {
    verdicts_.say(4, "a request without apns-id");
    return;
  }
  std::memcpy(&id, uuid.data(), 8);
  const auto found = pushes_.find(id);
  std::uint64_t rest = 0;
  std::memcpy(&rest, uuid.data() + 8, 8);
  if (found == pushes_.end() || rest != base::mix64(id)) {
    verdicts_.say(2, "a request with an apns-id that no push has");
    return;
  }
  // When its HEADERS were encoded, or a little earlier; the body may have had to wait.
  const auto started = link.started.find(static_cast<std::uint32_t>(request.stream_id));
  if (started == link.started.end()) {
    verdicts_.say(4, "a request on a stream that never began");
    return;
  }
  const auto [encoded_from, left_at] = started->second;
  link.started.erase(started);
  Pushed& pushed = found->second;
  rates_saw(pushed.spec, left_at);
  if (pushed.spec.credential != link.credential) verdicts_.say(4, "a push went out with another credential");
  const bool first = pushed.seen++ == 0;
  if (const auto attempt = link.attempts.find(static_cast<std::uint32_t>(request.stream_id)); attempt != link.attempts.end()) {
    if (attempt->second->push != id) verdicts_.say(4, "a request with another apns-id than was written");
    attempt->second->status = reply.status;
    attempt->second->reason = reply.reason;
  } else {
    verdicts_.say(4, "a request whose HEADERS never left");
  }
  if (reply.status == 200) {
    ++processed_;
    effects_.processed(id);
  }
  const std::string& topic = templates_[pushed.spec.template_index]->options.topic;
  expiry_.requested(id, pushed.deadline, encoded_from);
  dead_tokens_.requested({link.host, topic + pushed.token}, pushed.spec.registered_ms, encoded_from);
  if (calm_) {
    fairness_.served({link.credential * 16 + link.host, topic_of(pushed.spec.template_index)}, first && !pushed.ended);
  }
  if (!credentials_[link.credential]->provider_tokens) return;
  if (reply.status != 200 && apns::rule_for(reply.status, reply.reason).scope == apns::Scope::credential) {
    link.shows_nothing.insert(static_cast<std::uint32_t>(request.stream_id));
  }
  const std::string_view token = authorization.starts_with("bearer ") ? authorization.substr(7) : std::string_view{};
  unsigned key = 0;
  std::int64_t iat_s = 0;
  Host& host = *hosts_[link.host];
  const auto had = host.tokens.find(token);
  if (had == host.tokens.end() || !provider_token_origin(token, key, iat_s)) {
    verdicts_.say(7, "a provider token that was never made");
    return;
  }
  const std::int64_t encoded = std::max(encoded_from, had->second.first);
  if (draw_.menu[static_cast<std::size_t>(Kind::clock_steps)] == 0) {
    provider_tokens_.used(link.number, key, iat_s, encoded, had->second.second + (encoded - had->second.first));
  }
  if (wants_tokens(link.credential)) judge_refusal(link, reply.reason);
}

}  // namespace tocsin::sim
