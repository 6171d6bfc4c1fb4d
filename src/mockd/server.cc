// SPDX-License-Identifier: Apache-2.0
#include "mockd/server.h"

#include <algorithm>
#include <array>

#include <sched.h>
#include <unistd.h>

#include "base/hex.h"
#include "mockd/report.h"
#include "obs/exposition.h"
#include "portal/portal.h"
#include "tls/identity.h"

namespace tocsin::mockd {
namespace {

Error bad(std::string text) { return {Code::invalid_argument, std::move(text)}; }

Result<void> check(const Options& options) {
  if (options.workers < 1 || options.workers > 64) return bad("workers must be 1 to 64");
  if (options.connections_max < 1 || options.connections_max > 100'000) return bad("connections_max must be 1 to 100000");
  if (options.handshake_timeout_ms < 10) return bad("handshake_timeout_ms must be at least 10");
  if (options.require_client_certificate && options.client_ca_pem.empty()) {
    return bad("require_client_certificate needs client_ca_pem, to check the certificates against");
  }
  if (options.profile.profile != mock::Profile::validate && options.script != nullptr) {
    return bad("a fault script needs the profile validate; " + std::string(mock::profile_name(options.profile.profile)) +
               " makes no faults");
  }
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  for (const int cpu : options.cpus) {
    if (cpu < 0 || cpu >= cpus || cpu >= CPU_SETSIZE) {
      return bad("cpu " + std::to_string(cpu) + " does not exist; this machine has 0 to " + std::to_string(cpus - 1));
    }
  }
  return {};
}

// Two workers' histories of one token: the one with the later last answer comes second.
void join(mock::LedgerEntry& into, mock::LedgerEntry other) {
  if (other.last_unix_ms < into.last_unix_ms) std::swap(into, other);
  // Now `other` is the later one.
  if (into.accepted == 0) into.first_apns_id = other.first_apns_id;
  if (other.accepted != 0) into.last_apns_id = other.last_apns_id;
  into.accepted += other.accepted;
  into.rejected += other.rejected;
  into.last_unix_ms = other.last_unix_ms;
  into.last_status = other.last_status;
}

// Only what the script asks for.
Result<void> make_fault_contexts(const Options& options, const tls::ServerOptions& good, Shared& shared) {
  if (options.script == nullptr) return {};
  const auto wanted = [&options](mock::Fault fault) {
    return std::any_of(options.script->rules().begin(), options.script->rules().end(), [fault](const mock::Rule& rule) {
      return std::any_of(rule.actions.begin(), rule.actions.end(), [fault](const mock::Action& action) { return action.fault == fault; });
    });
  };
  const auto make = [&shared](mock::TlsFault fault, const tls::ServerOptions& wrong) -> Result<void> {
    Result<std::shared_ptr<tls::ServerContext>> context = tls::make_server_context(wrong);
    if (!context.ok()) return context.error();
    shared.tls[static_cast<std::size_t>(fault)] = *std::move(context);
    return {};
  };
  const auto make_with = [&](mock::Fault fault, mock::TlsFault kind, const std::string& certificate_pem, const std::string& key_pem,
                             const char* file) -> Result<void> {
    if (!wanted(fault)) return {};
    if (certificate_pem.empty()) {
      return bad("script " + options.script->name() + " says " + std::string(mock::fault_word(fault)) +
                 ", but there is no certificate for it (" + file + "); let the mock make a new certificate directory");
    }
    const Result<tls::Identity> identity = tls::identity_from_pem(certificate_pem, key_pem, "");
    if (!identity.ok()) return identity.error();
    tls::ServerOptions wrong = good;
    wrong.identity = &*identity;
    return make(kind, wrong);
  };
  if (Result<void> made = make_with(mock::Fault::tls_expired, mock::TlsFault::expired, options.expired_certificate_pem,
                                    options.expired_key_pem, "server-expired.pem"); !made.ok()) return made;
  if (Result<void> made = make_with(mock::Fault::tls_wrong_name, mock::TlsFault::wrong_name, options.wrong_name_certificate_pem,
                                    options.wrong_name_key_pem, "server-wrong-name.pem"); !made.ok()) return made;
  if (wanted(mock::Fault::tls_no_alpn)) {
    tls::ServerOptions wrong = good;
    wrong.offer_alpn = false;
    if (Result<void> made = make(mock::TlsFault::no_alpn, wrong); !made.ok()) return made;
  }
  if (!wanted(mock::Fault::tls_refuse_certificate)) return {};
  // Clients must show a certificate of a CA that has never signed any.
  const Result<std::unique_ptr<portal::Authority>> stranger = portal::Authority::make({io::clock_now().wall_ns / base::kSecond, -1, 3650});
  if (!stranger.ok()) return stranger.error();
  tls::ServerOptions wrong = good;
  wrong.client_ca_pem = (*stranger)->ca_pem();
  wrong.require_client_certificate = true;
  return make(mock::TlsFault::refuse_certificate, wrong);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Options options) {
  if (Result<void> checked = check(options); !checked.ok()) return checked.error();
  std::unique_ptr<Server> server(new Server());
  Result<tls::CryptoChoice> crypto = tls::choose_crypto(options.crypto);
  if (!crypto.ok()) return crypto.error();
  server->crypto_ = *std::move(crypto);

  Result<tls::Identity> identity = tls::identity_from_pem(options.certificate_pem, options.key_pem, "");
  if (!identity.ok()) return identity.error();
  tls::ServerOptions tls_options;
  tls_options.identity = &*identity;
  tls_options.client_ca_pem = options.client_ca_pem;
  tls_options.require_client_certificate = options.require_client_certificate;
  tls_options.crypto = server->crypto_.crypto;
  Result<std::shared_ptr<tls::ServerContext>> context = tls::make_server_context(tls_options);
  if (!context.ok()) return context.error();
  server->shared_.tls.fill(*context);  // those of faults are put beside it where the script asks for them
  if (Result<void> made = make_fault_contexts(options, tls_options, server->shared_); !made.ok()) return made.error();

  server->shared_.gateway = std::make_shared<const mock::GatewayConfig>(std::move(options.gateway));
  options.gateway = {};
  server->shared_.options = std::move(options);
  if (Result<void> opened = server->open_workers(); !opened.ok()) return opened.error();
  if (Result<void> opened = server->open_admin(); !opened.ok()) return opened.error();
  return server;
}

// Worker 0 last: it listens, and hands sockets to the others at once.
Result<void> Server::open_workers() {
  const Result<io::Address> wanted = io::parse_address(shared_.options.listen);
  if (!wanted.ok()) return wanted.error();
  for (unsigned i = 0; i < shared_.options.workers; ++i) {
    shared_.workers.push_back(std::make_unique<Worker>(shared_, i));
  }
  for (unsigned i = shared_.options.workers; i-- > 0;) {
    const Result<io::Address> bound = shared_.workers[i]->start(i == 0 ? std::optional(*wanted) : std::nullopt);
    if (!bound.ok()) return bound.error();
    if (i == 0) address_ = bound->text();
  }
  return {};
}

Result<void> Server::open_admin() {
  if (!shared_.options.admin.empty()) {
    auto admin = http::Server::start(shared_.options.admin, [this](const http::Request& r) { return handle_admin(r); });
    if (!admin.ok()) return Error{admin.error().code, "admin address: " + admin.error().message};
    admin_ = *std::move(admin);
    admin_address_ = admin_->address();
  }
  if (!shared_.options.metrics.empty()) {
    auto metrics = http::Server::start(shared_.options.metrics, [this](const http::Request& r) { return handle_metrics(r); });
    if (!metrics.ok()) return Error{metrics.error().code, "metrics address: " + metrics.error().message};
    metrics_ = *std::move(metrics);
    metrics_address_ = metrics_->address();
  }
  return {};
}

Server::~Server() { stop(0); }

void Server::stop(int drain_ms) {
  if (stopped_) return;
  stopped_ = true;
  for (const auto& worker : shared_.workers) worker->begin_stop(drain_ms);
  for (const auto& worker : shared_.workers) worker->join();
  if (admin_) admin_->stop();  // last: it can be asked while clients drain
  if (metrics_) metrics_->stop();
}

void Server::with_ledger(const std::function<void(const mock::Ledger&)>& f) const {
  if (shared_.workers.size() == 1) return shared_.workers.front()->with_ledger(f);
  mock::Ledger whole;
  for (const auto& worker : shared_.workers) worker->with_ledger([&](const mock::Ledger& part) { whole.merge(part); });
  f(whole);
}

mock::LedgerTotals Server::totals() const {
  mock::LedgerTotals totals;
  with_ledger([&](const mock::Ledger& ledger) { totals = ledger.totals(); });
  return totals;
}

mock::Traffic::Flood Server::flood() const {
  mock::Traffic::Flood sum;
  for (const auto& worker : shared_.workers) {
    const mock::Traffic::Flood part = worker->flood();
    sum.connections += part.connections;
    sum.streams += part.streams;
    sum.end_streams += part.end_streams;
    sum.body_bytes += part.body_bytes;
    sum.resets += part.resets;
  }
  return sum;
}

Totals Server::report() const { return {totals(), shared_.options.profile.profile, flood()}; }

std::optional<mock::LedgerEntry> Server::find(base::ByteView token) const {
  std::optional<mock::LedgerEntry> found;
  for (const auto& worker : shared_.workers) {
    worker->with_ledger([&](const mock::Ledger& part) {
      const mock::LedgerEntry* entry = part.find(token);
      if (entry == nullptr) return;
      if (found.has_value()) join(*found, *entry);
      else found = *entry;
    });
  }
  return found;
}

std::vector<mock::Acceptance> Server::history(base::ByteView token) const {
  std::vector<mock::Acceptance> all;
  for (const auto& worker : shared_.workers) {
    worker->with_ledger([&](const mock::Ledger& part) {
      const mock::LedgerEntry* entry = part.find(token);
      if (entry == nullptr) return;
      const std::vector<mock::Acceptance> own = part.history(*entry);
      all.insert(all.end(), own.begin(), own.end());
    });
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.unix_ms < b.unix_ms; });
  return all;
}

std::uint64_t Server::ends(std::vector<ConnectionEnd>& out) const {
  std::uint64_t lost = 0;
  for (const auto& worker : shared_.workers) lost += worker->ends().all(out);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.ended_unix_ms < b.ended_unix_ms; });
  return lost;
}

std::uint64_t Server::requests() const {
  std::uint64_t sum = 0;
  for (const auto& worker : shared_.workers) sum += worker->counts().requests.get();
  return sum;
}

mock::ScriptCounts Server::faults() const {
  mock::ScriptCounts sum;
  for (const auto& worker : shared_.workers) sum.merge(worker->faults());
  return sum;
}

std::string Server::metrics_text() const {
  struct Row {
    obs::Metric metric;
    obs::Counter Counts::*counter;
  };
  static constexpr Row kRows[] = {
      {obs::Metric::mock_requests, &Counts::requests},
      {obs::Metric::mock_accepted, &Counts::accepted},
      {obs::Metric::mock_rejected, &Counts::rejected},
      {obs::Metric::mock_validated, &Counts::validated},
      {obs::Metric::mock_answers_waiting, &Counts::answers_waiting},
      {obs::Metric::mock_connections_open, &Counts::connections_open},
      {obs::Metric::mock_connections_accepted, &Counts::connections_accepted},
      {obs::Metric::mock_connections_refused, &Counts::connections_refused},
      {obs::Metric::mock_connections_handed_over, &Counts::connections_handed_over},
      {obs::Metric::mock_handshakes_failed, &Counts::handshakes_failed},
      {obs::Metric::mock_handshake_timeouts, &Counts::handshake_timeouts},
      {obs::Metric::mock_protocol_errors, &Counts::protocol_errors},
      {obs::Metric::mock_bytes_received, &Counts::bytes_received},
      {obs::Metric::mock_bytes_sent, &Counts::bytes_sent},
      {obs::Metric::mock_sends, &Counts::sends},
      {obs::Metric::mock_kernel_enters, &Counts::enters},
      {obs::Metric::mock_receive_buffers_exhausted, &Counts::buffers_exhausted},
  };
  obs::Exposition exposition;
  exposition.add(obs::Metric::build_info, 1, {{"version", TOCSIN_VERSION}});
  exposition.add(obs::Metric::mock_profile, 1, {{"profile", mock::profile_name(shared_.options.profile.profile)}});
  for (const Row& row : kRows) {
    for (std::size_t i = 0; i < shared_.workers.size(); ++i) {
      exposition.add(row.metric, (shared_.workers[i]->counts().*row.counter).get(), {{"worker", std::to_string(i)}});
    }
  }
  obs::Histogram batches;
  for (const auto& worker : shared_.workers) batches.merge(worker->batches());
  exposition.add_summary(obs::Metric::mock_batch_requests, batches, 1);
  const mock::ScriptCounts counts = faults();
  for (std::size_t i = 0; i < mock::kFaults; ++i) {
    if (counts.done[i] == 0) continue;
    exposition.add(obs::Metric::mock_faults, counts.done[i], {{"fault", mock::fault_word(static_cast<mock::Fault>(i))}});
  }
  return exposition.take();
}

http::Response Server::handle_metrics(const http::Request& request) const {
  if (request.path != "/metrics") return http::json_error(404, "only /metrics is served here");
  return {200, std::string(obs::kExpositionContentType), metrics_text()};
}

http::Response Server::handle_admin(const http::Request& request) const {
  constexpr const char* kJson = "application/json";
  constexpr std::string_view kTokenPrefix = "/ledger/";
  if (request.path == "/metrics") return handle_metrics(request);
  if (request.path == "/health") return {200, kJson, "{\"status\":\"ok\"}\n"};
  if (request.path == "/ledger") {
    const mock::ScriptCounts counts = faults();
    return {200, kJson, totals_json(report(), shared_.options.script != nullptr ? &counts : nullptr) + "\n"};
  }
  if (!request.path.starts_with(kTokenPrefix)) {
    return http::json_error(404, "not served here; there are /ledger, /ledger/TOKEN, /metrics and /health");
  }
  const std::string_view hex = std::string_view(request.path).substr(kTokenPrefix.size());
  std::array<std::uint8_t, kTokenHexDigitsMax / 2> bytes{};
  if (hex.empty() || hex.size() > kTokenHexDigitsMax || !base::hex_decode(hex, bytes.data())) {
    return http::json_error(400, "a token is hex text of even length, 2 to 200 digits");
  }
  const base::ByteView token = std::as_bytes(std::span(bytes).first(hex.size() / 2));
  const std::optional<mock::LedgerEntry> entry = find(token);
  if (!entry.has_value()) return http::json_error(404, "this token was never seen");
  return {200, kJson, entry_json(token, *entry, history(token)) + "\n"};
}

}  // namespace tocsin::mockd
