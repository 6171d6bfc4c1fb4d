// SPDX-License-Identifier: Apache-2.0
// Fates: each push's writes and what came of them, as the network saw it, against the outcome told and against docs/dispatch.md's
// rules for another try.
//
// Judged at the end of a run, when all is known. What the client cannot have seen, or may have dropped with its connection, is told
// apart from what it surely read, and doubt speaks for the client. Threads: one. Times are virtual nanoseconds.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include <tocsin/push.h>

#include "apns/reasons.h"
#include "oracles.h"

namespace tocsin::sim {

// HEADERS of a push that left as a whole.
struct Attempt {
  std::uint64_t push = 0;
  unsigned connection = 0;
  std::int64_t encoded_from = 0;  // encoded no earlier, and
  std::int64_t written = 0;       // no later
  std::int64_t retry_later_ns = 2 * base::kSecond;  // of the shard
  std::uint64_t token = 0;        // its shard, topic and device token
  std::uint16_t status = 0;       // what the gateway answered, or would have; 0: it never judged it
  Reason reason = Reason::none;
  std::int64_t answered = base::kNever;  // the client was given the status
  bool whole = false;             // and the reason as well
  std::int64_t refused = base::kNever;   // it was given REFUSED_STREAM, or a GOAWAY with a lower last id
  bool doubtful = false;          // given, and perhaps not looked at
  bool older = false;             // on a connection of an older version of its credential, or its clock was wrong
  bool given_up = false;          // the client had reset the stream before

  bool known_by(std::int64_t at) const { return answered <= at || refused <= at; }
};

// 21: an outcome says what the gateway answered, that a push was never processed only if that is certain, and unknown only if
// something is. 22: no other try after a final answer, and none before its wait is over.
class Fates {
 public:
  static constexpr std::int64_t kHoldLeastNs = 500 * base::kMillisecond;   // of a token that was not held before
  static constexpr std::int64_t kHoldMostNs = 300 * base::kSecond;
  static constexpr std::int64_t kReadWithinNs = base::kMillisecond;
  explicit Fates(Verdicts& verdicts) : verdicts_(verdicts) {}
  Attempt& wrote(const Attempt& attempt);  // stays where it is
  void ended(const Outcome& outcome, std::int64_t at);
  void judge();
  // The shortest wait that docs/dispatch.md allows after an answer that asks for another try; waits: such answers before.
  static std::int64_t least_wait(apns::Retry how, unsigned waits, std::int64_t retry_later_ns);

 private:
  struct Push {
    std::vector<Attempt*> attempts;
    Outcome outcome;
    std::int64_t ended_at = base::kNever;
  };
  void judge_end(std::uint64_t id, const Push& push);
  void judge_tries(std::uint64_t id, const Push& push);
  void judge_holds();
  Verdicts& verdicts_;
  std::deque<Attempt> attempts_;
  std::unordered_map<std::uint64_t, Push> pushes_;
};

}  // namespace tocsin::sim
