// SPDX-License-Identifier: Apache-2.0
#include "cli/mock.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/exit_codes.h"
#include "cli/mock_inputs.h"
#include "cli/units.h"
#include "io/driver.h"
#include "log/log.h"
#include "mockd/report.h"
#include "mockd/server.h"
#include "portal/portal.h"

namespace tocsin::cli {
namespace {

struct MockSettings {
  std::string listen = "127.0.0.1:2197";
  std::string admin = "127.0.0.1:2198";
  std::string metrics;
  std::string certs;
  std::vector<std::string> names;
  std::string topic;
  std::string p12_password = "tocsin";
  bool require_client_certificate = false;
  unsigned workers = 1;
  std::vector<int> cpus;
  unsigned connections_max = 1024;
  std::string dead;
  double reject_share = 0;
  std::string delay, jitter;  // "": the profile's
  std::uint64_t seed = 1;
  bool sandbox = false;
  std::uint32_t streams_max = 1000;
  std::uint32_t window = 0;  // 0: the profile's
  std::string profile = "validate";
  std::uint64_t validate_first = 100'000;
  std::string script;
  bool list_scripts = false;
  std::string show_script;
  std::string provider_keys;
  std::uint32_t per_token_rate = 0;
  std::uint32_t throttle = 0;
  std::string ledger;
  std::string connection_log;
  std::string drain = "2s";
  std::string log_format = "text";
  std::string log_level = "info";
  bool json = false;
};

// Says it in one line on standard error; the code of the exit table is the answer.
int fail(Exit code, const std::string& text) {
  std::cerr << "tocsin mock: " << text << "\n";
  return exit_number(code);
}

Exit exit_of(Code code) {
  switch (code) {
    case Code::invalid_argument: return Exit::usage;
    case Code::bad_certificate:
    case Code::bad_key:
    case Code::key_mismatch:
    case Code::bad_password:
    case Code::unsupported_p12:
    case Code::expired: return Exit::bad_input;
    default: return Exit::failed;
  }
}

Result<mock::GatewayConfig> gateway_of(const MockSettings& settings) {
  mock::GatewayConfig config;
  config.dead_base_unix_ms = io::clock_now().wall_ns / base::kMillisecond;
  config.reject_share = settings.reject_share;
  config.seed = settings.seed;
  config.sandbox = settings.sandbox;
  // Together a round trip of 50 ms in the mean.
  const bool apns = settings.profile == "apns";
  const Result<std::int64_t> delay = parse_duration_ms(!settings.delay.empty() ? settings.delay : apns ? "45ms" : "0");
  if (!delay.ok()) return Error{Code::invalid_argument, "--delay: " + delay.error().message};
  const Result<std::int64_t> jitter = parse_duration_ms(!settings.jitter.empty() ? settings.jitter : apns ? "10ms" : "0");
  if (!jitter.ok()) return Error{Code::invalid_argument, "--jitter: " + jitter.error().message};
  config.delay_ns = *delay * base::kMillisecond;
  config.jitter_ns = *jitter * base::kMillisecond;
  config.per_token_rate = settings.per_token_rate;
  config.throttle_errors = settings.throttle;
  // The kit's own key always, and those of the list.
  const Result<void> own = read_provider_keys(settings.certs + "/provider-keys.txt", config.provider_keys);
  if (!own.ok()) return own.error();
  if (settings.provider_keys.empty()) return config;
  if (Result<void> more = read_provider_keys(settings.provider_keys, config.provider_keys); !more.ok()) return more.error();
  return config;
}

Result<mockd::Options> options_of(const MockSettings& settings, const portal::Kit& kit) {
  mockd::Options options;
  options.listen = settings.listen;
  options.admin = settings.admin == "none" ? "" : settings.admin;
  options.metrics = settings.metrics;
  options.workers = settings.workers;
  options.cpus = settings.cpus;
  options.certificate_pem = kit.server.certificate_pem;
  options.key_pem = kit.server.key_pem;
  options.client_ca_pem = kit.ca_pem;
  options.require_client_certificate = settings.require_client_certificate;
  options.http2.streams_max = settings.streams_max;
  options.profile.validate_first = settings.validate_first;
  if (settings.profile == "apns") options.profile.profile = mock::Profile::apns;
  if (settings.profile == "flood") {
    options.profile.profile = mock::Profile::flood;
    options.http2.window_bytes = 1u << 20;
    options.http2.connection_window_bytes = 1u << 30;
  }
  if (settings.window != 0) {
    options.http2.window_bytes = settings.window;
    options.http2.connection_window_bytes = std::max<std::uint32_t>(settings.window, 65'535);
  }
  options.connections_max = settings.connections_max;
  options.log = [](const LogRecord& record) { log::write(record.level, record.event, record.text); };
  Result<mock::GatewayConfig> gateway = gateway_of(settings);
  if (!gateway.ok()) return gateway.error();
  options.gateway = *std::move(gateway);
  options.expired_certificate_pem = kit.expired_server.certificate_pem;
  options.expired_key_pem = kit.expired_server.key_pem;
  options.wrong_name_certificate_pem = kit.wrong_name_server.certificate_pem;
  options.wrong_name_key_pem = kit.wrong_name_server.key_pem;
  if (settings.script.empty()) return options;
  Result<std::shared_ptr<const mock::Script>> script = open_script(settings.script);
  if (!script.ok()) return script.error();
  options.script = *std::move(script);
  return options;
}

void print_ready(const MockSettings& settings, const mockd::Server& server, const portal::Kit& kit) {
  const std::string key_id = kit.provider_keys.substr(0, 10);  // "KEYID TEAMID FILE", checked by read_provider_keys
  const std::string team_id = kit.provider_keys.substr(11, 10);
  if (settings.json) {
    nlohmann::ordered_json line{{"listen", server.address()}, {"admin", server.admin_address()}};
    if (!server.metrics_address().empty()) line["metrics"] = server.metrics_address();
    line["profile"] = settings.profile;
    line["topic"] = kit.topic;
    line["provider_key_id"] = key_id;
    line["provider_team_id"] = team_id;
    std::cout << line.dump() << std::endl;
    return;
  }
  std::cout << "listening on " << server.address();
  if (!server.admin_address().empty()) std::cout << ", admin on " << server.admin_address();
  if (!server.metrics_address().empty()) std::cout << ", metrics on " << server.metrics_address();
  std::cout << "\nprovider key " << settings.certs << "/provider.p8, key id " << key_id << ", team id " << team_id << std::endl;
}

// SIGINT and SIGTERM are blocked in every thread (the mask is inherited) and taken here, synchronously.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~StopSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  void wait() const {
    int signal = 0;
    while (::sigwait(&set_, &signal) != 0) {
    }
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
};

int finish(const MockSettings& settings, const mockd::Server& server) {
  Result<void> written;
  const mockd::Totals totals = server.report();
  if (!settings.ledger.empty()) {
    server.with_ledger([&](const mock::Ledger& ledger) { written = mockd::write_ledger(ledger, settings.ledger); });
  }
  if (!settings.connection_log.empty() && written.ok()) {
    std::vector<mockd::ConnectionEnd> ends;
    if (const std::uint64_t lost = server.ends(ends); lost != 0) {
      log::write(LogLevel::warning, "connection_log",
                 "only the first " + std::to_string(ends.size()) + " connections that ended were kept, " + std::to_string(lost) + " more are not in the file");
    }
    written = mockd::write_connections(ends, settings.connection_log);
  }
  const mock::ScriptCounts counts = server.faults();
  const mock::ScriptCounts* faults = settings.script.empty() ? nullptr : &counts;
  if (settings.json) std::cout << mockd::totals_json(totals, faults) << std::endl;
  else std::cout << mockd::totals_text(totals, faults) << std::flush;
  if (!written.ok()) return fail(Exit::failed, written.error().message);
  return exit_number(Exit::done);
}

int run(const MockSettings& settings) {
  if (settings.list_scripts) {
    print_scripts();
    return exit_number(Exit::done);
  }
  if (!settings.show_script.empty()) {
    const Result<void> shown = print_script(settings.show_script);
    return shown.ok() ? exit_number(Exit::done) : fail(Exit::usage, shown.error().message);
  }
  if (settings.certs.empty()) return fail(Exit::usage, "--certs is missing: the directory where the mock's certificates are or shall be");
  const Result<log::Format> format = log::format_from_text(settings.log_format);
  if (!format.ok()) return fail(Exit::usage, format.error().message);
  const Result<LogLevel> level = log::level_from_text(settings.log_level);
  if (!level.ok()) return fail(Exit::usage, level.error().message);
  const Result<std::int64_t> drain = parse_duration_ms(settings.drain);
  if (!drain.ok() || *drain > 3'600'000) {
    return fail(Exit::usage, "--drain: " + (drain.ok() ? "at most one hour" : drain.error().message));
  }
  log::init({*format, *level});

  portal::KitOptions kit_options;
  kit_options.names = settings.names;
  kit_options.topic = settings.topic;
  kit_options.p12_password = settings.p12_password;
  kit_options.now_unix_s = io::clock_now().wall_ns / base::kSecond;
  const Result<portal::Kit> kit = portal::open_kit(settings.certs, kit_options);
  if (!kit.ok()) return fail(exit_of(kit.error().code), kit.error().message);
  log::write(LogLevel::info, "certificates", (kit->made ? "made in " : "read from ") + settings.certs);

  Result<mockd::Options> options = options_of(settings, *kit);
  if (!options.ok()) return fail(exit_of(options.error().code), options.error().message);
  std::string why;
  if (const Exit dead = apply_dead(settings.dead, options->gateway, why); dead != Exit::done) return fail(dead, why);
  const StopSignals signals;
  Result<std::unique_ptr<mockd::Server>> server = mockd::Server::start(*std::move(options));
  if (!server.ok()) return fail(exit_of(server.error().code), server.error().message);
  const tls::CryptoChoice& crypto = (*server)->crypto();
  log::write(crypto.why.empty() ? LogLevel::info : LogLevel::warning, "crypto",
             "AES-GCM by " + crypto.name + (crypto.why.empty() ? "" : ": " + crypto.why));
  print_ready(settings, **server, *kit);
  signals.wait();
  log::write(LogLevel::info, "stopping", "telling clients to go, answering what is under way");
  (*server)->stop(static_cast<int>(*drain));
  return finish(settings, **server);
}

void add_certificate_options(CLI::App& app, MockSettings& s) {
  app.add_option("--certs", s.certs,
                 "directory of ca.pem, server.*, push.pem, push.key, push.p12, provider.p8; made there if it is empty, else reused; "
                 "required");
  app.add_option("--name", s.names, "a further name or address of the server's certificate (may be repeated)")->allow_extra_args(false);
  app.add_option("--topic", s.topic, "UID of the push certificate; default: a random MDM topic");
  app.add_option("--p12-password", s.p12_password, "password of push.p12")->capture_default_str();
  app.add_flag("--require-client-certificate", s.require_client_certificate,
               "refuse TLS without one; otherwise such clients need a provider token for each push");
  app.add_option("--provider-keys", s.provider_keys,
                 "trust these provider keys beside the directory's own: lines of KEYID TEAMID FILE [TOPIC ...]");
}

void add_behaviour_options(CLI::App& app, MockSettings& s) {
  app.add_option("--dead", s.dead,
                 "dead tokens, answered with 410: a file of one token a line (optionally token,unix_ms), or a share "
                 "between 0 and 1 of all tokens");
  app.add_option("--reject-share", s.reject_share, "share of requests answered with a random rejection")
      ->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--delay", s.delay, "answer this much later: 50ms, 1s; default: 0, with --profile apns 45ms");
  app.add_option("--jitter", s.jitter, "and up to this much more, at random; default: 0, with --profile apns 10ms");
  app.add_option("--script", s.script, "do wrong on purpose: one of --list-scripts, or a file (docs/faults.md)");
  app.add_flag("--list-scripts", s.list_scripts, "name the scripts that come with the mock, and end");
  app.add_option("--show-script", s.show_script, "print one of them, and end");
  app.add_option("--per-token-rate", s.per_token_rate, "more pushes a second to one device get 429; 0: any number")
      ->capture_default_str();
  app.add_option("--throttle", s.throttle, "so many refusals in a row halve a connection's stream limit; 0: it stays")
      ->capture_default_str();
  app.add_option("--seed", s.seed, "seed of the mock's random choices")->capture_default_str();
  app.add_flag("--sandbox", s.sandbox, "answer as the sandbox does, with apns-unique-id");
  app.add_option("--streams-max", s.streams_max, "MAX_CONCURRENT_STREAMS")
      ->check(CLI::Range(1u, 1'000'000u))->capture_default_str();
  app.add_option("--window", s.window,
                 "INITIAL_WINDOW_SIZE in bytes; the connection's window grows with it; default: 65535, with flood 1 MiB and 1 GiB")
      ->check(CLI::Range(1u, 0x7fffffffu));
  app.add_option("--profile", s.profile,
                 "validate: APNs' checks and a ledger; flood: after --validate-first, HTTP/2's rules only, all is answered with 200; "
                 "apns: as flood, but answers, windows and round trip as Apple's")
      ->check(CLI::IsMember({"validate", "flood", "apns"}))->capture_default_str();
  app.add_option("--validate-first", s.validate_first,
                 "with flood and apns: judge so many requests first, and up to 100 of each connection")->capture_default_str();
}

void add_running_options(CLI::App& app, MockSettings& s) {
  app.add_option("--listen", s.listen, "address for pushes; port 0: a free one")->capture_default_str();
  app.add_option("--admin", s.admin, "address for GET /ledger, /ledger/TOKEN, /metrics, /health; none: without")
      ->capture_default_str();
  app.add_option("--metrics", s.metrics, "a further address for GET /metrics (Prometheus)");
  app.add_option("--workers", s.workers, "threads, each with its own connections")
      ->check(CLI::Range(1u, 64u))->capture_default_str();
  app.add_option("--cpu", s.cpus, "pin workers to these CPUs, in turn: 1 or 2,3")->delimiter(',')->allow_extra_args(false);
  app.add_option("--connections-max", s.connections_max, "connections at a time; one more is closed at once")
      ->check(CLI::Range(1u, 100'000u))->capture_default_str();
  app.add_option("--ledger", s.ledger,
                 "on exit, write one JSON line per token: token, accepted, rejected, apns_id; if doubled, its history");
  app.add_option("--connection-log", s.connection_log,
                 "on exit, write one JSON line per connection that ended: when, by whom, requests then without an answer");
  app.add_option("--drain", s.drain, "on SIGINT or SIGTERM, time for answers under way")->capture_default_str();
  app.add_option("--log-format", s.log_format, "text or json, on standard error")->capture_default_str();
  app.add_option("--log-level", s.log_level, "debug, info, warning or error")->capture_default_str();
  app.add_flag("--json", s.json, "readiness and final totals as one JSON line each on standard output");
}

}  // namespace

void register_mock(CLI::App& root, std::function<int()>& action) {
  CLI::App& app = *root.add_subcommand(
      "mock", "An APNs of your own: real TLS and HTTP/2, APNs' checks and answers, and a ledger of what it accepted");
  const auto settings = std::make_shared<MockSettings>();
  add_certificate_options(app, *settings);
  add_behaviour_options(app, *settings);
  add_running_options(app, *settings);
  app.footer(
      "Example:\n"
      "  tocsin mock --certs ./certs --ledger ledger.ndjson\n"
      "  tocsin push devices.csv --endpoint 127.0.0.1:2197 --ca certs/ca.pem --cert certs/push.pem --key certs/push.key\n"
      "Ctrl-C ends it: clients get GOAWAY, the ledger is written, the totals are printed.");
  app.callback([settings, &action] { action = [settings] { return run(*settings); }; });
}

}  // namespace tocsin::cli
