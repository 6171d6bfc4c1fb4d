// SPDX-License-Identifier: Apache-2.0
// step_by_credentials: what a step of the dispatch core costs while one credential of many has work: one push in, its request out,
// its answer in. Time is that of Shard::step alone, over the plain twin of TLS and an nghttp2 server in the same thread.
//
// The other credentials are connected and idle, or hold a push that may not go (paused). A step may not cost what exists,
// only what has something to do: compare the rows, whose figures should be alike.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/assertion.h"
#include "base/prng.h"
#include "dispatch/shard.h"
#include "h2/server_session.h"

namespace tocsin::dispatch {
namespace {

enum class Others : int { connected, paused };

class Rig {
 public:
  Rig(std::uint32_t credentials, Others others) {
    ShardOptions options;
    options.pushes_max = credentials + 16;
    options.connections_max = credentials;
    options.credentials_max = credentials;
    options.dead_tokens_max = 0;
    shard_ = std::make_unique<Shard>(options);
    auto config = std::make_shared<CredentialConfig>();
    config->name = config->host = config->authority = "apns.test";
    for (std::uint32_t i = 0; i < credentials; ++i) {
      Event& added = add(EventKind::credential_added);
      added.index = i;
      added.credential = config;
    }
    auto made = std::make_shared<TemplateConfig>();
    made->options.topic = "com.example.app";
    made->options.payload = made->halves.before = R"({"aps":{"alert":"x"}})";
    add(EventKind::template_added).template_config = made;
    step();
    if (others == Others::paused) {
      for (std::uint32_t i = 1; i < credentials; ++i) add(EventKind::credential_paused).index = i;
    }
    for (std::uint32_t i = 0; i < credentials; ++i) push(i);
    const std::uint64_t wanted = others == Others::paused ? 1 : credentials;
    while (accepted_ < wanted) step();
    settle();
  }

  // One push from its arrival to its outcome; answers its steps.
  unsigned turn() {
    const std::uint64_t wanted = accepted_ + 1;
    push(0);
    unsigned steps = 0;
    for (; accepted_ < wanted; ++steps) step();
    return steps;
  }
  std::chrono::nanoseconds in_step() const { return in_step_; }

 private:
  Event& add(EventKind kind, std::uint64_t handle = 0) {
    Event& event = next_.emplace_back();
    event.kind = kind;
    event.handle = handle;
    return event;
  }
  void push(std::uint32_t credential) {
    PushRecord& record = pushes_.emplace_back();
    record.id = ++pushed_;
    record.credential = credential;
    record.token_bytes = 32;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::uint64_t word = base::mix64(pushed_ * 4 + i);
      std::memcpy(record.inline_bytes + 8 * i, &word, 8);
    }
  }
  void settle() {
    while (!next_.empty()) step();
  }

  void step() {
    events_.swap(next_);
    next_.clear();
    now_ns_ += 20'000;
    const auto began = std::chrono::steady_clock::now();
    shard_->step({now_ns_, now_ns_}, events_, pushes_, out_);
    in_step_ += std::chrono::steady_clock::now() - began;
    held_.clear();
    pushes_.clear();
    accepted_ += out_.accepted.size();
    TOCSIN_ASSERT(out_.outcomes.empty());
    for (const Action& action : out_.actions) perform(action);
  }

  void perform(const Action& action) {
    switch (action.kind) {
      case ActionKind::resolve: add(EventKind::resolved, action.handle).addresses = std::span(&address_, 1); break;
      case ActionKind::dial: {
        add(EventKind::dialled, action.handle);
        auto& server = servers_[action.handle] = h2::make_nghttp2_server({}).value();
        flush(action.handle, *server);
        break;
      }
      case ActionKind::send: {
        h2::ServerSession& server = *servers_.at(action.handle);
        std::vector<h2::ServerRequest> requests;
        TOCSIN_ASSERT(server.receive(action.bytes, requests));
        for (const h2::ServerRequest& request : requests) server.respond(request.stream_id, 200, {}, {});
        add(EventKind::sent, action.handle).result = static_cast<std::int64_t>(action.bytes.size());
        flush(action.handle, server);
        break;
      }
      default: break;  // nothing closes here
    }
  }
  void flush(std::uint64_t handle, h2::ServerSession& server) {
    auto bytes = std::make_unique<base::ByteBuffer>();
    server.write_pending(*bytes);
    if (bytes->empty()) return;
    add(EventKind::received, handle).bytes = bytes->readable();
    held_.push_back(std::move(bytes));
  }

  std::unique_ptr<Shard> shard_;
  Output out_;
  std::vector<Event> events_, next_;
  std::vector<PushRecord> pushes_;
  std::unordered_map<std::uint64_t, std::unique_ptr<h2::ServerSession>> servers_;
  std::vector<std::unique_ptr<base::ByteBuffer>> held_;  // what events of the next step look at
  base::Address address_{{2, 0, 1, 187, 127, 0, 0, 1}, 16};
  std::int64_t now_ns_ = base::kSecond;
  std::uint64_t pushed_ = 0;
  std::uint64_t accepted_ = 0;
  std::chrono::nanoseconds in_step_{0};
};

void step_by_credentials(benchmark::State& state, Others others) {
  Rig rig(static_cast<std::uint32_t>(state.range(0)), others);
  // The median: a turn during which the machine did something else says nothing.
  std::vector<double> each;
  each.reserve(1 << 20);
  for (auto _ : state) {
    const auto began = rig.in_step();
    const unsigned steps = rig.turn();
    const std::chrono::duration<double, std::nano> took = rig.in_step() - began;
    state.SetIterationTime(took.count() * 1e-9);
    if (each.size() < each.capacity()) each.push_back(took.count() / steps);
  }
  const auto middle = each.begin() + static_cast<std::ptrdiff_t>(each.size() / 2);
  std::nth_element(each.begin(), middle, each.end());
  state.counters["ns_per_step"] = *middle;
}

BENCHMARK_CAPTURE(step_by_credentials, others_idle, Others::connected)->Arg(1)->Arg(64)->Arg(1024)->Arg(4096)->UseManualTime();
BENCHMARK_CAPTURE(step_by_credentials, others_paused, Others::paused)->Arg(64)->Arg(1024)->Arg(4096)->UseManualTime();

}  // namespace
}  // namespace tocsin::dispatch

BENCHMARK_MAIN();
