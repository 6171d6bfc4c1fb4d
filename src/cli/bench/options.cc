// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/options.h"

#include <algorithm>
#include <charconv>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/bench/fail_if.h"
#include "cli/bench/profile_result.h"
#include "cli/parsed_option.h"
#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

template <class Parse, class Store>
CLI::Option* add_each(CLI::App& app, const std::string& name, Parse parse, Store store, const std::string& help) {
  return app
      .add_option_function<std::vector<std::string>>(
          name,
          [name, parse, store](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) {
              auto parsed = parse(text);
              if (!parsed.ok()) throw CLI::ValidationError(name, parsed.error().message);
              store(std::move(parsed).value());
            }
          },
          help)
      ->allow_extra_args(false);
}

// A fixed rate, or a share of what was measured first: "50%".
struct Rate {
  double rate = 0, share = 0;
};
Result<Rate> parse_open_rate(const std::string& text) {
  if (!text.ends_with('%')) {
    const Result<double> rate = parse_rate(text);
    if (!rate.ok()) return rate.error();
    return Rate{*rate, 0};
  }
  Rate out;
  const char* last = text.data() + text.size() - 1;
  const auto [end, error] = std::from_chars(text.data(), last, out.share);
  if (error != std::errc{} || end != last || !(out.share > 0 && out.share <= 200)) {
    return Error{Code::invalid_argument, "'" + text + "' is not a share of the capacity; write 50%"};
  }
  out.share /= 100;
  return out;
}

Result<double> parse_percent(const std::string& text) {
  double value = 0;
  const char* last = text.data() + text.size() - (text.ends_with('%') ? 1 : 0);
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error == std::errc{} && end == last && text.ends_with('%') && value > 0) return value / 100;
  return Error{Code::invalid_argument, "'" + text + "' is not a share; write 15%"};
}

void add_what(CLI::App& app, BenchOptions& o) {
  o.profiles = {"apns", "flood"};
  app.add_option("--profile", o.profiles, "how the mock behaves, one or more of: " + profile_names())
      ->delimiter(',')
      ->check([](const std::string& name) -> std::string {
        return find_profile(name) != nullptr ? "" : "there is no profile '" + name + "'; there are: " + profile_names();
      })
      ->option_text("NAME[,NAME]")
      ->capture_default_str();
  app.add_option("--runs", o.runs, "runs a profile, each with a mock and an engine of its own")
      ->check(CLI::Range(1u, 1000u))
      ->option_text("N=5");
  const auto duration = [](const std::string& t) { return parse_duration_ms(t); };
  add_parsed(app, "--warmup", duration, [&o](std::int64_t ms) { o.base.warmup_ms = ms; },
             "load before the main phase, after all connections are open; in no figure")
      ->option_text("TIME=1s");
  add_parsed(app, "--time", duration, [&o](std::int64_t ms) { o.base.main_ms = ms; }, "the main phase: what is measured")
      ->option_text("TIME=3s");
  add_parsed(
      app, "--rate", parse_open_rate,
      [&o](Rate r) {
        o.base.rate = r.rate;
        if (r.rate == 0) o.rate_share = r.share;
      },
      "open loop: so many pushes a second whatever comes back (20k/s), or a share of the capacity (50%), latency from the "
      "intended time; without it closed loop: as many as go")
      ->option_text("RATE");
  app.add_flag("--curve", o.curve, "also CPU a push and latency over the offered rate, from 1,000/s to nine tenths of the capacity");
  add_each(app, "--sweep", parse_sweep, [&o](Sweep s) { o.sweeps.push_back(std::move(s)); },
           "also one run for each value: connections=1,4,64; streams, shards, payload, delay, auth=cert,token, tls=1.2,1.3, "
           "codec=fast,nghttp2 likewise (may be repeated)")
      ->option_text("NAME=VALUE,...");
  app.add_flag("--stages", o.base.stages, "also one run that splits the shards' CPU by the stages of their loop");
  app.add_flag("--memory", o.memory, "also the memory of a connection and of a queued push");
  add_parsed(app, "--memory-pushes", [](const std::string& t) { return parse_count(t); }, [&o](std::uint64_t n) { o.memory_pushes = n; },
             "pushes that are queued for it")
      ->option_text("N=1M");
}

void add_setup(CLI::App& app, BenchOptions& o) {
  const std::string group = "Engine and mock";
  app.add_option("--connections", o.connections, "connections (default: the profile's)")
      ->check(CLI::Range(1u, 65'536u).description(""))
      ->option_text("N")
      ->group(group);
  app.add_option("--streams", o.base.streams, "streams a connection")
      ->check(CLI::Range(1u, 100'000u).description(""))
      ->option_text("N=1000")
      ->group(group);
  app.add_option("--shards", o.base.shards, "shards of the engine, one thread each")
      ->check(CLI::Range(1u, 256u).description(""))
      ->option_text("N=1")
      ->group(group);
  app.add_option("--payload", o.base.payload_bytes, "bytes of each payload, then an alert's (default: an MDM wake-up's 46)")
      ->check(CLI::Range(0u, 4096u).description(""))
      ->option_text("BYTES")
      ->group(group);
  const auto count = [](const std::string& t) { return parse_count(t); };
  add_parsed(app, "--dead-tokens", count, [&o](std::uint64_t n) { o.base.dead_tokens = n; }, "tokens in the filter of dead ones")
      ->option_text("N=1M")
      ->group(group);
  add_parsed(app, "--inside", count, [&o](std::uint64_t n) { o.base.inside = n; },
             "closed loop: pushes under way (default: twice what the streams hold, at most 131,072)")
      ->option_text("N")
      ->group(group);
  const auto dimension = [&app, &o, &group](const char* name, const char* help, const char* value) {
    add_parsed(
        app, std::string("--") + name,
        [name](const std::string& text) -> Result<std::string> {
          RunSpec probe;
          if (Result<void> set = set_dimension(probe, name, text); !set.ok()) return set.error();
          return text;
        },
        [name, &o](const std::string& text) { (void)set_dimension(o.base, name, text); }, help)
        ->option_text(value)
        ->group(group);
  };
  dimension("auth", "cert, or token: a provider token and an alert, because MDM takes none", "KIND=cert");
  dimension("tls", "1.2 or 1.3", "VERSION=1.3");
  dimension("codec", "what speaks HTTP/2: fast or nghttp2", "NAME");
  dimension("delay", "of the mock's answers (default: the profile's)", "TIME");
  add_parsed(app, "--jitter", [](const std::string& t) { return parse_duration_ms(t); }, [&o](std::int64_t ms) { o.base.jitter_ms = ms; },
             "and up to so much more (default: the profile's)")
      ->option_text("TIME")
      ->group(group);
  add_parsed(app, "--validate-first", count, [&o](std::uint64_t n) { o.base.validate_first = n; },
             "pushes that the mock judges in full before a profile that judges less begins")
      ->option_text("N=100000")
      ->group(group);
  app.add_option("--window", o.base.window, "the mock's INITIAL_WINDOW_SIZE (default: the profile's)")
      ->check(CLI::Range(1u, 0x7fffffffu).description(""))
      ->option_text("BYTES")
      ->group(group);
  app.add_option("--script", o.base.script, "the mock's fault script (docs/faults.md)")->option_text("NAME|FILE")->group(group);
  app.add_option("--crypto", o.base.crypto, "the engine's AES-GCM: automatic, ipsec-mb or wolfssl")
      ->transform(CLI::CheckedTransformer(std::map<std::string, TlsCrypto>{{"automatic", TlsCrypto::automatic},
                                                                            {"ipsec-mb", TlsCrypto::ipsec_mb},
                                                                            {"wolfssl", TlsCrypto::wolfssl}})
                      .description(""))
      ->option_text("NAME=automatic")
      ->group(group);
  app.add_option("--mock-workers", o.base.mock_workers, "threads of the mock, on the last CPUs")
      ->check(CLI::Range(1u, 64u).description(""))
      ->option_text("N=1")
      ->group(group);
}

void add_judgement(CLI::App& app, BenchOptions& o) {
  const std::string group = "Judgement and output";
  add_parsed(app, "--spread-max", parse_percent, [&o](double share) { o.spread_max = share; },
             "the result is void when runs differ by more of their median")
      ->option_text("SHARE=15%")
      ->group(group);
  add_each(app, "--fail-if", [](const std::string& t) { return parse_fail_if(t, metric_names()); },
           [&o](FailIf f) { o.fail_if.push_back(std::move(f)); },
           "exit 7 when this holds for a profile: 'p999_us>2000', any number of --json (may be repeated)")
      ->option_text("CONDITION")
      ->group(group);
  app.add_flag("--json", o.json, "end with one line of JSON a profile")->group(group);
  app.add_option("--out", o.out, "directory for results.json and PROFILE.hgrm (HdrHistogram's text)")->option_text("DIR")->group(group);
  app.add_option("--report", o.report, "one HTML page with charts; it fetches nothing")->option_text("FILE")->group(group);
}

}  // namespace

void add_options(CLI::App& app, BenchOptions& options) {
  add_what(app, options);
  add_setup(app, options);
  add_judgement(app, options);
}

std::string check_options(const BenchOptions& o) {
  if (o.base.main_ms < 50 || o.base.main_ms > 3'600'000) return "--time is from 50ms to 1h";
  if (o.base.warmup_ms > 3'600'000) return "--warmup is at most 1h";
  if (o.base.dead_tokens > 50'000'000) return "--dead-tokens is at most 50,000,000";
  if (o.memory_pushes == 0 || o.memory_pushes > 50'000'000) return "--memory-pushes is from 1 to 50,000,000";
  if (o.base.inside > 4'000'000) return "--inside is at most 4,000,000";
  for (const std::string& profile : o.profiles) {
    const RunSpec spec = spec_of(o, profile);
    if (spec.shards > spec.connections) {
      return fmt::format("--shards {} needs at least as many --connections (now {}): each shard has its own", spec.shards, spec.connections);
    }
  }
  return {};
}

RunSpec spec_of(const BenchOptions& options, const std::string& profile) {
  RunSpec spec = options.base;
  spec.profile = profile;
  spec.stages = false;
  const Profile* known = find_profile(profile);
  spec.connections = options.connections.value_or(known == nullptr ? 4 : known->connections);
  spec.warmup_pushes = std::min<std::uint64_t>(std::uint64_t{2} * spec.connections * spec.streams, 100'000);
  if (spec.delay_ms < 0) spec.delay_ms = known == nullptr ? 0 : known->delay_ms;
  if (spec.jitter_ms < 0) spec.jitter_ms = known == nullptr ? 0 : known->jitter_ms;
  if (known != nullptr && !known->validates_all) spec.warmup_pushes += spec.validate_first;
  return spec;
}

}  // namespace tocsin::cli::bench
