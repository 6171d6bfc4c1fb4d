// SPDX-License-Identifier: Apache-2.0
// Marks: the places of the shard that a simulation must have passed through, or it has shown nothing about them.
// Counted in Counters::marks, plain integers, all on rare paths. Threads: none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tocsin::dispatch {

#define TOCSIN_MARKS(X)                                                                                        \
  X(goaway_replay)          /* a stream above GOAWAY's last id was sent again */                               \
  X(goaway_twice)                                                                                              \
  X(refused_again)          /* and waited for its next attempt */                                              \
  X(takes_nothing)          /* a ready peer that granted nothing was given up */                               \
  X(token_stuck)            /* a provider token too old to be sent, and too young to be changed */             \
  X(refused_stream)                                                                                            \
  X(stream_reset)                                                                                              \
  X(broken_answer)                                                                                             \
  X(status_before_reset)    /* a status counted although the stream broke behind it */                        \
  X(limit_below_open)       /* the peer's stream limit fell below what was open */                             \
  X(limit_lowered)          /* after rejections: other connections go first */                                \
  X(window_blocked)         /* a request did not fit the window */                                             \
  X(lost_resent)            /* connection lost, at least once */                                               \
  X(lost_unknown)           /* connection lost, at most once */                                                \
  X(attempts_used_up)                                                                                          \
  X(answer_overdue)                                                                                            \
  X(peer_silent)            /* no answer to a PING */                                                          \
  X(ping_idle)                                                                                                 \
  X(probed)                 /* a PING awaited before use */                                                    \
  X(stage_timeout)                                                                                             \
  X(dial_next_address)      /* the next address of the same name was tried at once */                          \
  X(port_changed)                                                                                              \
  X(tunnel_refused)                                                                                            \
  X(breaker_opened)                                                                                            \
  X(outage_ended)                                                                                              \
  X(gave_up)                                                                                                   \
  X(credential_stopped)                                                                                        \
  X(credential_alarmed)                                                                                        \
  X(credential_replaced)                                                                                       \
  X(credential_removed)                                                                                        \
  X(credential_rolled)                                                                                         \
  X(retired_idle)                                                                                              \
  X(shed)                                                                                                      \
  X(place_given_up)         /* a busy connection went for a credential that had none */                        \
  X(retry_later)                                                                                               \
  X(retry_elsewhere)                                                                                           \
  X(retry_token)                                                                                               \
  X(retry_new_token)                                                                                           \
  X(retry_keep_token)                                                                                          \
  X(retry_rebind)                                                                                              \
  X(retry_budget_empty)                                                                                        \
  X(retry_past_deadline)    /* not retried: its time would be over */                                          \
  X(token_held)             /* waited because another push to its token was throttled */                       \
  X(token_turned)           /* a connection changed its provider token */                                      \
  X(token_awaited)          /* nothing could be sent before the provider token came */                         \
  X(clock_suspected)                                                                                           \
  X(expired_waiting)                                                                                           \
  X(expired_paused)                                                                                            \
  X(expired_delayed)                                                                                           \
  X(superseded_waiting)                                                                                        \
  X(superseded_retry)       /* a push to be retried gave way to a newer one that waits */                     \
  X(superseded_accepted)    /* or to one that was accepted */                                                  \
  X(cancelled_id)                                                                                              \
  X(cancelled_group)                                                                                           \
  X(cancelled_late)         /* in flight when its group was cancelled, then not retried */                     \
  X(dead_token_met)                                                                                            \
  X(dead_token_registered)  /* let through: registered after the 410's time */                                 \
  X(paced_out)              /* work waited for its rate */                                                     \
  X(returned_at_stop)                                                                                          \
  X(stopped_in_flight)                                                                                         \
  X(ramped)                 /* a connection after an outage was held back */

enum class Mark : std::uint8_t {
#define TOCSIN_MARK_NAME(name) name,
  TOCSIN_MARKS(TOCSIN_MARK_NAME)
#undef TOCSIN_MARK_NAME
};
#define TOCSIN_MARK_ONE(name) +1
inline constexpr std::size_t kMarks = 0 TOCSIN_MARKS(TOCSIN_MARK_ONE);
#undef TOCSIN_MARK_ONE

constexpr const char* mark_name(Mark mark) {
  constexpr const char* kNames[] = {
#define TOCSIN_MARK_TEXT(name) #name,
      TOCSIN_MARKS(TOCSIN_MARK_TEXT)
#undef TOCSIN_MARK_TEXT
  };
  return kNames[static_cast<std::size_t>(mark)];
}

}  // namespace tocsin::dispatch
