// SPDX-License-Identifier: Apache-2.0
// What submit makes of each push of a chunk: wrong ones in between, an engine that is full before or behind them, several
// shards, and every field of the record as outcomes and the peer's ledger show it.
#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "base/hex.h"
#include "engine/shared.h"
#include "rig.h"

namespace tocsin::engine_tests {
namespace {

constexpr std::size_t kChunk = 256;

std::int64_t wall_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::span<const Push> from(const Batch& batch, std::size_t at) { return std::span<const Push>(batch.pushes).subspan(at); }

CredentialOptions spread(std::uint16_t port, unsigned shards) {
  CredentialOptions who = credential_options(port);
  who.span = shards;
  return who;
}

EngineOptions with_shards(unsigned shards) {
  EngineOptions options;
  options.shards = shards;
  return options;
}

TEST(Submit, AWrongPushLeavesNothingWhereverItStands) {
  const std::string bad_end = token_hex(1).substr(0, 63) + "g";
  const std::string long_part(kPartBytesMax + 1, 'x');
  const std::string big = R"({"mdm":")" + std::string(4000, 'x') + "\"";
  // Found at the first look, and when parts of the record have been written.
  const std::function<void(Push&, const Rig&)> kinds[] = {
      [](Push& p, const Rig&) { p.version = 2; },
      [&](Push& p, const Rig&) { p.token = std::string_view(bad_end); },
      [](Push& p, const Rig&) { p.part = std::string_view("\xff\xfe"); },
      [](Push& p, const Rig&) { p.part = {}; },
      [&](Push& p, const Rig&) { p.part = std::string_view(long_part); },
      [&](Push& p, const Rig& rig) { p.part = {}, p.template_handle = rig.own, p.payload = std::string_view(big); },
  };
  for (const unsigned shards : {1u, 2u}) {
    const Peer silent;
    const Rig rig(with_shards(shards), spread(silent.port(), shards));
    auto submitter = rig.engine->submitter().value();
    std::set<std::uint64_t> right;
    std::uint64_t first = 0;
    for (const std::size_t at : {std::size_t{0}, std::size_t{1}, kChunk / 2, kChunk - 1, kChunk, kChunk + 1, 2 * kChunk, 2 * kChunk + 87}) {
      for (const auto& spoil : kinds) {
        Batch batch = rig.batch(first, 600);
        spoil(batch.pushes[at], rig);
        const SubmitResult said = submitter.submit(batch.pushes);
        ASSERT_EQ(said.taken, at);
        ASSERT_NE(said.error, Code::ok);
        ASSERT_FALSE(said.message.empty());
        const SubmitResult rest = submitter.submit(from(batch, at + 1));
        ASSERT_EQ(rest.taken, 600 - at - 1) << rest.message;
        ASSERT_EQ(rest.error, Code::ok);
        for (std::uint64_t id = first; id < first + 600; ++id) {
          if (id != first + at) right.insert(id);
        }
        first += 600;
      }
    }
    EXPECT_EQ(rig.engine->stats().submitted, right.size());
    rig.engine->stop();
    const auto outcomes = rig.collect(right.size());
    ASSERT_EQ(outcomes.size(), right.size());
    std::set<Uuid> apns_ids;
    for (const Outcome& o : outcomes) {
      ASSERT_EQ(right.erase(o.id), 1u) << o.id;
      ASSERT_EQ(o.end, End::returned);
      ASSERT_TRUE(apns_ids.insert(o.apns_id).second);
      ASSERT_EQ(o.apns_id[6] >> 4, 4);  // version and variant
      ASSERT_EQ(o.apns_id[8] >> 6, 2);
    }
    const EngineStats stats = rig.engine->stats();
    EXPECT_EQ(stats.waiting, 0u);
    EXPECT_EQ(stats.queue_bytes, 0u);
  }
}

// What an engine of one limit says of a wrong push in front of the last place, behind it, and one further; and that neither
// a wrong push nor a full engine keeps anything.
void expect_full_or_wrong(const EngineOptions& options, std::size_t fit, std::size_t payload_bytes) {
  const std::uint64_t bytes_each = payload_bytes == 0 ? 0 : payload_bytes + 32;
  for (int offset = -1; offset <= 1; ++offset) {
    SCOPED_TRACE(std::to_string(fit) + (offset < 0 ? ": in front of the last" : offset == 0 ? ": behind the last" : ": one further"));
    const Peer silent;
    const Rig rig(options, credential_options(silent.port()));
    auto submitter = rig.engine->submitter().value();
    Batch batch(0, fit + 20, payload_bytes == 0 ? rig.mdm : rig.own, rig.credential);
    if (payload_bytes != 0) batch.own_payloads(payload_bytes);
    const std::size_t wrong = fit + static_cast<std::size_t>(offset);
    const Push right = batch.pushes[wrong];
    batch.pushes[wrong].part = std::string_view("\xff");
    const SubmitResult said = submitter.submit(batch.pushes);
    EXPECT_EQ(said.taken, std::min(fit, wrong));
    EXPECT_EQ(said.error, offset <= 0 ? Code::invalid_argument : Code::ok);
    EXPECT_EQ(said.message.empty(), offset > 0) << said.message;
    EXPECT_EQ(rig.engine->stats().submitted, said.taken);
    EXPECT_EQ(rig.engine->stats().waiting, said.taken);
    EXPECT_EQ(rig.engine->stats().queue_bytes, said.taken * bytes_each);
    batch.pushes[wrong] = right;
    const SubmitResult more = submitter.submit(from(batch, said.taken));
    EXPECT_EQ(said.taken + more.taken, fit);
    EXPECT_EQ(more.error, Code::ok) << more.message;
    // Again full, with nothing taken and a wrong one right there.
    batch.pushes[fit].part = std::string_view("\xff");
    EXPECT_EQ(submitter.submit(from(batch, fit)).error, Code::invalid_argument);
    EXPECT_EQ(submitter.submit(from(batch, fit + 1)).error, Code::ok);
    EXPECT_EQ(submitter.submit(from(batch, fit + 1)).taken, 0u);
    EXPECT_EQ(rig.engine->stats().queue_bytes, fit * bytes_each);
    rig.engine->stop();
    EXPECT_EQ(rig.collect(fit).size(), fit);
    EXPECT_EQ(rig.engine->stats().waiting, 0u);
    EXPECT_EQ(rig.engine->stats().queue_bytes, 0u);
  }
}

TEST(Full, WinsOverAWrongPushBehindItAndNotOverOneInFront) {
  for (const std::size_t fit : {std::size_t{1024}, std::size_t{1100}}) {  // at a chunk's end and within one
    EngineOptions options;
    options.pushes_max = fit;
    expect_full_or_wrong(options, fit, 0);
  }
  for (const std::size_t fit : {std::size_t{256}, std::size_t{300}}) {
    EngineOptions options;
    options.shard_queue_pushes_max = fit;
    expect_full_or_wrong(options, fit, 0);
  }
  EngineOptions options;
  options.shard_queue_bytes_max = 64 << 10;
  expect_full_or_wrong(options, (64 << 10) / 4032, 4000);
}

TEST(Full, OneOfSeveralShardsEndsTheBatchAndTheOthersKeepTheirPlaces) {
  engine::CredentialEntry entry;
  entry.span = 2;
  const auto side_of = [&](std::uint64_t id) {
    std::array<std::uint8_t, 32> token{};
    base::hex_decode(token_hex(id), token.data());
    return engine::route(entry, std::as_bytes(std::span(token)), 2);
  };
  std::array<std::size_t, 2> taken{};
  std::size_t fit = 0;
  while (taken[side_of(fit)] < 256) ++taken[side_of(fit++)];
  const std::uint32_t other = 1 - side_of(fit);
  ASSERT_LT(taken[other], 256u) << "the tokens say nothing";
  for (std::size_t wrong = fit - 1; wrong <= fit + 1; ++wrong) {
    SCOPED_TRACE(std::to_string(wrong) + " of " + std::to_string(fit));
    const Peer silent;
    EngineOptions options = with_shards(2);
    options.shard_queue_pushes_max = 256;
    const Rig rig(options, spread(silent.port(), 2));
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, 2000);
    batch.pushes[wrong].part = {};
    const SubmitResult said = submitter.submit(batch.pushes);
    EXPECT_EQ(said.taken, std::min(fit, wrong));
    EXPECT_EQ(said.error, wrong <= fit ? Code::invalid_argument : Code::ok) << said.message;
    EXPECT_EQ(rig.engine->stats().waiting, said.taken);
    // Each side has exactly its places left.
    for (const std::uint32_t side : {other, 1 - other}) {
      std::vector<Push> rest;
      for (std::size_t i = fit + 2; i < batch.pushes.size(); ++i) {
        if (side_of(i) == side) rest.push_back(batch.pushes[i]);
      }
      const std::size_t left = side == other ? 256 - taken[other] + (wrong < fit && side_of(wrong) == other)
                                             : (wrong < fit && side_of(wrong) != other);
      ASSERT_GT(rest.size(), left);
      const SubmitResult more = submitter.submit(rest);
      EXPECT_EQ(more.taken, left);
      EXPECT_EQ(more.error, Code::ok);
    }
    EXPECT_EQ(rig.engine->stats().waiting, 512u);
    rig.engine->stop();
    EXPECT_EQ(rig.collect(512).size(), 512u);
    EXPECT_EQ(rig.engine->stats().waiting, 0u);
  }
}

// Pushes of every form, neighbours of one chunk, so that what the record before had in its place shows.
TEST(Submit, EveryFieldArrivesWhateverTheNeighboursAre) {
  constexpr std::int64_t kDeadAt = 1'700'000'000'000;
  const std::string plain(kPartBytesMax, 'p');
  const std::string awkward = "quote \" backslash \\ line\n \xc3\xa9";
  const std::string payload = R"({"mdm":"own"})";
  const std::string big = R"({"mdm":")" + std::string(4000, 'x') + "\"}";
  const std::string collapse_id(kCollapseIdBytesMax, 'c');
  for (const unsigned shards : {1u, 3u}) {
    const auto server = serve(mock_options());
    const Rig rig(with_shards(shards), spread(port_of(server->address()), shards));
    auto submitter = rig.engine->submitter().value();
    TemplateOptions over = mdm_template();
    over.has_expiration = true;
    over.expiration_unix_s = 1'000'000'000;  // 2001
    const TemplateHandle expired = rig.engine->add_template(over).value();
    const GroupHandle group = rig.engine->add_group({.name = "held", .paused = true}).value();
    const std::string dead = token_hex(1'000'000);
    const std::vector<DeadToken> known = {{std::string_view(dead), std::string_view(kit().topic), kDeadAt}};
    ASSERT_TRUE(rig.engine->add_dead_tokens(rig.credential, known).ok());

    struct Kind {
      End end;
      std::function<void(Push&)> make;
    };
    const Kind kinds[] = {
        {End::accepted, [](Push&) {}},
        {End::accepted, [](Push& p) { p.part = std::string_view("0f4c5e2a-8c4c-4b7e-9b1c-6f1b3b0c1d2e"); }},
        {End::accepted, [](Push& p) { p.part = std::string_view("0F4C5E2A-8C4C-4B7E-9B1C-6f1b3b0c1d2e"); }},  // neither case: as text
        {End::accepted, [](Push& p) { p.part = std::string_view("0F4C5E2A-8C4C-4B7E-9B1C-6F1B3B0C1D2\\"); }},  // as long as one
        {End::accepted, [](Push& p) { p.part = std::string_view("short"); }},
        {End::accepted, [&](Push& p) { p.part = std::string_view(plain); }},
        {End::accepted, [&](Push& p) { p.part = std::string_view(awkward); }},
        {End::accepted, [&](Push& p) { p.collapse_id = std::string_view(collapse_id); }},
        {End::accepted, [&](Push& p) { p.template_handle = rig.own, p.part = {}, p.payload = std::string_view(payload); }},
        {End::accepted, [&](Push& p) { p.template_handle = rig.own, p.part = {}, p.payload = std::string_view(big); }},
        {End::accepted, [](Push& p) { p.apns_id[15] = 1, p.apns_id[0] = static_cast<std::uint8_t>(p.id), p.apns_id[1] = static_cast<std::uint8_t>(p.id >> 8); }},
        {End::accepted, [](Push& p) { p.deadline_unix_ns = wall_now_ns() + 3'600'000'000'000; }},
        {End::expired, [](Push& p) { p.deadline_unix_ns = 1; }},
        {End::expired, [&](Push& p) { p.template_handle = expired; }},
        {End::expired, [&](Push& p) { p.template_handle = expired, p.deadline_unix_ns = wall_now_ns() + 3'600'000'000'000; }},
        {End::cancelled, [&](Push& p) { p.group = group, p.priority_class = PriorityClass::bulk; }},
        {End::accepted, [](Push& p) { p.priority_class = PriorityClass::urgent, p.policy = Policy::at_most_once; }},
        {End::failed, [&](Push& p) { p.token = std::string_view(dead), p.token_registered_unix_ms = kDeadAt; }},
        {End::accepted, [&](Push& p) { p.token = std::string_view(dead), p.token_registered_unix_ms = (std::int64_t{1} << 48) - 1; }},
    };
    // Each kind behind each other.
    constexpr std::size_t kKinds = std::size(kinds);
    std::vector<std::size_t> kind_of;
    for (std::size_t a = 0; a < kKinds; ++a) {
      for (std::size_t b = 0; b < kKinds; ++b) kind_of.insert(kind_of.end(), {a, b});
    }
    Batch batch = rig.batch(0, kind_of.size());
    for (std::size_t i = 0; i < kind_of.size(); ++i) kinds[kind_of[i]].make(batch.pushes[i]);
    const std::int64_t before = wall_now_ns();
    const SubmitResult said = submitter.submit(batch.pushes);
    const std::int64_t after = wall_now_ns();
    ASSERT_EQ(said.taken, kind_of.size()) << said.message;
    const auto cancelled = 2 * kKinds;
    auto outcomes = rig.collect(kind_of.size() - cancelled);
    EXPECT_EQ(rig.engine->stats().waiting, cancelled) << "the group is paused";
    ASSERT_TRUE(rig.engine->cancel(group).ok());
    for (const Outcome& o : rig.collect(cancelled)) outcomes.push_back(o);
    ASSERT_EQ(outcomes.size(), kind_of.size());
    std::set<std::uint64_t> ids;
    for (const Outcome& o : outcomes) {
      ASSERT_TRUE(ids.insert(o.id).second);
      const Push& push = batch.pushes[o.id];
      ASSERT_EQ(o.end, kinds[kind_of[o.id]].end) << "kind " << kind_of[o.id] << ": " << o.reason_view();
      ASSERT_GE(o.submitted_unix_ns, before);
      ASSERT_LE(o.submitted_unix_ns, after);
      ASSERT_TRUE(push.apns_id == Uuid{} || o.apns_id == push.apns_id);
      ASSERT_EQ(o.end == End::failed, o.reason == Reason::token_known_dead);
      std::array<std::uint8_t, 32> token{};
      base::hex_decode(push.token.view(), token.data());
      const auto entry = server->find(std::as_bytes(std::span(token)));
      if (push.token.view() != dead) {
        ASSERT_EQ(entry.has_value(), o.end == End::accepted);
        ASSERT_EQ(entry ? entry->last_apns_id : o.apns_id, o.apns_id);
      }
    }
    EXPECT_EQ(rig.engine->stats().queue_bytes, 0u);
  }
}

// Tokens of any length, in one shard and routed by their bytes.
TEST(Submit, TokensOfAnyLengthAreRoutedAndArrive) {
  for (const unsigned shards : {1u, 3u}) {
    const auto server = serve(mock_options());
    const Rig rig(with_shards(shards), spread(port_of(server->address()), shards));
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, kTokenHexDigitsMax / 2);
    std::vector<std::string> tokens;
    for (std::size_t i = 0; i < batch.pushes.size(); ++i) {
      std::string text;
      while (text.size() < 2 * (i + 1)) text += token_hex(i + text.size());
      tokens.push_back(text.substr(0, 2 * (i + 1)));
    }
    for (std::size_t i = 0; i < batch.pushes.size(); ++i) batch.pushes[i].token = std::string_view(tokens[i]);
    const SubmitResult said = submitter.submit(batch.pushes);
    ASSERT_EQ(said.taken, batch.pushes.size()) << said.message;
    const auto outcomes = rig.collect(batch.pushes.size());
    ASSERT_EQ(outcomes.size(), batch.pushes.size());
    for (const Outcome& o : outcomes) {
      ASSERT_EQ(o.end, End::accepted) << o.id << ' ' << o.reason_view();
      std::array<std::uint8_t, kTokenHexDigitsMax / 2> token{};
      base::hex_decode(tokens[o.id], token.data());
      const auto entry = server->find(std::as_bytes(std::span(token).first(tokens[o.id].size() / 2)));
      ASSERT_TRUE(entry.has_value()) << o.id;
      ASSERT_EQ(entry->last_apns_id, o.apns_id);
    }
  }
}

}  // namespace
}  // namespace tocsin::engine_tests
