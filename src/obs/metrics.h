// SPDX-License-Identifier: Apache-2.0
// Metrics: every metric's name, type and help text, in one table, and the counter that one thread writes
// while others read it.
//
// Threads: the table is immutable; a Counter has one writer and any number of readers (relaxed: each value
// is whole, two values need not belong to the same moment). Ownership: values live with whoever counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace tocsin::obs {

enum class MetricType : std::uint8_t { counter, gauge, summary };

// Order of the table in metrics.cc.
enum class Metric : std::uint8_t {
  build_info,
  // The engine, as `tocsin push` shows it.
  pushes_submitted,
  push_outcomes,
  push_rejections,
  pushes_waiting,
  pushes_in_flight,
  push_attempts,
  pushes_possibly_doubled,
  push_latency,
  connections_open,
  connections_dialling,
  connections_opened,
  connections_lost,
  dials_failed,
  goaways_received,
  bytes_sent,
  bytes_received,
  batches_sent,
  inbox_wakes,
  queue_bytes,
  outcomes_unread,
  certificate_not_after,
  push_retries,
  pings_sent,
  peers_dead,
  pushes_delayed,
  dead_tokens,
  token_turns,
  unreachable_since,
  credential_stopped,
  credential_alarmed,
  // The mock.
  mock_requests,
  mock_accepted,
  mock_rejected,
  mock_validated,
  mock_answers_waiting,
  mock_connections_open,
  mock_connections_accepted,
  mock_connections_refused,
  mock_connections_handed_over,
  mock_handshakes_failed,
  mock_handshake_timeouts,
  mock_protocol_errors,
  mock_bytes_received,
  mock_bytes_sent,
  mock_sends,
  mock_kernel_enters,
  mock_receive_buffers_exhausted,
  mock_batch_requests,
  mock_faults,
  mock_profile,
  count_,
};
inline constexpr std::size_t kMetrics = static_cast<std::size_t>(Metric::count_);

struct MetricInfo {
  Metric metric;
  const char* name;
  MetricType type;
  const char* help;
};

const MetricInfo& metric_info(Metric metric);
std::span<const MetricInfo> metric_table();

// A plain integer of one writer: no locked instruction on the writer's side.
class Counter {
 public:
  void add(std::uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(std::uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace tocsin::obs
