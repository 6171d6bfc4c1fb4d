// SPDX-License-Identifier: Apache-2.0
// What a run left on the disk, read back by --resume: the journal, the outcomes, the rejects.
//
// Input: which file, then for the outcomes two sessions (where they begin, their marks) and cuts (fuzz.h), then the file.
// Properties: a journal's facts lie within the file and a shorter file never says more; outcomes read in pieces are those
// read at once, none beyond the mark; a rejects file is read or refused. An outcome as we write it is always read.
#include <algorithm>
#include <vector>

#include "cli/outcome_scan.h"
#include "cli/outputs.h"
#include "cli/run_journal.h"
#include "fuzz.h"

namespace tocsin::fuzz {
namespace {

void journal(std::string_view text) {
  const auto facts = cli::read_journal(text);
  if (!facts.ok()) {
    FUZZ_CHECK(!facts.error().message.empty());
    return;
  }
  FUZZ_CHECK(facts->bytes <= text.size());
  FUZZ_CHECK(facts->begun || (facts->sessions.empty() && !facts->may_have_sent()));
  FUZZ_CHECK(std::is_sorted(facts->checks.begin(), facts->checks.end(),
                            [](const cli::InputCheck& a, const cli::InputCheck& b) { return a.line < b.line; }));
  // What can be used of it is by itself a journal that says the same.
  const Exact used(text.substr(0, facts->bytes));
  const auto again = cli::read_journal(used.text());
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->bytes == facts->bytes && again->begun == facts->begun && again->ended == facts->ended);
  FUZZ_CHECK(again->sessions.size() == facts->sessions.size() && again->outcomes_synced == facts->outcomes_synced);
  // A torn tail takes away what was torn and nothing else.
  const auto torn = cli::read_journal(used.text().substr(0, used.text().size() / 2));
  FUZZ_CHECK(torn.ok());
  FUZZ_CHECK(torn->sessions.size() <= facts->sessions.size());
}

std::vector<cli::RunSession> sessions_of(Choices& choices) {
  std::vector<cli::RunSession> sessions;
  const std::uint8_t flags = choices.byte();
  sessions.push_back({0, false, choices.byte() * 16ull});
  if ((flags & 1) != 0) sessions.push_back({choices.byte() * 4ull, (flags & 2) != 0, choices.byte() * 16ull});
  return sessions;
}

void outcomes(Choices& choices) {
  const std::vector<cli::RunSession> sessions = sessions_of(choices);
  Cuts cuts(choices);
  const Exact all(choices.rest());
  for (const Policy policy : {Policy::at_least_once, Policy::at_most_once}) {
    cli::RunHistory whole_history(policy);
    cli::OutcomeScan whole(sessions, whole_history);
    const std::size_t used = whole.feed(all.text());
    FUZZ_CHECK(used <= all.text().size() && used == whole.good_bytes());
    FUZZ_CHECK(used == 0 || all.text()[used - 1] == '\n');
    whole.finish();

    cli::RunHistory history(policy);
    cli::OutcomeScan scan(sessions, history);
    Cuts again = cuts;
    std::string_view rest = all.text();
    std::string held;
    while (!rest.empty() || again.more()) {
      unsigned deed = 0;
      held += again.next(rest, deed);
      const Exact piece(held);
      held.erase(0, scan.feed(piece.text()));
    }
    scan.finish();
    FUZZ_CHECK(scan.good_bytes() == whole.good_bytes() && scan.outcomes() == whole.outcomes());
    FUZZ_CHECK(scan.damaged() == whole.damaged() && scan.beyond_mark() == whole.beyond_mark());
    std::uint64_t mark = 0;
    for (const cli::RunSession& session : sessions) mark = std::max(mark, session.mark);
    FUZZ_CHECK(history.mark() == mark);
    for (std::uint64_t line = 1; line <= mark + 2; line += 1 + line / 8) {
      FUZZ_CHECK(history.fate(line, false) == whole_history.fate(line, false));
      FUZZ_CHECK(history.fate(line, true) == whole_history.fate(line, true));
      FUZZ_CHECK(line <= mark || history.fate(line, false) == cli::Fate::fresh);
    }
  }
}

void rejects(std::string_view text) {
  const MemoryFile file(text);
  cli::LineMap lines;
  const auto tail = cli::scan_rejects(file.path(), 0, lines);
  if (!tail.ok()) {
    FUZZ_CHECK(!tail.error().message.empty());
    return;
  }
  FUZZ_CHECK(tail->good_bytes <= tail->file_bytes && tail->file_bytes == text.size());
}

// Whatever an outcome holds, its line is whole and reads as what it was.
void written(Choices& choices) {
  Outcome outcome;
  outcome.end = static_cast<End>(1 + choices.byte() % kEnds);
  outcome.status = static_cast<std::uint16_t>(choices.byte() * 2);
  outcome.reason = static_cast<Reason>(choices.byte());
  outcome.attempts = choices.byte();
  outcome.flags = choices.byte();
  outcome.ended_unix_ns = static_cast<std::int64_t>(std::uint64_t{choices.word()} << 30);
  outcome.sent_unix_ns = choices.word();
  const std::string_view why = choices.take(std::min<std::size_t>(choices.byte(), sizeof outcome.reason_text));
  why.copy(outcome.reason_text, why.size());
  outcome.reason_text_bytes = static_cast<std::uint8_t>(why.size());
  cli::OutcomeOf of;
  of.line = 1ull + choices.word();
  of.token = "00aabb";
  std::string id;
  cli::append_json_string(choices.take(choices.byte()), id);
  of.id = id;
  of.resumed = choices.byte() % 2 != 0;
  cli::TimeText time;
  std::string line;
  cli::append_outcome(outcome, of, time, line);
  FUZZ_CHECK(line.ends_with("}\n") && line.find('\n') == line.size() - 1);
  line.pop_back();
  cli::OutcomeLine read;
  FUZZ_CHECK(cli::parse_outcome_line(line, read));
  FUZZ_CHECK(read.line == of.line && read.end == outcome.end);
  // A foreign text that is spelled like a reason of ours cannot be told from it.
  if (outcome.reason != Reason::other) FUZZ_CHECK(read.unsent == cli::is_unsent(outcome.end, outcome.reason));
}

}  // namespace
}  // namespace tocsin::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tocsin::fuzz;
  Choices choices(data, size);
  switch (choices.byte() % 4) {
    case 0: journal(Exact(choices.rest()).text()); break;
    case 1: outcomes(choices); break;
    case 2: rejects(choices.rest()); break;
    default: written(choices); break;
  }
  return 0;
}
