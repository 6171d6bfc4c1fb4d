// SPDX-License-Identifier: Apache-2.0
// What is asked of credentials and groups: checked here, then posted as mail to every worker in one order.
#include <algorithm>
#include <array>

#include "apns/request.h"
#include "base/hex.h"
#include "engine/impl.h"

namespace tocsin {
namespace {

constexpr std::size_t kIdsPerCall = 65'536;
constexpr std::size_t kGroupNameBytesMax = 256;
constexpr std::int64_t kShedEveryNs = 100 * base::kMillisecond;
constexpr std::int64_t kUnixMsMax = (std::int64_t{1} << 48) - 1;

engine::Mail mail_of(dispatch::EventKind kind, std::uint32_t index) {
  engine::Mail mail;
  mail.kind = kind;
  mail.index = index;
  return mail;
}

std::uint32_t index_of(CredentialHandle handle) { return static_cast<std::uint32_t>(handle) - 1; }
std::uint32_t index_of(GroupHandle handle) { return static_cast<std::uint32_t>(handle) - 1; }

Error busy() { return Error{Code::capacity, "the shards still read earlier lists; try again in a moment"}; }

}  // namespace

Result<void> Engine::Impl::may_control() const {
  if (stopping) return Error{Code::stopped, "the engine has stopped"};
  return {};
}

Result<std::shared_ptr<engine::CredentialEntry>> Engine::Impl::find(CredentialHandle handle) const {
  if (Result<void> may = may_control(); !may) return may.error();
  if (index_of(handle) >= shared.credentials.size()) {
    return Error{Code::unknown_handle, "credential: this engine gave out no such credential"};
  }
  const auto& entry = shared.credentials[index_of(handle)];
  if (entry->removed.load(std::memory_order_acquire)) {
    return Error{Code::unknown_handle, "credential: it was removed"};
  }
  return entry;
}

Result<std::shared_ptr<engine::GroupEntry>> Engine::Impl::find(GroupHandle handle) const {
  if (Result<void> may = may_control(); !may) return may.error();
  if (index_of(handle) >= shared.groups.size()) {
    return Error{Code::unknown_handle, "group: this engine gave out no such group"};
  }
  return shared.groups[index_of(handle)];
}

void Engine::Impl::post_all(const engine::Mail& mail) {
  const std::lock_guard lock(post_mutex);
  for (auto& worker : workers) worker->post(mail);
}

void Engine::Impl::tell_others(unsigned from, const engine::News& news) {
  engine::Mail mail = mail_of(news.kind, news.index);
  mail.word = news.word;
  mail.reason = news.reason;
  mail.text = news.text;
  const std::lock_guard lock(post_mutex);
  for (unsigned i = 0; i < workers.size(); ++i) {
    if (i != from) workers[i]->post(mail);
  }
}

Result<void> Engine::Impl::tell(dispatch::EventKind kind, CredentialHandle handle) {
  const std::lock_guard lock(control_mutex);
  auto entry = find(handle);
  if (!entry) return entry.error();
  engine::Mail mail = mail_of(kind, index_of(handle));
  if (kind == dispatch::EventKind::credential_resumed) mail.word = ++(*entry)->word;
  post_all(mail);
  return {};
}

Result<void> Engine::Impl::tell(dispatch::EventKind kind, GroupHandle handle) {
  const std::lock_guard lock(control_mutex);
  auto entry = find(handle);
  if (!entry) return entry.error();
  post_all(mail_of(kind, index_of(handle)));
  return {};
}

// The bucket first: what shards ask for after the mail is judged by the new rate.
void Engine::Impl::set_rate(engine::Rate& rate, dispatch::Pace pace, std::uint32_t index, double pushes_per_second) {
  rate.set(pushes_per_second, io::clock_now().mono_ns);
  engine::Mail mail = mail_of(dispatch::EventKind::pace_changed, index);
  mail.pace = pace;
  mail.result = rate.paced() ? 1 : 0;
  post_all(mail);
}

void Engine::Impl::ask_to_shed(unsigned asking, bool busy) {
  const std::int64_t now = io::clock_now().mono_ns;
  std::int64_t last = shed_asked_mono_ns.load(std::memory_order_relaxed);
  if (now - last < kShedEveryNs || !shed_asked_mono_ns.compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
  for (unsigned i = 0; i < workers.size(); ++i) {
    if (i != asking) workers[i]->post(mail_of(dispatch::EventKind::shed, 0));
  }
  if (busy) ask_for_busy();
}

void Engine::Impl::ask_for_busy() {
  engine::Mail mail = mail_of(dispatch::EventKind::shed, 0);
  unsigned shard = shed_turn.fetch_add(1, std::memory_order_relaxed) % static_cast<unsigned>(workers.size());
  mail.result = 1;
  {
    const std::lock_guard lock(shared.status_mutex);
    unsigned most = 1;
    for (std::uint32_t i = 0; i < shared.credentials.size(); ++i) {
      unsigned open = 0, there = 0, where = 0;
      for (unsigned s = 0; s < workers.size(); ++s) {
        if (i >= shared.statuses[s].size()) continue;
        const unsigned here = shared.statuses[s][i].open;
        open += here;
        if (here > there) {
          there = here;
          where = s;
        }
      }
      if (open <= most) continue;
      most = open;
      shard = where;
      mail.result = 2;
      mail.index = i;
    }
  }
  workers[shard]->post(mail);
}

Result<CredentialHandle> Engine::add_credential(const CredentialOptions& options) {
  engine::Shared& shared = impl_->shared;
  const std::lock_guard lock(impl_->control_mutex);
  if (Result<void> may = impl_->may_control(); !may) return may.error();
  auto entry = std::make_shared<engine::CredentialEntry>();
  entry->home = static_cast<unsigned>(base::mix64(shared.credentials.size()) % shared.options.shards);
  entry->span = std::max(1u, options.span);
  auto version = engine::make_version(options, shared, entry->home, entry->span);
  if (!version) return version.error();
  entry->current = version.value();
  entry->name = entry->current->name;
  entry->topic = entry->current->facts.uid;
  entry->shows.store(entry->current->shows, std::memory_order_relaxed);
  entry->rate.set(options.rate, io::clock_now().mono_ns);
  const auto index = shared.credentials.add(std::move(entry));
  if (!index) {
    return Error{Code::capacity, "all " + std::to_string(shared.options.credentials_max) +
                                     " places for credentials are taken; raise credentials_max"};
  }
  engine::Mail mail = mail_of(dispatch::EventKind::credential_added, *index);
  mail.version = std::move(version).value();
  impl_->post_all(mail);
  return static_cast<CredentialHandle>(*index + 1);
}

Result<void> Engine::replace_credential(CredentialHandle handle, const CredentialOptions& options) {
  engine::Shared& shared = impl_->shared;
  const std::lock_guard lock(impl_->control_mutex);
  auto found = impl_->find(handle);
  if (!found) return found.error();
  engine::CredentialEntry& entry = **found;
  if (options.span != 0 && options.span != entry.span) {
    return Error{Code::invalid_argument, "span is " + std::to_string(options.span) + "; this credential has " +
                                             std::to_string(entry.span) + ", which cannot change: give that, or 0"};
  }
  if (options.connections_max < entry.span) {
    return Error{Code::invalid_argument, "connections_max is " + std::to_string(options.connections_max) + "; each of the " +
                                             std::to_string(entry.span) + " home shards (span) needs one"};
  }
  auto made = engine::make_version(options, shared, entry.home, entry.span);
  if (!made) return made.error();
  std::shared_ptr<const engine::CredentialVersion> version = std::move(made).value();
  const std::string& topic = version->facts.uid;
  if (topic != entry.topic && !topic.empty() && !entry.topic.empty()) {
    shared.log(LogLevel::warning, "credential_topic_changed",
               "the new certificate of " + version->name + " is for the topic " + topic + ", the one before was for " +
                   entry.topic + "; pushes for that topic will be refused");
  }
  {
    const std::lock_guard current(entry.mutex);
    entry.current = version;
    entry.name = version->name;
    entry.topic = topic;
  }
  entry.shows.store(version->shows, std::memory_order_relaxed);
  engine::Mail mail = mail_of(dispatch::EventKind::credential_replaced, index_of(handle));
  mail.version = version;
  mail.word = ++entry.word;
  impl_->post_all(mail);
  impl_->set_rate(entry.rate, dispatch::Pace::credential, index_of(handle), version->rate);
  return {};
}

Result<void> Engine::remove_credential(CredentialHandle handle) {
  const std::lock_guard lock(impl_->control_mutex);
  auto found = impl_->find(handle);
  if (!found) return found.error();
  (*found)->removed.store(true, std::memory_order_release);
  {
    const std::lock_guard current((*found)->mutex);
    (*found)->current.reset();
  }
  impl_->post_all(mail_of(dispatch::EventKind::credential_removed, index_of(handle)));
  return {};
}

Result<void> Engine::pause(CredentialHandle credential) {
  return impl_->tell(dispatch::EventKind::credential_paused, credential);
}
Result<void> Engine::resume(CredentialHandle credential) {
  return impl_->tell(dispatch::EventKind::credential_resumed, credential);
}
Result<void> Engine::roll_connections(CredentialHandle credential) {
  return impl_->tell(dispatch::EventKind::credential_rolled, credential);
}

Result<void> Engine::set_rate(double pushes_per_second) {
  if (Result<void> checked = engine::check_rate(pushes_per_second); !checked) return checked;
  const std::lock_guard lock(impl_->control_mutex);
  if (Result<void> may = impl_->may_control(); !may) return may;
  impl_->set_rate(impl_->shared.rate, dispatch::Pace::engine, 0, pushes_per_second);
  return {};
}

Result<void> Engine::set_rate(CredentialHandle credential, double pushes_per_second) {
  if (Result<void> checked = engine::check_rate(pushes_per_second); !checked) return checked;
  const std::lock_guard lock(impl_->control_mutex);
  auto found = impl_->find(credential);
  if (!found) return found.error();
  impl_->set_rate((*found)->rate, dispatch::Pace::credential, index_of(credential), pushes_per_second);
  return {};
}

Result<GroupHandle> Engine::add_group(const GroupOptions& options) {
  engine::Shared& shared = impl_->shared;
  if (options.name.size() > kGroupNameBytesMax) {
    return Error{Code::invalid_argument, "name has " + std::to_string(options.name.size()) + " bytes; a group's has at most " +
                                             std::to_string(kGroupNameBytesMax)};
  }
  if (Result<void> checked = engine::check_rate(options.rate); !checked) return checked.error();
  const std::lock_guard lock(impl_->control_mutex);
  if (Result<void> may = impl_->may_control(); !may) return may.error();
  auto entry = std::make_shared<engine::GroupEntry>();
  entry->name = options.name;
  entry->rate.set(options.rate, io::clock_now().mono_ns);
  const auto index = shared.groups.add(std::move(entry));
  if (!index) {
    return Error{Code::capacity,
                 "all " + std::to_string(shared.options.groups_max) + " places for groups are taken; raise groups_max"};
  }
  if (options.paused) impl_->post_all(mail_of(dispatch::EventKind::group_paused, *index));
  return static_cast<GroupHandle>(*index + 1);
}

Result<void> Engine::pause(GroupHandle group) { return impl_->tell(dispatch::EventKind::group_paused, group); }
Result<void> Engine::resume(GroupHandle group) { return impl_->tell(dispatch::EventKind::group_resumed, group); }
Result<void> Engine::cancel(GroupHandle group) { return impl_->tell(dispatch::EventKind::group_cancelled, group); }

Result<void> Engine::set_rate(GroupHandle group, double pushes_per_second) {
  if (Result<void> checked = engine::check_rate(pushes_per_second); !checked) return checked;
  const std::lock_guard lock(impl_->control_mutex);
  auto found = impl_->find(group);
  if (!found) return found.error();
  impl_->set_rate((*found)->rate, dispatch::Pace::group, index_of(group), pushes_per_second);
  return {};
}

Result<void> Engine::cancel(std::span<const std::uint64_t> ids) {
  if (ids.size() > kIdsPerCall) {
    return Error{Code::invalid_argument, "ids: " + std::to_string(ids.size()) + " in one call; at most 65536"};
  }
  auto list = std::make_shared<const std::vector<std::uint64_t>>(ids.begin(), ids.end());
  const std::lock_guard lock(impl_->control_mutex);
  if (Result<void> may = impl_->may_control(); !may) return may;
  if (ids.empty()) return {};
  const auto room = [&](const auto& worker) { return worker->bulk_room(ids.size()); };
  if (!std::all_of(impl_->workers.begin(), impl_->workers.end(), room)) return busy();
  engine::Mail mail = mail_of(dispatch::EventKind::cancel, 0);
  mail.ids = std::move(list);
  impl_->post_all(mail);
  return {};
}

Result<void> Engine::add_dead_tokens(CredentialHandle credential, std::span<const DeadToken> tokens) {
  if (impl_->shared.options.dead_tokens_max == 0) {
    return Error{Code::unsupported, "this engine keeps no filter of dead tokens (dead_tokens_max is 0)"};
  }
  if (tokens.size() > kDeadTokensPerCall) {
    return Error{Code::invalid_argument, "tokens: " + std::to_string(tokens.size()) + " in one call; at most " +
                                             std::to_string(kDeadTokensPerCall)};
  }
  const std::lock_guard lock(impl_->control_mutex);
  auto found = impl_->find(credential);
  if (!found) return found.error();

  std::vector<std::shared_ptr<engine::DeadBatch>> batches(impl_->workers.size());
  for (auto& batch : batches) batch = std::make_shared<engine::DeadBatch>();

  struct Place {
    std::size_t shard, topic_at, topic_bytes, token_at, token_bytes;
    std::int64_t unregistered_unix_ms;
  };
  std::vector<Place> places;
  places.reserve(tokens.size());
  std::vector<std::pair<std::string, std::size_t>> last_topic(batches.size(), {std::string{}, std::string::npos});
  std::array<std::uint8_t, kTokenHexDigitsMax / 2> bytes{};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const DeadToken& token = tokens[i];
    const auto refuse = [i](const std::string& why) {
      return Error{Code::invalid_argument, "tokens[" + std::to_string(i) + "]." + why};
    };
    const std::string_view hex = token.token.view();
    if (hex.empty() || hex.size() > kTokenHexDigitsMax || !base::hex_decode(hex, bytes.data())) {
      return refuse("token: " + apns::check_token(hex).text);
    }
    const std::string_view topic = token.topic.view();
    if (topic.empty() || topic.size() > 256) return refuse("topic: must have 1 to 256 bytes");
    if (token.unregistered_unix_ms <= 0 || token.unregistered_unix_ms > kUnixMsMax) {
      return refuse("unregistered_unix_ms: must be a time in Unix milliseconds, above 0 and below 2^48");
    }
    const base::ByteView view = std::as_bytes(std::span(bytes).first(hex.size() / 2));
    const std::size_t shard = engine::route(**found, view, batches.size());
    std::string& text = batches[shard]->bytes;
    if (last_topic[shard].second == std::string::npos || last_topic[shard].first != topic) {
      last_topic[shard] = {std::string(topic), text.size()};
      text.append(topic);
    }
    places.push_back({shard, last_topic[shard].second, topic.size(), text.size(), view.size(), token.unregistered_unix_ms});
    text.append(reinterpret_cast<const char*>(view.data()), view.size());
  }
  // The texts are whole now and move no more.
  for (const Place& place : places) {
    engine::DeadBatch& batch = *batches[place.shard];
    const std::string_view text(batch.bytes);
    batch.tokens.push_back({index_of(credential), text.substr(place.topic_at, place.topic_bytes),
                            base::as_bytes(text.substr(place.token_at, place.token_bytes)), place.unregistered_unix_ms});
  }
  for (std::size_t shard = 0; shard < batches.size(); ++shard) {
    if (!impl_->workers[shard]->bulk_room(batches[shard]->tokens.size())) return busy();
  }
  for (std::size_t shard = 0; shard < batches.size(); ++shard) {
    if (batches[shard]->tokens.empty()) continue;
    engine::Mail mail = mail_of(dispatch::EventKind::dead_tokens, index_of(credential));
    mail.dead = std::move(batches[shard]);
    impl_->workers[shard]->post(std::move(mail));
  }
  return {};
}

}  // namespace tocsin
