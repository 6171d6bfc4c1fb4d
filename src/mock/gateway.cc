// SPDX-License-Identifier: Apache-2.0
#include "mock/gateway.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <unordered_map>

#include "apns/reasons.h"
#include "apns/request.h"
#include "base/assertion.h"
#include "base/hex.h"
#include "mock/token_hash.h"

namespace tocsin::mock {
namespace {

constexpr std::string_view kPathPrefix = "/3/device/";
constexpr std::size_t kTokenBytesMax = kTokenHexDigitsMax / 2;
constexpr std::int64_t kDeadWithinMs = 90ll * 24 * 60 * 60 * 1000;

// Apple's list has no reason for a payload that is no JSON. The mock uses the word that Apple's channel
// management uses for it; being outside the table, it also exercises the verbatim path of clients.
constexpr std::string_view kBadPayloadText = "BadRequestPayload";
constexpr std::uint16_t kBadPayloadStatus = 400;

// The fields that decide, each with its place in Fields::values.
enum Field : std::uint8_t { kMethod, kPath, kAuthorization, kTopic, kPushType, kId, kExpiration, kPriority, kCollapseId, kFields };

struct Fields {
  std::string_view values[kFields];
  std::uint32_t present = 0;
  bool doubled = false;

  bool has(Field field) const { return (present >> field & 1) != 0; }
};

// By length first: the lengths of the names that matter are nearly all different.
int field_of(std::string_view name) {
  const auto is = [name](std::string_view known) { return std::memcmp(name.data(), known.data(), known.size()) == 0; };
  switch (name.size()) {
    case 5: return is(":path") ? kPath : -1;
    case 7: return is("apns-id") ? kId : is(":method") ? kMethod : -1;
    case 10: return is("apns-topic") ? kTopic : -1;
    case 13: return is("apns-priority") ? kPriority : is("authorization") ? kAuthorization : -1;
    case 14: return is("apns-push-type") ? kPushType : -1;
    case 15: return is("apns-expiration") ? kExpiration : -1;
    case 16: return is("apns-collapse-id") ? kCollapseId : -1;
    default: return -1;
  }
}

Fields read_fields(std::span<const h2::FieldView> list) {
  Fields fields;
  for (const h2::FieldView& field : list) {
    const int known = field_of(field.name);
    if (known < 0) continue;
    if ((fields.present >> known & 1) != 0) {
      fields.doubled = true;  // the first one stays
      continue;
    }
    fields.present |= 1u << known;
    fields.values[known] = field.value;
  }
  return fields;
}

bool is_number(std::string_view text, std::int64_t& out) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

// Without apns-push-type APNs still sends; the topic says what is meant. alert stands for "nothing special".
PushType type_from_topic(std::string_view topic) {
  if (topic.starts_with("com.apple.mgmt.")) return PushType::mdm;
  for (std::size_t i = 0; i < kPushTypes; ++i) {
    const auto type = static_cast<PushType>(i);
    const std::string_view suffix = apns::topic_suffix(type);
    if (!suffix.empty() && topic.ends_with(suffix)) return type;
  }
  return PushType::alert;
}

Uuid random_uuid(base::Prng& prng) {
  Uuid uuid;
  const std::uint64_t halves[2] = {prng.next(), prng.next()};
  std::memcpy(uuid.data(), halves, sizeof halves);
  uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);  // version 4
  uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);  // RFC 9562's variant
  return uuid;
}

std::span<const std::uint8_t> octets(base::ByteView bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

// `key` is reused, so that a look-up does not allocate.
bool is_dead(const GatewayConfig& config, base::ByteView token, std::string& key, std::int64_t& since_unix_ms,
             Reason& reason) {
  if (!config.dead.empty()) {
    key.resize(token.size() * 2);
    base::hex_encode(octets(token), key.data());
    if (const auto found = config.dead.find(key); found != config.dead.end()) {
      since_unix_ms = found->second;
      reason = Reason::unregistered;
      return true;
    }
  }
  if (!(config.dead_share > 0)) return false;
  const std::uint64_t hash = token_hash(token);
  // The upper 53 bits as a number in [0, 1); the second hash is independent of the first.
  if (static_cast<double>(hash >> 11) * 0x1.0p-53 >= config.dead_share) return false;
  const std::uint64_t chance = base::mix64(hash);
  const auto before = static_cast<std::int64_t>(chance % static_cast<std::uint64_t>(kDeadWithinMs));
  since_unix_ms = std::max<std::int64_t>(1, config.dead_base_unix_ms - before);
  reason = (chance >> 60) == 0 ? Reason::expired_token : Reason::unregistered;  // one in 16
  return true;
}

void append(std::string_view text, Reply& out) {
  TOCSIN_ASSERT(out.body_bytes + text.size() <= sizeof out.body_storage);
  std::memcpy(out.body_storage + out.body_bytes, text.data(), text.size());
  out.body_bytes += static_cast<std::uint32_t>(text.size());
}

// A negative time is left out.
void write_body(std::string_view reason, std::int64_t timestamp_unix_ms, Reply& out) {
  append(R"({"reason":")", out);
  append(reason, out);
  append("\"", out);
  if (timestamp_unix_ms >= 0) {
    char digits[24];
    const auto [end, error] = std::to_chars(digits, std::end(digits), timestamp_unix_ms);
    TOCSIN_ASSERT(error == std::errc{});
    append(R"(,"timestamp":)", out);
    append({digits, static_cast<std::size_t>(end - digits)}, out);
  }
  append("}", out);
}

}  // namespace

bool token_is_dead(const GatewayConfig& config, base::ByteView token, std::int64_t& since_unix_ms) {
  std::string key;
  Reason reason = Reason::none;
  return is_dead(config, token, key, since_unix_ms, reason);
}

struct Gateway::Scratch {
  apns::PayloadChecker payloads;
  std::string dead_key;
  std::vector<Reason> random_reasons;  // what reject_share draws from
  std::uint8_t token[kTokenBytesMax];
  ProviderJudge provider;
  std::unordered_map<std::uint64_t, std::uint32_t> rates;  // by token hash, within the second that began at rates_since
  std::int64_t rates_since_ns = 0;
  std::size_t token_bytes = 0;         // 0: the request named none, or none that can be read
  Uuid id{};

  base::ByteView token_view() const { return std::as_bytes(std::span(token, token_bytes)); }

  // Each of the following is one station of APNs' way through a request; none means "go on".
  Reason check_path(const Fields& fields);
  Reason check_authority(const GatewayConfig& config, Peer& peer, const Fields& fields, base::Now now, std::string_view& topic);
  Reason check_headers(const Fields& fields, const Peer& peer, std::string_view topic, PushType& type) const;
  Reason check_rate(const GatewayConfig& config, base::Now now);
  Reason check_body(const h2::ServerRequest& request, const Fields& fields, PushType type);
};

// Reads the token even where the request is refused for something else later: the ledger books it.
Reason Gateway::Scratch::check_path(const Fields& fields) {
  const std::string_view path = fields.values[kPath];
  std::string_view hex;
  const bool known = path.starts_with(kPathPrefix);
  if (known) hex = path.substr(kPathPrefix.size());
  const bool readable = !hex.empty() && hex.size() <= kTokenHexDigitsMax && base::hex_decode(hex, token);
  token_bytes = readable ? hex.size() / 2 : 0;

  if (fields.values[kMethod] != "POST") return Reason::method_not_allowed;
  if (!known && path != kPathPrefix.substr(0, kPathPrefix.size() - 1)) return Reason::bad_path;
  if (hex.find('/') != std::string_view::npos) return Reason::bad_path;
  if (fields.doubled) return Reason::duplicate_headers;
  if (fields.has(kId) && !base::uuid_parse(fields.values[kId], id)) return Reason::bad_message_id;
  if (hex.empty()) return Reason::missing_device_token;
  return readable ? Reason::none : Reason::bad_device_token;
}

Reason Gateway::Scratch::check_authority(const GatewayConfig& config, Peer& peer, const Fields& fields, base::Now now,
                                         std::string_view& topic) {
  topic = fields.values[kTopic];
  if (!peer.has_certificate) {
    if (!config.provider_keys.empty()) {
      const ProviderTrust* trust = nullptr;
      const Reason refused = provider.judge(config.provider_keys, fields.values[kAuthorization], peer.provider, now, trust);
      if (refused != Reason::none) return refused;
      if (const auto refusal = apns::check_topic(PushType::alert, topic)) return refusal.reason;
      return allows_topic(*trust, topic) ? Reason::none : Reason::topic_disallowed;
    }
    if (config.require_certificate) {
      return fields.has(kAuthorization) ? Reason::invalid_provider_token : Reason::missing_provider_token;
    }
    return apns::check_topic(PushType::alert, topic).reason;  // alert: no suffix is asked for yet
  }
  if (!fields.has(kTopic)) {
    // Only a certificate for one topic speaks for itself.
    const bool has_uid = !peer.uid.empty();
    if (peer.topics.size() + (has_uid ? 1 : 0) != 1) return Reason::missing_topic;
    topic = has_uid ? peer.uid : peer.topics.front();
    return Reason::none;
  }
  if (topic == peer.uid && !topic.empty()) return Reason::none;
  if (const auto refusal = apns::check_topic(PushType::alert, topic)) return refusal.reason;
  return std::find(peer.topics.begin(), peer.topics.end(), topic) != peer.topics.end() ? Reason::none
                                                                                       : Reason::topic_disallowed;
}

Reason Gateway::Scratch::check_headers(const Fields& fields, const Peer& peer, std::string_view topic, PushType& type) const {
  if (!fields.has(kPushType)) {
    type = type_from_topic(topic);
  } else if (fields.values[kPushType] == "mdm") {
    type = PushType::mdm;
  } else if (!apns::push_type_from_name(fields.values[kPushType], type)) {
    return Reason::invalid_push_type;
  }
  if (peer.has_certificate || peer.provider.bound()) {
    if (const auto refusal = apns::check_credential(type, !peer.has_certificate)) return refusal.reason;
  }
  // A topic without its type's suffix is another app's topic as far as the device's token goes.
  if (const auto refusal = apns::check_topic(type, topic)) return refusal.reason;

  std::int64_t priority = 10;  // APNs' default
  if (fields.has(kPriority)) {
    const std::string_view text = fields.values[kPriority];
    if (text.size() > 2 || text.starts_with('0') || !is_number(text, priority)) return Reason::bad_priority;
  }
  if (apns::check_priority(type, static_cast<unsigned>(priority))) return Reason::bad_priority;
  std::int64_t expiration = 0;
  if (fields.has(kExpiration) && !is_number(fields.values[kExpiration], expiration)) return Reason::bad_expiration_date;
  if (fields.has(kCollapseId) && apns::check_collapse_id(fields.values[kCollapseId])) return Reason::bad_collapse_id;
  return Reason::none;
}

Reason Gateway::Scratch::check_body(const h2::ServerRequest& request, const Fields& fields, PushType type) {
  const std::size_t bytes_max = apns::payload_bytes_max(type);
  if (request.body_bytes == 0) return Reason::payload_empty;
  if (request.body_bytes > bytes_max || request.body_cut) return Reason::payload_too_large;
  const std::string_view body = base::as_text(request.body);
  // Without a push type there is nothing to hold the payload against, but for MDM, whose topic says it all.
  if (!fields.has(kPushType) && type != PushType::mdm) return payloads.check_json(bytes_max, body).reason;
  return payloads.check(type, body).reason;
}

Reason Gateway::Scratch::check_rate(const GatewayConfig& config, base::Now now) {
  if (config.per_token_rate == 0) return Reason::none;
  if (now.mono_ns - rates_since_ns >= base::kSecond) {
    rates.clear();
    rates_since_ns = now.mono_ns;
  }
  return ++rates[token_hash(token_view())] > config.per_token_rate ? Reason::too_many_requests : Reason::none;
}

Gateway::Gateway(std::shared_ptr<const GatewayConfig> config, std::uint64_t worker)
    : config_(std::move(config)), prng_(base::mix64(config_->seed) ^ worker), scratch_(std::make_unique<Scratch>()) {
  for (const apns::ReasonEntry& entry : apns::reason_table()) {
    // Only those that are the end of one push: another try, or a credential that stops, is the fault script's to ask for.
    const bool final_for_push = entry.retry == apns::Retry::never && entry.scope != apns::Scope::credential;
    if (entry.status != 410 && final_for_push) scratch_->random_reasons.push_back(entry.reason);
  }
}

Gateway::~Gateway() = default;

void Gateway::handle(Peer& peer, const h2::ServerRequest& request, base::Now now, Reply& out, bool answer_lost) {
  Scratch& scratch = *scratch_;
  const GatewayConfig& config = *config_;
  const Fields fields = read_fields(request.fields);
  scratch.id = Uuid{};

  std::string_view topic;
  PushType type = PushType::alert;
  std::int64_t since_unix_ms = 0;
  Reason reason = scratch.check_path(fields);
  if (reason == Reason::none) reason = scratch.check_authority(config, peer, fields, now, topic);
  if (reason == Reason::none) reason = scratch.check_headers(fields, peer, topic, type);
  if (reason == Reason::none) reason = scratch.check_body(request, fields, type);
  if (reason == Reason::none) {
    Reason dead = Reason::none;
    if (is_dead(config, scratch.token_view(), scratch.dead_key, since_unix_ms, dead)) reason = dead;
  }
  if (reason == Reason::none) reason = scratch.check_rate(config, now);
  if (reason == Reason::none && config.reject_share > 0 && prng_.chance(config.reject_share)) {
    reason = scratch.random_reasons[prng_.below(scratch.random_reasons.size())];
  }

  // A request refused before its apns-id was looked at still gets it back, if it is one.
  if (scratch.id == Uuid{} && fields.has(kId)) base::uuid_parse(fields.values[kId], scratch.id);
  out.apns_id = scratch.id != Uuid{} ? scratch.id : random_uuid(prng_);
  out.reason = reason;
  out.timestamp_unix_ms = since_unix_ms;
  out.delay_ns = draw_delay();
  out.bare = out.unique_id = false;
  out.body_bytes = 0;

  const std::int64_t unix_ms = now.wall_ns / base::kMillisecond;
  if (reason == Reason::none) {
    out.status = 200;
    out.bare = config.bare_share > 0 && prng_.chance(config.bare_share);
    if (config.sandbox) {
      out.unique_id = true;
      out.unique_id_value = random_uuid(prng_);
    }
    ledger_.accepted(scratch.token_view(), out.apns_id, unix_ms, peer.connection, answer_lost);
    if (config.observer) config.observer(peer, request, out);
    return;
  }
  const apns::ReasonEntry* entry = apns::find_reason(reason);
  out.status = entry != nullptr ? entry->status : kBadPayloadStatus;
  write_body(entry != nullptr ? std::string_view(entry->name) : kBadPayloadText,
             out.status == 410 ? out.timestamp_unix_ms : -1, out);
  ledger_.rejected(scratch.token_view(), out.status, reason, unix_ms);
  if (config.observer) config.observer(peer, request, out);
}

std::int64_t Gateway::draw_delay() {
  if (config_->jitter_ns <= 0) return config_->delay_ns;
  return config_->delay_ns + static_cast<std::int64_t>(prng_.below(static_cast<std::uint64_t>(config_->jitter_ns)));
}

void Gateway::refuse(const Peer& peer, const h2::ServerRequest& request, base::Now now, std::uint16_t status, std::string_view reason,
                     std::int64_t timestamp_unix_ms, Reply& out) {
  Scratch& scratch = *scratch_;
  const Fields fields = read_fields(request.fields);
  scratch.id = Uuid{};
  (void)scratch.check_path(fields);  // for the token; what it says of the path does not matter
  if (scratch.id == Uuid{} && fields.has(kId)) base::uuid_parse(fields.values[kId], scratch.id);
  out = Reply{};
  out.apns_id = scratch.id != Uuid{} ? scratch.id : random_uuid(prng_);
  out.status = status;
  const Reason known = apns::reason_from_text(reason);
  out.reason = known == Reason::none ? Reason::other : known;
  out.timestamp_unix_ms = std::max<std::int64_t>(timestamp_unix_ms, 0);
  out.delay_ns = config_->delay_ns;
  if (!reason.empty()) write_body(reason, timestamp_unix_ms, out);
  ledger_.rejected(scratch.token_view(), status, out.reason, now.wall_ns / base::kMillisecond);
  if (config_->observer) config_->observer(peer, request, out);
}

}  // namespace tocsin::mock
