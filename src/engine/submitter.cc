// SPDX-License-Identifier: Apache-2.0
// The way in: check, reserve, copy, hand over. A chunk of pushes is checked first, then places are taken in
// one go for all of it (engine, then each shard), then records are built and enqueued in bulk per shard.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "apns/request.h"
#include "base/assertion.h"
#include "base/hex.h"
#include "base/prng.h"
#include "engine/deadline.h"
#include "engine/impl.h"

namespace tocsin {
namespace {

// Pushes per chunk: one reservation and one wake per shard for this many.
constexpr std::size_t kChunk = 256;
constexpr unsigned kSubmittersMax = 256;
constexpr std::size_t kTokenBytesCommon = 32;
constexpr std::int64_t kUnixMsMax = (std::int64_t{1} << 48) - 1;

struct Wrong {
  Code code = Code::ok;
  std::string message;
};

// False, so that who finds something wrong returns it.
[[gnu::cold, gnu::noinline]] bool wrong(Wrong& out, Code code, std::string_view message) {
  out.code = code;
  out.message = message;
  return false;
}

// Likewise, with the message put together here, out of the way of the pushes that are right.
[[gnu::cold, gnu::noinline]] bool wrong_field(Wrong& out, std::string_view field, const apns::Refusal& refusal) {
  return wrong(out, Code::invalid_argument, std::string(field) + ": " + refusal.text);
}
[[gnu::cold, gnu::noinline]] bool wrong_token(Wrong& out, std::string_view token) {
  const apns::Refusal refusal = apns::check_token(token);
  return wrong(out, Code::invalid_argument, refusal.text.empty() ? "token: not a device token" : "token: " + refusal.text);
}
[[gnu::cold, gnu::noinline]] bool wrong_size(Wrong& out, std::size_t payload, std::size_t most) {
  return wrong(out, Code::invalid_argument,
               "part: with it the payload has " + std::to_string(payload) + " bytes; APNs takes " + std::to_string(most));
}

}  // namespace

struct Submitter::Impl {
  Impl(Engine::Impl& e, unsigned n) : engine(e), number(n) {
    for (auto& worker : e.workers) {
      tokens.emplace_back(worker->inbox());
      staged.emplace_back().records.resize(kChunk);
    }
    leases.resize(e.workers.size());
    places.resize(kChunk);
  }

  // Where a checked push of the chunk goes, and what of it had to be prepared.
  struct Place {
    std::uint32_t shard = 0;
    std::uint32_t block_bytes = 0;   // 0: fits the record
    std::uint32_t part_at = 0;       // into escaped, if part_escaped
    std::uint16_t part_bytes = 0;
    bool part_escaped = false;
    std::uint8_t part_flag = 0;  // if the part is a UUID: under which it is kept as part_uuid
    Uuid part_uuid;
    std::int64_t deadline_wall_ns = 0;  // the nearer of the push's own and the template's expiration; 0: none
    std::array<std::uint8_t, kTokenHexDigitsMax / 2> token;
  };

  // Records of the chunk under way for one shard. They are written in place, each field once: making them anew costs
  // more than filling them.
  struct Staged {
    std::vector<dispatch::PushRecord> records;
    std::size_t count = 0;
  };

  // No index of 32 bits, so that the handle `none` is not taken for one seen before.
  static constexpr std::uint64_t kNoIndex = std::numeric_limits<std::uint64_t>::max();

  // What check() asks of the last push's template: its options never change, and most pushes have their neighbour's.
  struct Template {
    std::uint64_t index = kNoIndex;
    PayloadForm form = PayloadForm::fixed;
    PushType push_type = PushType::alert;
    std::int64_t expiration_wall_ns = 0;  // 0: none
    std::size_t payload_bytes = 0;
  };

  // False: `bad` says what is wrong with it.
  bool check(const Push& push, Place& place, Wrong& bad);
  bool check_words(const Push& push, Wrong& bad);
  [[gnu::cold, gnu::noinline]] bool wrong_words(const Push& push, Wrong& bad);
  // Into last_template and last_credential; false: the engine gave out no such handle.
  bool find_template(std::uint32_t index);
  bool find_credential(std::uint32_t index);
  bool build(const Push& push, const Place& place, base::Now now);
  dispatch::Tick tick_of(std::int64_t deadline_wall_ns, base::Now now);
  Uuid next_apns_id();

  Engine::Impl& engine;
  const unsigned number;
  std::uint64_t made = 0;  // apns-ids
  apns::PayloadChecker payload_checker;
  std::vector<moodycamel::ProducerToken> tokens;
  std::vector<Staged> staged;
  std::vector<Place> places;
  Template last_template;
  std::uint64_t last_credential_index = kNoIndex;
  const engine::CredentialEntry* last_credential = nullptr;  // entries stay as long as the engine
  std::vector<std::uint64_t> leases;  // places taken from a shard for the chunk under way, not yet used
  std::string escaped;
  // The last deadline of the submit() under way and its tick, which holds for its `now` only. At its start: none.
  std::int64_t last_deadline_wall_ns = 0;
  dispatch::Tick last_tick = dispatch::kTickNone;
};

Submitter::Submitter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Submitter::Submitter(Submitter&&) noexcept = default;
Submitter& Submitter::operator=(Submitter&& other) noexcept {
  if (this != &other) {
    Submitter ended(std::move(impl_));
    impl_ = std::move(other.impl_);
  }
  return *this;
}
Submitter::~Submitter() {
  if (impl_ != nullptr) impl_->engine.submitters.fetch_sub(1, std::memory_order_relaxed);
}

Result<Submitter> Engine::submitter() {
  if (impl_->submitters.fetch_add(1, std::memory_order_relaxed) >= kSubmittersMax) {
    impl_->submitters.fetch_sub(1, std::memory_order_relaxed);
    return Error{Code::capacity, "all 256 submitters are in use; share one per producer thread, and let idle ones go"};
  }
  static_assert(kSubmittersMax < 65'536);
  const unsigned number = impl_->submitters_made.fetch_add(1, std::memory_order_relaxed);
  return Submitter(std::make_unique<Submitter::Impl>(*impl_, number));
}

// What is neither text nor a handle of template or credential. One branch for all of it: nearly every push is right.
bool Submitter::Impl::check_words(const Push& push, Wrong& bad) {
  // Unsigned, a negative time is beyond each limit.
  const bool any = (push.struct_bytes != sizeof(Push)) | (push.version != kPushVersion) |
                   (static_cast<std::uint32_t>(push.group) > engine.shared.groups.size()) | (push.priority_class > PriorityClass::bulk) |
                   ((push.policy != Policy::at_least_once) & (push.policy != Policy::at_most_once)) | (push.deadline_unix_ns < 0) |
                   (static_cast<std::uint64_t>(push.token_registered_unix_ms) > static_cast<std::uint64_t>(kUnixMsMax)) |
                   (push.reserved != 0);
  return !any || wrong_words(push, bad);
}

// The first thing that check_words() found wrong: the same tests again, one by one.
bool Submitter::Impl::wrong_words(const Push& push, Wrong& bad) {
  if (push.struct_bytes != sizeof(Push) || push.version != kPushVersion) {
    return wrong(bad, Code::unsupported, "struct_bytes, version: not a Push of this library's version (" +
                                        std::to_string(sizeof(Push)) + " bytes, version 1)");
  }
  if (static_cast<std::uint32_t>(push.group) > engine.shared.groups.size()) {
    return wrong(bad, Code::unknown_handle, "group: this engine gave out no such group");
  }
  if (push.priority_class > PriorityClass::bulk) {
    return wrong(bad, Code::invalid_argument, "priority_class: neither normal, urgent nor bulk");
  }
  if (push.policy != Policy::at_least_once && push.policy != Policy::at_most_once) {
    return wrong(bad, Code::invalid_argument, "policy: neither at_least_once nor at_most_once");
  }
  if (push.deadline_unix_ns < 0) {
    return wrong(bad, Code::invalid_argument, "deadline_unix_ns: must be a time in Unix nanoseconds, or 0 for none");
  }
  if (push.token_registered_unix_ms < 0 || push.token_registered_unix_ms > kUnixMsMax) {
    return wrong(bad, Code::invalid_argument, "token_registered_unix_ms: must be a time in Unix milliseconds below 2^48, or 0");
  }
  if (push.reserved != 0) return wrong(bad, Code::invalid_argument, "reserved: must be 0");
  return true;  // a group was added between the two looks
}

bool Submitter::Impl::find_template(std::uint32_t index) {
  if (index >= engine.shared.templates.size()) return false;
  const TemplateOptions& options = engine.shared.templates[index]->options;
  last_template.index = index;
  last_template.form = options.form;
  last_template.push_type = options.push_type;
  last_template.expiration_wall_ns =
      options.has_expiration && options.expiration_unix_s > 0 ? engine::expiration_wall_ns(options.expiration_unix_s) : 0;
  last_template.payload_bytes = options.payload.size();
  return true;
}

bool Submitter::Impl::find_credential(std::uint32_t index) {
  if (index >= engine.shared.credentials.size()) return false;
  last_credential_index = index;
  last_credential = engine.shared.credentials[index].get();
  return true;
}

bool Submitter::Impl::check(const Push& push, Place& place, Wrong& bad) {
  if (!check_words(push, bad)) return false;
  const auto template_index = static_cast<std::uint32_t>(push.template_handle) - 1;
  const auto credential_index = static_cast<std::uint32_t>(push.credential) - 1;
  if (template_index != last_template.index && !find_template(template_index)) {
    return wrong(bad, Code::unknown_handle, "template_handle: this engine gave out no such template");
  }
  if (credential_index != last_credential_index && !find_credential(credential_index)) {
    return wrong(bad, Code::unknown_handle, "credential: this engine gave out no such credential");
  }
  const engine::CredentialEntry& credential = *last_credential;
  if (credential.removed.load(std::memory_order_acquire)) {
    return wrong(bad, Code::unknown_handle, "credential: it was removed");
  }
  const std::string_view token = push.token.view();
  const bool token_good = token.size() == 2 * kTokenBytesCommon
                              ? base::hex_decode_64(token.data(), place.token.data())
                              : !token.empty() && token.size() <= kTokenHexDigitsMax && base::hex_decode(token, place.token.data());
  if (!token_good) return wrong_token(bad, token);
  if (push.collapse_id.size != 0) {
    if (const apns::Refusal refusal = apns::check_collapse_id(push.collapse_id.view())) {
      return wrong_field(bad, "collapse_id", refusal);
    }
  }
  const Template& options = last_template;
  // The check is a call and a string, so it is asked only about the pairs that it may refuse.
  const engine::Shows shows = credential.shows.load(std::memory_order_relaxed);
  const bool token_shown = shows == engine::Shows::provider_token;
  if ((token_shown && options.push_type == PushType::mdm) ||
      (shows == engine::Shows::certificate && options.push_type == PushType::location)) {
    if (const apns::Refusal refusal = apns::check_credential(options.push_type, token_shown)) {
      return wrong_field(bad, "credential", refusal);
    }
  }
  place.deadline_wall_ns = push.deadline_unix_ns;
  if (const std::int64_t expiration = options.expiration_wall_ns; expiration != 0) {
    if (place.deadline_wall_ns == 0 || expiration < place.deadline_wall_ns) place.deadline_wall_ns = expiration;
  }
  std::size_t data = token.size() / 2 + push.collapse_id.size;
  place.part_escaped = false;
  place.part_flag = 0;
  place.part_bytes = 0;
  if (options.form == PayloadForm::with_part) {
    const std::string_view part = push.part.view();
    if (place.part_flag = dispatch::pack_uuid_content(part, place.part_uuid); place.part_flag != 0) {
      place.part_bytes = base::kUuidTextBytes;
    } else if (!part.empty() && part.size() <= kPartBytesMax && apns::plain_json_text(part)) {
      place.part_bytes = static_cast<std::uint16_t>(part.size());
    } else {
      if (const apns::Refusal refusal = apns::check_part(part)) return wrong_field(bad, "part", refusal);
      place.part_at = static_cast<std::uint32_t>(escaped.size());
      apns::append_json_escaped(part, escaped);
      place.part_bytes = static_cast<std::uint16_t>(escaped.size() - place.part_at);
      place.part_escaped = true;
    }
    const std::size_t payload = options.payload_bytes - kPartMark.size() + place.part_bytes;
    if (payload > apns::payload_bytes_max(options.push_type)) {
      return wrong_size(bad, payload, apns::payload_bytes_max(options.push_type));
    }
    data += place.part_flag != 0 ? sizeof(place.part_uuid) : place.part_bytes;
  } else if (push.part.size != 0) {
    return wrong(bad, Code::invalid_argument, "part: the template has no place for one (PayloadForm::with_part)");
  }
  if (options.form == PayloadForm::own) {
    if (const apns::Refusal refusal = payload_checker.check(options.push_type, push.payload.view())) {
      return wrong_field(bad, "payload", refusal);
    }
    data += push.payload.size;
  } else if (push.payload.size != 0) {
    return wrong(bad, Code::invalid_argument, "payload: the template brings its own (use PayloadForm::own)");
  }
  place.block_bytes = data > dispatch::kInlineBytes ? static_cast<std::uint32_t>(data) : 0;

  const base::ByteView token_bytes = std::as_bytes(std::span(place.token).first(token.size() / 2));
  // With one shard there is nothing to divide.
  const std::size_t shards = engine.workers.size();
  place.shard = shards == 1 ? 0 : engine::route(credential, token_bytes, shards);
  return true;
}

Uuid Submitter::Impl::next_apns_id() {
  // Unique in the run: submitter and count go through a bijection keyed by the run, then version 4 and variant bits.
  const std::uint64_t counter = static_cast<std::uint64_t>(number) << 48 | made++;
  const std::uint64_t high = base::mix64(counter ^ engine.shared.run_key);
  const std::uint64_t low = base::mix64(high ^ ~counter);
  // Bytes 6 and 8, set in the words: a byte written into what is read as a whole right after is dearer than all of this.
  static_assert(std::endian::native == std::endian::little);
  const std::uint64_t words[2] = {(high & ~(std::uint64_t{0xf0} << 48)) | std::uint64_t{0x40} << 48, (low & ~std::uint64_t{0xc0}) | 0x80};
  Uuid id;
  std::memcpy(id.data(), words, id.size());
  return id;
}

// A batch's pushes often share one deadline, and a tick costs a division.
inline dispatch::Tick Submitter::Impl::tick_of(std::int64_t deadline_wall_ns, base::Now now) {
  if (deadline_wall_ns != last_deadline_wall_ns) {
    last_deadline_wall_ns = deadline_wall_ns;
    last_tick = deadline_wall_ns == 0 ? dispatch::kTickNone
                                      : engine::deadline_tick(deadline_wall_ns, now, engine.shared.start_mono_ns);
  }
  return last_tick;
}

bool Submitter::Impl::build(const Push& push, const Place& place, base::Now now) {
  Staged& to = staged[place.shard];
  dispatch::PushRecord& record = to.records[to.count];
  record.id = push.id;
  std::uint64_t id_words[2];  // compared as words: the array's own comparison is a call
  std::memcpy(id_words, push.apns_id.data(), sizeof id_words);
  record.apns_id = (id_words[0] | id_words[1]) == 0 ? next_apns_id() : push.apns_id;
  record.submitted_wall_ns = now.wall_ns;
  record.template_index = static_cast<std::uint32_t>(push.template_handle) - 1;
  record.credential = static_cast<std::uint32_t>(push.credential) - 1;
  record.policy = push.policy;
  record.priority_class = push.priority_class;
  record.group = static_cast<std::uint32_t>(push.group);
  record.set_registered_unix_ms(push.token_registered_unix_ms);
  record.deadline = tick_of(place.deadline_wall_ns, now);
  record.flags = place.part_flag;
  record.token_bytes = static_cast<std::uint8_t>(push.token.size / 2);
  record.collapse_bytes = static_cast<std::uint8_t>(push.collapse_id.size);
  record.content_bytes = push.payload.size != 0 ? static_cast<std::uint16_t>(push.payload.size)
                         : place.part_flag != 0 ? static_cast<std::uint16_t>(sizeof(place.part_uuid))
                                                : place.part_bytes;
  std::byte* out = record.inline_bytes;
  if (place.block_bytes != 0) {
    std::uint32_t block_class = 0;
    out = engine.shared.blocks.acquire(place.block_bytes, block_class);
    if (out == nullptr) return false;
    record.set_block(out, block_class);
  }
  const auto put = [&out](const void* data, std::size_t bytes) {
    if (bytes != 0) std::memcpy(out, data, bytes);
    out += bytes;
  };
  // The common length as a constant: bounded by a byte's range, the copy would become a `rep movs`, ten times as dear.
  if (record.token_bytes == kTokenBytesCommon) {
    std::memcpy(out, place.token.data(), kTokenBytesCommon);
    out += kTokenBytesCommon;
  } else {
    put(place.token.data(), record.token_bytes);
  }
  put(push.collapse_id.data, record.collapse_bytes);
  if (place.part_flag != 0) {
    std::memcpy(out, place.part_uuid.data(), sizeof(place.part_uuid));
  } else {
    put(place.part_escaped ? escaped.data() + place.part_at : push.part.data, place.part_bytes);
  }
  put(push.payload.data, push.payload.size);
  ++to.count;
  return true;
}

SubmitResult Submitter::submit(std::span<const Push> pushes) {
  SubmitResult result;
  engine::Shared& shared = impl_->engine.shared;
  auto& workers = impl_->engine.workers;
  shared.submitting.fetch_add(1, std::memory_order_seq_cst);
  const base::Now now = io::clock_now();
  impl_->last_deadline_wall_ns = 0;
  impl_->last_tick = dispatch::kTickNone;

  while (result.taken < pushes.size() && result.error == Code::ok) {
    if (shared.closed_to_pushes.load(std::memory_order_seq_cst)) {
      result.error = Code::stopped;
      result.message = "the engine is draining or has stopped";
      break;
    }
    const auto chunk = pushes.subspan(result.taken, std::min(kChunk, pushes.size() - result.taken));
    impl_->escaped.clear();
    std::size_t good = 0;
    Wrong bad;
    while (good < chunk.size() && impl_->check(chunk[good], impl_->places[good], bad)) ++good;
    if (good < chunk.size()) {
      result.error = bad.code;
      result.message = std::move(bad.message);
    }
    // Places: in the engine, then count and bytes of each shard; the chunk is cut at the first push that does not fit.
    const std::size_t places_taken = static_cast<std::size_t>(shared.inside.take(good));
    std::size_t fit = 0;
    for (; fit < places_taken; ++fit) {
      const Impl::Place& place = impl_->places[fit];
      engine::Worker& worker = *workers[place.shard];
      std::uint64_t& lease = impl_->leases[place.shard];
      if (lease == 0) lease = worker.credits().take(places_taken - fit);
      if (lease == 0) break;
      if (place.block_bytes != 0) {
        const std::uint64_t bytes = worker.byte_credits().take(place.block_bytes);
        if (bytes != place.block_bytes) {
          worker.byte_credits().give(bytes);
          break;
        }
      }
      if (!impl_->build(chunk[fit], place, now)) {
        worker.byte_credits().give(place.block_bytes);
        break;
      }
      --lease;
    }
    for (std::size_t shard = 0; shard < workers.size(); ++shard) {
      workers[shard]->credits().give(std::exchange(impl_->leases[shard], 0));
    }
    shared.inside.give(places_taken - fit);
    // Counted before it can end: `ended` must never be seen past `submitted`.
    shared.submitted.fetch_add(fit, std::memory_order_release);
    for (std::size_t shard = 0; shard < workers.size(); ++shard) {
      Impl::Staged& staged = impl_->staged[shard];
      if (staged.count == 0) continue;
      TOCSIN_ASSERT(workers[shard]->inbox().enqueue_bulk(impl_->tokens[shard], staged.records.data(), staged.count));
      staged.count = 0;
      workers[shard]->wake();
    }
    result.taken += fit;
    if (fit < good) {  // full: the wrong push behind it, if any, will be met again
      result.error = Code::ok;
      result.message.clear();
      break;
    }
  }
  shared.submitting.fetch_sub(1, std::memory_order_seq_cst);
  return result;
}

}  // namespace tocsin
