// SPDX-License-Identifier: Apache-2.0
// embedding_example HOST PORT CA.pem PUSH.pem PUSH.key TOPIC TOKEN MAGIC: wakes one MDM device.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <tocsin/engine.h>

static std::string read(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

static int fail(const tocsin::Error& error) {
  std::fprintf(stderr, "%s: %s\n", tocsin::code_name(error.code), error.message.c_str());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 9) return 2;
  auto engine = tocsin::Engine::start({});
  if (!engine) return fail(engine.error());

  tocsin::CredentialOptions who;
  who.host = argv[1];
  who.port = static_cast<std::uint16_t>(std::atoi(argv[2]));
  who.ca_pem = read(argv[3]);
  who.certificate_pem = read(argv[4]);
  who.key_pem = read(argv[5]);
  auto credential = engine.value()->add_credential(who);
  if (!credential) return fail(credential.error());

  tocsin::TemplateOptions what;
  what.topic = argv[6];
  what.push_type = tocsin::PushType::mdm;
  what.form = tocsin::PayloadForm::with_part;
  what.payload = R"({"mdm":"%PART%"})";
  auto wakeup = engine.value()->add_template(what);
  if (!wakeup) return fail(wakeup.error());

  auto submitter = engine.value()->submitter();
  if (!submitter) return fail(submitter.error());
  tocsin::Push push;
  push.id = 1;
  push.token = std::string_view(argv[7]);
  push.part = std::string_view(argv[8]);
  push.template_handle = *wakeup;
  push.credential = *credential;
  const auto said = submitter->submit({&push, 1});
  if (said.taken != 1) return fail({said.error, said.message});

  std::array<tocsin::Outcome, 64> outcomes;
  while (engine.value()->wait(outcomes, 1000) == 0) {
  }
  const auto& end = outcomes[0];
  std::printf("push %llu: %s %u %s\n", static_cast<unsigned long long>(end.id), tocsin::end_name(end.end), end.status,
              tocsin::reason_name(end.reason));
  return end.end == tocsin::End::accepted ? 0 : 1;
}
