// SPDX-License-Identifier: Apache-2.0
// What the door asks of the shards, seen over real sockets against the mock: groups, deadlines, rates, replaced and
// removed credentials, dead tokens, provider tokens, connections made room for.
#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <set>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/rate.h"
#include "io/driver.h"
#include "rig.h"

namespace tocsin::engine_tests {
namespace {

constexpr std::int64_t kMs = 1'000'000;

std::int64_t wall_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void take_all(Submitter& submitter, const Batch& batch) {
  const SubmitResult said = submitter.submit(batch.pushes);
  ASSERT_EQ(said.taken, batch.pushes.size()) << said.message;
}

std::map<End, std::size_t> count_ends(const std::vector<Outcome>& outcomes) {
  std::map<End, std::size_t> ends;
  std::set<std::uint64_t> ids;
  for (const Outcome& o : outcomes) {
    ++ends[o.end];
    EXPECT_TRUE(ids.insert(o.id).second) << "push " << o.id << " ended twice";
  }
  return ends;
}

using Ends = std::map<End, std::size_t>;

TEST(StageClocks, CountOnlyWhereTheyWereAskedFor) {
  const auto server = serve(mock_options());
  for (const bool on : {false, true}) {
    EngineOptions options;
    options.stage_clocks = on;
    const Rig rig(options, credential_options(port_of(server->address())));
    auto submitter = rig.engine->submitter().value();
    take_all(submitter, rig.batch(0, 500));
    EXPECT_EQ(count_ends(rig.collect(500)), (Ends{{End::accepted, 500}}));
    const EngineStats stats = rig.engine->stats();
    EXPECT_GT(stats.io_enters, 0u);
    for (const std::uint64_t used_ns : stats.stage_cpu_ns) EXPECT_EQ(used_ns != 0, on);
  }
}

TEST(Groups, WaitWhilePausedAndGoWhenResumedWhileOthersGo) {
  const auto server = serve(mock_options());
  EngineOptions options;
  options.shards = 2;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = 2;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  for (int round = 0; round < 20; ++round) {
    // The group is paused before its pushes are submitted, however near: none of them may go.
    const GroupHandle group = rig.engine->add_group({.name = "held", .paused = true}).value();
    const std::uint64_t first = 1000 * static_cast<std::uint64_t>(round);
    Batch held = rig.batch(first, 300);
    for (Push& push : held.pushes) push.group = group;
    take_all(submitter, held);
    take_all(submitter, rig.batch(first + 500, 300));
    const auto others = rig.collect(300);
    EXPECT_EQ(count_ends(others), (Ends{{End::accepted, 300}}));
    for (const Outcome& o : others) EXPECT_GE(o.id, first + 500);
    EXPECT_EQ(rig.engine->stats().waiting, 300u);
    ASSERT_TRUE(rig.engine->resume(group).ok());
    EXPECT_EQ(count_ends(rig.collect(300)), (Ends{{End::accepted, 300}}));
  }
}

TEST(Groups, CancelledOnesEndSoForGood) {
  const Peer silent;
  EngineOptions options;
  options.shards = 2;
  CredentialOptions who = credential_options(silent.port());
  who.span = 2;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  const GroupHandle group = rig.engine->add_group({.name = "mistake"}).value();
  Batch wrong = rig.batch(0, 3000);
  for (Push& push : wrong.pushes) push.group = group;
  take_all(submitter, wrong);
  take_all(submitter, rig.batch(10'000, 100));
  ASSERT_TRUE(rig.engine->cancel(group).ok());
  Batch late = rig.batch(20'000, 10);
  for (Push& push : late.pushes) push.group = group;
  take_all(submitter, late);
  const auto ended = rig.collect(3010);
  EXPECT_EQ(count_ends(ended), (Ends{{End::cancelled, 3010}}));
  for (const Outcome& o : ended) EXPECT_EQ(o.reason, Reason::cancelled_by_caller);
  EXPECT_EQ(rig.engine->stats().waiting, 100u);
}

// Whatever was submitted before the call is found, also what still stands in an inbox.
TEST(CancelIds, FindsEveryPushSubmittedBefore) {
  const Peer silent;
  EngineOptions options;
  options.shards = 2;
  CredentialOptions who = credential_options(silent.port());
  who.span = 2;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t first = 100'000 * static_cast<std::uint64_t>(round);
    const Batch batch = rig.batch(first, 4000);
    take_all(submitter, batch);
    std::vector<std::uint64_t> ids;
    for (std::uint64_t i = 0; i < 4000; i += 2) ids.push_back(first + 3999 - i);
    ids.push_back(first + 77'777);  // nobody's
    ASSERT_TRUE(rig.engine->cancel(ids).ok());
    const auto ended = rig.collect(2000);
    ASSERT_EQ(count_ends(ended), (Ends{{End::cancelled, 2000}}));
    for (const Outcome& o : ended) EXPECT_EQ(o.id % 2, 1u);
    EXPECT_EQ(rig.engine->stats().waiting, 2000u * static_cast<unsigned>(round + 1));
  }
}

TEST(Deadline, EndsWhatWaitsEvenWhilePaused) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  ASSERT_TRUE(rig.engine->pause(rig.credential).ok());
  auto submitter = rig.engine->submitter().value();
  Batch over = rig.batch(0, 10);
  for (Push& push : over.pushes) push.deadline_unix_ns = 1;
  const std::int64_t begin = wall_now_ns();
  Batch soon = rig.batch(100, 10);
  for (Push& push : soon.pushes) push.deadline_unix_ns = begin + 200 * kMs;
  TemplateOptions expiring = mdm_template();
  expiring.has_expiration = true;
  expiring.expiration_unix_s = begin / 1'000'000'000 - 1;
  Batch expired(200, 10, rig.engine->add_template(expiring).value(), rig.credential);
  expiring.expiration_unix_s = begin / 1'000'000'000 + 3600;
  Batch good(300, 10, rig.engine->add_template(expiring).value(), rig.credential);
  for (const Batch* batch : {&over, &soon, &expired, &good}) take_all(submitter, *batch);

  const auto ended = rig.collect(30);
  EXPECT_EQ(count_ends(ended), (Ends{{End::expired, 30}}));
  for (const Outcome& o : ended) {
    EXPECT_EQ(o.reason, Reason::deadline_passed);
    EXPECT_EQ(o.attempts, 0u);
    if (o.id >= 100 && o.id < 200) {
      EXPECT_GE(o.ended_unix_ns, begin + 199 * kMs) << "none ends early";
      EXPECT_LE(o.ended_unix_ns, begin + 2000 * kMs);
    }
  }
  EXPECT_TRUE(rig.engine->stats().credentials[0].paused);
  EXPECT_EQ(server->totals().requests, 0u);
  ASSERT_TRUE(rig.engine->resume(rig.credential).ok());
  EXPECT_EQ(count_ends(rig.collect(10)), (Ends{{End::accepted, 10}}));
  EXPECT_FALSE(rig.engine->stats().credentials[0].paused);
}

TEST(Coalesce, TheNewerPushTakesTheWaitingOnesPlace) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  TemplateOptions options = mdm_template();
  options.coalesce = true;
  const TemplateHandle wakeup = rig.engine->add_template(options).value();
  ASSERT_TRUE(rig.engine->pause(rig.credential).ok());
  auto submitter = rig.engine->submitter().value();
  const Batch first(0, 100, wakeup, rig.credential);
  Batch second(0, 100, wakeup, rig.credential);  // the same devices
  for (Push& push : second.pushes) push.id += 1000;
  take_all(submitter, first);
  take_all(submitter, second);
  const auto ended = rig.collect(100);
  EXPECT_EQ(count_ends(ended), (Ends{{End::superseded, 100}}));
  for (const Outcome& o : ended) {
    EXPECT_LT(o.id, 100u);
    EXPECT_EQ(o.superseded_by, o.id + 1000);
  }
  ASSERT_TRUE(rig.engine->resume(rig.credential).ok());
  EXPECT_EQ(count_ends(rig.collect(100)), (Ends{{End::accepted, 100}}));
  EXPECT_EQ(server->totals().accepted, 100u);
}

// No window holds more than the rate and what leases may bunch: the burst, and for each shard one lease not used yet.
void expect_paced(std::vector<Outcome> outcomes, double rate, unsigned shards) {
  std::sort(outcomes.begin(), outcomes.end(), [](const Outcome& a, const Outcome& b) { return a.sent_unix_ns < b.sent_unix_ns; });
  const double slack = std::max(1.0, rate * engine::RateBucket::kBurstS) +
                       shards * std::max(1.0, rate * engine::RateBucket::kShareS) + rate * 0.05;
  std::size_t first = 0;
  for (std::size_t last = 0; last < outcomes.size(); ++last) {
    while (outcomes[last].sent_unix_ns - outcomes[first].sent_unix_ns > 1'000'000'000) ++first;
    const double window_s = static_cast<double>(outcomes[last].sent_unix_ns - outcomes[first].sent_unix_ns) * 1e-9;
    ASSERT_LE(static_cast<double>(last - first + 1), rate * window_s + slack);
  }
}

TEST(Rates, OfTheEngineTheCredentialAndAGroupHoldAcrossShards) {
  const auto server = serve(mock_options());
  EngineOptions options;
  options.shards = 2;
  options.rate = 2000;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = 2;
  const Rig rig(options, who);
  Engine& engine = *rig.engine;
  auto submitter = engine.submitter().value();
  std::uint64_t id = 0;
  const auto run = [&](double rate, std::size_t count, GroupHandle group) {
    Batch batch = rig.batch(id, count);
    id += count;
    for (Push& push : batch.pushes) push.group = group;
    const auto begin = Clock::now();
    take_all(submitter, batch);
    const auto outcomes = rig.collect(count);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    ASSERT_EQ(count_ends(outcomes), (Ends{{End::accepted, count}}));
    expect_paced(outcomes, rate, 2);
    const double worth = static_cast<double>(count) / rate;
    EXPECT_GE(seconds, 0.7 * worth - 0.1) << rate;
    EXPECT_LE(seconds, 5 * worth + 5) << rate << ": the rate is used";
  };
  run(2000, 1000, GroupHandle::none);
  ASSERT_TRUE(engine.set_rate(rig.credential, 500).ok());
  run(500, 300, GroupHandle::none);
  const GroupHandle group = engine.add_group({.name = "slow", .rate = 100}).value();
  run(100, 60, group);
  ASSERT_TRUE(engine.set_rate(group, 0).ok());
  run(500, 200, group);
  ASSERT_TRUE(engine.set_rate(rig.credential, 0).ok());
  ASSERT_TRUE(engine.set_rate(0).ok());
  run(1e6, 5000, group);
}

// A rate so slow that the next push is minutes away does not stand in the way of the next rate.
TEST(Rates, AFasterOneCountsAtOnce) {
  const auto server = serve(mock_options());
  EngineOptions options;
  options.rate = 0.01;
  const Rig rig(options, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 50));
  EXPECT_EQ(rig.collect(1).size(), 1u) << "a limit begins with one push";
  EXPECT_EQ(rig.collect(1, 100).size(), 0u);
  ASSERT_TRUE(rig.engine->set_rate(10'000).ok());
  EXPECT_EQ(rig.collect(49, 5000).size(), 49u);
}

TEST(ReplaceCredential, NoPushIsLostAndTheOldConnectionsEnd) {
  const auto one = serve(mock_options());
  const auto two = serve(mock_options());
  EngineOptions options;
  options.shards = 2;
  CredentialOptions who = credential_options(port_of(one->address()));
  who.span = 2;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 5000));
  EXPECT_EQ(count_ends(rig.collect(5000)), (Ends{{End::accepted, 5000}}));
  CredentialOptions next = credential_options(port_of(two->address()));
  next.span = 2;
  std::uint64_t id = 5000;
  for (int round = 0; round < 5; ++round) {
    take_all(submitter, rig.batch(id, 3000));
    id += 3000;
    ASSERT_TRUE(rig.engine->replace_credential(rig.credential, round % 2 == 0 ? next : who).ok());
    take_all(submitter, rig.batch(id, 3000));
    id += 3000;
    EXPECT_EQ(count_ends(rig.collect(6000)), (Ends{{End::accepted, 6000}}));
  }
  EXPECT_EQ(one->totals().accepted + two->totals().accepted, id) << "each once";
  // The last version is the second server's.
  const std::uint64_t before = two->totals().accepted;
  const auto limit = Clock::now() + std::chrono::seconds(10);
  const auto closed = [&] { return one->metrics_text().find("\ntocsin_mock_connections_open{worker=\"0\"} 0\n") != std::string::npos; };
  while (!closed() && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_TRUE(closed());
  take_all(submitter, rig.batch(id, 1000));
  EXPECT_EQ(rig.collect(1000).size(), 1000u);
  EXPECT_EQ(two->totals().accepted, before + 1000);
}

TEST(RollConnections, ReplacesThemWithoutLosingAPush) {
  const auto server = serve(mock_options());
  const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  std::uint64_t id = 0;
  for (int round = 0; round < 5; ++round) {
    const std::uint64_t opened = rig.engine->stats().connections_opened;
    take_all(submitter, rig.batch(id, 2000));
    id += 2000;
    ASSERT_TRUE(rig.engine->roll_connections(rig.credential).ok());
    EXPECT_EQ(count_ends(rig.collect(2000)), (Ends{{End::accepted, 2000}}));
    const auto limit = Clock::now() + std::chrono::seconds(10);
    while (rig.engine->stats().connections_opened == opened && Clock::now() < limit) std::this_thread::yield();
    EXPECT_GT(rig.engine->stats().connections_opened, opened);
  }
  EXPECT_EQ(server->totals().accepted, id);
  EXPECT_EQ(rig.engine->stats().connections_lost, 0u);
}

TEST(RemoveCredential, WhatWaitsComesBackAndOthersGoOn) {
  const auto server = serve(mock_options());
  const Peer silent;
  EngineOptions options;
  options.shards = 2;
  const Rig rig(options, credential_options(silent.port()));
  const CredentialHandle other = rig.engine->add_credential(credential_options(port_of(server->address()))).value();
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 2000));
  ASSERT_TRUE(rig.engine->remove_credential(rig.credential).ok());
  const auto ended = rig.collect(2000);
  EXPECT_EQ(count_ends(ended), (Ends{{End::returned, 2000}}));
  for (const Outcome& o : ended) EXPECT_EQ(o.reason, Reason::credential_removed);
  take_all(submitter, Batch(5000, 500, rig.mdm, other));
  EXPECT_EQ(count_ends(rig.collect(500)), (Ends{{End::accepted, 500}}));
  const auto limit = Clock::now() + std::chrono::seconds(10);
  const auto connections = [&] {
    const CredentialStats stats = rig.engine->stats().credentials[0];
    return stats.connections_open + stats.connections_dialling;
  };
  while (connections() != 0 && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(connections(), 0u);
}

// One shard finds that the certificate is refused, by three dials; the others take its word.
TEST(StoppedCredential, IsFoundByOneShardForAll) {
  mockd::Options refusing = mock_options();
  refusing.client_ca_pem = foreign_ca_pem();
  refusing.require_client_certificate = true;
  const auto server = serve(std::move(refusing));
  EngineOptions options;
  options.shards = 4;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = who.connections_max = 4;
  who.backoff_min_ms = 1;
  who.backoff_max_ms = 10;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 1));
  EXPECT_EQ(count_ends(rig.collect(1)), (Ends{{End::failed, 1}}));
  // The word is in every box before the outcome is read, so no other shard dials.
  take_all(submitter, rig.batch(1, 400));
  EXPECT_EQ(count_ends(rig.collect(400)), (Ends{{End::failed, 400}}));
  EXPECT_EQ(rig.engine->stats().dials_failed, 3u);
  EXPECT_TRUE(rig.engine->stats().credentials[0].stopped);
  // The owner's word counts more: all of them try again, and again one finds it.
  ASSERT_TRUE(rig.engine->resume(rig.credential).ok());
  take_all(submitter, rig.batch(1000, 1));
  EXPECT_EQ(count_ends(rig.collect(1)), (Ends{{End::failed, 1}}));
  EXPECT_EQ(rig.engine->stats().dials_failed, 6u);
}

// The tokens of one shard show the wrong environment; the other shards do not try theirs.
TEST(Alarm, OfOneShardPausesTheCredentialInAll) {
  mockd::Options mock = mock_options();
  mock.script = mock::Script::parse("when every 1 -> answer 400 BadDeviceToken", "t").value();
  const auto server = serve(std::move(mock));
  EngineOptions options;
  options.shards = 4;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = who.connections_max = 4;
  who.bad_tokens_least = 10;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  Batch first = rig.batch(0, 10);
  for (Push& push : first.pushes) push.token = first.pushes[0].token;  // one token, one shard
  take_all(submitter, first);
  EXPECT_EQ(count_ends(rig.collect(10)), (Ends{{End::rejected, 10}}));
  // The word is in every box before the tenth outcome is read.
  take_all(submitter, rig.batch(100, 400));
  const auto limit = Clock::now() + std::chrono::seconds(20);
  while (rig.engine->stats().waiting != 400 && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(rig.engine->stats().waiting, 400u);
  EXPECT_TRUE(rig.engine->stats().credentials[0].alarmed);
  EXPECT_EQ(server->totals().requests, 10u);
  // Resumed, each tries again.
  ASSERT_TRUE(rig.engine->resume(rig.credential).ok());
  EXPECT_GE(rig.collect(10).size(), 10u);
}

TEST(DeadTokens, AreNotSentToUnlessRegisteredLater) {
  constexpr std::int64_t kDeadAt = 1'700'000'000'000;
  mockd::Options mock = mock_options();
  mock.gateway.dead[token_hex(7)] = kDeadAt;
  const auto server = serve(std::move(mock));
  EngineOptions options;
  options.shards = 4;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = 4;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();

  std::vector<std::string> hex;
  for (std::uint64_t id = 100; id < 200; ++id) hex.push_back(token_hex(id));
  std::vector<DeadToken> known;
  for (const std::string& token : hex) known.push_back({std::string_view(token), std::string_view(kit().topic), kDeadAt});
  ASSERT_TRUE(rig.engine->add_dead_tokens(rig.credential, known).ok());
  Batch batch = rig.batch(100, 150);  // the first 100 are known to be dead
  batch.pushes[0].token_registered_unix_ms = kDeadAt;      // not after it
  batch.pushes[1].token_registered_unix_ms = kDeadAt + 1;  // after it
  take_all(submitter, batch);
  const auto ended = rig.collect(150);
  EXPECT_EQ(count_ends(ended), (Ends{{End::accepted, 51}, {End::failed, 99}}));
  for (const Outcome& o : ended) {
    if (o.end != End::failed) continue;
    EXPECT_EQ(o.reason, Reason::token_known_dead);
    EXPECT_EQ(o.unregistered_unix_ms, kDeadAt);
    EXPECT_TRUE(o.id == 100 || (o.id > 101 && o.id < 200)) << o.id;
  }
  EXPECT_EQ(server->totals().requests, 51u);
  EXPECT_GE(rig.engine->stats().dead_tokens, 99u);

  // What a 410 says is learnt.
  take_all(submitter, rig.batch(7, 1));
  auto answer = rig.collect(1);
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(answer[0].reason, Reason::unregistered);
  take_all(submitter, rig.batch(7, 1));
  answer = rig.collect(1);
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(answer[0].end, End::failed);
  EXPECT_EQ(answer[0].reason, Reason::token_known_dead);
  EXPECT_EQ(answer[0].unregistered_unix_ms, kDeadAt);
}

// Invariant 11: connections follow load. Small tenants have one each, however many shards there are.
TEST(Connections, ManySmallTenantsOnManyShardsHaveOneEach) {
  constexpr std::uint64_t kTenants = 120;
  constexpr std::uint64_t kEach = 16;
  const auto server = serve(mock_options());
  EngineOptions options;
  options.shards = 16;
  const CredentialOptions who = credential_options(port_of(server->address()));
  const Rig rig(options, who);  // one of them
  auto submitter = rig.engine->submitter().value();
  std::vector<CredentialHandle> tenants{rig.credential};
  while (tenants.size() < kTenants) {
    CredentialOptions next = who;
    next.name = "tenant " + std::to_string(tenants.size());
    tenants.push_back(rig.engine->add_credential(next).value());
  }
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < kTenants; ++i) {
      Batch batch = rig.batch((i * 2 + static_cast<std::uint64_t>(round)) * kEach, kEach);
      for (Push& push : batch.pushes) push.credential = tenants[i];
      take_all(submitter, batch);
    }
    EXPECT_EQ(count_ends(rig.collect(kTenants * kEach, 60'000)), (Ends{{End::accepted, kTenants * kEach}}));
  }
  EXPECT_EQ(rig.engine->stats().connections_opened, kTenants);
  EXPECT_EQ(rig.engine->stats().dials_failed, 0u);
}

// One place for a connection, two tenants in different shards: the idle one's is given up.
TEST(Connections, AnIdleOneMakesRoomForAnotherShards) {
  const auto server = serve(mock_options());
  EngineOptions options;
  options.shards = 4;
  options.connections_max = 1;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.connections_max = 1;
  const Rig rig(options, who);
  std::vector<CredentialHandle> all = {rig.credential};
  for (int i = 0; i < 7; ++i) all.push_back(rig.engine->add_credential(who).value());
  auto submitter = rig.engine->submitter().value();
  std::uint64_t id = 0;
  for (const CredentialHandle credential : all) {
    take_all(submitter, Batch(id, 50, rig.mdm, credential));
    id += 50;
    EXPECT_EQ(count_ends(rig.collect(50)), (Ends{{End::accepted, 50}}));
  }
  EXPECT_EQ(server->totals().accepted, id);
}

// The places are taken by one that is never idle; another, of another shard, has a push all the same.
TEST(Connections, ABusyOneMakesRoomForACredentialWithoutAny) {
  const auto server = serve(mock_options());
  EngineOptions options;
  options.shards = 2;
  options.connections_max = 2;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.connections_max = 2;
  who.span = 2;
  const Rig rig(options, who);
  who.connections_max = 1;
  who.span = 0;
  std::vector<CredentialHandle> others;
  for (int i = 0; i < 4; ++i) others.push_back(rig.engine->add_credential(who).value());
  std::atomic<bool> over{false};
  std::thread producer([&] {
    auto submitter = rig.engine->submitter().value();
    for (std::uint64_t id = 1'000'000; !over.load(); id += 100) {
      const Batch more = rig.batch(id, 100);
      static_cast<void>(submitter.submit(more.pushes));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  auto submitter = rig.engine->submitter().value();
  const auto limit = Clock::now() + std::chrono::seconds(60);
  std::set<std::uint64_t> accepted;
  std::vector<Outcome> out(4096);
  for (std::uint64_t i = 0; i < others.size(); ++i) take_all(submitter, Batch(i + 1, 1, rig.mdm, others[i]));
  while (accepted.size() < others.size() && Clock::now() < limit) {
    const std::size_t taken = rig.engine->wait(out, 100);
    for (std::size_t i = 0; i < taken; ++i) {
      EXPECT_EQ(out[i].end, End::accepted) << out[i].reason_view();
      if (out[i].id <= others.size()) accepted.insert(out[i].id);
    }
  }
  over = true;
  producer.join();
  EXPECT_EQ(accepted.size(), others.size());
}

// Everything at once, from several threads: each push has one end, whatever is asked meanwhile.
TEST(Control, EveryPushHasOneEndWhateverIsAskedMeanwhile) {
  const auto one = serve(mock_options());
  const auto two = serve(mock_options());
  EngineOptions options;
  options.shards = 2;
  CredentialOptions who = credential_options(port_of(one->address()));
  who.span = 2;
  CredentialOptions next = credential_options(port_of(two->address()));
  next.span = 2;
  const Rig rig(options, who);
  Engine& engine = *rig.engine;
  const CredentialHandle doomed = engine.add_credential(who).value();
  std::vector<GroupHandle> groups;
  for (int i = 0; i < 4; ++i) groups.push_back(engine.add_group({.name = "g"}).value());
  constexpr std::uint64_t kEach = 8000;
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      auto submitter = engine.submitter().value();
      for (std::uint64_t id = t * 100'000; id < t * 100'000 + kEach; id += 200) {
        Batch batch(id, 200, rig.mdm, id / 200 % 4 == 3 ? doomed : rig.credential);
        for (Push& push : batch.pushes) {
          push.group = push.id % 5 == 4 ? GroupHandle::none : groups[push.id % 5];
          push.priority_class = static_cast<PriorityClass>(push.id % 3);
          if (push.id % 11 == 0) push.deadline_unix_ns = wall_now_ns() + 50 * kMs;
        }
        std::span<const Push> rest(batch.pushes);
        while (!rest.empty()) {
          const SubmitResult said = submitter.submit(rest);
          taken += said.taken;
          rest = rest.subspan(said.taken);
          if (said.error == Code::unknown_handle) break;  // removed meanwhile
          ASSERT_EQ(said.error, Code::ok) << said.message;
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (std::uint64_t i = 0; !done; ++i) {
      EXPECT_TRUE(engine.pause(groups[i % 3]).ok());
      EXPECT_TRUE(engine.set_rate(groups[2], i % 2 == 0 ? 50'000 : 0).ok());
      const std::vector<std::uint64_t> ids = {i, i + 1, 100'000 + i};
      EXPECT_TRUE(engine.cancel(ids).ok());
      EXPECT_TRUE(engine.pause(rig.credential).ok());
      EXPECT_TRUE(engine.resume(rig.credential).ok());
      EXPECT_TRUE(i % 8 != 0 || engine.replace_credential(rig.credential, i % 16 == 0 ? next : who).ok());
      EXPECT_TRUE(i % 8 != 4 || engine.roll_connections(rig.credential).ok());
      EXPECT_TRUE(engine.resume(groups[i % 3]).ok());
      EXPECT_TRUE(i != 5 || engine.cancel(groups[3]).ok());
      EXPECT_TRUE(i != 10 || engine.remove_credential(doomed).ok());
      EXPECT_EQ(engine.stats().credentials.size(), 2u);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  threads[0].join();
  threads[1].join();
  const auto outcomes = rig.collect(taken, 60'000);
  done = true;
  threads[2].join();
  EXPECT_EQ(outcomes.size(), taken);
  Ends ends = count_ends(outcomes);
  EXPECT_EQ(ends[End::accepted], one->totals().accepted + two->totals().accepted);
  EXPECT_GT(ends[End::accepted], 0u);
  EXPECT_EQ(ends[End::unknown] + ends[End::rejected] + ends[End::failed], 0u);
  EXPECT_TRUE(engine.drain(0));
}


// ---- the way to the server

// An HTTP proxy for one tunnel at a time: answers CONNECT as `answer` says and relays if that is a 200.
class TunnelProxy {
 public:
  explicit TunnelProxy(std::string answer)
      : peer_([this, answer = std::move(answer)](int fd) { serve_one(fd, answer); }) {}
  std::uint16_t port() const { return peer_.port(); }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve_one(int client, const std::string& answer) {
    std::string head;
    char c = 0;
    while (!head.ends_with("\r\n\r\n") && ::recv(client, &c, 1, 0) == 1) head += c;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(head);
    }
    ::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    if (answer.find(" 200 ") == std::string::npos) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto address = io::parse_address(head.substr(8, head.find(' ', 8) - 8)).value();  // behind "CONNECT "
    if (::connect(server, address.get(), address.size) == 0) relay(client, server);
    ::close(server);
  }
  // Until both sides have ended.
  static void relay(int one, int two) {
    std::array<pollfd, 2> ends{pollfd{one, POLLIN, 0}, pollfd{two, POLLIN, 0}};
    std::vector<char> bytes(65'536);
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
      if (::poll(ends.data(), 2, 5000) <= 0) return;
      for (std::size_t i = 0; i < 2; ++i) {
        if (ends[i].fd < 0 || ends[i].revents == 0) continue;
        const int to = i == 0 ? two : one;
        const ssize_t got = ::recv(ends[i].fd, bytes.data(), bytes.size(), 0);
        if (got <= 0) {
          ::shutdown(to, SHUT_WR);
          ends[i].fd = -1;
          continue;
        }
        for (ssize_t at = 0; at < got;) {
          const ssize_t sent = ::send(to, bytes.data() + at, static_cast<std::size_t>(got - at), MSG_NOSIGNAL);
          if (sent <= 0) return;
          at += sent;
        }
      }
    }
  }

  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  Peer peer_;  // last: its thread uses the rest
};

TEST(Proxy, ATunnelThroughItCarriesThePushes) {
  const auto server = serve(mock_options());
  const TunnelProxy proxy("HTTP/1.1 200 Connection established\r\n\r\n");
  CredentialOptions who = credential_options(port_of(server->address()));
  who.connections_max = 1;
  who.proxy = "http://operator:open%20sesame@127.0.0.1:" + std::to_string(proxy.port());
  const Rig rig(EngineOptions{}, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 2000));
  EXPECT_EQ(count_ends(rig.collect(2000)), (Ends{{End::accepted, 2000}}));
  const auto requests = proxy.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].find("CONNECT " + server->address() + " HTTP/1.1\r\n"), 0u) << requests[0];
  EXPECT_NE(requests[0].find("Proxy-Authorization: Basic b3BlcmF0b3I6b3BlbiBzZXNhbWU=\r\n"), std::string::npos) << requests[0];
}

TEST(Proxy, WhatItRefusesIsSaidWithoutThePassword) {
  const auto server = serve(mock_options());
  const TunnelProxy proxy("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  CredentialOptions who = credential_options(port_of(server->address()));
  who.proxy = "http://operator:secret@127.0.0.1:" + std::to_string(proxy.port());
  who.backoff_min_ms = 1;
  who.backoff_max_ms = 5;
  const Rig rig(EngineOptions{}, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 20));
  const auto ended = rig.collect(20);
  EXPECT_EQ(count_ends(ended), (Ends{{End::failed, 20}})) << "a definite refusal is not dialled for a minute";
  const CredentialStats stats = rig.engine->stats().credentials[0];
  EXPECT_NE(stats.last_error.find("407"), std::string::npos) << stats.last_error;
  EXPECT_EQ(stats.last_error.find("secret"), std::string::npos) << stats.last_error;
  EXPECT_EQ(stats.last_error.find("b3BlcmF0b3I6c2VjcmV0"), std::string::npos) << stats.last_error;
  EXPECT_EQ(server->totals().requests, 0u);
}

TEST(AlternatePort, IsTakenWhereTheFirstCannotBeReached) {
  const auto server = serve(mock_options());
  CredentialOptions who = credential_options(closed_port());
  who.alternate_port = port_of(server->address());
  who.backoff_min_ms = 1;
  who.backoff_max_ms = 10;
  const Rig rig(EngineOptions{}, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 500));
  EXPECT_EQ(count_ends(rig.collect(500)), (Ends{{End::accepted, 500}}));
  EXPECT_GE(rig.engine->stats().dials_failed, 1u);
}

TEST(ProviderKey, ATokenIsMadeBeforeTheFirstPushAndOnceForAllShards) {
  mockd::Options mock = mock_options();
  mock.require_client_certificate = false;
  mock.gateway.require_certificate = false;
  const auto server = serve(std::move(mock));
  EngineOptions options;
  options.shards = 4;
  CredentialOptions who = credential_options(port_of(server->address()));
  who.span = 4;
  who.certificate_pem.clear();
  who.key_pem.clear();
  who.provider_key_p8 = p8_pem();
  who.provider_key_id = "ABC123DEFG";
  who.team_id = "TEAM456789";
  const Rig rig(options, who);
  TemplateOptions alert;
  alert.topic = "com.example.app";
  alert.payload = R"({"aps":{"alert":"bell"}})";
  const TemplateHandle bell = rig.engine->add_template(alert).value();
  alert.topic += ".location-query";
  alert.push_type = PushType::location;
  alert.priority = 5;
  alert.payload = R"({"aps":{}})";
  const TemplateHandle location = rig.engine->add_template(alert).value();
  auto submitter = rig.engine->submitter().value();
  const auto batch = [&](std::uint64_t first, std::size_t count, TemplateHandle what) {
    Batch made(first, count, what, rig.credential);
    for (Push& push : made.pushes) push.part = {};
    return made;
  };
  take_all(submitter, batch(0, 2000, bell));
  EXPECT_EQ(count_ends(rig.collect(2000)), (Ends{{End::accepted, 2000}}));
  EXPECT_GE(rig.engine->stats().token_turns, 4u);
  // Some push types want one kind of credential.
  const Batch wakeup = rig.batch(3000, 1);
  const SubmitResult refused = submitter.submit(wakeup.pushes);
  EXPECT_EQ(refused.error, Code::invalid_argument);
  EXPECT_EQ(refused.message.find("credential: "), 0u) << refused.message;
  take_all(submitter, batch(4000, 1, location));
  EXPECT_EQ(count_ends(rig.collect(1)), (Ends{{End::accepted, 1}}));
  // A certificate in its place: requests carry no token any more, and it is the other way round.
  ASSERT_TRUE(rig.engine->replace_credential(rig.credential, credential_options(port_of(server->address()))).ok());
  EXPECT_EQ(submitter.submit(batch(4001, 1, location).pushes).error, Code::invalid_argument);
  take_all(submitter, rig.batch(5000, 2000));
  EXPECT_EQ(count_ends(rig.collect(2000)), (Ends{{End::accepted, 2000}}));
}

// ---- full mailboxes

TEST(CancelIds, AShardThatIsBehindTakesNoListsWithoutEnd) {
  std::promise<void> release;
  auto released = release.get_future().share();
  std::promise<void> entered;
  std::atomic<bool> first{true};
  EngineOptions options;
  options.log = [&](const LogRecord& record) {  // on the shard's thread
    if (record.level < LogLevel::warning || !first.exchange(false)) return;
    entered.set_value();
    released.wait();
  };
  CredentialOptions who = credential_options(closed_port());
  who.backoff_min_ms = who.backoff_max_ms = 5;
  const Rig rig(options, who);
  auto submitter = rig.engine->submitter().value();
  take_all(submitter, rig.batch(0, 1));
  entered.get_future().wait();  // the shard tells of a failed dial, and hangs in its host
  const std::vector<std::uint64_t> ids(65'536, 12'345);
  EXPECT_TRUE(rig.engine->cancel(ids).ok());
  EXPECT_TRUE(rig.engine->cancel(ids).ok());
  const auto full = rig.engine->cancel(ids);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::capacity);
  const std::string hex = token_hex(1);
  const std::vector<DeadToken> dead(1, {std::string_view(hex), std::string_view("com.example"), 1});
  const auto also_full = rig.engine->add_dead_tokens(rig.credential, dead);
  ASSERT_FALSE(also_full.ok());
  EXPECT_EQ(also_full.error().code, Code::capacity);
  release.set_value();
  const auto limit = Clock::now() + std::chrono::seconds(10);
  while (!rig.engine->cancel(ids).ok() && Clock::now() < limit) std::this_thread::yield();
  const std::vector<std::uint64_t> mine = {0};
  while (!rig.engine->cancel(mine).ok() && Clock::now() < limit) std::this_thread::yield();
  const auto ended = rig.collect(1);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].end, End::cancelled);
}

}  // namespace
}  // namespace tocsin::engine_tests
