// SPDX-License-Identifier: Apache-2.0
// Time, the shards and their hosts, and a run from its seed to its verdict.
#include "world.h"

#include <algorithm>
#include <cstring>

#include "mock/script.h"


namespace tocsin::sim {
namespace {

std::string token_bytes(std::uint64_t number) {
  std::string token(32, '\0');
  for (std::size_t i = 0; i < 32; i += 8) {
    const std::uint64_t word = base::mix64(number * 4 + i);
    std::memcpy(token.data() + i, &word, 8);
  }
  return token;
}

}  // namespace

std::string World::mdm_topic(std::uint32_t credential) {
  return "com.apple.mgmt.External.c" + std::to_string(credential);
}

std::string World::pool_token(std::uint64_t number) { return token_bytes(number); }

World::World(const Draw& draw, bool trace, std::span<const std::uint8_t> choices)
    : draw_(draw), chance_(base::mix64(draw.seed), choices), pieces_(~draw.seed), tracing_(trace), places_(draw.budget_connections) {
  budget_dials_ = draw.budget_dials;
  dead_address_until_.resize(4);
  calm_ = draw.script.empty();
  for (const double each : draw.menu) calm_ &= each == 0;
}

World::~World() = default;

void World::at(std::int64_t when, Call call) {
  std::size_t place = calls_.size();
  if (free_calls_.empty()) {
    calls_.push_back(std::move(call));
  } else {
    place = free_calls_.back();
    free_calls_.pop_back();
    calls_[place] = std::move(call);
  }
  heap_.push_back({std::max(when, now_), order_++, place});
  std::push_heap(heap_.begin(), heap_.end());
}

bool World::turn(std::int64_t limit) {
  if (heap_.empty() || heap_.front().when > limit) {
    now_ = std::max(now_, limit);
    return false;
  }
  std::pop_heap(heap_.begin(), heap_.end());
  const Item item = heap_.back();
  heap_.pop_back();
  now_ = std::max(now_, item.when);
  const Call call = std::exchange(calls_[item.call], nullptr);
  free_calls_.push_back(item.call);
  call();
  return true;
}

void World::run_for(std::int64_t ns) {
  const std::int64_t limit = now_ + ns;
  while (verdicts_.good() && turn(limit)) {
  }
}

bool World::run_until(const std::function<bool()>& done, std::int64_t limit_ns) {
  const std::int64_t limit = now_ + limit_ns;
  while (verdicts_.good()) {
    if (done()) return true;
    if (!turn(limit)) return done();
  }
  return false;
}

void World::note(const std::string& line) {
  if (!tracing_) return;
  char stamp[32];
  std::snprintf(stamp, sizeof(stamp), "%12.4f  ", static_cast<double>(now_) / 1e9);
  trace_.push_back(stamp + line);
}

bool World::happens(Kind kind, double scale) {
  const double likely = draw_.menu[static_cast<std::size_t>(kind)];
  if (!faults_on_ || likely == 0 || !chance_.chance(likely * scale)) return false;
  count(kind);
  note(std::string("fault: ") + kind_name(kind));
  return true;
}

dispatch::CredentialConfig World::credential_config(std::uint32_t index, bool quick) {
  dispatch::CredentialConfig config;
  config.name = "credential-" + std::to_string(index);
  // Half of them share an endpoint, and so its breaker.
  config.host = index % 2 == 0 ? "apns.sim" : "other.sim";
  config.authority = config.host;
  config.context = handshake_context();
  config.alternate_port = draw_.alternate_port ? 2197 : 0;
  config.provider_tokens = draw_.provider_tokens && index % 2 == 1;
  if (draw_.proxy && index % 2 == 0) {
    config.proxy_host = "proxy.sim";
    config.proxy_port = 3128;
    config.proxy_authorization = "Basic c2VjcmV0";
  }
  config.connections_max = draw_.credential_connections;
  config.connections_min = std::min(draw_.connections_min, draw_.credential_connections);
  config.streams_max = draw_.streams_max;
  config.connect_timeout_ns = 2 * kSec;
  config.handshake_timeout_ns = 2 * kSec;
  config.answer_timeout_ns = 15 * kSec;
  config.backoff_min_ns = 50 * kMs;
  config.backoff_max_ns = 5 * kSec;
  config.ping_idle_ns = 20 * kSec;
  config.probe_after_ns = 12 * kSec;
  config.idle_close_ns = 40 * kSec;
  config.give_up_ns = quick ? 3 * kSec : 0;
  config.outage_give_up_ns = quick ? 20 * kSec : 0;
  config.bad_tokens_least = 10;
  config.bad_tokens_share = 0.6;
  return config;
}

dispatch::Event& World::tell(Host& host, dispatch::EventKind kind) {
  dispatch::Event& event = host.events.emplace_back();
  event.kind = kind;
  wake(host);
  return event;
}

void World::tell_all(const dispatch::Event& event) {
  for (auto& host : hosts_) tell(*host, event.kind) = event;
}

void World::control(dispatch::EventKind kind, std::uint32_t index, std::int64_t result) {
  dispatch::Event event;
  event.kind = kind;
  event.index = index;
  event.result = result;
  tell_all(event);
}

std::vector<std::string> World::topics_of_credential(std::uint32_t index) const {
  std::vector<std::string> topics;
  for (unsigned t = 0; t < draw_.topics; ++t) topics.push_back("com.example.c" + std::to_string(index) + ".t" + std::to_string(t));
  return topics;
}

// The gateway learns of a provider's keys when the account gets them: before they are used.
void World::register_key(std::uint32_t index, unsigned key) {
  const unsigned number = index * kKeysPerCredential + key % kKeysPerCredential;
  keys_[credentials_[index].get()] = number;
  if (wants_tokens(index)) gateway_config_->provider_keys.try_emplace(provider_key_id(number), provider_trust(number, topics_of_credential(index)));
}

// By another version of the same kind, as at a renewal, or with another provider key.
void World::replace(std::uint32_t index) {
  dispatch::Event event;
  event.kind = dispatch::EventKind::credential_replaced;
  event.index = index;
  event.credential = std::make_shared<const dispatch::CredentialConfig>(credential_config(index, false));
  const unsigned key = keys_.at(credentials_[index].get()) + (chance_.chance(0.5) ? 1 : 0);
  credentials_[index] = event.credential;
  versions_.push_back(event.credential);
  register_key(index, key);
  tell_all(event);
}

void World::set_rate(dispatch::Pace pace, std::uint32_t index, double rate) {
  const std::pair key{static_cast<int>(pace), index};
  buckets_[key].set(rate, now_);
  judge_rate(key);
  rates_.erase(key);
  // What may have gathered: the bucket's burst and a lease in each shard; and a little, for what a send takes.
  const double burst = std::max(1.0, rate * engine::RateBucket::kBurstS) +
                       static_cast<double>(draw_.shards) * std::max(1.0, rate * engine::RateBucket::kShareS) + rate * 0.01;
  if (rate > 0) rates_.try_emplace(key, verdicts_, rate, burst, now_ + 5 * kMs);
  dispatch::Event event;
  event.kind = dispatch::EventKind::pace_changed;
  event.pace = pace;
  event.index = index;
  event.result = rate > 0 ? 1 : 0;
  tell_all(event);
}

// Requests are timed as they leave; where sends take long, that says too little of when they were written.
void World::rates_saw(const Spec& spec, std::int64_t left_at) {
  if (draw_.menu[static_cast<std::size_t>(Kind::slow_send)] != 0) return;
  const std::pair<dispatch::Pace, std::uint32_t> paces[] = {
      {dispatch::Pace::engine, 0}, {dispatch::Pace::credential, spec.credential}, {dispatch::Pace::group, spec.group - 1}};
  for (const auto& [pace, index] : paces) {
    if (const auto rule = rates_.find({static_cast<int>(pace), index}); rule != rates_.end()) rule->second.sent(left_at);
  }
}

void World::judge_rate(const std::pair<int, std::uint32_t>& key) {
  static constexpr const char* kWhose[] = {"the engine", "credential ", "group "};
  const auto rule = rates_.find(key);
  if (rule != rates_.end()) rule->second.judge(kWhose[key.first] + (key.first == 0 ? "" : std::to_string(key.second)));
}

void World::start() {
  gateway_config_ = std::make_shared<mock::GatewayConfig>();
  gateway_config_->seed = draw_.seed;
  gateway_config_->delay_ns = kMs;
  gateway_config_->jitter_ns = draw_.latency_ns;
  if (draw_.bare_answers) gateway_config_->bare_share = 0.8;
  gateway_config_->observer = [this](const mock::Peer& peer, const h2::ServerRequest& request, const mock::Reply& reply) {
    see_request(peer, request, reply);
  };
  h2::ServerOptions http2;
  http2.streams_max = draw_.peer_streams;
  http2.window_bytes = draw_.peer_window;
  std::shared_ptr<const mock::Script> script;
  if (!draw_.script.empty()) {
    auto parsed = mock::Script::parse(draw_.script, "drawn");
    if (parsed.ok()) {
      script = std::move(parsed).value();
    } else {
      verdicts_.say(0, "the drawn script does not parse: " + parsed.error().message);
    }
  }
  for (std::uint32_t c = 0; c < draw_.credentials; ++c) {
    credentials_.push_back(std::make_shared<const dispatch::CredentialConfig>(credential_config(c, chance_.chance(draw_.give_up))));
    versions_.push_back(credentials_.back());
    register_key(c, 0);
  }
  service_ = std::make_unique<mock::Service>(gateway_config_, std::move(script), http2, draw_.seed);

  for (unsigned i = 0; i < draw_.shards; ++i) {
    dispatch::ShardOptions options;
    options.pushes_max = draw_.pushes_max;
    options.connections_max = draw_.connections_max;
    options.attempts_max = draw_.attempts_max;
    options.codec = draw_.codec;
    options.dead_tokens_max = draw_.dead_tokens_max;
    options.seed = base::mix64(draw_.seed * 31 + i);
    options.start_mono_ns = now_;
    options.wire_high_water_bytes = draw_.wire_high_water;
    options.retry_budget = chance_.chance(0.5) ? 0 : 100;
    options.retry_later_ns = 200 * kMs + static_cast<std::int64_t>(chance_.below(static_cast<std::uint64_t>(draw_.retry_later_most_ns - 200 * kMs)));
    Host& host = *hosts_.emplace_back(std::make_unique<Host>());
    host.number = i;
    host.retry_later_ns = options.retry_later_ns;
    host.shard = std::make_unique<dispatch::Shard>(options);
  }
  if (draw_.dead_tokens_max < 64) dead_tokens_.forgive_forgetting();

  for (std::uint32_t c = 0; c < draw_.credentials; ++c) {
    dispatch::Event event;
    event.kind = dispatch::EventKind::credential_added;
    event.index = c;
    event.credential = credentials_[c];
    removed_.push_back(false);
    tell_all(event);
    templates_of_.emplace_back();
    for (unsigned t = 0; t < draw_.topics; ++t) {
      for (const PayloadForm form : {PayloadForm::fixed, PayloadForm::own, PayloadForm::with_part}) {
        auto made = std::make_shared<dispatch::TemplateConfig>();
        made->options.topic = topics_of_credential(c)[t];
        made->options.form = form;
        made->options.coalesce = chance_.chance(draw_.coalesce);
        if (form == PayloadForm::with_part) {
          made->options.payload = R"({"aps":{"alert":"%PART%"}})";
          made->halves = apns::split_payload(made->options.payload);
        } else if (form == PayloadForm::fixed) {
          made->options.payload = made->halves.before = R"({"aps":{"alert":"x"}})";
        }
        dispatch::Event added;
        added.kind = dispatch::EventKind::template_added;
        added.index = static_cast<std::uint32_t>(templates_.size());
        added.template_config = made;
        templates_of_[c].push_back(added.index);
        templates_.push_back(std::move(made));
        tell_all(added);
      }
    }
  }
  // And an MDM wake-up each: one per device, whatever else it carries; never with a provider token alone.
  for (std::uint32_t c = 0; c < draw_.credentials; ++c) {
    if (wants_tokens(c)) continue;
    auto made = std::make_shared<dispatch::TemplateConfig>();
    made->options.topic = mdm_topic(c);
    made->options.push_type = PushType::mdm;
    made->options.form = PayloadForm::with_part;
    made->options.payload = R"({"mdm":"%PART%"})";
    made->options.coalesce = chance_.chance(draw_.coalesce);
    made->halves = apns::split_payload(made->options.payload);
    dispatch::Event added;
    added.kind = dispatch::EventKind::template_added;
    added.index = static_cast<std::uint32_t>(templates_.size());
    added.template_config = made;
    templates_of_[c].push_back(added.index);
    templates_.push_back(std::move(made));
    tell_all(added);
  }
  groups_ = draw_.groups;
  for (unsigned g = 0; g < groups_; ++g) control(dispatch::EventKind::group_added, g);
  if (chance_.chance(draw_.paced)) set_rate(dispatch::Pace::engine, 0, 50 + static_cast<double>(chance_.below(200)));
  for (std::uint32_t c = 0; c < draw_.credentials; ++c) {
    if (chance_.chance(draw_.paced * 0.5)) set_rate(dispatch::Pace::credential, c, 20 + static_cast<double>(chance_.below(100)));
  }
  for (unsigned g = 0; g < groups_; ++g) {
    if (chance_.chance(draw_.paced)) set_rate(dispatch::Pace::group, g, 10 + static_cast<double>(chance_.below(50)));
  }
  if (!buckets_.empty()) fairness_.hold();
  at(now_ + kSec, [this] { look_for_dead_peers(); });
}

std::uint64_t World::push(const Spec& spec) {
  const std::uint64_t id = next_push_;
  const std::string token = token_bytes(spec.token != 0 ? spec.token : 1'000'000 + id);
  Host& host = *hosts_[(static_cast<std::uint8_t>(token[0]) + spec.credential) % hosts_.size()];
  if (host.inside >= draw_.pushes_max || host.stopping) return 0;
  ++next_push_;
  ++host.inside;
  Pushed& pushed = pushes_[id];
  pushed.spec = spec;
  pushed.host = host.number;
  pushed.token = token;
  pushed.taken_at = now_;
  dispatch::PushRecord record;
  record.id = id;
  std::memcpy(record.apns_id.data(), &id, 8);
  const std::uint64_t rest = base::mix64(id);
  std::memcpy(record.apns_id.data() + 8, &rest, 8);
  record.submitted_wall_ns = clock().wall_ns;
  record.template_index = spec.template_index;
  record.credential = spec.credential;
  record.group = spec.group;
  record.policy = spec.policy;
  record.priority_class = spec.priority_class;
  record.set_registered_unix_ms(spec.registered_ms);
  if (spec.deadline_ns != 0) {
    // As the engine does: rounded down to a tick of the shard's, never 0.
    const std::int64_t start = kSec;
    record.deadline = static_cast<dispatch::Tick>(std::max<std::int64_t>(1, (now_ + spec.deadline_ns - start) / dispatch::kTickNs));
    pushed.deadline = start + std::int64_t{record.deadline} * dispatch::kTickNs;
    // Written just before it, a push is answered or given up within the time for an answer.
    const std::int64_t over = credentials_[spec.credential]->answer_timeout_ns + kSec;
    at(pushed.deadline + over, [this, id, over] {
      if (!pushes_.at(id).ended) expiry_.still_open(id, over);
    });
  }
  Uuid uuid;
  record.flags = templates_[spec.template_index]->options.form == PayloadForm::with_part
                     ? dispatch::pack_uuid_content(spec.content, uuid) : std::uint8_t{0};
  const std::string content = record.uuid_content() ? std::string(uuid.begin(), uuid.end()) : spec.content;
  const std::string data = token + spec.collapse + content;
  record.token_bytes = 32;
  record.collapse_bytes = static_cast<std::uint8_t>(spec.collapse.size());
  record.content_bytes = static_cast<std::uint16_t>(content.size());
  std::byte* to = record.inline_bytes;
  if (data.size() > dispatch::kInlineBytes) {
    auto block = std::make_unique<std::byte[]>(data.size());
    to = block.get();
    record.set_block(to, static_cast<std::uint32_t>(data.size()));
    blocks_[to] = std::move(block);
  }
  std::memcpy(to, data.data(), data.size());
  host.inbox.push_back(record);
  conservation_.taken(id);
  effects_.taken(id, spec.policy);
  if (calm_) fairness_.waits({spec.credential * 16 + host.number, topic_of(spec.template_index)});
  wake(host);
  return id;
}

void World::wake(Host& host) {
  if (host.step_due) return;
  host.step_due = true;
  at(now_ + static_cast<std::int64_t>(chance_.below(200'000)), [this, &host] { step(host); });
}

// What the engine's worker does with control events on their way: it knows the versions by them, and leaves out news of a stop
// that was found before the owner's last word on that credential.
void World::read_control(Host& host, std::vector<dispatch::Event>& events) {
  using dispatch::EventKind;
  std::erase_if(events, [&](const dispatch::Event& event) {
    if (event.kind == EventKind::credential_stopped || event.kind == EventKind::credential_alarmed) return event.handle != host.words[event.index];
    if (event.kind == EventKind::credential_added || event.kind == EventKind::credential_replaced) {
      host.keys[event.index] = keys_.at(event.credential.get());
    }
    if (event.kind == EventKind::credential_replaced || event.kind == EventKind::credential_rolled) version_changed(host, event.index);
    if (event.kind == EventKind::credential_replaced || event.kind == EventKind::credential_resumed) ++host.words[event.index];
    return false;
  });
}

// One shard finds that a credential is refused, or burns tokens of another environment, for all of them.
void World::pass_on(Host& host, const dispatch::CredentialStatus& status) {
  const std::uint64_t word = host.words[status.credential];
  for (const bool alarm : {false, true}) {
    if (!(alarm ? status.alarmed_here : status.stopped_here)) continue;
    const auto [told, fresh] = host.told.try_emplace({status.credential, alarm}, word);
    if (!fresh && told->second == word) continue;
    told->second = word;
    pass_on(host, status, alarm, word);
  }
}

void World::pass_on(Host& host, const dispatch::CredentialStatus& status, bool alarm, std::uint64_t word) {
  for (auto& other : hosts_) {
    if (other.get() == &host) continue;
    dispatch::Event& event = tell(*other, alarm ? dispatch::EventKind::credential_alarmed : dispatch::EventKind::credential_stopped);
    event.index = status.credential;
    event.reason = alarm ? Reason::none : status.stop_reason;
    event.handle = word;  // no connection is meant
    event.text = other->held.emplace_back(status.last_error);
  }
}

// As the engine's worker has it: events and pushes come in pieces. Any of these pushes may need any of these events, so they
// come behind them.
void World::step_in_pieces(Host& host, std::span<const dispatch::Event> events, std::span<const dispatch::PushRecord> pushes) {
  const base::Now now = clock();
  host.shard->begin(now, host.out);
  for (std::uint64_t more = pieces_.chance(0.5) ? 0 : 1 + pieces_.below(3); more != 0; --more) {
    const std::size_t told = pieces_.below(events.size() + 1);
    host.shard->handle(now, events.first(told));
    events = events.subspan(told);
    const std::size_t taken = events.empty() ? pieces_.below(pushes.size() + 1) : 0;
    host.shard->take(pushes.first(taken));
    pushes = pushes.subspan(taken);
  }
  host.shard->handle(now, events);
  host.shard->take(pushes);
  host.shard->finish();
}

void World::step(Host& host) {
  host.step_due = false;
  ++steps_;
  std::vector<dispatch::Event> events;
  events.swap(host.events);
  read_control(host, events);
  std::deque<std::string> held;
  held.swap(host.held);
  std::vector<dispatch::PushRecord> pushes;
  for (std::size_t most = 1 + chance_.below(32); most != 0 && !host.inbox.empty(); --most) {
    pushes.push_back(host.inbox.front());
    host.inbox.pop_front();
  }
  step_in_pieces(host, events, pushes);
  host.addresses.clear();
  host.ids.clear();
  host.dead.clear();

  const dispatch::Output& out = host.out;
  if (std::string slept = host.shard->overslept(out.deadline_mono_ns); !slept.empty()) verdicts_.say(23, std::move(slept));
  no_spin_.stepped(host.number, now_, !events.empty() || !pushes.empty(),
                   !out.actions.empty() || out.ended() != 0 || !out.wants.empty() || !out.statuses.empty());
  for (const dispatch::Action& action : out.actions) {
    mix(static_cast<std::uint64_t>(action.kind) << 56 ^ action.handle ^ hash_bytes(action.bytes));
    perform(host, action);
  }
  for (const dispatch::LogEvent& log : out.logs) note("shard " + std::to_string(host.number) + ": " + log.event + ": " + log.text);
  out.for_each_outcome([this, &host](const Outcome& outcome) { take_outcome(host, outcome); });
  for (const dispatch::Released& released : out.released) {
    if (blocks_.erase(released.block) != 1) verdicts_.say(9, "a block was released twice");
  }
  for (const dispatch::Want& want : out.wants) grant(host, want);
  for (const dispatch::CredentialStatus& status : out.statuses) {
    host.open[status.credential] = status.open;
    pass_on(host, status);
  }
  const dispatch::Counters& counters = host.shard->counters();
  bounds_.within("pushes inside a shard", counters.waiting + counters.in_flight, draw_.pushes_max);
  bounds_.within("connections of a shard", host.shard->connections_in_use(), draw_.connections_max);
  bounds_.within("the filter of dead tokens", counters.dead_tokens, draw_.dead_tokens_max);
  if (out.at_rest && host.inbox.empty() && !host.rested) {
    host.rested = true;
    host.rest_at = now_;
  }
  if (!host.inbox.empty() || !host.events.empty()) wake(host);
  const std::uint64_t turn = ++host.deadline_turn;
  if (out.deadline_mono_ns != base::kNever) {
    at(std::max(out.deadline_mono_ns, now_ + 1000), [this, &host, turn] {
      if (host.deadline_turn == turn) wake(host);
    });
  }
}

void World::take_outcome(Host& host, const Outcome& outcome) {
  const std::uint64_t id = outcome.id;
  mix(id * 16 + static_cast<std::uint64_t>(outcome.end));
  const auto found = pushes_.find(id);
  if (found == pushes_.end()) {
    verdicts_.say(1, "an outcome for push " + std::to_string(id) + ", which nobody submitted");
    return;
  }
  Pushed& pushed = found->second;
  conservation_.ended(id, outcome.end);
  effects_.ended(outcome, id);
  if (pushed.ended) return;
  pushed.ended = true;
  pushed.ended_at = now_;
  fates_.ended(outcome, now_);
  pushed.outcome = outcome;
  --host.inside;
  note("push " + std::to_string(id) + " " + end_name(outcome.end) + " " + std::to_string(outcome.status) + " " +
       std::string(outcome.reason_view()) + ", " + std::to_string(outcome.attempts) + " attempts");
  expiry_.ended(id, pushed.deadline, now_, outcome.end == End::expired, outcome.attempts == 0);
  const Spec& spec = pushed.spec;
  if (outcome.end == End::superseded) {
    const auto by = pushes_.find(outcome.superseded_by);
    supersession_.superseded(id, key_of(pushed), outcome.superseded_by, by == pushes_.end() ? std::string{} : key_of(by->second));
  }
  if (calm_ && pushed.seen == 0) {
    fairness_.left({spec.credential * 16 + host.number, topic_of(spec.template_index)});
  }
  if (outcome.reason == Reason::token_known_dead) dead_tokens_.withheld(spec.registered_ms, outcome.unregistered_unix_ms);
  if (outcome.status == 410 && outcome.end == End::rejected) {
    const std::string& topic = templates_[spec.template_index]->options.topic;
    dead_tokens_.known({host.number, topic + pushed.token}, outcome.unregistered_unix_ms, now_);
    // Some devices come back: the owner hears of it, and says so with the next push.
    if (spec.token != 0 && chance_.chance(0.5)) {
      registered_[{topic, spec.token}] = outcome.unregistered_unix_ms + 1 + static_cast<std::int64_t>(chance_.below(5));
      gateway_config_->dead.clear();
    }
  }
}

// As TemplateOptions::coalesce describes it.
std::string World::key_of(const Pushed& pushed) const {
  const TemplateOptions& options = templates_[pushed.spec.template_index]->options;
  std::string key = std::to_string(pushed.spec.credential) + ' ' + options.topic + ' ' + pushed.token;
  return options.push_type == PushType::mdm ? key : key + ' ' + pushed.spec.collapse;
}

void World::grant(Host& host, const dispatch::Want& want) {
  const engine::Lease lease = buckets_[{static_cast<int>(want.pace), want.index}].take(want.count, now_, chance_.unit());
  dispatch::Event& event = tell(host, dispatch::EventKind::granted);
  event.pace = want.pace;
  event.index = want.index;
  event.result = lease.count;
  event.deadline_mono_ns = lease.again_mono_ns;
}

void World::outage(std::int64_t ns) {
  outage_until_ = now_ + ns;
  mass_death(chance_.chance(0.5));
}

void World::stop(std::int64_t grace_ns) {
  for (auto& host : hosts_) {
    if (!host->stopping) {
      host->stopping = true;
      host->stop_at = now_;
    }
    host->stop_deadline = now_ + grace_ns;
    dispatch::Event& event = tell(*host, dispatch::EventKind::stop);
    event.deadline_mono_ns = now_ + grace_ns;
  }
}

void World::finish() {
  if (!hosts_[0]->stopping) stop(2 * kSec);
  for (auto& link : links_) {
    link->stalled_until = std::min(link->stalled_until, now_);
  }
  const std::int64_t limit = hosts_[0]->stop_deadline - now_ + DrainBound::kFarewellNs + 10 * kSec;
  run_until([this] { return std::all_of(hosts_.begin(), hosts_.end(), [](const auto& host) { return host->rested; }); },
            std::max<std::int64_t>(limit, 0));
  if (!verdicts_.good()) return;
  for (auto& host : hosts_) {
    drain_.ended(host->stop_at, host->stop_deadline, host->rest_at, host->rested);
    if (!host->rested) continue;
    bounds_.at_rest("pushes in the inbox", host->inbox.size());
    bounds_.at_rest("connections", host->shard->connections_in_use());
    bounds_.at_rest("pushes", host->inside);
    bounds_.at_rest("deadlines", host->out.deadline_mono_ns != base::kNever ? 1 : 0);
    std::size_t open = 0;
    for (const auto& [handle, link] : host->links) open += link->gone ? 0 : 1;
    bounds_.at_rest("slots in the kernel", open);
  }
  bounds_.at_rest("blocks", blocks_.size());
  bounds_.at_rest("buffers lent", lent_.out());
  bounds_.at_rest("places of the connection budget", places_.used());
  bounds_.at_rest("places of the dial budget", draw_.budget_dials - budget_dials_);
  conservation_.nothing_pending();
  effects_.judge();
  fates_.judge();
  for (const auto& [key, bucket] : buckets_) judge_rate(key);
}

Report World::run() {
  start();
  schedule_client();
  const std::int64_t phase_one = draw_.stop_early
                                     ? static_cast<std::int64_t>(chance_.below(static_cast<std::uint64_t>(draw_.phase_one_ns)))
                                     : draw_.phase_one_ns;
  run_for(phase_one);
  if (draw_.stop_early) {
    stop(static_cast<std::int64_t>(chance_.below(4000)) * kMs);
    faults_on_ = false;
    outage_until_ = 0;
  } else if (verdicts_.good()) {
    live();
  }
  if (verdicts_.good()) finish();
  return report();
}

Report World::report() const {
  Report report;
  report.good = verdicts_.good();
  report.said = verdicts_.said();
  report.hash = hash_;
  report.pushes = pushes_.size();
  for (std::size_t i = 0; i <= kEnds; ++i) report.ends[i] = i == 0 ? 0 : conservation_.of(static_cast<End>(i));
  report.faults = faults_;
  report.script = service_->counts();
  for (const auto& host : hosts_) {
    const dispatch::Counters& counters = host->shard->counters();
    for (std::size_t s = 0; s < dispatch::kConnectionStates; ++s) {
      for (std::size_t i = 0; i < dispatch::kConnectionInputs; ++i) report.edges[s][i] += counters.edges[s][i];
    }
    for (std::size_t m = 0; m < dispatch::kMarks; ++m) report.marks[m] += counters.marks[m];
  }
  report.virtual_ns = now_;
  report.steps = steps_;
  return report;
}

std::uint64_t World::marked(dispatch::Mark mark) const {
  std::uint64_t all = 0;
  for (const auto& host : hosts_) all += host->shard->counters().marks[static_cast<std::size_t>(mark)];
  return all;
}

}  // namespace tocsin::sim
