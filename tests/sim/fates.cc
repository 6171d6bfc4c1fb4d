// SPDX-License-Identifier: Apache-2.0
#include "fates.h"

#include <algorithm>

namespace tocsin::sim {
namespace {

std::string push_name(std::uint64_t id) { return "push " + std::to_string(id); }

std::string answer_name(const Attempt& attempt) { return std::to_string(attempt.status) + " " + reason_name(attempt.reason); }

// What the client may have read: the reason comes behind the status.
bool says(const Attempt& attempt, std::uint16_t status, Reason reason) {
  return attempt.answered != base::kNever && attempt.status == status &&
         (attempt.reason == reason || (!attempt.whole && (reason == Reason::none || reason == Reason::other)));
}

std::int64_t half_of_doubled(std::int64_t first, unsigned how_often, std::int64_t most) {
  for (; how_often != 0 && first < most; --how_often) first *= 2;
  return std::min(first, most) / 2;
}

}  // namespace

std::int64_t Fates::least_wait(apns::Retry how, unsigned waits, std::int64_t retry_later_ns) {
  switch (how) {
    case apns::Retry::later:
      if (waits == 0) return std::min(retry_later_ns, base::kSecond) / 2;
      return half_of_doubled(retry_later_ns, waits - 1, 900 * base::kSecond);
    case apns::Retry::keep_token: return half_of_doubled(60 * base::kSecond, waits, 1200 * base::kSecond);
    default: return 0;
  }
}

Attempt& Fates::wrote(const Attempt& attempt) {
  Attempt& kept = attempts_.emplace_back(attempt);
  // Bytes of a connection that sends slowly may leave after a later attempt's.
  std::vector<Attempt*>& all = pushes_[attempt.push].attempts;
  const auto later = [](std::int64_t from, const Attempt* other) { return from < other->encoded_from; };
  all.insert(std::upper_bound(all.begin(), all.end(), kept.encoded_from, later), &kept);
  return kept;
}

void Fates::ended(const Outcome& outcome, std::int64_t at) {
  Push& push = pushes_[outcome.id];
  push.outcome = outcome;
  push.ended_at = at;
}

void Fates::judge() {
  for (const auto& [id, push] : pushes_) {
    if (push.ended_at != base::kNever) judge_end(id, push);
    judge_tries(id, push);
  }
  judge_holds();
}

void Fates::judge_end(std::uint64_t id, const Push& push) {
  const Outcome& outcome = push.outcome;
  const std::string told = push_name(id) + " is reported as " + end_name(outcome.end);
  if (outcome.end == End::accepted || outcome.end == End::rejected) {
    const bool said = std::any_of(push.attempts.begin(), push.attempts.end(), [&](const Attempt* attempt) {
      return attempt->answered <= push.ended_at && says(*attempt, outcome.status, outcome.reason);
    });
    if (!said) {
      verdicts_.say(21, told + " with " + std::to_string(outcome.status) + " " + reason_name(outcome.reason) +
                            ", which the gateway did not answer");
    }
    return;
  }
  if (outcome.end == End::unknown) {
    const auto known = std::count_if(push.attempts.begin(), push.attempts.end(), [&](const Attempt* attempt) {
      return attempt->known_by(push.ended_at) && !attempt->doubtful && !attempt->given_up;
    });
    if (known >= outcome.attempts) verdicts_.say(21, told + ", and what came of each of its attempts was known");
    return;
  }
  for (const Attempt* attempt : push.attempts) {
    if (attempt->known_by(push.ended_at) && !attempt->given_up) continue;
    verdicts_.say(21, told + ", and what came of its attempt on connection " + std::to_string(attempt->connection) + " was not known");
  }
}

void Fates::judge_tries(std::uint64_t id, const Push& push) {
  unsigned waits = 0;
  for (std::size_t i = 0; i + 1 < push.attempts.size(); ++i) {
    const Attempt& attempt = *push.attempts[i];
    const Attempt& next = *push.attempts[i + 1];
    // Written before the answer came: the stream had been given up.
    if (attempt.answered == base::kNever || attempt.doubtful || attempt.older || attempt.given_up || next.written < attempt.answered) continue;
    const auto how = apns::rule_for(attempt.status, attempt.reason).retry;
    const auto without = attempt.whole ? how : apns::rule_for(attempt.status, Reason::none).retry;
    const std::string again = push_name(id) + " was written again " + std::to_string((next.written - attempt.answered) / base::kMillisecond) +
                              " ms after " + answer_name(attempt);
    if (how == apns::Retry::never && (attempt.status == 200 || without == how)) verdicts_.say(22, again + ", which is final");
    const std::int64_t least = std::min(least_wait(how, waits, attempt.retry_later_ns), least_wait(without, waits, attempt.retry_later_ns));
    if (next.written < attempt.answered + least) verdicts_.say(22, again + ", sooner than " + std::to_string(least / base::kMillisecond) + " ms");
    const bool replaced = how == apns::Retry::elsewhere || how == apns::Retry::new_token || how == apns::Retry::rebind;
    if (replaced && without == how && next.connection == attempt.connection) verdicts_.say(22, again + ", on the same connection");
    if (least != 0) ++waits;
  }
}

// A hold is the token's: what else goes to it waits as well, and what was in flight beside waits for the same end.
void Fates::judge_holds() {
  std::unordered_map<std::uint64_t, std::vector<const Attempt*>> tokens;
  for (const Attempt& attempt : attempts_) tokens[attempt.token].push_back(&attempt);
  const auto holds = [](const Attempt& each) {
    return each.answered != base::kNever && each.status != 200 && apns::rule_for(each.status, each.reason).retry == apns::Retry::token;
  };
  for (const auto& [token, all] : tokens) {
    for (const Attempt* attempt : all) {
      if (!holds(*attempt) || !attempt->whole || attempt->doubtful || attempt->given_up) continue;
      const std::int64_t from = attempt->answered;
      const bool fresh = std::none_of(all.begin(), all.end(), [&](const Attempt* other) {
        return other != attempt && holds(*other) && other->answered <= from && other->answered > from - kHoldMostNs;
      });
      for (const Attempt* next : all) {
        if (!fresh || next->encoded_from <= from + kReadWithinNs || next->written >= from + kHoldLeastNs) continue;
        const bool freed = std::any_of(all.begin(), all.end(), [&](const Attempt* other) {
          return other->status == 200 && other->answered >= from && other->answered <= next->written;
        });
        if (freed) continue;
        verdicts_.say(22, push_name(next->push) + " was written " + std::to_string((next->written - from) / base::kMillisecond) +
                              " ms after its token was answered " + answer_name(*attempt));
      }
    }
  }
}

}  // namespace tocsin::sim
