// SPDX-License-Identifier: Apache-2.0
#include "cli/summary.h"

#include <sys/resource.h>

#include <algorithm>
#include <ctime>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apns/reasons.h"

namespace tocsin::cli {
namespace {

constexpr const char* kNotDelivered = "Accepted by APNs is not yet seen by the device.";

// APNs' advice for a reason, or ours for a cause on this side.
std::string advice_of(const std::string& name) {
  for (const apns::ReasonEntry& entry : apns::reason_table()) {
    if (name == entry.name) return entry.advice;
  }
  if (name == reason_name(Reason::cannot_connect)) return "never sent; see the cause, then send these again";
  if (name == reason_name(Reason::connection_lost))
    return "the connection was lost after the push was written; APNs may have it";
  if (name == reason_name(Reason::credential_stopped))
    return "never sent; APNs refuses the credential: renew or replace it, then send these again";
  if (name == reason_name(Reason::token_known_dead))
    return "not sent; APNs had called the token unregistered, and the line does not say that it was registered since";
  if (name == reason_name(Reason::refused_by_peer))
    return "APNs turned the push away unprocessed each time it was written; send it again";
  return {};
}

std::string row(const char* label, const std::string& text) { return fmt::format("{:<11}{}\n", label, text); }

std::string paint(bool colours, const char* code, const std::string& text) {
  return colours ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
}

void append_reasons(const std::map<std::string, std::uint64_t>& counts, std::string& out) {
  for (const auto& [name, count] : Tally::sorted(counts)) {
    const std::string advice = advice_of(name);
    out += fmt::format("  {:>12}  {}{}{}\n", format_count(count), name, advice.empty() ? "" : ": ", advice);
  }
}

// One line for each credential that had pushes.
std::string credential_rows(const SummaryFacts& f) {
  std::size_t width = 10;
  const std::size_t count = std::min(f.by_credential.size(), f.stats.credentials.size());
  for (std::size_t i = 0; i < count; ++i) width = std::max(width, f.stats.credentials[i].name.size());
  std::string out = fmt::format("  {:<{}} {:>12} {:>12} {:>12} {:>12}\n", "credential", width, "accepted", "rejected",
                                "failed", "other");
  for (std::size_t i = 0; i < count; ++i) {
    const CredentialStats& credential = f.stats.credentials[i];
    const auto of = [&](End end) { return f.by_credential[i][static_cast<std::size_t>(end)]; };
    std::uint64_t all = 0;
    for (const std::uint64_t each : f.by_credential[i]) all += each;
    const char* state = credential.stopped ? "  stopped" : credential.alarmed ? "  paused: BadDeviceToken" : "";
    out += fmt::format("  {:<{}} {:>12} {:>12} {:>12} {:>12}{}\n", credential.name, width,
                       format_count(of(End::accepted)), format_count(of(End::rejected)), format_count(of(End::failed)),
                       format_count(all - of(End::accepted) - of(End::rejected) - of(End::failed)), state);
  }
  return out;
}

double per_second(const SummaryFacts& f) {
  return f.seconds > 0 ? static_cast<double>(f.tally.outcomes) / f.seconds : 0;
}
double cpu_per_push(const SummaryFacts& f) {
  return f.tally.outcomes == 0 ? 0 : static_cast<double>(f.usage.cpu_ns) / static_cast<double>(f.tally.outcomes);
}
double latency_us(const SummaryFacts& f, double percent) {
  return static_cast<double>(f.tally.latency_ns.percentile(percent)) / 1000;
}

std::string cause_of(const EngineStats& stats) {
  for (const CredentialStats& credential : stats.credentials) {
    if (!credential.last_error.empty()) return credential.last_error;
  }
  return "no cause is known";
}

std::string resume_text(const SummaryFacts& f) {
  const RunEnd& e = f.end;
  if (e.kept) return "not all was sent; continue with the same command and --resume";
  std::string text =
      fmt::format("from line {} on, not all was sent; continue with --from-line {}", e.resume_line, e.resume_line);
  if (e.sent_behind_resume != 0) {
    text += fmt::format(" ({} lines behind it are done already and would be sent again)",
                        format_count(e.sent_behind_resume));
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::uint64_t>> Tally::sorted(const std::map<std::string, std::uint64_t>& counts) {
  std::vector<std::pair<std::string, std::uint64_t>> out(counts.begin(), counts.end());
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

Usage usage() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto ns = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_usec) * 1000;
  };
  return {ns(used.ru_utime) + ns(used.ru_stime), static_cast<double>(used.ru_maxrss) / 1024};
}

Exit exit_of(const Tally& tally, const RunEnd& end) {
  if (!end.own_error.empty()) return Exit::failed;
  if (end.interrupted && end.resume_line != 0) return Exit::interrupted;  // else all was sent before the signal came
  if (end.gave_up) return Exit::cannot_connect;
  if (!end.brake.empty()) return Exit::refused;
  if (!end.refused.empty()) return Exit::bad_input;
  if (!end.input_error.empty()) return Exit::bad_input;
  if (end.submitted == 0 && end.input_rejects != 0) return Exit::bad_input;
  // What was superseded left its place to a newer push, which has an outcome of its own.
  if (tally.of(End::accepted) + tally.of(End::superseded) != tally.outcomes || end.input_rejects != 0) return Exit::partly;
  return Exit::done;
}

std::string summary_text(const SummaryFacts& f, Exit code, bool colours) {
  const Tally& t = f.tally;
  std::string out = row("accepted", paint(colours, "32", format_count(t.of(End::accepted))) + " of " +
                                        format_count(f.end.submitted) + " pushes");
  if (t.of(End::rejected) != 0) {
    out += row("rejected", paint(colours, "31", format_count(t.of(End::rejected))) + " by APNs");
    append_reasons(t.rejected_by_reason, out);
  }
  if (t.of(End::failed) != 0)
    out += row("failed", paint(colours, "31", format_count(t.of(End::failed))) + ", certainly not processed by APNs");
  if (t.of(End::unknown) != 0)
    out += row("unknown", paint(colours, "33", format_count(t.of(End::unknown))) + ", may have been processed by APNs");
  append_reasons(t.failed_by_reason, out);
  if (t.of(End::expired) != 0)
    out += row("expired", format_count(t.of(End::expired)) + ", their time ran out before they were sent");
  if (t.of(End::cancelled) != 0) out += row("cancelled", format_count(t.of(End::cancelled)));
  if (t.of(End::superseded) != 0)
    out += row("superseded", format_count(t.of(End::superseded)) + " by newer pushes to the same device");
  if (t.of(End::returned) != 0) out += row("returned", format_count(t.of(End::returned)) + ", never sent");
  if (f.end.input_rejects != 0) {
    out += row("unusable",
               paint(colours, "31", format_count(f.end.input_rejects)) + " lines of " + f.input + "; see " + f.rejects);
  }
  const std::uint64_t lost = t.possibly_doubled - std::min(t.possibly_doubled, f.end.sent_again);
  if (lost != 0)
    out += row("doubled", format_count(lost) + " possibly: sent again after their connection was lost");
  if (f.end.sent_again != 0)
    out += row("doubled", format_count(f.end.sent_again) +
                              " possibly: sent again, for the run was cut off before their outcome was kept");
  if (f.end.resumed) out += row("before", format_count(f.end.done_before) + " lines had their final outcome already");
  if (f.by_credential.size() > 1) out += credential_rows(f);
  out += row("time",
             fmt::format("{:.2f} s, {} pushes/s", f.seconds, format_count(static_cast<std::uint64_t>(per_second(f)))));
  if (t.latency_ns.count() != 0) {
    out += row("latency",
               fmt::format("p50 {}, p90 {}, p99 {}, p99.9 {}, max {}", format_us(latency_us(f, 50)),
                           format_us(latency_us(f, 90)), format_us(latency_us(f, 99)), format_us(latency_us(f, 99.9)),
                           format_us(static_cast<double>(t.latency_ns.max()) / 1000)));
  }
  if (t.outcomes != 0)
    out += row("cost", fmt::format("{:.0f} ns of CPU a push (all threads), {:.0f} MiB at its peak", cpu_per_push(f),
                                   f.usage.rss_mib));
  out += row("transport", fmt::format("{} connections opened, {} lost, TLS by {}", f.stats.connections_opened,
                                      f.stats.connections_lost, f.stats.tls_crypto));
  if (f.stats.retries != 0)
    out += row("retries", format_count(f.stats.retries) + " attempts after an answer that asked for one");
  if (!f.out.empty())
    out += row("outcomes", f.out);
  else if (t.outcomes != t.of(End::accepted))
    out += row("outcomes", "not kept; give --out FILE to have each device's");
  if (f.end.gave_up && f.end.refused.empty()) out += row("stopped", "APNs could not be reached: " + cause_of(f.stats));
  if (!f.end.refused.empty()) out += row("stopped", "APNs refuses the credential " + f.end.refused);
  if (!f.end.brake.empty()) out += row("stopped", "by a brake, credential " + f.end.brake);
  if (!f.end.input_error.empty()) out += row("stopped", f.end.input_error);
  if (!f.end.own_error.empty()) out += row("stopped", f.end.own_error);
  if (f.end.interrupted) out += row("stopped", "by a signal; every push that was taken has its outcome");
  if (f.end.resume_line != 0) out += row("go on", resume_text(f));
  if (code != Exit::done && colours) out += paint(true, "2", fmt::format("exit code {}\n", exit_number(code)));
  if (t.of(End::accepted) != 0) out += std::string(kNotDelivered) + "\n";
  return out;
}

std::string summary_json(const SummaryFacts& f, Exit code) {
  const Tally& t = f.tally;
  nlohmann::ordered_json j;
  j["command"] = "push";
  j["input"] = f.input;
  j["submitted"] = f.end.submitted;
  for (std::size_t end = 1; end <= kEnds; ++end) j[end_name(static_cast<End>(end))] = t.ends[end];
  j["rejected_by_reason"] = t.rejected_by_reason;
  j["failed_by_reason"] = t.failed_by_reason;
  j["input_rejects"] = f.end.input_rejects;
  j["rejects_file"] = f.rejects.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(f.rejects);
  j["outcomes_file"] = f.out.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(f.out);
  j["possibly_doubled"] = t.possibly_doubled;
  j["seconds"] = f.seconds;
  j["pushes_per_second"] = static_cast<std::uint64_t>(per_second(f));
  j["latency_us"] = {{"p50", latency_us(f, 50)},
                     {"p90", latency_us(f, 90)},
                     {"p99", latency_us(f, 99)},
                     {"p99_9", latency_us(f, 99.9)},
                     {"max", static_cast<double>(t.latency_ns.max()) / 1000}};
  j["client_cpu_ns_per_push"] = static_cast<std::uint64_t>(cpu_per_push(f));
  j["rss_mib"] = f.usage.rss_mib;
  j["tls_crypto"] = f.stats.tls_crypto;
  j["connections_opened"] = f.stats.connections_opened;
  j["connections_lost"] = f.stats.connections_lost;
  j["attempts"] = f.stats.attempts;
  j["retries"] = f.stats.retries;
  j["goaways"] = f.stats.goaways;
  j["peers_dead"] = f.stats.peers_dead;
  if (f.by_credential.size() > 1) {
    auto& list = j["credentials"] = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < std::min(f.by_credential.size(), f.stats.credentials.size()); ++i) {
      const CredentialStats& credential = f.stats.credentials[i];
      nlohmann::ordered_json each{{"name", credential.name}};
      for (std::size_t end = 1; end <= kEnds; ++end) each[end_name(static_cast<End>(end))] = f.by_credential[i][end];
      each["stopped"] = credential.stopped;
      each["alarmed"] = credential.alarmed;
      list.push_back(std::move(each));
    }
  }
  if (!f.end.refused.empty()) j["refused"] = f.end.refused;
  if (!f.end.brake.empty()) j["brake"] = f.end.brake;
  if (f.end.gave_up) j["cause"] = cause_of(f.stats);
  if (!f.end.input_error.empty()) j["input_error"] = f.end.input_error;
  if (!f.end.own_error.empty()) j["error"] = f.end.own_error;
  j["resumed"] = f.end.resumed;
  if (f.end.resumed) {
    j["done_before"] = f.end.done_before;
    j["sent_again"] = f.end.sent_again;
    j["settled_unknown"] = f.end.settled_unknown;
  }
  j["interrupted"] = f.end.interrupted;
  j["resume_line"] = f.end.resume_line == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(f.end.resume_line);
  j["exit_code"] = exit_number(code);
  j["note"] = kNotDelivered;
  return j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tocsin::cli
