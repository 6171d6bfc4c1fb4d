// SPDX-License-Identifier: Apache-2.0
// The table of contents of `tocsin push`: options, certificate, lines, engine, run, summary.
#include "cli/push.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "apns/request.h"
#include "cli/credentials_file.h"
#include "cli/dead_tokens.h"
#include "cli/preflight.h"
#include "cli/push_run.h"
#include "cli/run_record.h"
#include "cli/signals.h"
#include "cli/summary.h"
#include "cli/terminal.h"
#include "log/log.h"

namespace tocsin::cli {
namespace {

// Enough to keep four connections of 1,000 streams busy over a long round trip; about 30 MiB in all.
constexpr std::uint64_t kPushesMax = 65'536;
constexpr std::uint64_t kAheadMin = 1024;

int fail(Exit code, const std::string& text) {
  say("tocsin push: " + text);
  return exit_number(code);
}

double seconds_since(const timespec& from) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec - from.tv_sec) + static_cast<double>(now.tv_nsec - from.tv_nsec) / 1e9;
}

// The credentials that the command names, judged: one of the command line, or those of a file.
struct Credentials {
  std::vector<Preflight> all;
  std::string topic;  // of lines that name none
  bool several = false;

  bool needs_care() const {
    return std::any_of(all.begin(), all.end(), [](const Preflight& each) { return each.needs_care; });
  }
};

Result<Credentials> judge_credentials(const PushOptions& options) {
  Credentials out;
  if (options.credentials.empty()) {
    auto one = run_preflight(options, std::time(nullptr));
    if (!one.ok()) return one.error();
    out.topic = one->topic;
    out.all.push_back(std::move(*one));
    return out;
  }
  auto all = read_credentials(options, std::time(nullptr));
  if (!all.ok()) return all.error();
  out.all = std::move(*all);
  out.several = true;
  // A list of one with one topic needs no topic in its lines.
  const bool clear = out.all.size() == 1 && out.all.front().topics.size() == 1;
  out.topic = options.topic.empty() && clear ? out.all.front().topics.front() : options.topic;
  return out;
}

Defaults defaults_of(const PushOptions& options, const Credentials& credentials) {
  Defaults defaults;
  defaults.topic = credentials.topic;
  defaults.priority_class = options.priority_class;
  defaults.coalesce = options.coalesce;
  defaults.push_type = options.push_type;
  defaults.priority = options.priority;
  // Checked when the option was parsed.
  if (!options.expiration.empty()) defaults.expiration = *parse_expiration(options.expiration, std::time(nullptr));
  if (options.has_app_payload()) defaults.payload = app_payload(options);
  for (const Preflight& each : credentials.all) {
    defaults.routes.push_back({each.name, credentials.several ? each.topics : std::vector<std::string>(), each.facts,
                               !each.credential.provider_key_id.empty()});
  }
  return defaults;
}

RejectLog reject_log(const PushOptions& options, const Input& input) {
  return RejectLog(input.name(), options.rejects.empty() ? rejects_path_for(options.out) : options.rejects,
                   options.reading.from_line > 1 || options.resume);
}

// --- Checking without sending: --dry-run, and the first pass of --strict.

struct Checked {
  std::uint64_t valid = 0;
  std::uint64_t wrong = 0;
  std::uint64_t templates = 0;
  std::string rejects_file;
  std::string error;  // the input could not be read, or the rejects not be written
};

Checked check_lines(const PushOptions& options, const Credentials& credentials) {
  Checked checked;
  auto input = Input::open(options.input, options.reading);
  if (!input.ok()) {
    checked.error = input.error().message;
    return checked;
  }
  RejectLog rejects = reject_log(options, **input);
  std::uint32_t templates = 0;
  Preparer preparer(defaults_of(options, credentials), [&](const TemplateOptions&) -> Result<TemplateHandle> {
    return static_cast<TemplateHandle>(++templates);  // all checks are made before
  });
  Record record;
  Prepared prepared;
  Reject reject;
  for (bool more = true; more && !interrupted() && (options.limit == 0 || checked.valid < options.limit);) {
    bool wrong = false;
    switch ((*input)->next(record, reject)) {
      case InputState::record:
        wrong = !preparer.prepare(record, prepared, reject);
        checked.valid += wrong ? 0 : 1;
        break;
      case InputState::reject:
        wrong = true;
        break;
      case InputState::wait:
        break;
      case InputState::failed:
        checked.error = (*input)->error();
        [[fallthrough]];
      case InputState::end:
        more = false;
        break;
    }
    if (!wrong) continue;
    if (auto added = rejects.add(reject); !added.ok()) checked.error = added.error().message, more = false;
  }
  if (const std::string warning = (*input)->take_warning(); !warning.empty()) say("warning: " + warning);
  if (auto finished = rejects.finish(); !finished.ok() && checked.error.empty())
    checked.error = finished.error().message;
  checked.wrong = rejects.count();
  if (checked.wrong != 0) checked.rejects_file = rejects.path();
  checked.templates = templates;
  return checked;
}

Exit exit_of(const Checked& checked, const PushOptions& options, const Credentials& credentials) {
  if (interrupted()) return Exit::interrupted;
  if (!checked.error.empty() || checked.wrong != 0) return Exit::bad_input;
  if (options.strict && credentials.needs_care()) return Exit::needs_care;
  return Exit::done;
}

nlohmann::ordered_json certificate_json(const Preflight& each) {
  return {{"subject", each.facts.subject},
          {"not_after", format_date(each.facts.not_after_unix_s)},
          {"days_left", each.days_left}};
}

int report_dry_run(const PushOptions& options, const Credentials& credentials) {
  const Checked checked = check_lines(options, credentials);
  const Exit code = exit_of(checked, options, credentials);
  if (options.json) {
    nlohmann::ordered_json j{{"command", "push"},
                             {"dry_run", true},
                             {"input", options.input},
                             {"valid", checked.valid},
                             {"input_rejects", checked.wrong}};
    j["rejects_file"] =
        checked.rejects_file.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(checked.rejects_file);
    j["templates"] = checked.templates;
    j["topic"] = credentials.topic;
    if (!credentials.several && credentials.all.front().has_certificate)
      j["certificate"] = certificate_json(credentials.all.front());
    if (credentials.several) {
      auto& list = j["credentials"] = nlohmann::ordered_json::array();
      for (const Preflight& each : credentials.all) {
        nlohmann::ordered_json entry{{"name", each.name}, {"topics", each.topics}};
        if (each.has_certificate) entry["certificate"] = certificate_json(each);
        list.push_back(std::move(entry));
      }
    }
    if (!checked.error.empty()) j["error"] = checked.error;
    j["exit_code"] = exit_number(code);
    fmt::print("{}\n", j.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return exit_number(code);
  }
  if (!checked.error.empty()) say("tocsin push: " + checked.error);
  for (const Preflight& each : credentials.all) {
    if (credentials.several) {
      std::string topics;
      for (const std::string& topic : each.topics) topics.append(topics.empty() ? "" : ", ").append(topic);
      fmt::print("credential   {}: {}\n", each.name, topics);
    }
    if (each.has_certificate) {
      fmt::print("certificate  {}\n             {} days left, until {}\n", each.facts.subject, each.days_left,
                 format_date(each.facts.not_after_unix_s));
    }
    if (!each.credential.provider_key_id.empty())
      fmt::print("provider key {} of team {}\n", each.credential.provider_key_id, each.credential.team_id);
  }
  fmt::print("topic        {}\nvalid        {} lines\n",
             credentials.topic.empty() ? "named by each line" : credentials.topic, format_count(checked.valid));
  if (checked.wrong != 0)
    fmt::print("unusable     {} lines; see {}\n", format_count(checked.wrong), checked.rejects_file);
  fmt::print("Nothing was sent (--dry-run).\n");
  return exit_number(code);
}

// --strict: 0 if sending may begin.
int check_strictly(const PushOptions& options, const Credentials& credentials) {
  const Checked checked = check_lines(options, credentials);
  switch (const Exit code = exit_of(checked, options, credentials); code) {
    case Exit::done:
      return 0;
    case Exit::needs_care:
      return fail(code, "nothing was sent: the certificate needs care (--strict)");
    case Exit::interrupted:
      return fail(code, "nothing was sent: stopped while checking");
    default:
      return fail(code, checked.error.empty() ? fmt::format("nothing was sent: {} lines are wrong (--strict); see {}",
                                                            format_count(checked.wrong), checked.rejects_file)
                                              : "nothing was sent: " + checked.error);
  }
}

// --- Sending.

std::uint64_t connections_of(const Credentials& credentials) {
  std::uint64_t connections = 0;
  for (const Preflight& each : credentials.all) connections += each.credential.connections_max;
  return connections;
}

// A crash gives up what is under way at most once: no more than keeps the streams busy, if outcomes are kept at all.
std::uint32_t ahead_max(const PushOptions& options, const Credentials& credentials, const RunRecord& record,
                        std::uint64_t pushes_max) {
  if (options.policy != Policy::at_most_once || !record.journal) return static_cast<std::uint32_t>(pushes_max);
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(2 * connections_of(credentials) * options.streams, kAheadMin, pushes_max));
}

EngineOptions engine_options(const PushOptions& options, const Credentials& credentials, std::size_t dead_tokens) {
  EngineOptions engine;
  engine.shards = options.shards;
  engine.cpus = options.cpus;
  const std::uint64_t connections = connections_of(credentials);
  engine.connections_max = static_cast<unsigned>(std::clamp<std::uint64_t>(connections, engine.connections_max, 65'536));
  engine.pushes_max = std::min<std::uint64_t>(
      std::max<std::uint64_t>(kPushesMax, 2ull * connections * options.streams), 4u << 20);
  engine.retry_later_ms = static_cast<unsigned>(options.retry_backoff_ms);
  // What is known beforehand must not push out what this run learns.
  engine.dead_tokens_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(engine.dead_tokens_max + dead_tokens, 64'000'000));
  engine.tls_crypto = options.tls_crypto;
  engine.codec = options.codec;
  engine.log = [](const LogRecord& record) {
    // The run says these two itself, once and with the way out (StateWatch).
    if (record.event == "credential_stopped" || record.event == "credential_alarmed") return;
    show_progress_line("");  // it comes back at the next tick
    log::write(record.level, record.event, record.text);
  };
  return engine;
}

Progress::Mode progress_mode(const PushOptions& options) {
  if (!options.progress) return Progress::Mode::off;
  if (is_terminal(STDERR_FILENO)) return Progress::Mode::in_place;
  return options.json ? Progress::Mode::off : Progress::Mode::lines;
}

int report(const PushOptions& options, const PushRun& run, const Engine& engine, const RejectLog& rejects,
           double seconds) {
  SummaryFacts facts;
  facts.tally = run.tally();
  facts.by_credential = run.by_credential();
  facts.end = run.end();
  facts.stats = engine.stats();
  facts.usage = usage();
  facts.seconds = seconds;
  facts.input = options.input;
  facts.out = options.out;
  if (rejects.count() != 0) facts.rejects = rejects.path();
  const Exit code = exit_of(facts.tally, facts.end);
  // Outcomes on standard output keep it to themselves.
  const bool to_stderr = options.out == "-";
  const std::string text = options.json
                               ? summary_json(facts, code)
                               : summary_text(facts, code, colours_wanted(to_stderr ? STDERR_FILENO : STDOUT_FILENO));
  std::fwrite(text.data(), 1, text.size(), to_stderr ? stderr : stdout);
  std::fflush(to_stderr ? stderr : stdout);
  return exit_number(code);
}

int report_all_done(const PushOptions& options) {
  if (options.json) {
    SummaryFacts facts;
    facts.input = options.input;
    facts.out = options.out;
    facts.end.resumed = true;
    fmt::print("{}", summary_json(facts, Exit::done));
  } else {
    fmt::print("Nothing was left to send: every line of {} has its final outcome in {}.\n", options.input,
               options.out);
  }
  return exit_number(Exit::done);
}

// Topics of a credential, as far as they are known beforehand.
std::vector<std::string> topics_of(const Credentials& credentials, const Preflight& each) {
  if (credentials.several) return each.topics;
  std::vector<std::string> topics = each.facts.topics;
  if (!credentials.topic.empty() && std::find(topics.begin(), topics.end(), credentials.topic) == topics.end())
    topics.push_back(credentials.topic);
  return topics;
}

// Adds every credential, and gives each what is known of dead tokens.
Result<std::vector<CredentialHandle>> add_credentials(Engine& engine, Credentials& credentials,
                                                      const std::vector<DeadTokenLine>& dead) {
  std::vector<CredentialHandle> handles;
  for (Preflight& each : credentials.all) {
    auto handle = engine.add_credential(each.credential);
    if (!handle.ok())
      return credentials.several ? Error{handle.error().code, each.name + ": " + handle.error().message} : handle.error();
    wipe_secrets(each.credential);  // the engine has its own copy, and wipes it
    handles.push_back(*handle);
    if (dead.empty()) continue;
    auto given = give_dead_tokens(engine, *handle, topics_of(credentials, each), !credentials.several, dead);
    if (!given.ok()) return given.error();
  }
  return handles;
}

int send(const PushOptions& options, Credentials& credentials) {
  timespec begin{};
  clock_gettime(CLOCK_MONOTONIC, &begin);
  auto input = Input::open(options.input, options.reading);
  if (!input.ok()) return fail(Exit::bad_input, input.error().message);
  std::vector<DeadTokenLine> dead;
  if (!options.dead_tokens.empty()) {
    auto read = read_dead_tokens(options.dead_tokens);
    if (!read.ok()) return fail(Exit::bad_input, read.error().message);
    dead = std::move(*read);
    for (const Preflight& each : credentials.all) {
      const bool named = std::all_of(dead.begin(), dead.end(), [](const DeadTokenLine& l) { return !l.topic.empty(); });
      if (!named && topics_of(credentials, each).empty())
        return fail(Exit::bad_input, options.dead_tokens + ": has lines without a topic, and there is no --topic either");
    }
  }
  LineWriter out;
  RunRecord record;
  if (const RunRefusal refusal = open_run(options, credentials.topic, out, record); !refusal.text.empty())
    return fail(refusal.code, refusal.text);
  if (record.all_done) return report_all_done(options);
  if (record.from_line != options.reading.from_line) {
    InputOptions reading = options.reading;
    reading.from_line = record.from_line;
    input = Input::open(options.input, reading);
    if (!input.ok()) return fail(Exit::bad_input, input.error().message);
  }
  const EngineOptions engine_wanted = engine_options(options, credentials, dead.size());
  auto engine = Engine::start(engine_wanted);
  if (!engine.ok()) {
    const bool ours = engine.error().code != Code::invalid_argument;  // else an option, --cpus say, asks the impossible
    return fail(ours ? Exit::failed : Exit::usage, engine.error().message);
  }
  auto handles = add_credentials(**engine, credentials, dead);
  if (!handles.ok()) return fail(Exit::bad_input, handles.error().message);
  dead = {};
  std::unique_ptr<PushMetrics> metrics;
  if (!options.metrics.empty()) {
    auto started = PushMetrics::start(options.metrics, **engine);
    if (!started.ok()) return fail(Exit::failed, "--metrics: " + started.error().message);
    metrics = std::move(*started);
  }
  auto submitter = (*engine)->submitter();
  if (!submitter.ok()) return fail(Exit::failed, submitter.error().message);
  Preparer preparer(defaults_of(options, credentials),
                    [&](const TemplateOptions& wanted) { return (*engine)->add_template(wanted); });
  RejectLog rejects = reject_log(options, **input);
  Progress progress(progress_mode(options));
  PushRun run({**engine, std::move(*submitter), std::move(*handles), **input, preparer, rejects, out, record, metrics.get(), progress,
               static_cast<std::uint32_t>(engine_wanted.pushes_max),
               ahead_max(options, credentials, record, engine_wanted.pushes_max)},
              options);
  run.run();
  return report(options, run, **engine, rejects, seconds_since(begin));
}

int push(const PushOptions& options) {
  if (const std::string wrong = check_relations(options); !wrong.empty()) return fail(Exit::usage, wrong);
  log::init(options.logging);
  install_signals();
  auto credentials = judge_credentials(options);
  if (!credentials.ok()) return fail(Exit::bad_input, credentials.error().message);
  for (const Preflight& each : credentials->all) {
    for (const std::string& warning : each.warnings) say("warning: " + warning);
  }
  if (options.has_app_payload()) {
    if (const auto refusal = apns::check_payload(PushType::alert, app_payload(options)))
      return fail(Exit::bad_input, "--alert and its kin: " + refusal.text);
  }
  if (options.dry_run) return report_dry_run(options, *credentials);
  if (options.strict) {
    if (const int refused = check_strictly(options, *credentials); refused != 0) return refused;
  }
  return send(options, *credentials);
}

}  // namespace

void register_push(CLI::App& root, std::function<int()>& action) {
  auto options = std::make_shared<PushOptions>();
  add_push_options(root, *options, [options, &action] { action = [options] { return push(*options); }; });
}

}  // namespace tocsin::cli
