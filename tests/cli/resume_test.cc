// SPDX-License-Identifier: Apache-2.0
// What --resume rests on: run keys, the history of sessions, the journal, the reading back of outcomes, and a
// run that is cut at every byte it writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/hex.h"
#include "base/prng.h"
#include "cli/outcome_scan.h"
#include "cli/outputs.h"
#include "cli/run_history.h"
#include "cli/run_journal.h"
#include "cli/run_key.h"
#include "cli/run_record.h"

namespace tocsin::cli {
namespace {

TEST(RunKeys, ApnsIdsFollowFromKeyAndLine) {
  const RunKey key = run_key_from("winter update");
  EXPECT_EQ(key, run_key_from("winter update"));
  EXPECT_NE(key, run_key_from("winter updatf"));
  EXPECT_NE(random_run_key(), random_run_key());
  RunKey again;
  ASSERT_TRUE(run_key_parse(run_key_text(key), again));
  EXPECT_EQ(key, again);
  for (const char* bad : {"", "00", "zz000000000000000000000000000000", "000000000000000000000000000000000"})
    EXPECT_FALSE(run_key_parse(bad, again)) << bad;

  std::set<Uuid> ids;
  for (std::uint64_t line = 1; line <= 20'000; ++line) {
    const Uuid id = apns_id_of(key, line);
    EXPECT_EQ(id[6] >> 4, 4) << "a UUID of version 4";
    EXPECT_EQ(id[8] >> 6, 2);
    ids.insert(id);
    ids.insert(apns_id_of(run_key_from("another"), line));
  }
  EXPECT_EQ(ids.size(), 40'000u);
  EXPECT_EQ(apns_id_of(key, 7), apns_id_of(again = key, 7));
}

TEST(LineMaps, HoldFourBitsALine) {
  LineMap map;
  base::Prng prng(5);
  std::map<std::uint64_t, std::uint8_t> model;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t line = i % 3 == 0 ? prng.next() >> prng.below(64) : prng.below(100'000);
    const auto value = static_cast<std::uint8_t>(prng.below(16));
    map.set(line, value);
    model[line] = value;
  }
  for (const auto& [line, value] : model) ASSERT_EQ(map.get(line), value) << line;
  std::array<std::uint8_t, 16> table{};
  for (std::uint8_t i = 1; i < 16; ++i) table[i] = static_cast<std::uint8_t>(i ^ 1);
  table[1] = 5;
  for (const std::uint64_t last : {0ull, 31'337ull, 65'536ull, 99'999ull}) {
    map.remap(last, table);
    for (auto& [line, value] : model) {
      if (line <= last) value = table[value];
      ASSERT_EQ(map.get(line), value) << line << " up to " << last;
    }
  }
}

TEST(History, OneSession) {
  RunHistory history(Policy::at_least_once);
  history.begin_session(6, false);
  history.outcome(1, End::accepted, false);
  history.outcome(2, End::rejected, false);
  history.outcome(3, End::returned, true);
  history.outcome(4, End::failed, false);
  history.outcome(5, End::unknown, false);
  history.finish();
  const auto fates = [&](bool retry) {
    std::vector<Fate> all;
    for (std::uint64_t line = 1; line <= 7; ++line) all.push_back(history.fate(line, retry));
    return all;
  };
  using enum Fate;
  EXPECT_EQ(fates(false), (std::vector<Fate>{done, done, fresh, done, done, doubtful, fresh}));
  EXPECT_EQ(fates(true), (std::vector<Fate>{done, done, fresh, fresh, doubtful, doubtful, fresh}));
}

TEST(History, WhatWasNeverSentIsInDoubtOnceItIsAdmittedAgain) {
  RunHistory history(Policy::at_least_once);
  history.begin_session(4, false);
  history.outcome(1, End::returned, true);
  history.outcome(2, End::returned, true);
  history.outcome(3, End::accepted, false);
  history.begin_session(1, false);  // admitted line 1 again and was killed
  history.begin_session(5, false);  // admitted all, and gave 4 and 5 back
  history.outcome(4, End::returned, true);
  history.outcome(5, End::returned, true);
  history.outcome(2, End::returned, true);
  history.finish();
  EXPECT_EQ(history.fate(1, false), Fate::doubtful);
  EXPECT_EQ(history.fate(2, false), Fate::fresh) << "each session gave it back";
  EXPECT_EQ(history.fate(3, false), Fate::done);
  EXPECT_EQ(history.fate(4, false), Fate::doubtful) << "the first session may have sent it";
  EXPECT_EQ(history.fate(5, false), Fate::fresh) << "no session before had admitted it";
}

TEST(History, RetriesOfWhatFailed) {
  for (const Policy policy : {Policy::at_least_once, Policy::at_most_once}) {
    const bool at_most_once = policy == Policy::at_most_once;
    RunHistory history(policy);
    history.begin_session(4, false);
    for (std::uint64_t line : {1, 2, 4}) history.outcome(line, End::failed, false);
    history.outcome(3, End::unknown, false);
    history.begin_session(3, true);  // killed after it had admitted 1 to 3
    history.outcome(1, End::failed, false);
    history.finish();
    EXPECT_EQ(history.fate(1, false), Fate::done);
    EXPECT_EQ(history.fate(1, true), Fate::fresh) << "twice certainly not processed";
    EXPECT_EQ(history.fate(2, false), Fate::doubtful) << "its retry may have been sent";
    EXPECT_EQ(history.fate(3, false), at_most_once ? Fate::done : Fate::doubtful);
    EXPECT_EQ(history.fate(4, false), Fate::done);
    EXPECT_EQ(history.fate(4, true), Fate::fresh);
  }
}

// --- Reading outcomes back.

std::string outcome_text(std::uint64_t line, End end, std::string_view id = {}, Reason reason = Reason::none,
                         std::uint16_t status = 0) {
  Outcome outcome;
  outcome.end = end;
  outcome.reason = reason;
  outcome.status = status;
  outcome.ended_unix_ns = 1'800'000'000'000'000'000;
  TimeText time;
  std::string text;
  append_outcome(outcome, {line, "ab12", id}, time, text);
  return text;
}

TEST(OutcomeLines, AreReadBackAsTheyWereWritten) {
  for (std::size_t number = 1; number <= kEnds; ++number) {
    const End end = static_cast<End>(number);
    for (const char* id :
         {"", "17", "-1.5e3", R"("0815")", R"("a\"b,\\")", R"("{\"outcome\":\"returned\"}")", R"("")"}) {
      for (const Reason reason : {Reason::none, Reason::unregistered, Reason::cannot_connect, Reason::credential_stopped,
                                  Reason::engine_stopped}) {
        for (const auto status : {std::uint16_t{0}, std::uint16_t{410}}) {
          std::string text = outcome_text(12'345'678'901, end, id, reason, status);
          OutcomeLine line;
          ASSERT_TRUE(parse_outcome_line(std::string_view(text).substr(0, text.size() - 1), line)) << text;
          EXPECT_EQ(line.line, 12'345'678'901u);
          EXPECT_EQ(line.end, end);
          const bool no_way = reason == Reason::cannot_connect || reason == Reason::credential_stopped;
          EXPECT_EQ(line.unsent, end == End::returned || (end == End::failed && no_way)) << text;
          // Not one byte less.
          for (std::size_t cut = 0; cut + 1 < text.size(); ++cut)
            ASSERT_FALSE(parse_outcome_line(std::string_view(text).substr(0, cut), line)) << text.substr(0, cut);
          for (std::size_t at = 0; at + 1 < text.size(); at += 7) {
            std::string zeros = text.substr(0, text.size() - 1);
            zeros[at] = '\0';
            ASSERT_FALSE(parse_outcome_line(zeros, line)) << at;
          }
        }
      }
    }
  }
  OutcomeLine line;
  for (const char* bad : {"{}", R"({"id":1,"token":"ab","outcome":"accepted"})",
                          R"({"line":0,"id":1,"token":"ab","outcome":"accepted"})",
                          R"({"line":1,"id":1,"token":"ab","outcome":"done"})",
                          R"({"line": 1,"id":1,"token":"ab","outcome":"accepted"})",
                          R"({"line":99999999999999999999,"id":1,"token":"ab","outcome":"accepted"})"})
    EXPECT_FALSE(parse_outcome_line(bad, line)) << bad;
}

struct TempFile {
  std::string path = testing::TempDir() + "tocsin_resume_" + std::to_string(getpid());
  explicit TempFile(std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  ~TempFile() { unlink(path.c_str()); }
};

TEST(OutcomeFiles, AreScannedUpToWhatACrashLeft) {
  std::string text = "{\"of\":\"another run\"}\n";
  JournalFacts facts;
  facts.sessions = {{text.size(), false, 20'000}};
  for (std::uint64_t line = 20'000; line > 1; --line) text += outcome_text(line, End::accepted, R"("some id")");
  const std::uint64_t whole = text.size();
  text += outcome_text(1, End::accepted).substr(0, 60);
  const TempFile file(text);
  RunHistory history(Policy::at_least_once);
  auto tail = scan_outcomes(file.path, facts, history);
  ASSERT_TRUE(tail.ok()) << tail.error().message;
  EXPECT_EQ(tail->good_bytes, whole);
  EXPECT_EQ(tail->file_bytes, whole + 60);
  EXPECT_EQ(tail->tail, text.substr(whole));
  EXPECT_EQ(history.fate(1, false), Fate::doubtful);
  for (std::uint64_t line = 2; line <= 20'000; ++line) ASSERT_EQ(history.fate(line, false), Fate::done);
  EXPECT_EQ(history.fate(20'001, false), Fate::fresh);

  const auto error = [&](const JournalFacts& wrong) {
    RunHistory other(Policy::at_least_once);
    auto scanned = scan_outcomes(file.path, wrong, other);
    return scanned.ok() ? std::string() : scanned.error().message;
  };
  facts.outcomes_synced = whole;
  EXPECT_EQ(error(facts), "");
  facts.outcomes_synced = whole + 1;
  EXPECT_NE(error(facts).find("was the file changed"), std::string::npos);
  facts.outcomes_synced = whole + 61;
  EXPECT_NE(error(facts).find("were written"), std::string::npos);
  facts.outcomes_synced = 0;
  facts.sessions[0].mark = 19'999;
  EXPECT_NE(error(facts).find("of line 20000, which this run never sent"), std::string::npos);
  facts.sessions[0] = {0, false, 20'000};
  EXPECT_EQ(error(facts), "") << "damage in what was never synced is cut";
  facts.outcomes_synced = 1;
  EXPECT_NE(error(facts).find("the line at byte 0"), std::string::npos);
}

TEST(OutcomeFiles, OfEverySessionCount) {
  std::string text;
  JournalFacts facts;
  facts.sessions = {{0, false, 55}};
  for (std::uint64_t line = 1; line <= 50; ++line) text += outcome_text(line, End::accepted);
  facts.sessions.push_back({text.size(), false, 100});
  for (std::uint64_t line = 60; line <= 90; ++line) text += outcome_text(line, End::accepted);
  const TempFile file(text);
  RunHistory history(Policy::at_most_once);
  ASSERT_TRUE(scan_outcomes(file.path, facts, history).ok());
  for (std::uint64_t line = 1; line <= 101; ++line) {
    const bool done = line <= 50 || (line >= 60 && line <= 90);
    EXPECT_EQ(history.fate(line, false), done ? Fate::done : line <= 100 ? Fate::doubtful : Fate::fresh) << line;
  }
}

TEST(RejectFiles, AreReadBack) {
  std::string text;
  append_reject({7, "token", "token is missing", "x"}, text);
  const std::uint64_t first = text.size();
  append_reject({3, "line", "a \"quoted\" error", "{}"}, text);
  const std::uint64_t whole = text.size();
  {
    const TempFile file(text + "{\"line\":9,\"fie");
    LineMap lines;
    auto tail = scan_rejects(file.path, first, lines);
    ASSERT_TRUE(tail.ok());
    EXPECT_EQ(tail->good_bytes, whole);
    EXPECT_EQ(lines.get(7), 0) << "of another run";
    EXPECT_EQ(lines.get(3), 1);
    EXPECT_EQ(lines.get(9), 0);
  }
  LineMap lines;
  EXPECT_TRUE(scan_rejects("/nonexistent/rejects", 0, lines).ok());
  const TempFile edited("[]\n");
  EXPECT_FALSE(scan_rejects(edited.path, 0, lines).ok());
}

// --- A run that is cut at every byte.

// Two files of a machine that may end at any moment: what was done to them, in order.
struct Disk {
  struct Step {
    bool journal = false;
    bool sync = false;
    std::string bytes;
    std::uint64_t sent = 0;  // a push of this line was handed to the engine; else 0
  };
  std::vector<Step> steps;
};

class TestFile final : public DurableFile {
 public:
  TestFile(Disk& disk, bool journal) : disk_(disk), journal_(journal) {}
  Result<void> append(std::string_view bytes) override {
    disk_.steps.push_back({journal_, false, std::string(bytes), 0});
    return {};
  }
  // The disk is as late as it may be: nothing is there before it is waited for.
  std::uint64_t start_sync() override { return ++asked_; }
  std::uint64_t synced() override { return done_; }
  Result<void> wait(std::uint64_t ticket) override {
    if (done_ < ticket) disk_.steps.push_back({journal_, true, {}, 0});
    done_ = std::max(done_, ticket);
    return {};
  }

 private:
  Disk& disk_;
  bool journal_;
  std::uint64_t asked_ = 0, done_ = 0;
};

std::int64_t g_clock_ns = 0;
std::int64_t test_clock() { return g_clock_ns; }

// A first session over `lines` lines: pushes are handed over in order, outcomes come with a lag and out of
// order, one in nine is given back, outcomes are synced now and then.
Disk first_session(std::uint64_t lines, std::uint64_t seed) {
  Disk disk;
  base::Prng prng(seed);
  TestFile outcomes(disk, false);
  RunJournal journal(std::make_unique<TestFile>(disk, true), test_clock, 16);
  RunHeader header;
  header.input = "fleet.ndjson";
  header.settings = {{"--policy", "at-least-once"}};
  EXPECT_TRUE(journal.begin(header).ok());
  EXPECT_TRUE(journal.begin_session({}).ok());
  std::vector<std::uint64_t> in_flight;
  std::uint64_t written = 0;
  for (std::uint64_t line = 1; line <= lines || !in_flight.empty(); ++line) {
    if (line <= lines) {
      g_clock_ns += 500'000'000;  // so slow that strides are as short as they get
      EXPECT_TRUE(journal.admit(line, "line " + std::to_string(line)).ok());
      disk.steps.push_back({false, false, {}, line});
      in_flight.push_back(line);
    }
    if (line <= lines && in_flight.size() < 5) continue;
    if (prng.below(20) == 0) {
      EXPECT_TRUE(journal.rest().ok());
    }
    const std::size_t which = prng.below(in_flight.size());
    const std::uint64_t ended = in_flight[which];
    in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(which));
    const std::string text = outcome_text(ended, ended % 9 == 0 ? End::returned : End::accepted);
    EXPECT_TRUE(outcomes.append(text).ok());
    written += text.size();
    if (prng.below(4) != 0) continue;
    EXPECT_TRUE(outcomes.wait(outcomes.start_sync()).ok());
    EXPECT_TRUE(journal.outcomes_synced(written).ok());
  }
  EXPECT_TRUE(journal.end({true, 0, lines, written}).ok());
  return disk;
}

struct Left {
  std::string journal, outcomes;
  std::size_t journal_synced = 0, outcomes_synced = 0;
  std::set<std::uint64_t> sent;
};

// All of steps [0, count), and of step `count` its first `bytes`.
Left left_after(const Disk& disk, std::size_t count, std::size_t bytes) {
  Left left;
  for (std::size_t i = 0; i <= count && i < disk.steps.size(); ++i) {
    const Disk::Step& step = disk.steps[i];
    std::string& file = step.journal ? left.journal : left.outcomes;
    if (i == count) {
      file += step.bytes.substr(0, bytes);
    } else if (step.sent != 0) {
      left.sent.insert(step.sent);
    } else if (step.sync) {
      (step.journal ? left.journal_synced : left.outcomes_synced) = file.size();
    } else {
      file += step.bytes;
    }
  }
  return left;
}

// What a person may rely on, whatever is left of the two files.
void judge(const Left& left, const std::string& journal, const std::string& outcomes, std::uint64_t lines) {
  auto facts = read_journal(journal);
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  if (!facts->begun || facts->sessions.empty()) {
    ASSERT_TRUE(left.sent.empty()) << "something was sent by a run that left no trace";
    return;
  }
  RunHistory history(Policy::at_least_once);
  OutcomeScan scan(facts->sessions, history);
  const std::size_t used = scan.feed(outcomes);
  scan.finish();
  ASSERT_EQ(scan.beyond_mark(), 0u) << "an outcome without its admission";
  ASSERT_GE(used, left.outcomes_synced) << "a synced outcome is lost";
  ASSERT_GE(used, facts->outcomes_synced) << "the journal promises more than there is";
  std::map<std::uint64_t, bool> kept;  // line -> given back
  for (std::size_t at = 0; at < used;) {
    const std::size_t end = outcomes.find('\n', at);
    OutcomeLine line;
    ASSERT_TRUE(parse_outcome_line(std::string_view(outcomes).substr(at, end - at), line));
    kept[line.line] = line.unsent;
    at = end + 1;
  }
  for (std::uint64_t line = 1; line <= lines; ++line) {
    const Fate fate = history.fate(line, false);
    const auto found = kept.find(line);
    if (found != kept.end()) {
      ASSERT_EQ(fate, found->second ? Fate::fresh : Fate::done) << line;
    } else {
      ASSERT_NE(fate, Fate::done) << line << " would be left out";
      if (left.sent.contains(line)) {
        ASSERT_EQ(fate, Fate::doubtful) << line << " was sent and would be sent unawares";
      }
    }
  }
  if (facts->ended && facts->end.done && used >= facts->end.outcomes) {
    for (std::uint64_t line = 1; line <= lines; ++line) ASSERT_TRUE(kept.contains(line)) << line;
  }
}

// The process ends (SIGKILL): every byte that was written is kept.
TEST(Crash, AProcessThatEndsAtAnyByte) {
  const std::uint64_t lines = 160;
  const Disk disk = first_session(lines, 1);
  ASSERT_GE(std::count_if(disk.steps.begin(), disk.steps.end(),
                          [](const Disk::Step& s) { return s.bytes.starts_with("{\"mark\""); }),
            8);
  // Every byte of the journal's records; of the outcomes, which are alike, every byte of every 8th record.
  std::size_t cuts = 0;
  for (std::size_t step = 0; step <= disk.steps.size(); ++step) {
    const bool all = step < disk.steps.size() &&
                     (disk.steps[step].journal ? !disk.steps[step].bytes.starts_with("{\"synced") : step % 8 == 0);
    const std::size_t bytes = all ? disk.steps[step].bytes.size() : 0;
    if (!all && step % 5 != 0) continue;
    for (std::size_t cut = 0; cut <= bytes; ++cut, ++cuts) {
      const Left left = left_after(disk, step, cut);
      judge(left, left.journal, left.outcomes, lines);
      if (HasFatalFailure()) FAIL() << "step " << step << ", byte " << cut;
    }
  }
  EXPECT_GT(cuts, 1'500u);
}

// The machine ends (power): what was not synced is there up to any byte, or is there as zeros.
TEST(Crash, AMachineThatEndsAtAnyByte) {
  const std::uint64_t lines = 20;
  const Disk disk = first_session(lines, 2);
  std::size_t cuts = 0;
  for (std::size_t step = 0; step <= disk.steps.size(); ++step) {
    const Left left = left_after(disk, step, 1u << 20);
    const auto cut = [&](std::size_t j, std::size_t o) {
      std::string journal = left.journal.substr(0, j), outcomes = left.outcomes.substr(0, o);
      judge(left, journal, outcomes, lines);
      if (HasFatalFailure()) FAIL() << "step " << step << ", journal " << j << ", outcomes " << o;
      // The sizes came to the disk, the bytes did not.
      journal.resize(left.journal.size());
      outcomes.resize(left.outcomes.size());
      judge(left, journal, outcomes, lines);
      if (HasFatalFailure()) FAIL() << "zeros: step " << step << ", journal " << j << ", outcomes " << o;
      ++cuts;
    };
    for (std::size_t j = left.journal_synced; j <= left.journal.size(); ++j) {
      for (const std::size_t o : {left.outcomes_synced, left.outcomes.size()}) ASSERT_NO_FATAL_FAILURE(cut(j, o));
    }
    for (std::size_t o = left.outcomes_synced; o <= left.outcomes.size(); ++o) {
      for (const std::size_t j : {left.journal_synced, left.journal.size()}) ASSERT_NO_FATAL_FAILURE(cut(j, o));
    }
  }
  EXPECT_GT(cuts, 5'000u);
}

// --- The journal.

TEST(Journal, KeepsWhatTheRunIs) {
  Disk disk;
  RunJournal journal(std::make_unique<TestFile>(disk, true), test_clock);
  RunHeader header;
  header.key = run_key_from("k");
  header.input = "a \"file\".csv";
  header.input_known = true;
  header.input_bytes = 1'000'000'000'000;
  header.input_hash = hash_text(7);
  header.from_line = 12;
  header.rejects_from = 99;
  header.settings = {{"--topic", "com.example"}, {"--policy", "at-most-once"}};
  ASSERT_TRUE(journal.begin(header).ok());
  ASSERT_TRUE(journal.begin_session({77, false, 0}).ok());
  for (std::uint64_t line = 12; line < 5'000; ++line) {
    g_clock_ns += 200'000;
    ASSERT_TRUE(journal.admit(line, "x").ok());
  }
  ASSERT_TRUE(journal.outcomes_synced(4'000).ok());
  ASSERT_TRUE(journal.end({false, 5, 4'321, 4'000}).ok());
  ASSERT_TRUE(journal.begin_session({4'100, true, 0}).ok());
  ASSERT_TRUE(journal.admit(900, "y").ok());
  const Left left = left_after(disk, disk.steps.size(), 0);
  auto facts = read_journal(left.journal);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->header.key, header.key);
  EXPECT_EQ(facts->header.input, header.input);
  EXPECT_EQ(facts->header.input_bytes, header.input_bytes);
  EXPECT_EQ(facts->header.input_hash, header.input_hash);
  EXPECT_EQ(facts->header.from_line, 12u);
  EXPECT_EQ(facts->header.rejects_from, 99u);
  EXPECT_EQ(facts->header.settings, header.settings);
  ASSERT_EQ(facts->sessions.size(), 2u);
  EXPECT_EQ(facts->sessions[0].outcomes_from, 77u);
  EXPECT_EQ(facts->sessions[0].mark, 4'321u) << "the last word on what was handed over";
  EXPECT_EQ(facts->sessions[1].outcomes_from, 4'100u);
  EXPECT_TRUE(facts->sessions[1].retry_failed);
  EXPECT_GE(facts->sessions[1].mark, 900u) << "marks begin anew with each session";
  EXPECT_LT(facts->sessions[1].mark, 2'000u);
  EXPECT_EQ(facts->outcomes_synced, 4'100u);
  EXPECT_FALSE(facts->ended) << "another session has begun";
  EXPECT_TRUE(facts->unfinished());
  EXPECT_EQ(facts->bytes, left.journal.size());
  EXPECT_EQ(facts->checks.front().line, 12u);
  EXPECT_EQ(facts->checks.front().hash, hash_of("x"));
}

// A disk on which a sync takes its time, on the test's clock.
class SlowFile final : public DurableFile {
 public:
  explicit SlowFile(std::int64_t sync_ns) : sync_ns_(sync_ns) {}
  Result<void> append(std::string_view bytes) override {
    text_ += bytes;
    ++records_;
    return {};
  }
  std::uint64_t start_sync() override {
    due_.push_back(std::max(g_clock_ns, due_.empty() ? 0 : due_.back()) + sync_ns_);
    return due_.size();
  }
  std::uint64_t synced() override {
    while (done_ < due_.size() && due_[done_] <= g_clock_ns) ++done_;
    return done_;
  }
  Result<void> wait(std::uint64_t ticket) override {
    const std::int64_t until = std::max(g_clock_ns, due_[ticket - 1]);
    waited_ns_ += until - g_clock_ns;
    g_clock_ns = until;
    return {};
  }

  std::uint64_t mark() const {
    auto facts = read_journal(text_);
    return facts.ok() && !facts->sessions.empty() ? facts->sessions.back().mark : 0;
  }
  std::size_t records() const { return records_; }
  std::int64_t waited_ns() const { return waited_ns_; }

 private:
  const std::int64_t sync_ns_;
  std::string text_;
  std::size_t records_ = 0;
  std::vector<std::int64_t> due_;
  std::size_t done_ = 0;
  std::int64_t waited_ns_ = 0;
};

struct Stretch {
  std::uint64_t ahead = 0;    // of the line at hand, the furthest mark
  double marks_a_second = 0;
  double waited_share = 0;
};

// `seconds` at `rate` lines a second, judged over their second half.
Stretch send_at(RunJournal& journal, const SlowFile& file, std::uint64_t& line, double rate, double seconds) {
  const auto lines = static_cast<std::uint64_t>(rate * seconds);
  const auto step = static_cast<std::int64_t>(1e9 / rate);
  Stretch found;
  std::size_t records = 0, seen = 0;
  std::int64_t waited = 0, began = 0;
  for (std::uint64_t i = 0; i < lines; ++i) {
    if (i == lines / 2) records = seen = file.records(), waited = file.waited_ns(), began = g_clock_ns;
    g_clock_ns += step;
    EXPECT_TRUE(journal.admit(++line, "x").ok());
    if (i <= lines / 2 || file.records() == seen) continue;
    seen = file.records();  // a mark was written: now it is furthest ahead
    found.ahead = std::max(found.ahead, file.mark() - line);
  }
  const auto took = static_cast<double>(g_clock_ns - began);
  found.marks_a_second = static_cast<double>(file.records() - records) * 1e9 / took;
  found.waited_share = static_cast<double>(file.waited_ns() - waited) / took;
  return found;
}

// What is called doubtful though it was never sent: a stride and a half, 75 ms of any rate.
TEST(Journal, MarksStayNearWhateverTheRate) {
  struct Row {
    double rate;
    std::int64_t sync_ns;
    std::uint64_t ahead_most;
    double waited_most;
  };
  const Row rows[] = {
      {300'000, 2'000'000, 24'000, 0},
      {16'667, 2'000'000, 1'400, 0},
      {16'667, 20'000'000, 1'400, 0},
      {1'000, 2'000'000, 85, 0},
      {20, 2'000'000, 24, 0},
      {1, 2'000'000, 24, 0},
      {300'000, 100'000'000, 130'000, 0.02},  // a slow disk: a stride is 250 ms then
      {16'667, 300'000'000, 22'000, 0.02},
  };
  for (const Row& row : rows) {
    auto owned = std::make_unique<SlowFile>(row.sync_ns);
    const SlowFile& file = *owned;
    RunJournal journal(std::move(owned), test_clock);
    ASSERT_TRUE(journal.begin({}).ok());
    ASSERT_TRUE(journal.begin_session({}).ok());
    std::uint64_t line = 0;
    const Stretch found = send_at(journal, file, line, row.rate, row.rate < 1000 ? 400 : 8);
    const std::string which = std::to_string(row.rate) + "/s, sync " + std::to_string(row.sync_ns / 1'000'000) + " ms";
    EXPECT_LE(found.ahead, row.ahead_most) << which;
    EXPECT_LE(found.marks_a_second, 22) << which;
    EXPECT_LE(found.waited_share, row.waited_most) << which;
  }
}

TEST(Journal, StridesFollowARateThatChanges) {
  auto owned = std::make_unique<SlowFile>(2'000'000);
  const SlowFile& file = *owned;
  RunJournal journal(std::move(owned), test_clock);
  ASSERT_TRUE(journal.begin({}).ok());
  ASSERT_TRUE(journal.begin_session({}).ok());
  std::uint64_t line = 0;
  const std::int64_t began = g_clock_ns;
  for (int i = 0; i < 300'000; ++i) {
    g_clock_ns += 3'333;
    ASSERT_TRUE(journal.admit(++line, "x").ok());
  }
  EXPECT_LT(g_clock_ns - began, 1'050'000'000) << "the start at full speed costs a few syncs, no more";
  EXPECT_GT(file.mark(), line);
  EXPECT_LE(send_at(journal, file, line, 1'000, 60).ahead, 85u) << "fallen";
  g_clock_ns += 3'600'000'000'000;  // an outage of an hour
  EXPECT_LE(send_at(journal, file, line, 300'000, 4).ahead, 24'000u) << "and risen again";
}

TEST(Journal, AtRestOnlyWhatWasHandedOverIsInDoubt) {
  auto owned = std::make_unique<SlowFile>(2'000'000);
  const SlowFile& file = *owned;
  RunJournal journal(std::move(owned), test_clock);
  ASSERT_TRUE(journal.begin({}).ok());
  ASSERT_TRUE(journal.begin_session({}).ok());
  ASSERT_TRUE(journal.rest().ok());
  EXPECT_EQ(file.records(), 2u) << "nothing to take back";
  std::uint64_t line = 0;
  for (const std::uint64_t burst : {1u, 16u, 700u, 50'000u}) {
    for (std::uint64_t i = 0; i < burst; ++i) ASSERT_TRUE(journal.admit(++line, "x").ok());
    EXPECT_GT(file.mark(), line);
    ASSERT_TRUE(journal.rest().ok());
    EXPECT_EQ(file.mark(), line);
    const std::size_t records = file.records();
    ASSERT_TRUE(journal.rest().ok());
    EXPECT_EQ(file.records(), records) << "said once";
    g_clock_ns += 200'000'000;
  }
  ASSERT_TRUE(journal.end({false, 0, line, 0}).ok());
  EXPECT_EQ(file.mark(), line);
  // Written by a run that never was ahead.
  EXPECT_EQ(read_journal("{\"tocsin_run\":1,\"key\":\"00112233445566778899aabbccddeeff\",\"input\":\"x\",\"from_line\":1,"
                         "\"rejects_from\":0,\"settings\":{}}\n{\"session\":1,\"outcomes_from\":0,\"retry_failed\":false}\n"
                         "{\"mark\":9,\"line\":1,\"hash\":\"0000000000000001\"}\n{\"admitted\":10}\n")
                ->sessions.at(0)
                .mark,
            9u)
      << "more than the mark is no word of ours";
}

// After a resume most lines are done: those that are not must not cost a sync each.
TEST(Journal, GapsBetweenLinesCostNoSyncEach) {
  auto owned = std::make_unique<SlowFile>(2'000'000);
  const SlowFile& file = *owned;
  RunJournal journal(std::move(owned), test_clock);
  ASSERT_TRUE(journal.begin({}).ok());
  ASSERT_TRUE(journal.begin_session({}).ok());
  const std::int64_t began = g_clock_ns;
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    g_clock_ns += 100'000;
    ASSERT_TRUE(journal.admit(i * 100, "x").ok());
  }
  EXPECT_LT(file.waited_ns(), 30'000'000);
  EXPECT_LT(g_clock_ns - began, 1'100'000'000);
  EXPECT_LT(file.records(), 60u);
}

TEST(Journal, OfAnotherKindIsRefused) {
  EXPECT_FALSE(read_journal("{\"tocsin_run\":3,\"key\":\"\"}\n").ok());
  EXPECT_FALSE(read_journal("something else\n").ok());
  EXPECT_FALSE(read_journal("{\"tocsin_run\":1,\"key\":\"short\"}\n").ok());
  const std::string torn[] = {"", "{\"tocsin_run\":1,\"ke", std::string(300, '\0'), std::string(20, '\0') + "\n"};
  for (const std::string& bytes : torn) {
    auto facts = read_journal(bytes);
    ASSERT_TRUE(facts.ok());
    EXPECT_FALSE(facts->begun);
    EXPECT_FALSE(facts->unfinished());
  }
}

TEST(InputWatches, KnowTheInputAgain) {
  const std::vector<InputCheck> checks = {{1, hash_of("a")}, {1, hash_of("a")}, {5, hash_of("e")}};
  InputWatch same(checks);
  for (std::uint64_t line = 1; line <= 6; ++line)
    EXPECT_TRUE(same.seen(line, std::string(1, static_cast<char>('`' + line))));
  EXPECT_TRUE(same.ended());
  InputWatch other(checks);
  EXPECT_FALSE(other.seen(1, "b"));
  InputWatch missing(checks);
  EXPECT_TRUE(missing.seen(1, "a"));
  EXPECT_FALSE(missing.seen(6, "f")) << "line 5 is gone";
  InputWatch shorter(checks);
  EXPECT_TRUE(shorter.seen(1, "a"));
  EXPECT_FALSE(shorter.ended());
  EXPECT_EQ(shorter.line(), 5u);
}

TEST(Disk, SaysWhatIsOnIt) {
  const std::string path = testing::TempDir() + "tocsin_durable_" + std::to_string(getpid());
  unlink(path.c_str());
  auto file = SystemFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_TRUE((*file)->append("one\n").ok());
  ASSERT_TRUE((*file)->wait((*file)->start_sync()).ok());
  EXPECT_EQ((*file)->synced(), 1u);
  auto second = SystemFile::open(path);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another tocsin"), std::string::npos);
  ASSERT_TRUE((*file)->append("torn").ok());
  ASSERT_TRUE((*file)->keep(4).ok());
  EXPECT_EQ(*(*file)->read_all(), "one\n");
  ASSERT_TRUE(sync_directory_of(path).ok());
  file = Error{};
  EXPECT_TRUE(SystemFile::open(path).ok()) << "free again";
  unlink(path.c_str());
  EXPECT_FALSE(SystemFile::open("/nonexistent/x.run").ok());
  Syncer pipe(-1, "x");
  EXPECT_FALSE(pipe.wait(pipe.start()).ok());
  EXPECT_FALSE(pipe.error().ok());
  EXPECT_FALSE(pipe.wait(pipe.start()).ok()) << "and not good again by asking twice";
}

}  // namespace
}  // namespace tocsin::cli
