// SPDX-License-Identifier: Apache-2.0
// engine_load: MDM wake-ups through the engine's public door, without a file on either side: what a push costs
// an embedder. Tokens are made from a counter, outcomes are read and counted. Ends with one line of JSON; exit 1 unless all were accepted.
#include <sys/resource.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <tocsin/engine.h>

#include "base/hex.h"
#include "base/prng.h"

namespace {

constexpr std::size_t kBatch = 256;
constexpr std::string_view kMagic = "D7D3A0B4-53F1-4D8E-9B10-2E2A1E9D6A11";

struct Options {
  std::string endpoint, ca, certificate, key, topic, token_file;
  std::size_t pushes = 500'000;
  unsigned connections = 4;
  unsigned streams = 1000;
  std::string codec = "fast";
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// Distinct 32-byte tokens from a counter.
void write_token(std::uint64_t number, std::array<char, 64>& out) {
  std::array<std::uint8_t, 32> bytes;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint64_t word = tocsin::base::mix64(number * 4 + i);
    for (std::size_t j = 0; j < 8; ++j) bytes[i * 8 + j] = static_cast<std::uint8_t>(word >> (8 * j));
  }
  tocsin::base::hex_encode(bytes, out.data());
}

// One token a line, each of 64 digits.
bool read_tokens(const std::string& path, std::vector<std::array<char, 64>>& out) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.size() != 64) return false;
    line.copy(out.emplace_back().data(), 64);
  }
  return !out.empty();
}

int fail(const std::string& text) {
  std::fprintf(stderr, "engine_load: %s\n", text.c_str());
  return 1;
}

int run(const Options& options) {
  tocsin::EngineOptions engine_options;
  engine_options.codec = options.codec == "fast" ? tocsin::Codec::fast : tocsin::Codec::nghttp2;
  auto engine = tocsin::Engine::start(engine_options);
  if (!engine) return fail(engine.error().message);
  tocsin::CredentialOptions credential_options;
  const std::size_t colon = options.endpoint.rfind(':');
  credential_options.host = options.endpoint.substr(0, colon);
  std::from_chars(options.endpoint.data() + colon + 1, options.endpoint.data() + options.endpoint.size(),
                  credential_options.port);
  credential_options.ca_pem = read_file(options.ca);
  credential_options.certificate_pem = read_file(options.certificate);
  credential_options.key_pem = read_file(options.key);
  credential_options.connections_max = options.connections;
  credential_options.streams_max = options.streams;
  const auto credential = (*engine)->add_credential(credential_options);
  if (!credential) return fail(credential.error().message);
  tocsin::TemplateOptions template_options;
  template_options.topic = options.topic;
  template_options.push_type = tocsin::PushType::mdm;
  template_options.form = tocsin::PayloadForm::with_part;
  template_options.payload = R"({"mdm":"%PART%"})";
  const auto wakeup = (*engine)->add_template(template_options);
  if (!wakeup) return fail(wakeup.error().message);
  auto submitter = (*engine)->submitter();
  if (!submitter) return fail(submitter.error().message);

  std::vector<tocsin::Outcome> outcomes(kBatch);  // what fits the first-level cache
  std::vector<tocsin::Push> batch(kBatch);
  std::vector<std::array<char, 64>> tokens(kBatch), given;
  if (!options.token_file.empty() && !read_tokens(options.token_file, given)) {
    return fail(options.token_file + " is not a file of tokens of 64 hex digits, one a line");
  }
  std::size_t submitted = 0, ended = 0, accepted = 0, made = 0, first = 0;  // batch[first, made) is still to be taken
  for (std::size_t i = 0; i < kBatch; ++i) {  // what all have in common
    batch[i].token = {tokens[i].data(), tokens[i].size()};
    batch[i].part = kMagic;
    batch[i].template_handle = *wakeup;
    batch[i].credential = *credential;
  }
  const double cpu_before = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  while (ended < options.pushes) {
    if (first == made && submitted < options.pushes) {
      first = 0;
      made = std::min(kBatch, options.pushes - submitted);
      for (std::size_t i = 0; i < made; ++i) {
        if (given.empty()) {
          write_token(submitted + i, tokens[i]);
        } else {
          tokens[i] = given[(submitted + i) % given.size()];
        }
        batch[i].id = submitted + i;
      }
    }
    const auto result = submitter->submit(std::span(batch).subspan(first, made - first));
    if (result.error != tocsin::Code::ok) return fail(result.message);
    first += result.taken;
    submitted += result.taken;
    std::size_t got = result.taken != 0 ? (*engine)->poll(outcomes) : (*engine)->wait(outcomes, 100);
    for (;;) {
      for (std::size_t i = 0; i < got; ++i) accepted += outcomes[i].end == tocsin::End::accepted ? 1 : 0;
      ended += got;
      if (got < outcomes.size()) break;
      got = (*engine)->poll(outcomes);
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu = cpu_seconds() - cpu_before;
  const auto stats = (*engine)->stats();
  std::printf("{\"pushes\":%zu,\"accepted\":%zu,\"seconds\":%.4f,\"pushes_per_second\":%.0f,\"client_cpu_ns_per_push\":%.0f,"
              "\"connections\":%llu,\"writes\":%llu,\"crypto\":\"%s\",\"codec\":\"%s\"}\n",
              options.pushes, accepted, seconds, static_cast<double>(options.pushes) / seconds,
              cpu * 1e9 / static_cast<double>(options.pushes), static_cast<unsigned long long>(stats.connections_opened),
              static_cast<unsigned long long>(stats.records_sent), stats.tls_crypto.c_str(), options.codec.c_str());
  return accepted == options.pushes ? 0 : fail("not every push was accepted");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"MDM wake-ups through the engine's public door, no files: CPU per push for an embedder"};
  app.add_option("--endpoint", options.endpoint, "host:port of the mock")->required();
  app.add_option("--ca", options.ca, "trust anchors, PEM")->required()->check(CLI::ExistingFile);
  app.add_option("--cert", options.certificate, "push certificate, PEM")->required()->check(CLI::ExistingFile);
  app.add_option("--key", options.key, "its key, PEM")->required()->check(CLI::ExistingFile);
  app.add_option("--topic", options.topic, "apns-topic")->required();
  app.add_option("--token-file", options.token_file, "tokens to push to, one a line, over and over (default: from a counter)");
  app.add_option("--pushes", options.pushes, "how many")->capture_default_str();
  app.add_option("--connections", options.connections, "connections at most")->capture_default_str();
  app.add_option("--streams", options.streams, "streams a connection at most")->capture_default_str();
  app.add_option("--codec", options.codec, "what speaks HTTP/2")->capture_default_str()->check(CLI::IsMember({"fast", "nghttp2"}));
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
