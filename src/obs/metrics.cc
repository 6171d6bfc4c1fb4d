// SPDX-License-Identifier: Apache-2.0
#include "obs/metrics.h"

#include <array>
#include <cstddef>

#include "base/assertion.h"

namespace tocsin::obs {
namespace {

using enum MetricType;

constexpr std::array<MetricInfo, kMetrics> kTable{{
    {Metric::build_info, "tocsin_build_info", gauge, "Always 1; the label says which version runs."},
    {Metric::pushes_submitted, "tocsin_pushes_submitted_total", counter, "Pushes taken by submit."},
    {Metric::push_outcomes, "tocsin_push_outcomes_total", counter, "Pushes that ended, by end."},
    {Metric::push_rejections, "tocsin_push_rejections_total", counter, "Pushes that APNs rejected, by reason."},
    {Metric::pushes_waiting, "tocsin_pushes_waiting", gauge, "Pushes in inboxes and queues, not yet written."},
    {Metric::pushes_in_flight, "tocsin_pushes_in_flight", gauge, "Pushes written that have no answer yet."},
    {Metric::push_attempts, "tocsin_push_attempts_total", counter, "Requests written, resends included."},
    {Metric::pushes_possibly_doubled, "tocsin_pushes_possibly_doubled_total", counter,
     "Pushes sent again although an earlier attempt may have been processed."},
    {Metric::push_latency, "tocsin_push_latency_seconds", summary, "Time from the write of a push to its answer."},
    {Metric::connections_open, "tocsin_connections_open", gauge, "Connections ready for pushes."},
    {Metric::connections_dialling, "tocsin_connections_dialling", gauge, "Connections being made."},
    {Metric::connections_opened, "tocsin_connections_opened_total", counter, "Connections that became ready."},
    {Metric::connections_lost, "tocsin_connections_lost_total", counter, "Ready connections that ended unasked."},
    {Metric::dials_failed, "tocsin_dials_failed_total", counter, "Dials that ended without a ready connection."},
    {Metric::goaways_received, "tocsin_goaways_received_total", counter, "GOAWAY frames from the peer."},
    {Metric::bytes_sent, "tocsin_bytes_sent_total", counter, "TLS bytes sent."},
    {Metric::bytes_received, "tocsin_bytes_received_total", counter, "TLS bytes received."},
    {Metric::batches_sent, "tocsin_batches_sent_total", counter, "Writes: one per connection and batch."},
    {Metric::inbox_wakes, "tocsin_inbox_wakes_total", counter, "Wake-ups of shards by submitters."},
    {Metric::queue_bytes, "tocsin_queue_bytes", gauge, "Bytes of per-push payloads waiting."},
    {Metric::outcomes_unread, "tocsin_outcomes_unread", gauge, "Outcomes ended and not yet read."},
    {Metric::certificate_not_after, "tocsin_certificate_not_after_seconds", gauge,
     "End of the push certificate's validity, Unix time."},
    {Metric::push_retries, "tocsin_push_retries_total", counter, "Attempts after an answer that asked for one."},
    {Metric::pings_sent, "tocsin_pings_sent_total", counter, "PING frames sent."},
    {Metric::peers_dead, "tocsin_peers_dead_total", counter,
     "Connections given up because a PING or an answer never came."},
    {Metric::pushes_delayed, "tocsin_pushes_delayed", gauge, "Of the waiting pushes: those that wait for their time."},
    {Metric::dead_tokens, "tocsin_dead_tokens", gauge, "Unregistered tokens in the filter."},
    {Metric::token_turns, "tocsin_provider_token_turns_total", counter,
     "Times that a connection took a new provider token into use."},
    {Metric::unreachable_since, "tocsin_unreachable_since_seconds", gauge,
     "Since when APNs cannot be reached, Unix time; 0 while it can."},
    {Metric::credential_stopped, "tocsin_credential_stopped", gauge, "1 while APNs refuses the credential for good."},
    {Metric::credential_alarmed, "tocsin_credential_alarmed", gauge,
     "1 while the credential has paused itself over BadDeviceToken."},
    {Metric::mock_requests, "tocsin_mock_requests_total", counter, "Requests to the mock, judged or only counted."},
    {Metric::mock_accepted, "tocsin_mock_accepted_total", counter, "Requests the mock answered with 200."},
    {Metric::mock_rejected, "tocsin_mock_rejected_total", counter, "Requests the mock answered with anything else."},
    {Metric::mock_validated, "tocsin_mock_validated_total", counter,
     "Requests that the mock judged; with the profile validate all."},
    {Metric::mock_answers_waiting, "tocsin_mock_answers_waiting", gauge, "Answers whose delay is not over yet."},
    {Metric::mock_connections_open, "tocsin_mock_connections_open", gauge, "Connections, handshaking ones included."},
    {Metric::mock_connections_accepted, "tocsin_mock_connections_accepted_total", counter, "Connections taken."},
    {Metric::mock_connections_refused, "tocsin_mock_connections_refused_total", counter,
     "Connections closed at once because the connection cap was reached."},
    {Metric::mock_connections_handed_over, "tocsin_mock_connections_handed_over_total", counter,
     "Connections whose requests are judged no longer (profiles flood and apns)."},
    {Metric::mock_handshakes_failed, "tocsin_mock_handshakes_failed_total", counter, "TLS handshakes that failed."},
    {Metric::mock_handshake_timeouts, "tocsin_mock_handshake_timeouts_total", counter,
     "Connections closed because their TLS handshake took too long."},
    {Metric::mock_protocol_errors, "tocsin_mock_protocol_errors_total", counter,
     "Connections ended because the client broke HTTP/2 or TLS rules."},
    {Metric::mock_bytes_received, "tocsin_mock_bytes_received_total", counter, "TLS bytes the mock received."},
    {Metric::mock_bytes_sent, "tocsin_mock_bytes_sent_total", counter, "TLS bytes the mock sent."},
    {Metric::mock_sends, "tocsin_mock_sends_total", counter, "Writes of the mock: one per connection and batch."},
    {Metric::mock_kernel_enters, "tocsin_mock_kernel_enters_total", counter, "io_uring_enter calls of the mock."},
    {Metric::mock_receive_buffers_exhausted, "tocsin_mock_receive_buffers_exhausted_total", counter,
     "Times that no receive buffer was free."},
    {Metric::mock_batch_requests, "tocsin_mock_batch_requests", summary, "Requests judged per turn of a worker."},
    {Metric::mock_faults, "tocsin_mock_faults_total", counter, "Faults done by the mock's script, by kind."},
    {Metric::mock_profile, "tocsin_mock_profile", gauge, "Always 1; the label says which profile the mock runs."},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    if (kTable[i].metric != static_cast<Metric>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "the table stands in the order of the enum");

}  // namespace

const MetricInfo& metric_info(Metric metric) {
  TOCSIN_ASSERT(metric < Metric::count_);
  return kTable[static_cast<std::size_t>(metric)];
}

std::span<const MetricInfo> metric_table() { return kTable; }

}  // namespace tocsin::obs
