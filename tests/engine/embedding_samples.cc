// SPDX-License-Identifier: Apache-2.0
// embedding_samples CA.pem: the short samples of docs/embedding.md as they stand there (a lint compares them), and a run
// through all of them.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <tocsin/engine.h>

// Everything else of `next` is made as for add_credential.
static bool renew(tocsin::Engine& engine, tocsin::CredentialHandle credential, const tocsin::CredentialOptions& next) {
  const auto replaced = engine.replace_credential(credential, next);
  if (!replaced) std::fprintf(stderr, "the old certificate stays in use: %s\n", replaced.error().message.c_str());
  return replaced.ok();
}

static tocsin::CredentialOptions with_provider_key(std::string p8, std::string key_id, std::string team_id) {
  tocsin::CredentialOptions options;
  options.provider_key_p8 = std::move(p8);  // the text of AuthKey_KEYID.p8
  options.provider_key_id = std::move(key_id);
  options.team_id = std::move(team_id);
  return options;
}

static tocsin::Result<tocsin::GroupHandle> begin_campaign(tocsin::Engine& engine, std::vector<tocsin::Push>& pushes) {
  tocsin::GroupOptions options;
  options.name = "spring update";
  options.rate = 5000;    // pushes per second, whatever the number of devices
  options.paused = true;  // submitted now, sent at resume(group)
  auto group = engine.add_group(options);
  if (!group) return group;
  for (tocsin::Push& push : pushes) push.group = *group;
  return group;
}

static bool night_mode(tocsin::Engine& engine, tocsin::CredentialHandle tenant, bool night) {
  return engine.set_rate(night ? 50'000 : 5000).ok() &&       // all together
         engine.set_rate(tenant, night ? 0 : 200.5).ok();     // one credential; 0: no limit of its own
}

// `outcome` is of a push to `token` that named a template with `topic`.
static void remember(const tocsin::Outcome& outcome, const std::string& token, const std::string& topic,
                     std::vector<tocsin::DeadToken>& known) {
  if (outcome.reason != tocsin::Reason::unregistered) return;
  known.push_back({std::string_view(token), std::string_view(topic), outcome.unregistered_unix_ms});
}

static bool tell(tocsin::Engine& engine, tocsin::CredentialHandle credential, std::span<const tocsin::DeadToken> known) {
  for (; !known.empty(); known = known.subspan(std::min(known.size(), tocsin::kDeadTokensPerCall))) {
    const auto part = known.first(std::min(known.size(), tocsin::kDeadTokensPerCall));
    auto told = engine.add_dead_tokens(credential, part);
    while (!told && told.error().code == tocsin::Code::capacity) told = engine.add_dead_tokens(credential, part);
    if (!told) return false;
  }
  return true;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  auto engine = tocsin::Engine::start({});
  if (!engine) return 1;
  tocsin::CredentialOptions plain;
  plain.name = "samples";
  std::ifstream ca(argv[1], std::ios::binary);
  plain.ca_pem.assign(std::istreambuf_iterator<char>(ca), {});
  const auto credential = (*engine)->add_credential(plain);
  if (!credential) {
    std::fprintf(stderr, "%s\n", credential.error().message.c_str());
    return 1;
  }
  // No key of a real team stands here, so this one is refused and the old version stays.
  if (renew(**engine, *credential, with_provider_key("no key", "ABC123DEFG", "TEAM456789"))) return 1;
  plain.name = "renewed";
  if (!renew(**engine, *credential, plain) || (*engine)->stats().credentials[0].name != "renewed") return 1;

  std::vector<tocsin::Push> pushes(3);
  const auto group = begin_campaign(**engine, pushes);
  if (!group || pushes[2].group != *group || !(*engine)->resume(*group)) return 1;
  if (!night_mode(**engine, *credential, true) || !night_mode(**engine, *credential, false)) return 1;

  std::vector<tocsin::DeadToken> known;
  tocsin::Outcome outcome;
  const std::string token(64, 'a');
  const std::string topic = "com.example";  // both outlive what looks at them
  remember(outcome, token, topic, known);
  outcome.reason = tocsin::Reason::unregistered;
  outcome.unregistered_unix_ms = 1'700'000'000'000;
  remember(outcome, token, topic, known);
  return known.size() == 1 && tell(**engine, *credential, known) ? 0 : 1;
}
