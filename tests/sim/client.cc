// SPDX-License-Identifier: Apache-2.0
// The client of a run: submits, and meddles: cancels, pauses, renews, removes, changes rates, and the clock with it all.
#include <algorithm>

#include "base/hex.h"
#include "world.h"

namespace tocsin::sim {
namespace {

constexpr std::uint64_t kPool = 24;  // tokens that several pushes share

}  // namespace

std::uint32_t World::topic_of(std::uint32_t template_index) const {
  // Three templates a topic, then one of MDM for each credential; see start().
  return template_index < 3 * draw_.topics * draw_.credentials ? template_index / 3 % draw_.topics : draw_.topics;
}

Spec World::draw_push() {
  Spec spec;
  spec.credential = static_cast<std::uint32_t>(chance_.below(credentials_.size()));
  const auto& templates = templates_of_[spec.credential];
  spec.template_index = templates[chance_.below(templates.size())];
  const dispatch::TemplateConfig& config = *templates_[spec.template_index];
  if (groups_ != 0 && chance_.chance(0.4)) spec.group = 1 + group_base_ + static_cast<std::uint32_t>(chance_.below(groups_));
  spec.policy = chance_.chance(draw_.at_most_once) ? Policy::at_most_once : Policy::at_least_once;
  spec.priority_class = static_cast<PriorityClass>(chance_.below(3));
  if (chance_.chance(draw_.deadlines)) spec.deadline_ns = static_cast<std::int64_t>(1 + chance_.below(15'000)) * kMs;
  if (chance_.chance(draw_.shared_tokens)) {
    spec.token = 1 + chance_.below(kPool);
    const auto registered = registered_.find({config.options.topic, spec.token});
    if (registered != registered_.end() && chance_.chance(0.7)) spec.registered_ms = registered->second;
  }
  if (chance_.chance(0.2)) spec.collapse = std::string(1 + chance_.below(3), 'c');
  if (config.options.form == PayloadForm::with_part) {
    spec.content = std::string(1 + chance_.below(60), 'm');
    // One of a UUID's length is one: it is kept as bytes.
    if (spec.content.size() == 36) spec.content = "D7D3A0B4-53F1-4D8E-9B10-2E2A1E9D6A11";
  }
  if (config.options.form == PayloadForm::own) {
    spec.content = R"({"aps":{"alert":")" + std::string(chance_.chance(draw_.large) ? chance_.below(3000) : 5, 'o') + R"("}})";
  }
  return spec;
}

void World::submit_some() {
  for (std::uint64_t i = 1 + chance_.below(calm_ ? 60 : 12); i-- != 0 && next_push_ <= draw_.pushes;) push(draw_push());
}

void World::schedule_client() {
  // The load, in bursts: about as many as there are pushes for, over most of phase one.
  const std::int64_t span = draw_.phase_one_ns * 8 / 10;
  const int bursts = static_cast<int>(draw_.pushes / (calm_ ? 20 : 5));
  for (int i = 0; i < bursts; ++i) {
    at(now_ + static_cast<std::int64_t>(chance_.below(static_cast<std::uint64_t>(span))), [this] { submit_some(); });
  }
  for (std::size_t k = 0; k < kKinds; ++k) {
    const double likely = draw_.menu[k];
    if (likely == 0) continue;
    for (double often = likely * 5; often > 0; often -= 1) {
      at(now_ + static_cast<std::int64_t>(chance_.below(static_cast<std::uint64_t>(draw_.phase_one_ns))),
         [this, kind = static_cast<Kind>(k)] {
           if (faults_on_) meddle(kind);
         });
    }
  }
}

// What happens at a moment of its own; the rest of the menu is asked for where it can happen.
void World::meddle(Kind kind) {
  using dispatch::EventKind;
  const auto credential = static_cast<std::uint32_t>(chance_.below(credentials_.size()));
  const std::uint32_t group = groups_ == 0 ? 0 : group_base_ + static_cast<std::uint32_t>(chance_.below(groups_));
  const auto soon = static_cast<std::int64_t>(chance_.below(8000)) * kMs;
  switch (kind) {
    case Kind::wire_reset:
      if (Link* link = any_link()) break_link(*link, "connection reset by peer");
      break;
    case Kind::wire_stalls:
      if (Link* link = any_link()) link->stalled_until = now_ + soon / 2;
      break;
    case Kind::wire_half_open:
      if (Link* link = any_link()) silence(*link);
      break;
    case Kind::peer_hangs_up:
      if (Link* link = any_link()) {
        link->ended = true;
        tell_link(*link, EventKind::peer_closed, 0, "the peer closed");
      }
      break;
    case Kind::broken_answer:
      // Literal field "x: y" and nothing else, END_HEADERS and END_STREAM (RFC 9113 section 8.3.2: malformed).
      if (Link* link = any_link(); link != nullptr && !link->open_streams.empty() && link->greeted) {
        const std::uint32_t id = *link->open_streams.begin();
        std::string frame("\x00\x00\x05\x01\x05", 5);
        for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(id >> shift & 0xff));
        deliver(*link, frame + std::string(kNoAnswer));
        break;
      }
      return;
    case Kind::mass_death: mass_death(chance_.chance(0.5)); break;
    case Kind::outage: outage(soon * 2); break;
    case Kind::address_dead: dead_address_until_[chance_.below(dead_address_until_.size())] = now_ + 3 * soon; break;
    case Kind::clock_steps: step_wall_clock((chance_.chance(0.5) ? 1 : -1) * (chance_.chance(0.5) ? 3600 : 600) * kSec); break;
    case Kind::clock_drifts: drift_ = (chance_.unit() - 0.5) * 1e-3; break;
    case Kind::token_dies: {
      const std::uint64_t pool = 1 + chance_.below(kPool);
      const std::string token = pool_token(pool);
      std::string hex(64, '0');
      base::hex_encode({reinterpret_cast<const std::uint8_t*>(token.data()), token.size()}, hex.data());
      gateway_config_->dead[hex] = true_clock().wall_ns / kMs;
      break;
    }
    case Kind::tokens_told: tell_dead_tokens(credential); break;
    case Kind::credential_replaced: {
      if (removed_[credential]) return;
      replace(credential);
      break;
    }
    case Kind::credential_rolled: control(EventKind::credential_rolled, credential); break;
    case Kind::credential_paused:
      control(EventKind::credential_paused, credential);
      at(now_ + soon, [this, credential] { control(EventKind::credential_resumed, credential); });
      break;
    case Kind::credential_removed:
      if (credentials_.size() < 2 || chance_.chance(0.7)) return;
      removed_[credential] = true;
      control(EventKind::credential_removed, credential);
      break;
    case Kind::group_paused:
      if (groups_ == 0) return;
      control(EventKind::group_paused, group);
      at(now_ + soon, [this, group] { control(EventKind::group_resumed, group); });
      break;
    case Kind::group_cancelled:
      if (groups_ == 0) return;
      // Those cancelled stay so; new ones take their place.
      for (unsigned g = 0; g < groups_; ++g) control(EventKind::group_cancelled, group_base_ + g);
      group_base_ += groups_;
      for (unsigned g = 0; g < groups_; ++g) control(EventKind::group_added, group_base_ + g);
      break;
    case Kind::ids_cancelled: {
      for (auto& host : hosts_) {
        auto& ids = host->ids.emplace_back();
        for (int i = 0; i < 20; ++i) ids.push_back(1 + chance_.below(next_push_));
        tell(*host, EventKind::cancel).ids = ids;
      }
      break;
    }
    case Kind::rate_changed: set_rate(dispatch::Pace::credential, credential, chance_.chance(0.3) ? 0 : 5 + static_cast<double>(chance_.below(50))); break;
    default: return;
  }
  count(kind);
  note(std::string("client: ") + kind_name(kind));
}

// As at a start, from what was kept of earlier runs, or from another engine.
void World::tell_dead_tokens(std::uint32_t credential) {
  const std::string& topic = templates_[templates_of_[credential][0]]->options.topic;
  std::vector<std::pair<std::uint64_t, std::int64_t>> tokens;
  for (std::uint64_t i = 1 + chance_.below(5); i != 0; --i) {
    const std::uint64_t number = 1 + chance_.below(kPool);
    const std::int64_t since_ms = true_clock().wall_ns / kMs - static_cast<std::int64_t>(chance_.below(5000));
    tokens.emplace_back(number, since_ms);
    if (chance_.chance(0.5)) registered_[{topic, number}] = since_ms + 1;
  }
  for (auto& host : hosts_) {
    auto& dead = host->dead.emplace_back();
    for (const auto& [number, since_ms] : tokens) {
      const std::string& token = host->held.emplace_back(pool_token(number));
      dead.push_back({credential, topic, base::as_bytes(token), since_ms});
      dead_tokens_.known({host->number, topic + token}, since_ms, now_ + kMs);
    }
    tell(*host, dispatch::EventKind::dead_tokens).dead = dead;
  }
}

}  // namespace tocsin::sim
