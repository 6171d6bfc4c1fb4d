// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>

#include "base/hex.h"
#include "base/prng.h"
#include "cli/bench/load.h"
#include "cli/bench/usage.h"
#include "cli/signals.h"

namespace tocsin::cli::bench {
namespace {

constexpr std::string_view kPart = "D7D3A0B4-53F1-4D8E-9B10-2E2A1E9D6A11";  // as long as a PushMagic
constexpr std::int64_t kDeadlineNs = 3'600'000'000'000;
// Far from the numbers of pushes: none of these tokens is sent to.
constexpr std::uint64_t kDeadFirst = std::uint64_t{1} << 48;

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::io, "cannot read " + path};
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

// 32 bytes: the number, spread over the first 16; the rest, which no number's touches, is the same for all. No two numbers share a token.
using TokenBytes = std::array<std::uint8_t, 32>;
constexpr TokenBytes kTokenOfNone = {0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
                                     0xb7, 0xe1, 0x51, 0x62, 0x8a, 0xed, 0x2a, 0x6a, 0xbf, 0x71, 0x58, 0x80, 0x9c, 0xf4, 0xf3, 0xc7};
void set_token(std::uint64_t number, TokenBytes& token) {
  const std::uint64_t words[2] = {base::mix64(number), base::mix64(~number)};
  std::memcpy(token.data(), words, sizeof(words));
}

// Of tokens that stand one behind the other, in one go.
void write_texts(std::span<const TokenBytes> tokens, std::array<char, 64>* out) {
  base::hex_encode({tokens.front().data(), tokens.size() * sizeof(TokenBytes)}, out->data());
}

Result<void> load_dead_tokens(Engine& engine, CredentialHandle credential, const std::string& topic, std::uint64_t count) {
  std::vector<std::array<char, 64>> texts(kDeadTokensPerCall);
  std::vector<TokenBytes> bytes(kDeadTokensPerCall, kTokenOfNone);
  std::vector<DeadToken> tokens(kDeadTokensPerCall);
  const std::int64_t now_ms = wall_ns() / 1'000'000;
  for (std::uint64_t done = 0; done < count;) {
    const std::size_t some = static_cast<std::size_t>(std::min<std::uint64_t>(count - done, tokens.size()));
    for (std::size_t i = 0; i < some; ++i) set_token(kDeadFirst + done + i, bytes[i]);
    write_texts(std::span(bytes).first(some), texts.data());
    for (std::size_t i = 0; i < some; ++i) {
      tokens[i] = {{texts[i].data(), texts[i].size()}, std::string_view(topic), now_ms};
    }
    for (;;) {
      const Result<void> taken = engine.add_dead_tokens(credential, std::span(tokens.data(), some));
      if (taken.ok()) break;
      if (taken.error().code != Code::capacity) return taken.error();
      if (interrupted()) return Error{Code::stopped, "interrupted"};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the shards still read earlier ones
    }
    done += some;
  }
  // The filter may forget a few in a million (token_table.h).
  for (const std::int64_t end = mono_ns() + 60'000'000'000; engine.stats().dead_tokens < count - count / 1000;) {
    if (interrupted()) return Error{Code::stopped, "interrupted"};
    if (mono_ns() > end) {
      return Error{Code::io, fmt::format("the filter took {} of {} dead tokens", engine.stats().dead_tokens, count)};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

Result<void> add_credential(const RunSpec& spec, const MockChild& mock, const std::string& directory, EngineSetup& out) {
  CredentialOptions credential;
  credential.host = mock.host();
  credential.port = mock.port();
  credential.connections_max = credential.connections_min = spec.connections;
  credential.streams_max = spec.streams;
  credential.span = spec.shards;
  credential.tls_min = credential.tls_max = spec.tls;
  const auto take = [&](const char* name, std::string& to) -> Result<void> {
    Result<std::string> text = read_file(directory + certificates_of(spec) + "/" + name);
    if (!text.ok()) return text.error();
    to = *std::move(text);
    return {};
  };
  Result<void> read = take("ca.pem", credential.ca_pem);
  if (spec.auth == Auth::certificate) {
    if (read.ok()) read = take("push.pem", credential.certificate_pem);
    if (read.ok()) read = take("push.key", credential.key_pem);
  } else {
    if (read.ok()) read = take("provider.p8", credential.provider_key_p8);
    credential.provider_key_id = mock.key_id();
    credential.team_id = mock.team_id();
  }
  if (!read.ok()) return read.error();
  const Result<CredentialHandle> added = out.engine->add_credential(credential);
  if (!added.ok()) return added.error();
  out.credential = *added;
  return {};
}

// An MDM wake-up with its magic, or an alert of as many bytes as were asked for.
Result<void> add_template(const RunSpec& spec, const MockChild& mock, EngineSetup& out) {
  const bool mdm = sends_mdm(spec);
  TemplateOptions options;
  options.topic = out.topic = mdm ? mock.topic() : kAppTopic;
  options.push_type = mdm ? PushType::mdm : PushType::alert;
  options.form = PayloadForm::with_part;
  options.coalesce = true;
  std::string head = mdm ? R"({"mdm":"%PART%")" : R"({"aps":{"alert":"%PART%"})";
  const std::size_t bytes = head.size() + 1 - kPartMark.size() + kPart.size();
  constexpr std::string_view kPad = R"(,"pad":"")";
  if (spec.payload_bytes >= bytes + kPad.size()) {
    head += R"(,"pad":")" + std::string(spec.payload_bytes - bytes - kPad.size(), 'x') + "\"";
  }
  options.payload = head + "}";
  const Result<TemplateHandle> added = out.engine->add_template(options);
  if (!added.ok()) return added.error();
  out.push_template = *added;
  return {};
}

}  // namespace

Result<EngineSetup> set_up_engine(const RunSpec& spec, const MockChild& mock, const std::string& directory, std::size_t pushes_max) {
  EngineOptions options;
  options.shards = spec.shards;
  options.cpus = spec.engine_cpus;
  // Places for what is inside and for outcomes not read yet.
  options.pushes_max = std::clamp<std::size_t>(2 * pushes_max, 131'072, 64'000'000);
  options.shard_queue_pushes_max = std::clamp<std::size_t>(pushes_max, 65'536, 64'000'000);
  options.connections_max = std::max(1024u, spec.connections);
  options.dials_max = 64;
  // A filter that is full to the brim forgets some early, and shards' shares are not even to the last token.
  options.dead_tokens_max = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(spec.dead_tokens * 5 / 4, 1'000'000, 64'000'000));
  options.tls_crypto = spec.crypto;
  options.codec = spec.codec;
  options.stage_clocks = spec.stages;
  options.seed = 1;
  Result<std::unique_ptr<Engine>> engine = Engine::start(options);
  if (!engine.ok()) return engine.error();
  EngineSetup out;
  out.engine = std::move(engine).value();
  if (Result<void> added = add_credential(spec, mock, directory, out); !added.ok()) return added.error();
  if (Result<void> added = add_template(spec, mock, out); !added.ok()) return added.error();
  Result<void> dead = load_dead_tokens(*out.engine, out.credential, out.topic, spec.dead_tokens);
  if (!dead.ok()) return dead.error();
  return out;
}

PushMaker::PushMaker(const EngineSetup& setup) : bytes_(kBatch, kTokenOfNone), texts_(kBatch), pushes_(kBatch) {
  for (std::size_t i = 0; i < kBatch; ++i) {
    pushes_[i].token = {texts_[i].data(), texts_[i].size()};
    pushes_[i].part = kPart;
    pushes_[i].template_handle = setup.push_template;
    pushes_[i].credential = setup.credential;
  }
}

std::span<const Push> PushMaker::make(std::uint64_t first, std::size_t count, std::int64_t wall_now_ns) {
  if (count == 0) return {};
  for (std::size_t i = 0; i < count; ++i) {
    set_token(first + i, bytes_[i]);
    pushes_[i].id = first + i;
    pushes_[i].deadline_unix_ns = wall_now_ns + kDeadlineNs;
  }
  write_texts(std::span(bytes_).first(count), texts_.data());
  return {pushes_.data(), count};
}

}  // namespace tocsin::cli::bench
