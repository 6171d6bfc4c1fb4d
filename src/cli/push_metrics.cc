// SPDX-License-Identifier: Apache-2.0
#include "cli/push_metrics.h"

#include "obs/exposition.h"

namespace tocsin::cli {

using obs::Metric;

Result<std::unique_ptr<PushMetrics>> PushMetrics::start(const std::string& address, const Engine& engine) {
  std::unique_ptr<PushMetrics> metrics(new PushMetrics(engine));
  auto server = http::Server::start(address, [self = metrics.get()](const http::Request& request) -> http::Response {
    if (request.path != "/metrics" && request.path != "/") return http::json_error(404, "only /metrics is here");
    const EngineStats stats = self->engine_.stats();
    const std::lock_guard guard(self->lock_);
    return {200, std::string(obs::kExpositionContentType), page(stats, self->tally_)};
  });
  if (!server.ok()) return server.error();
  metrics->server_ = std::move(server).value();
  return metrics;
}

void PushMetrics::publish(const Tally& tally) {
  const std::lock_guard guard(lock_);
  tally_ = tally;
}

std::string PushMetrics::page(const EngineStats& stats, const Tally& tally) {
  obs::Exposition out;
  out.add(Metric::build_info, 1, {{"version", version()}});
  out.add(Metric::pushes_submitted, stats.submitted);
  for (std::size_t end = 1; end <= kEnds; ++end)
    out.add(Metric::push_outcomes, tally.ends[end], {{"end", end_name(static_cast<End>(end))}});
  for (const auto& [reason, count] : tally.rejected_by_reason)
    out.add(Metric::push_rejections, count, {{"reason", reason}});
  out.add(Metric::pushes_waiting, stats.waiting);
  out.add(Metric::pushes_in_flight, stats.in_flight);
  out.add(Metric::push_attempts, stats.attempts);
  out.add(Metric::pushes_possibly_doubled, stats.possibly_doubled);
  out.add_summary(Metric::push_latency, tally.latency_ns, 1e-9);
  const auto topic = [](const CredentialStats& c) { return std::string_view(c.topic.empty() ? c.name : c.topic); };
  for (const auto& c : stats.credentials) out.add(Metric::connections_open, c.connections_open, {{"topic", topic(c)}});
  for (const auto& c : stats.credentials)
    out.add(Metric::connections_dialling, c.connections_dialling, {{"topic", topic(c)}});
  out.add(Metric::connections_opened, stats.connections_opened);
  out.add(Metric::connections_lost, stats.connections_lost);
  out.add(Metric::dials_failed, stats.dials_failed);
  out.add(Metric::goaways_received, stats.goaways);
  out.add(Metric::bytes_sent, stats.bytes_sent);
  out.add(Metric::bytes_received, stats.bytes_received);
  out.add(Metric::batches_sent, stats.records_sent);
  out.add(Metric::inbox_wakes, stats.inbox_wakes);
  out.add(Metric::queue_bytes, stats.queue_bytes);
  out.add(Metric::outcomes_unread, stats.unread);
  for (const auto& c : stats.credentials) {
    if (c.not_after_unix_s != 0)
      out.add(Metric::certificate_not_after, static_cast<std::uint64_t>(c.not_after_unix_s), {{"topic", topic(c)}});
  }
  out.add(Metric::push_retries, stats.retries);
  out.add(Metric::pings_sent, stats.pings);
  out.add(Metric::peers_dead, stats.peers_dead);
  out.add(Metric::pushes_delayed, stats.delayed);
  out.add(Metric::dead_tokens, stats.dead_tokens);
  out.add(Metric::token_turns, stats.token_turns);
  for (const auto& c : stats.credentials) {
    const auto since = static_cast<std::uint64_t>(c.unreachable_since_unix_ns) / 1'000'000'000;
    out.add(Metric::unreachable_since, since, {{"topic", topic(c)}});
  }
  for (const auto& c : stats.credentials) out.add(Metric::credential_stopped, c.stopped, {{"topic", topic(c)}});
  for (const auto& c : stats.credentials) out.add(Metric::credential_alarmed, c.alarmed, {{"topic", topic(c)}});
  return out.take();
}

}  // namespace tocsin::cli
