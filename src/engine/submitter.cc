// SPDX-License-Identifier: Apache-2.0
// The way in: reserve, check, copy, hand over. Places are taken in one go for a chunk of pushes (engine, then each shard), then
// each push is checked and written to a record of its shard, and the records are enqueued in bulk per shard. What the chunk
// does not use of its places goes back.
//
// Nearly every push is like its neighbour: template and credential known, a token of 32 bytes, a UUID for a part or none, and
// it fits the record. Such a push is taken by stage_usual(), whose few branches all lead to stage_any() when it is something
// else. That one takes any push, and alone finds the words for what is wrong.
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

// A deadline as a number that is the smaller the nearer it is, with 0, which is none, as the largest.
constexpr std::uint64_t deadline_word(std::int64_t deadline_wall_ns) { return static_cast<std::uint64_t>(deadline_wall_ns) - 1; }
constexpr std::uint64_t kNoDeadline = deadline_word(0);

}  // namespace

struct Submitter::Impl {
  Impl(Engine::Impl& e, unsigned number) : engine(e), run_key(e.shared.run_key), next_apns_number(std::uint64_t{number} << 48) {
    for (auto& worker : e.workers) {
      tokens.emplace_back(worker->inbox());
      staged.emplace_back().records.resize(kChunk);
    }
    leases.resize(e.workers.size());
  }

  // Where a checked push goes, and what of it had to be prepared.
  struct Place {
    std::uint32_t shard = 0;
    std::uint32_t block_bytes = 0;  // 0: fits the record
    std::string_view part;          // as it is kept: `part_uuid`, escaped, or the caller's
    std::uint8_t part_flag = 0;     // if the part is a UUID: under which it is kept as part_uuid
    Uuid part_uuid;
    std::array<std::uint8_t, kTokenHexDigitsMax / 2> token;
  };

  // Records of the chunk under way for one shard. They are written in place, each field once: making them anew costs
  // more than filling them. What stands behind `count` is nothing yet.
  struct Staged {
    std::vector<dispatch::PushRecord> records;
    std::size_t count = 0;
  };

  // No index of 32 bits, so that the handle `none` is not taken for one seen before.
  static constexpr std::uint64_t kNoIndex = std::numeric_limits<std::uint64_t>::max();
  static constexpr auto kNothingRefused = static_cast<engine::Shows>(255);

  // What is asked of the last push's template: its options never change, and most pushes have their neighbour's.
  struct Template {
    std::uint64_t index = kNoIndex;
    PayloadForm form = PayloadForm::fixed;
    PushType push_type = PushType::alert;
    engine::Shows refused = kNothingRefused;  // the credentials that apns::check_credential() may refuse
    bool usual = false;                       // may go through stage_usual(), if the part has
    std::size_t usual_part_bytes = 0;         // this length
    std::uint64_t expiration = kNoDeadline;   // deadline_word()
    std::size_t payload_bytes = 0;
  };

  // Likewise of its credential.
  struct Credential {
    std::uint64_t index = kNoIndex;
    const engine::CredentialEntry* entry = nullptr;  // stays as long as the engine
    bool routed = false;                             // by the token; else `shard` is where all its pushes go
    std::uint32_t shard = 0;
  };

  enum class Fate : std::uint8_t { staged, wrong, full };

  // Stages the chunk's first pushes and answers how many; short of all of them, `fate` says why: wrong (`bad`) or full. The
  // engine has `room` places for them.
  std::size_t stage(std::span<const Push> chunk, std::uint64_t room, base::Now now, Wrong& bad, Fate& fate);
  // False: this is no usual push, or there is no room for it. Nothing has come of it then.
  bool stage_usual(const Push& push, std::uint64_t room, base::Now now);
  [[gnu::noinline]] Fate stage_any(const Push& push, std::uint64_t room, base::Now now, Wrong& bad);
  // False: `bad` says what is wrong with it.
  bool check(const Push& push, Place& place, Wrong& bad);
  bool words_wrong(const Push& push) const;
  [[gnu::cold, gnu::noinline]] bool wrong_words(const Push& push, Wrong& bad);
  // Into last_template and last_credential; false: the engine gave out no such handle.
  [[gnu::noinline]] bool find_template(std::uint32_t index);
  [[gnu::noinline]] bool find_credential(std::uint32_t index);
  // All of the record but its data.
  void fill(dispatch::PushRecord& record, const Push& push, base::Now now, std::uint8_t flags, std::size_t token_bytes,
            std::size_t collapse_bytes, std::size_t content_bytes);
  dispatch::Tick tick_of(const Push& push, base::Now now);
  Uuid next_apns_id();

  Engine::Impl& engine;
  const std::uint64_t run_key;
  std::uint64_t next_apns_number;  // the submitter's own number in the high 16 bits
  apns::PayloadChecker payload_checker;
  std::vector<moodycamel::ProducerToken> tokens;
  std::vector<Staged> staged;
  Template last_template;
  Credential last_credential;
  std::vector<std::uint64_t> leases;  // places taken from a shard for the chunk under way, not yet used
  std::string escaped;
  // The last deadline of the submit() under way and its tick, which holds for its `now` only. At its start: none.
  std::uint64_t last_deadline = kNoDeadline;
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

// What is neither text nor a handle of template or credential. Without a branch: nearly every push is right.
inline bool Submitter::Impl::words_wrong(const Push& push) const {
  // Unsigned, a negative time is beyond each limit.
  return (push.struct_bytes != sizeof(Push)) | (push.version != kPushVersion) |
         (static_cast<std::uint32_t>(push.group) > engine.shared.groups.size()) | (push.priority_class > PriorityClass::bulk) |
         (push.policy > Policy::at_most_once) | (push.deadline_unix_ns < 0) |
         (static_cast<std::uint64_t>(push.token_registered_unix_ms) > static_cast<std::uint64_t>(kUnixMsMax)) | (push.reserved != 0);
}

// The first thing that words_wrong() found: the same tests again, one by one.
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
  Template& found = last_template;
  found.index = index;
  found.form = options.form;
  found.push_type = options.push_type;
  found.refused = options.push_type == PushType::mdm        ? engine::Shows::provider_token
                  : options.push_type == PushType::location ? engine::Shows::certificate
                                                            : kNothingRefused;
  found.expiration = deadline_word(
      options.has_expiration && options.expiration_unix_s > 0 ? engine::expiration_wall_ns(options.expiration_unix_s) : 0);
  found.payload_bytes = options.payload.size();
  found.usual_part_bytes = options.form == PayloadForm::with_part ? base::kUuidTextBytes : 0;
  found.usual = options.form == PayloadForm::fixed ||
                (options.form == PayloadForm::with_part &&
                 found.payload_bytes - kPartMark.size() + base::kUuidTextBytes <= apns::payload_bytes_max(options.push_type));
  return true;
}

bool Submitter::Impl::find_credential(std::uint32_t index) {
  if (index >= engine.shared.credentials.size()) return false;
  Credential& found = last_credential;
  found.index = index;
  found.entry = engine.shared.credentials[index].get();
  found.routed = found.entry->span != 1;
  found.shard = found.routed ? 0 : engine::route(*found.entry, {}, engine.workers.size());
  return true;
}

bool Submitter::Impl::check(const Push& push, Place& place, Wrong& bad) {
  if (words_wrong(push) && !wrong_words(push, bad)) return false;
  const auto template_index = static_cast<std::uint32_t>(push.template_handle) - 1;
  const auto credential_index = static_cast<std::uint32_t>(push.credential) - 1;
  if (template_index != last_template.index && !find_template(template_index)) {
    return wrong(bad, Code::unknown_handle, "template_handle: this engine gave out no such template");
  }
  if (credential_index != last_credential.index && !find_credential(credential_index)) {
    return wrong(bad, Code::unknown_handle, "credential: this engine gave out no such credential");
  }
  const engine::CredentialEntry& credential = *last_credential.entry;
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
  if (shows == options.refused) {
    if (const apns::Refusal refusal = apns::check_credential(options.push_type, shows == engine::Shows::provider_token)) {
      return wrong_field(bad, "credential", refusal);
    }
  }
  std::size_t data = token.size() / 2 + push.collapse_id.size;
  if (options.form == PayloadForm::with_part) {
    std::size_t text_bytes = push.part.size;
    place.part = push.part.view();
    if (place.part_flag = dispatch::pack_uuid_content(place.part, place.part_uuid); place.part_flag != 0) {
      place.part = {reinterpret_cast<const char*>(place.part_uuid.data()), place.part_uuid.size()};
    } else if (place.part.empty() || place.part.size() > kPartBytesMax || !apns::plain_json_text(place.part)) {
      if (const apns::Refusal refusal = apns::check_part(place.part)) return wrong_field(bad, "part", refusal);
      escaped.clear();
      apns::append_json_escaped(place.part, escaped);
      place.part = escaped;
      text_bytes = escaped.size();
    }
    const std::size_t payload = options.payload_bytes - kPartMark.size() + text_bytes;
    if (payload > apns::payload_bytes_max(options.push_type)) {
      return wrong_size(bad, payload, apns::payload_bytes_max(options.push_type));
    }
    data += place.part.size();
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
  place.shard = last_credential.routed ? engine::route(credential, token_bytes, engine.workers.size()) : last_credential.shard;
  return true;
}

inline Uuid Submitter::Impl::next_apns_id() {
  // Unique in the run: submitter and count go through a bijection keyed by the run, then version 4 and variant bits.
  const std::uint64_t counter = next_apns_number++;
  const std::uint64_t high = base::mix64(counter ^ run_key);
  const std::uint64_t low = base::mix64(high ^ ~counter);
  // Bytes 6 and 8, set in the words: a byte written into what is read as a whole right after is dearer than all of this.
  static_assert(std::endian::native == std::endian::little);
  const std::uint64_t words[2] = {(high & ~(std::uint64_t{0xf0} << 48)) | std::uint64_t{0x40} << 48, (low & ~std::uint64_t{0xc0}) | 0x80};
  Uuid id;
  std::memcpy(id.data(), words, id.size());
  return id;
}

// Of the nearer of the push's deadline and its template's expiration. A batch's pushes often share one, and a tick costs a
// division.
inline dispatch::Tick Submitter::Impl::tick_of(const Push& push, base::Now now) {
  const std::uint64_t deadline = std::min(deadline_word(push.deadline_unix_ns), last_template.expiration);
  if (deadline != last_deadline) [[unlikely]] {
    last_deadline = deadline;
    last_tick = deadline == kNoDeadline
                    ? dispatch::kTickNone
                    : engine::deadline_tick(static_cast<std::int64_t>(deadline + 1), now, engine.shared.start_mono_ns);
  }
  return last_tick;
}

[[gnu::always_inline]] inline void Submitter::Impl::fill(dispatch::PushRecord& record, const Push& push, base::Now now,
                                                         std::uint8_t flags, std::size_t token_bytes, std::size_t collapse_bytes,
                                                         std::size_t content_bytes) {
  record.id = push.id;
  std::uint64_t id_words[2];  // compared as words: the array's own comparison is a call
  std::memcpy(id_words, push.apns_id.data(), sizeof id_words);
  record.apns_id = (id_words[0] | id_words[1]) == 0 ? next_apns_id() : push.apns_id;
  record.submitted_wall_ns = now.wall_ns;
  record.template_index = static_cast<std::uint32_t>(push.template_handle) - 1;
  record.credential = static_cast<std::uint32_t>(push.credential) - 1;
  record.group = static_cast<std::uint32_t>(push.group);
  record.deadline = tick_of(push, now);
  record.set_registered_unix_ms(push.token_registered_unix_ms);
  record.content_bytes = static_cast<std::uint16_t>(content_bytes);
  record.token_bytes = static_cast<std::uint8_t>(token_bytes);
  record.collapse_bytes = static_cast<std::uint8_t>(collapse_bytes);
  record.flags = flags;
  record.policy = push.policy;
  record.priority_class = push.priority_class;
}

inline bool Submitter::Impl::stage_usual(const Push& push, std::uint64_t room, base::Now now) {
  const auto template_index = static_cast<std::uint32_t>(push.template_handle) - 1;
  const auto credential_index = static_cast<std::uint32_t>(push.credential) - 1;
  if (template_index != last_template.index && !find_template(template_index)) [[unlikely]] return false;
  if (credential_index != last_credential.index && !find_credential(credential_index)) [[unlikely]] return false;
  const engine::CredentialEntry& credential = *last_credential.entry;
  const std::size_t sizes = (push.token.size ^ (2 * kTokenBytesCommon)) | push.collapse_id.size | push.payload.size |
                            (push.part.size ^ last_template.usual_part_bytes);
  const bool words = words_wrong(push);
  const bool removed = credential.removed.load(std::memory_order_acquire);
  const bool refused = credential.shows.load(std::memory_order_relaxed) == last_template.refused;
  if (words | (sizes != 0) | !last_template.usual | removed | refused) [[unlikely]] return false;
  std::uint32_t shard = last_credential.shard;
  std::uint8_t token[kTokenBytesCommon];
  if (last_credential.routed) {
    if (!base::hex_decode_64(push.token.data, token)) return false;
    shard = engine::route(credential, std::as_bytes(std::span(token)), engine.workers.size());
  }
  std::uint64_t& lease = leases[shard];
  if (lease == 0) [[unlikely]] {
    lease = engine.workers[shard]->credits().take(room);
    if (lease == 0) return false;
  }
  Staged& to = staged[shard];
  dispatch::PushRecord& record = to.records[to.count];
  if (last_credential.routed) {
    std::memcpy(record.inline_bytes, token, sizeof(token));
  } else if (!base::hex_decode_64(push.token.data, reinterpret_cast<std::uint8_t*>(record.inline_bytes))) {
    return false;
  }
  std::uint8_t flags = 0;
  std::size_t content_bytes = 0;
  if (push.part.size != 0) {
    Uuid part;
    static_assert(kTokenBytesCommon + sizeof(part) <= dispatch::kInlineBytes);
    flags = dispatch::pack_uuid_content(push.part.view(), part);
    if (flags == 0) [[unlikely]] return false;
    content_bytes = sizeof(part);
    std::memcpy(record.inline_bytes + kTokenBytesCommon, part.data(), sizeof(part));
  }
  fill(record, push, now, flags, kTokenBytesCommon, 0, content_bytes);
  ++to.count;
  --lease;
  return true;
}

Submitter::Impl::Fate Submitter::Impl::stage_any(const Push& push, std::uint64_t room, base::Now now, Wrong& bad) {
  Place place;
  if (!check(push, place, bad)) return Fate::wrong;
  if (room == 0) return Fate::full;
  engine::Worker& worker = *engine.workers[place.shard];
  std::uint64_t& lease = leases[place.shard];
  if (lease == 0) lease = worker.credits().take(room);
  if (lease == 0) return Fate::full;
  Staged& to = staged[place.shard];
  dispatch::PushRecord& record = to.records[to.count];
  std::byte* out = record.inline_bytes;
  std::uint32_t block_class = 0;
  if (place.block_bytes != 0) {
    const std::uint64_t bytes = worker.byte_credits().take(place.block_bytes);
    out = bytes == place.block_bytes ? engine.shared.blocks.acquire(place.block_bytes, block_class) : nullptr;
    if (out == nullptr) {
      worker.byte_credits().give(bytes);
      return Fate::full;
    }
  }
  // A template asks for a part or for a payload or for none.
  const std::string_view content = push.payload.size != 0 ? push.payload.view() : place.part;
  const std::size_t token_bytes = push.token.size / 2;
  fill(record, push, now, place.part_flag, token_bytes, push.collapse_id.size, content.size());
  if (place.block_bytes != 0) record.set_block(out, block_class);
  const auto put = [&out](const void* data, std::size_t bytes) {
    if (bytes != 0) std::memcpy(out, data, bytes);
    out += bytes;
  };
  // The common length as a constant: bounded by a byte's range, the copy would become a `rep movs`, ten times as dear.
  if (token_bytes == kTokenBytesCommon) {
    put(place.token.data(), kTokenBytesCommon);
  } else {
    put(place.token.data(), token_bytes);
  }
  put(push.collapse_id.data, push.collapse_id.size);
  put(content.data(), content.size());
  ++to.count;
  --lease;
  return Fate::staged;
}

std::size_t Submitter::Impl::stage(std::span<const Push> chunk, std::uint64_t room, base::Now now, Wrong& bad, Fate& fate) {
  fate = Fate::staged;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    if (i < room && stage_usual(chunk[i], room - i, now)) continue;
    // Without room as well: a wrong push counts as such until the engine is full in front of it.
    fate = stage_any(chunk[i], room - i, now, bad);
    if (fate != Fate::staged) return i;
  }
  return chunk.size();
}

SubmitResult Submitter::submit(std::span<const Push> pushes) {
  SubmitResult result;
  engine::Shared& shared = impl_->engine.shared;
  auto& workers = impl_->engine.workers;
  shared.submitting.fetch_add(1, std::memory_order_seq_cst);
  const base::Now now = io::clock_now();
  impl_->last_deadline = kNoDeadline;
  impl_->last_tick = dispatch::kTickNone;

  while (result.taken < pushes.size() && result.error == Code::ok) {
    if (shared.closed_to_pushes.load(std::memory_order_seq_cst)) {
      result.error = Code::stopped;
      result.message = "the engine is draining or has stopped";
      break;
    }
    const auto chunk = pushes.subspan(result.taken, std::min(kChunk, pushes.size() - result.taken));
    const std::uint64_t room = shared.inside.take(chunk.size());
    Wrong bad;
    Impl::Fate fate;
    const std::size_t fit = impl_->stage(chunk, room, now, bad, fate);
    for (std::size_t shard = 0; shard < workers.size(); ++shard) {
      workers[shard]->credits().give(std::exchange(impl_->leases[shard], 0));
    }
    shared.inside.give(room - fit);
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
    if (fate == Impl::Fate::full) break;
    if (fate == Impl::Fate::wrong) {
      result.error = bad.code;
      result.message = std::move(bad.message);
    }
  }
  shared.submitting.fetch_sub(1, std::memory_order_seq_cst);
  return result;
}

}  // namespace tocsin
