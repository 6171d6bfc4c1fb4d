// SPDX-License-Identifier: Apache-2.0
#include "step_loop.h"

#include <time.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "apns/request.h"
#include "base/prng.h"
#include "dispatch/shard.h"
#include "flat_peer.h"
#include "mock/conversation.h"

namespace tocsin::bench {
namespace {

constexpr std::size_t kBatch = 1024;  // pushes handed to one step at most, as the engine does
constexpr std::string_view kTopic = "com.apple.mgmt.External.b0e8a35c-7c0d-4b0c-9f9a-0f6f2f0d3c11";
constexpr std::string_view kMagic = "6F1B8E2A-93D4-4C57-A0BE-5D7C21F4E896";

std::int64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class Peer {
 public:
  virtual ~Peer() = default;
  // False: what came cannot be read.
  virtual bool take(base::ByteView bytes, base::Now now, base::ByteBuffer& answer) = 0;
  virtual std::uint64_t requests() const = 0;
};

class FlatOne final : public Peer {
 public:
  FlatOne(std::uint32_t streams, bool bare) : peer_(streams, bare) {}
  bool take(base::ByteView bytes, base::Now, base::ByteBuffer& answer) override { return peer_.take(bytes, answer); }
  std::uint64_t requests() const override { return peer_.requests(); }

 private:
  FlatPeer peer_;
};

class GatewayPeer final : public Peer {
 public:
  GatewayPeer(mock::Service& service, base::Now now) : service_(service) {
    mock::Peer peer;
    peer.has_certificate = true;
    peer.uid = kTopic;
    conversation_ = service_.converse(peer, service_.on_connect(now), now);
  }
  bool take(base::ByteView bytes, base::Now now, base::ByteBuffer& answer) override {
    conversation_->receive(bytes, now);
    conversation_->run(now);
    conversation_->write(answer, now);
    return !conversation_->broken();
  }
  std::uint64_t requests() const override { return 0; }  // the service counts them for all

 private:
  mock::Service& service_;
  std::unique_ptr<mock::Conversation> conversation_;
};

struct Link {
  std::uint64_t handle = 0;  // 0: none
  std::unique_ptr<Peer> peer;
  base::ByteBuffer answers;
  std::deque<std::pair<std::uint64_t, std::size_t>> due;  // turn, bytes: what of them comes when
};

}  // namespace

struct StepLoop::Impl {
  explicit Impl(const StepLoopOptions& o)
      : options(o), way(1 + std::uint64_t{o.connections} * o.streams / kBatch) {
    dispatch::ShardOptions shard_options;
    shard_options.pushes_max = 4 * options.connections * options.streams + kBatch;
    shard_options.connections_max = options.connections;
    shard_options.codec = options.codec;
    shard_options.dead_tokens_max = options.dead_tokens == 0 ? 1024 : options.dead_tokens;
    shard = std::make_unique<dispatch::Shard>(shard_options);
    inside.resize(std::bit_ceil(std::size_t{8} * options.connections * options.streams));
    // Each place in the slab has its link.
    links.resize(options.connections);
    if (options.peer == PeerKind::gateway) {
      h2::ServerOptions server;
      server.streams_max = options.streams;
      server.connection_window_bytes = 1u << 24;
      service = std::make_unique<mock::Service>(std::make_shared<mock::GatewayConfig>(), nullptr, server, 1);
    }
    announce();
    records.resize(kBatch);
    for (dispatch::PushRecord& record : records) {
      record.deadline = dispatch::kTickMax / 2;
      record.token_bytes = 32;
      Uuid magic;
      record.flags = dispatch::pack_uuid_content(kMagic, magic);
      record.content_bytes = magic.size();
      std::memcpy(record.inline_bytes + 32, magic.data(), magic.size());
    }
  }

  void announce() {
    auto credential = std::make_shared<dispatch::CredentialConfig>();
    credential->name = credential->host = credential->authority = "api.push.apple.com";
    credential->connections_max = options.connections;
    credential->streams_max = options.streams;
    dispatch::Event added;
    added.kind = dispatch::EventKind::credential_added;
    added.credential = std::move(credential);
    events.push_back(std::move(added));
    auto wakeup = std::make_shared<dispatch::TemplateConfig>();
    wakeup->options.topic = kTopic;
    wakeup->options.push_type = PushType::mdm;
    wakeup->options.form = PayloadForm::with_part;
    wakeup->options.payload = R"({"mdm":"%PART%"})";
    wakeup->options.coalesce = true;
    wakeup->halves = apns::split_payload(wakeup->options.payload);
    dispatch::Event known;
    known.kind = dispatch::EventKind::template_added;
    known.template_config = std::move(wakeup);
    events.push_back(std::move(known));
    if (options.dead_tokens == 0) return;
    std::vector<std::array<std::byte, 32>> tokens(options.dead_tokens);
    std::vector<dispatch::DeadToken> dead(options.dead_tokens);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      write_token(~std::uint64_t{i}, tokens[i].data());
      dead[i] = {0, kTopic, tokens[i], 1};
    }
    dispatch::Event told;
    told.kind = dispatch::EventKind::dead_tokens;
    told.dead = dead;
    events.push_back(std::move(told));
    StepLoopRun ignored;
    step(0, ignored);
  }

  static void write_token(std::uint64_t number, std::byte* to) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      const std::uint64_t word = base::mix64(number * 4 + i);
      std::memcpy(to + i * 8, &word, 8);
    }
  }

  // As many pushes as keep two stream tables full.
  std::size_t make() {
    const std::uint64_t most = 2ull * options.connections * options.streams;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(most - std::min(most, made - ended), kBatch));
    for (std::size_t i = 0; i < count; ++i) {
      dispatch::PushRecord& record = records[i];
      record.id = made++;
      inside[record.id & (inside.size() - 1)] = 1;
      std::memcpy(record.apns_id.data(), &record.id, 8);
      record.submitted_wall_ns = now.wall_ns;
      write_token(record.id, record.inline_bytes);
    }
    return count;
  }

  // What the peers said and is due in this turn.
  void collect() {
    for (Link& link : links) {
      if (link.due.empty() || link.due.front().first > turn) continue;
      tell(dispatch::EventKind::received, link.handle);
      events.back().bytes = link.answers.readable().first(link.due.front().second);
    }
  }
  void drop_read() {
    for (Link& link : links) {
      if (link.due.empty() || link.due.front().first > turn) continue;
      link.answers.consume(link.due.front().second);
      link.due.pop_front();
    }
  }

  void step(std::size_t count, StepLoopRun& run) {
    ++turn;
    collect();
    now.mono_ns += kTurnNs;
    now.wall_ns += kTurnNs;
    const std::int64_t before = options.timed ? thread_cpu_ns() : 0;
    shard->step(now, events, std::span(records.data(), count), output);
    if (options.timed) run.step_seconds += static_cast<double>(thread_cpu_ns() - before) * 1e-9;
    ++run.steps;
    events.clear();
    drop_read();
    for (const dispatch::Action& action : output.actions) perform(action, run);
    output.for_each_outcome([&](const Outcome& outcome) {
      char& mark = inside[outcome.id & (inside.size() - 1)];
      run.good &= outcome.end == End::accepted && outcome.id < made && mark == 1;
      mark = 0;
    });
    ended += output.ended();
  }

  void tell(dispatch::EventKind kind, std::uint64_t handle) {
    dispatch::Event& event = events.emplace_back();
    event.kind = kind;
    event.handle = handle;
  }

  void perform(const dispatch::Action& action, StepLoopRun& run) {
    Link& link = links[base::Handle{action.handle}.index()];
    switch (action.kind) {
      case dispatch::ActionKind::resolve:
        tell(dispatch::EventKind::resolved, action.handle);
        events.back().addresses = std::span(&address, 1);
        break;
      case dispatch::ActionKind::dial:
        link.handle = action.handle;
        if (service != nullptr) {
          link.peer = std::make_unique<GatewayPeer>(*service, now);
        } else {
          link.peer = std::make_unique<FlatOne>(options.streams, options.peer == PeerKind::bare);
        }
        tell(dispatch::EventKind::dialled, action.handle);
        break;
      case dispatch::ActionKind::send: {
        const std::size_t before = link.answers.size();
        run.good &= link.peer->take(action.bytes, now, link.answers);
        tell(dispatch::EventKind::sent, action.handle);
        events.back().result = static_cast<std::int64_t>(action.bytes.size());
        if (link.answers.size() != before) link.due.emplace_back(turn + way, link.answers.size() - before);
        break;
      }
      case dispatch::ActionKind::close:
        run.good = false;  // nobody gave it a reason to
        tell(dispatch::EventKind::closed, action.handle);
        break;
      default: break;
    }
  }

  std::uint64_t requests() const {
    if (service != nullptr) return service->traffic().accepted;
    std::uint64_t sum = 0;
    for (const Link& link : links) sum += link.peer == nullptr ? 0 : link.peer->requests();
    return sum;
  }

  const StepLoopOptions options;
  std::unique_ptr<mock::Service> service;  // before the links, whose conversations it outlives
  std::unique_ptr<dispatch::Shard> shard;
  std::vector<Link> links;
  std::vector<dispatch::Event> events;
  std::vector<dispatch::PushRecord> records;
  dispatch::Output output;
  base::Address address{{2, 0, 1, 187, 127, 0, 0, 1}, 16};
  base::Now now{base::kSecond, 1'700'000'000ll * base::kSecond};
  std::uint64_t turn = 0;
  const std::uint64_t way;  // turns
  std::uint64_t made = 0, ended = 0;
  std::vector<char> inside;  // by the number's low bits: handed over and not ended
};

StepLoop::StepLoop(const StepLoopOptions& options) : impl_(std::make_unique<Impl>(options)) {}
StepLoop::~StepLoop() = default;

bool StepLoop::connect() {
  // Connections come one by one, while work waits for them; then every buffer is to have its size.
  const std::uint64_t tables = std::uint64_t{impl_->options.connections} * impl_->options.streams;
  const auto all_up = [&] {
    return std::all_of(impl_->links.begin(), impl_->links.end(), [](const Link& link) { return link.handle != 0; });
  };
  for (std::uint32_t i = 0; !all_up(); ++i) {
    if (i == 100 || !run(tables).good) return false;
  }
  return run(4 * tables).good;
}

StepLoopRun StepLoop::run(std::uint64_t pushes) {
  StepLoopRun run;
  Impl& it = *impl_;
  const std::uint64_t goal = it.ended + pushes;
  const std::uint64_t from = it.ended;
  // A turn with work ends some hundred pushes; one without is a wait that time has to end.
  const std::uint64_t steps_max = pushes + 100'000;
  while (it.ended < goal && run.good && run.steps < steps_max) it.step(it.make(), run);
  run.pushes = it.ended - from;
  // What was answered and not yet read has been seen by a peer, and by no outcome.
  run.good &= it.ended >= goal && it.requests() >= it.ended && it.requests() <= it.made;
  return run;
}

}  // namespace tocsin::bench
