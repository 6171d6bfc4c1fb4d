// SPDX-License-Identifier: Apache-2.0
#include "cli/push_options.h"

#include <charconv>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apns/request.h"
#include "cli/parsed_option.h"

namespace tocsin::cli {
namespace {

constexpr const char* kFooter = R"(
Input, one push a line (NDJSON, or CSV with a header row that names the same fields):
  MDM   {"id":"0815","topic":"com.apple.mgmt.External.9f...","magic":"5A2C...","token":"a1b2..."}
  any   {"token":"a1b2...","payload":{"aps":{"alert":"Hi"}},"push_type":"alert","priority":10}
  CSV   NanoMDM's column names are understood: id,topic,push_magic,token_hex

Examples:
  Check a file and a certificate, send nothing:
    tocsin push fleet.csv --cert push.pem --key push.key --dry-run
  Wake a fleet and keep each device's outcome:
    tocsin push fleet.ndjson.gz --p12 push.p12 --p12-password-file pw --out outcomes.ndjson
  Straight out of NanoMDM's database:
    psql -c "\copy (select ...) to stdout csv header" | tocsin push - --format csv --cert push.pem --key push.key
  The same text to all devices of an app, 20,000 a second:
    tocsin push tokens.csv --alert "Back at 9" --topic com.example.app --cert app.pem --key app.key --rate 20k/s
  Against the mock:
    tocsin push fleet.ndjson --endpoint 127.0.0.1:2197 --tls-name localhost --ca certs/ca.pem --cert certs/push.pem --key certs/push.key

Accepted by APNs is not yet seen by the device. Exit codes: tocsin exit-codes.)";

Result<PushType> parse_push_type(const std::string& text) {
  PushType type{};
  if (apns::push_type_from_name(text, type)) return type;
  std::string known;
  for (std::size_t i = 0; i < kPushTypes; ++i)
    known += std::string(i == 0 ? "" : ", ") + push_type_name(static_cast<PushType>(i));
  return Error{Code::invalid_argument, "'" + text + "' is not a push type; known are " + known};
}

Result<int> parse_fallback_port(const std::string& text) {
  if (text == "none") return kAlternatePortNone;
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= 65'535) return port;
  return Error{Code::invalid_argument, "'" + text + "' is not a port; write 1 to 65535, or none"};
}

Result<double> parse_share(const std::string& text) {
  if (text == "off") return 0.0;
  double share = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (error == std::errc{} && end == text.data() + text.size() && share > 0 && share <= 1) return share;
  return Error{Code::invalid_argument, "'" + text + "' is not a share; write a number above 0 and up to 1, as 0.5, or off"};
}

Result<PriorityClass> parse_priority_class(const std::string& text) {
  PriorityClass out{};
  if (priority_class_from_name(text, out)) return out;
  return Error{Code::invalid_argument, "'" + text + "' is not a priority class; it is " + kPriorityClasses};
}

std::vector<int> numbers_of(const std::string& list) {
  std::vector<int> out;
  for (std::size_t at = 0; at < list.size();) {
    int value = 0;
    const auto end = std::from_chars(list.data() + at, list.data() + list.size(), value).ptr;
    out.push_back(value);
    at = static_cast<std::size_t>(end - list.data()) + 1;
  }
  return out;
}

void add_input(CLI::App& app, PushOptions& o) {
  app.add_option("FILE", o.input, "devices or notifications: NDJSON or CSV, plain or gzip; - is standard input")
      ->required()
      ->option_text("FILE|-");
  app.add_option("--format", o.reading.format,
                 "ndjson or csv (default: by the file's extension, else by its first character)")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, Format>{{"ndjson", Format::ndjson}, {"csv", Format::csv}})
              .description(""))
      ->option_text("FORMAT")
      ->group("Input");
  app.add_option("--from-line", o.reading.from_line,
                 "begin at this line; --out is then appended to (to continue a run, --resume knows better)")
      ->check(CLI::PositiveNumber.description(""))
      ->option_text("N")
      ->group("Input");
  add_parsed(
      app, "--limit", [](const std::string& t) { return parse_count(t); }, [&o](std::uint64_t n) { o.limit = n; },
      "stop after this many pushes")
      ->option_text("N")
      ->group("Input");
  app.add_flag("--strict", o.strict,
               "check everything first and send nothing if a line is wrong (exit 3) or the certificate ends within 30 "
               "days (exit 6)")
      ->group("Input");
  app.add_flag("--dry-run", o.dry_run, "check every line, the certificate, its topic and its days left; send nothing")
      ->group("Input");
}

void add_endpoint(CLI::App& app, PushOptions& o) {
  const std::string group = "Endpoint and certificate";
  app.add_flag("--sandbox", o.sandbox, "api.sandbox.push.apple.com instead of production")->group(group);
  add_parsed(
      app, "--endpoint", [](const std::string& t) { return parse_endpoint(t); },
      [&o](Endpoint e) {
        o.endpoint = std::move(e);
        o.endpoint_given = true;
      },
      "another endpoint than Apple's production: host:port or [v6]:port")
      ->option_text("HOST:PORT")
      ->group(group);
  app.add_option("--tls-name", o.tls_name,
                 "the name that the server's certificate must carry, if not the endpoint's host")
      ->option_text("NAME")
      ->group(group);
  app.add_option("--ca", o.ca, "trust anchors as PEM (default: the system's)")->option_text("FILE")->group(group);
  app.add_option("--cert", o.cert, "push certificate as PEM (the key may be in the same file)")
      ->option_text("FILE")
      ->group(group);
  app.add_option("--key", o.key, "its private key as PEM")->option_text("FILE")->group(group);
  app.add_option("--key-password-file", o.key_password_file, "file with the key's password on its first line")
      ->option_text("FILE")
      ->group(group);
  app.add_option("--p12", o.p12, "push certificate and key as PKCS#12 instead")->option_text("FILE")->group(group);
  app.add_option("--p12-password-file", o.p12_password_file,
                 "file with its password on its first line (or the variable TOCSIN_P12_PASSWORD)")
      ->option_text("FILE")
      ->group(group);
  app.add_option("--p8", o.p8, "provider key from Apple instead of a certificate; not for MDM")
      ->option_text("FILE")
      ->group(group);
  app.add_option("--key-id", o.key_id, "its key id")->option_text("ID")->group(group);
  app.add_option("--team-id", o.team_id, "the team it belongs to")->option_text("ID")->group(group);
  app.add_option("--credentials", o.credentials,
                 "JSON list of several certificates and provider keys; each line goes to the one that has its topic")
      ->option_text("FILE")
      ->group(group);
  app.add_option("--proxy", o.proxy,
                 "HTTP proxy to tunnel through: http://host:port, http://user:password@host:port (or the variable "
                 "TOCSIN_PROXY, which other users cannot read)")
      ->envname("TOCSIN_PROXY")
      ->option_text("URL")
      ->group(group);
  add_parsed(
      app, "--fallback-port", parse_fallback_port, [&o](int port) { o.alternate_port = port; },
      "port to use while the endpoint's cannot be reached, or none (default: 2197 beside 443 at Apple, else none)")
      ->option_text("N|none")
      ->group(group);
}

void add_content(CLI::App& app, PushOptions& o) {
  const std::string group = "What is sent";
  app.add_option("--topic", o.topic, "apns-topic of lines that name none (default: the certificate's UID)")
      ->option_text("TOPIC")
      ->group(group);
  add_parsed(
      app, "--push-type", parse_push_type, [&o](PushType t) { o.push_type = t; },
      "apns-push-type of lines that name none (default: mdm for lines with a magic, else alert)")
      ->option_text("TYPE")
      ->group(group);
  app.add_option("--priority", o.priority,
                 "apns-priority of lines that name none: 10, 5 or 1 (default: 10, background 5)")
      ->option_text("N")
      ->group(group);
  add_parsed(
      app, "--expiration",
      [](const std::string& t) -> Result<std::string> {
        if (auto checked = parse_expiration(t, 1'700'000'000); !checked.ok()) return checked.error();
        return t;
      },
      [&o](std::string t) { o.expiration = std::move(t); },
      "apns-expiration of lines that name none: 0 (one attempt), Unix seconds, or from now on: +1d, 3600s; a time from "
      "now is rounded up "
      "to a whole minute (default: none, APNs keeps it up to 30 days)")
      ->option_text("WHEN")
      ->group(group);
  app.add_option("--alert", o.alert, "text of an app notification, the same for all lines")
      ->option_text("TEXT")
      ->group(group);
  app.add_option("--title", o.title, "its title")->option_text("TEXT")->group(group);
  app.add_option("--subtitle", o.subtitle, "its subtitle")->option_text("TEXT")->group(group);
  app.add_option("--sound", o.sound, "its sound, \"default\" or a file's name")->option_text("NAME")->group(group);
  app.add_option("--badge", o.badge, "the app icon's number; 0 removes it")
      ->check(CLI::NonNegativeNumber.description(""))
      ->option_text("N")
      ->group(group);
}

void add_queue(CLI::App& app, PushOptions& o) {
  const std::string group = "While it waits";
  add_parsed(
      app, "--deadline", [](const std::string& t) { return parse_duration_ms(t); },
      [&o](std::int64_t ms) { o.deadline_ms = ms; },
      "a push that still waits this long after its line was read ends as expired (default: none)")
      ->option_text("TIME")
      ->group(group);
  add_parsed(
      app, "--priority-class", parse_priority_class, [&o](PriorityClass c) { o.priority_class = c; },
      "urgent, normal or bulk, for lines that name none: the order in tocsin's own queue")
      ->option_text("CLASS=normal")
      ->group(group);
  // Not one flag with a negation: CLI11 would set it to false where neither is given.
  auto* on = app.add_flag_callback(
                    "--coalesce", [&o] { o.coalesce = true; },
                    "a newer push to the same device and topic supersedes one that still waits (default: MDM wake-ups "
                    "only)")
                 ->group(group);
  app.add_flag_callback(
         "--no-coalesce", [&o] { o.coalesce = false; }, "send every push")
      ->group(group)
      ->excludes(on);
  app.add_option("--dead-tokens", o.dead_tokens,
                 "tokens not to send to: the outcomes of an earlier run, or lines with token, topic and unregistered_at")
      ->option_text("FILE")
      ->group(group);
  add_parsed(
      app, "--bad-token-brake", parse_share, [&o](double share) { o.bad_token_share = share; },
      "stop (exit 8) when this share of the last 200 answers or more is BadDeviceToken: the tokens are then most "
      "likely of the other environment; off: never")
      ->option_text("SHARE=0.5")
      ->group(group);
}

void add_engine(CLI::App& app, PushOptions& o) {
  const std::string group = "How it is sent";
  app.add_option("--connections", o.connections, "connections at most; they grow with the load")
      ->check(CLI::Range(1u, 1024u).description(""))
      ->option_text("N=4")
      ->group(group);
  app.add_option("--connections-min", o.connections_min, "connections that are opened at once, before the load asks for them")
      ->check(CLI::Range(1u, 1024u).description(""))
      ->option_text("N=1")
      ->group(group);
  app.add_option("--streams", o.streams, "requests in flight on one connection at most; the server may allow fewer")
      ->check(CLI::Range(1u, 100'000u).description(""))
      ->option_text("N=1000")
      ->group(group);
  app.add_option("--shards", o.shards, "threads that send")
      ->check(CLI::Range(1u, 256u).description(""))
      ->option_text("N=1")
      ->group(group);
  add_parsed(
      app, "--cpus", [](const std::string& t) { return check_cpu_list(t); },
      [&o](const std::string& l) { o.cpus = numbers_of(l); }, "pin the shards to these CPUs: 0,2,4-7")
      ->option_text("LIST")
      ->group(group);
  add_parsed(
      app, "--rate", [](const std::string& t) { return parse_rate(t); }, [&o](double r) { o.rate = r; },
      "pushes per time at most, evenly: 20000/s, 20k/s, 600/m")
      ->option_text("RATE")
      ->group(group);
  app.add_option("--policy", o.policy,
                 "a push whose connection was lost after it was written: at-least-once sends it again, at-most-once "
                 "reports it as unknown")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Policy>{{"at-least-once", Policy::at_least_once},
                                                                        {"at-most-once", Policy::at_most_once}})
                      .description(""))
      ->option_text("POLICY=at-least-once")
      ->group(group);
  app.add_option("--tls-crypto", o.tls_crypto, "automatic, ipsec-mb or wolfssl")
      ->transform(CLI::CheckedTransformer(std::map<std::string, TlsCrypto>{{"automatic", TlsCrypto::automatic},
                                                                           {"ipsec-mb", TlsCrypto::ipsec_mb},
                                                                           {"wolfssl", TlsCrypto::wolfssl}})
                      .description(""))
      ->option_text("CODE=automatic")
      ->group(group);
  app.add_option("--codec", o.codec, "what speaks HTTP/2: fast (our own) or nghttp2; both do the same")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Codec>{{"fast", Codec::fast}, {"nghttp2", Codec::nghttp2}})
                      .description(""))
      ->option_text("CODEC=fast")
      ->group(group);
  const auto duration = [&](const char* name, std::int64_t& target, const char* help, const char* text) {
    add_parsed(
        app, name, [](const std::string& t) { return parse_duration_ms(t); },
        [&target](std::int64_t ms) { target = ms; }, help)
        ->option_text(text)
        ->group(group);
  };
  duration("--connect-timeout", o.connect_timeout_ms, "for one connection: name, TCP, then again for TLS", "TIME=10s");
  duration("--answer-timeout", o.answer_timeout_ms,
           "a request without an answer is ended after this, and then follows the policy; a connection that answers "
           "nothing at all is given up",
           "TIME=60s");
  duration("--give-up", o.give_up_ms, "end when no connection could be made for this long; 0: never", "TIME=60s");
  duration("--retry-backoff", o.retry_backoff_ms,
           "after a 5xx, one early retry, then waits that double from here, within the push's own time", "TIME=15s");
  duration("--grace", o.grace_ms, "after Ctrl-C, wait this long for answers to what is in flight", "TIME=10s");
}

void add_reporting(CLI::App& app, PushOptions& o) {
  const std::string group = "Results and watching";
  app.add_option("--out", o.out,
                 "one outcome a line as NDJSON; - is standard output (the summary then goes to standard error)")
      ->option_text("FILE|-")
      ->group(group);
  app.add_flag("--resume", o.resume,
               "continue the run whose outcomes are in --out, after whatever ended it: give the same command again")
      ->group(group);
  app.add_flag("--retry-failed", o.retry_failed,
               "with --resume: send again what failed too, and what is unknown unless --policy is at-most-once")
      ->group(group);
  app.add_flag("--overwrite", o.overwrite, "begin anew although --out holds a run that is not finished")->group(group);
  app.add_option("--run-key", o.run_key,
                 "apns-ids follow from this text and the line's number (default: from a random key, kept beside --out)")
      ->option_text("TEXT")
      ->group(group);
  add_parsed(
      app, "--sync", [](const std::string& t) { return parse_duration_ms(t); },
      [&o](std::int64_t ms) { o.sync_ms = ms; },
      "have outcomes on the disk at the latest after this time; 0: when the system likes")
      ->option_text("TIME=1s")
      ->group(group);
  app.add_option("--rejects", o.rejects,
                 "lines that could not be used (default: beside --out, or tocsin-rejects.ndjson)")
      ->option_text("FILE")
      ->group(group);
  app.add_flag("--json", o.json, "the summary as one JSON object")->group(group);
  app.add_flag_callback(
         "--no-progress", [&o] { o.progress = false; }, "no progress line")
      ->group(group);
  app.add_option("--metrics", o.metrics, "serve Prometheus metrics here, for example 127.0.0.1:9090")
      ->option_text("ADDR")
      ->group(group);
  add_parsed(
      app, "--log-format", [](const std::string& t) { return log::format_from_text(t); },
      [&o](log::Format f) { o.logging.format = f; }, "text or json")
      ->option_text("FORMAT=text")
      ->group(group);
  add_parsed(
      app, "--log-level", [](const std::string& t) { return log::level_from_text(t); },
      [&o](LogLevel l) { o.logging.level = l; }, "debug, info, warning or error")
      ->option_text("LEVEL=warning")
      ->group(group);
}

}  // namespace

void add_push_options(CLI::App& root, PushOptions& options, std::function<void()> chosen) {
  CLI::App& app = *root.add_subcommand("push", "send one push for each line of a file and report each outcome");
  add_input(app, options);
  add_endpoint(app, options);
  add_content(app, options);
  add_queue(app, options);
  add_engine(app, options);
  add_reporting(app, options);
  app.footer(kFooter);
  app.callback(std::move(chosen));
}

bool priority_class_from_name(std::string_view name, PriorityClass& out) {
  if (name == "urgent")
    out = PriorityClass::urgent;
  else if (name == "normal")
    out = PriorityClass::normal;
  else if (name == "bulk")
    out = PriorityClass::bulk;
  else
    return false;
  return true;
}

namespace {

std::string check_provider_key(const PushOptions& o) {
  const bool certificate = !o.cert.empty() || !o.p12.empty();
  if (!o.credentials.empty() && (certificate || !o.p8.empty()))
    return "--credentials names the certificates and keys; leave --cert, --p12 and --p8 out";
  if (o.p8.empty()) {
    if (!o.key_id.empty() || !o.team_id.empty()) return "--key-id and --team-id belong to --p8, the provider key";
    return {};
  }
  if (certificate) return "--p8 is used instead of a certificate; give one of the two";
  if (o.key_id.empty() || o.team_id.empty())
    return "--p8 needs --key-id and --team-id, as Apple's portal shows them beside the key";
  if ((o.push_type && *o.push_type == PushType::mdm) || o.topic.starts_with("com.apple.mgmt."))
    return std::string(kNoMdmByToken) + "; give --cert and --key, or --p12";
  return {};
}

}  // namespace

std::string check_relations(const PushOptions& o) {
  if (o.sandbox && o.endpoint_given) return "--sandbox and --endpoint contradict each other; give one of them";
  if (!o.p12.empty() && !(o.cert.empty() && o.key.empty()))
    return "--p12 and --cert/--key are two forms of the same; give one of them";
  if (o.cert.empty() && !o.key.empty()) return "--key needs --cert, the push certificate";
  if (o.cert.empty() && !o.key_password_file.empty()) return "--key-password-file needs --cert and --key";
  if (o.p12.empty() && !o.p12_password_file.empty()) return "--p12-password-file needs --p12";
  if (const std::string wrong = check_provider_key(o); !wrong.empty()) return wrong;
  if (!o.has_credential() && !o.endpoint_given) {
    return "Apple's endpoints need a push certificate or a provider key: give --cert push.pem --key push.key, --p12 "
           "push.p12, --p8 AuthKey.p8 with --key-id and --team-id, or --credentials";
  }
  if (o.strict && !o.dry_run && o.input == "-") {
    return "--strict reads the input twice, which standard input cannot be; give a file, or check it with --dry-run "
           "first";
  }
  if (o.resume && o.out.empty()) return "--resume needs --out, the file with the outcomes of the run to continue";
  if (o.resume && o.dry_run) return "--dry-run sends nothing, so there is nothing for it to --resume";
  if (o.resume && o.overwrite) return "--resume and --overwrite contradict each other; give one of them";
  if (o.retry_failed && !o.resume) return "--retry-failed goes with --resume";
  if (o.sync_ms > 3'600'000) return "--sync is at most 1h; 0 leaves it to the system";
  if (o.has_app_payload() && o.push_type && *o.push_type != PushType::alert) {
    return "--alert, --title, --subtitle, --sound and --badge make an alert; --push-type asks for another type";
  }
  if (o.priority && *o.priority != 10 && *o.priority != 5 && *o.priority != 1) return "--priority is 10, 5 or 1";
  if (o.connections_min > o.connections && o.credentials.empty()) {
    return fmt::format("--connections-min {} is more than --connections {}", o.connections_min, o.connections);
  }
  if (o.shards > o.connections && o.credentials.empty()) {
    return fmt::format("--shards {} needs at least as many --connections (now {}): each shard has its own", o.shards,
                       o.connections);
  }
  if (o.connect_timeout_ms < 10 || o.connect_timeout_ms > 3'600'000) return "--connect-timeout is from 10ms to 1h";
  if (o.answer_timeout_ms < 10 || o.answer_timeout_ms > 3'600'000) return "--answer-timeout is from 10ms to 1h";
  if (o.give_up_ms > 3'600'000 * 24) return "--give-up is at most 1d; 0 never gives up";
  if (o.grace_ms > 3'600'000) return "--grace is at most 1h";
  if (o.retry_backoff_ms < 10 || o.retry_backoff_ms > 3'600'000) return "--retry-backoff is from 10ms to 1h";
  return {};
}

std::string app_payload(const PushOptions& o) {
  nlohmann::json aps = nlohmann::json::object();
  if (o.title || o.subtitle) {
    nlohmann::json alert = nlohmann::json::object();
    if (o.title) alert["title"] = *o.title;
    if (o.subtitle) alert["subtitle"] = *o.subtitle;
    if (o.alert) alert["body"] = *o.alert;
    aps["alert"] = std::move(alert);
  } else if (o.alert) {
    aps["alert"] = *o.alert;
  }
  if (o.sound) aps["sound"] = *o.sound;
  if (o.badge) aps["badge"] = *o.badge;
  // Arguments that are not UTF-8 must not throw here; they come out with U+FFFD.
  return nlohmann::json{{"aps", std::move(aps)}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace tocsin::cli
