// SPDX-License-Identifier: Apache-2.0
// queue_memory: what a push costs that waits. Distinct MDM wake-ups, coalescing on, each with a deadline, are handed to an
// engine whose credential is paused, and the process' resident memory is read before, while they wait, and at its peak.
// Nothing is sent. One shard. Ends with one line of JSON; exit 1 if a push was refused or not all of them wait.
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <tocsin/engine.h>

#include "base/hex.h"
#include "base/prng.h"
#include "portal/portal.h"

namespace {

constexpr std::size_t kBatch = 256;
constexpr std::size_t kAhead = 64 * kBatch;  // of the shard, which reads more slowly than this program makes pushes

struct Options {
  std::size_t pushes = 10'000'000;
};

std::uint64_t resident_bytes() {
  std::ifstream status("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;
  status >> size >> resident;
  return resident * 4096;
}

std::uint64_t peak_bytes() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
}

// A token and a PushMagic from a counter; both are distinct.
struct Device {
  std::array<char, 64> token;
  std::array<char, tocsin::base::kUuidTextBytes> magic;

  void make(std::uint64_t number) {
    std::array<std::uint8_t, 48> bytes;
    for (std::size_t i = 0; i < bytes.size(); i += 8) {
      const std::uint64_t word = tocsin::base::mix64(number * 8 + i / 8);
      for (std::size_t j = 0; j < 8; ++j) bytes[i + j] = static_cast<std::uint8_t>(word >> (8 * j));
    }
    tocsin::base::hex_encode(std::span(bytes).first(32), token.data());
    std::array<std::uint8_t, 16> uuid;
    std::copy(bytes.begin() + 32, bytes.end(), uuid.begin());
    tocsin::base::uuid_format(uuid, magic.data(), true);
  }
};

int fail(const std::string& text) {
  std::fprintf(stderr, "queue_memory: %s\n", text.c_str());
  return 1;
}

int run(const Options& options) {
  tocsin::EngineOptions engine_options;
  engine_options.shards = 1;
  engine_options.pushes_max = options.pushes + kBatch;
  engine_options.shard_queue_pushes_max = options.pushes + kBatch;
  auto engine = tocsin::Engine::start(engine_options);
  if (!engine) return fail(engine.error().message);
  tocsin::CredentialOptions credential_options;
  credential_options.host = "127.0.0.1";
  credential_options.port = 9;
  tocsin::portal::KitOptions kit_options;
  kit_options.now_unix_s = std::time(nullptr);
  const auto kit = tocsin::portal::make_kit(kit_options);
  if (!kit) return fail(kit.error().message);
  credential_options.certificate_pem = kit->push.certificate_pem;
  credential_options.key_pem = kit->push.key_pem;
  const auto credential = (*engine)->add_credential(credential_options);
  if (!credential) return fail(credential.error().message);
  if (auto paused = (*engine)->pause(*credential); !paused) return fail(paused.error().message);
  tocsin::TemplateOptions template_options;
  template_options.topic = kit->topic;
  template_options.push_type = tocsin::PushType::mdm;
  template_options.form = tocsin::PayloadForm::with_part;
  template_options.payload = R"({"mdm":"%PART%"})";
  template_options.coalesce = true;
  const auto wakeup = (*engine)->add_template(template_options);
  if (!wakeup) return fail(wakeup.error().message);
  auto submitter = (*engine)->submitter();
  if (!submitter) return fail(submitter.error().message);

  std::vector<tocsin::Push> batch(kBatch);
  std::vector<Device> devices(kBatch);
  const std::int64_t deadline =
      std::chrono::duration_cast<std::chrono::nanoseconds>((std::chrono::system_clock::now() + std::chrono::hours(24)).time_since_epoch())
          .count();
  const std::uint64_t before = resident_bytes();
  const auto start = std::chrono::steady_clock::now();
  // The shard has read all that was submitted before a push whose deadline has passed, once that one has its outcome.
  std::vector<tocsin::Outcome> outcomes(16);
  const auto settle = [&]() -> std::string {
    Device device;
    device.make(~std::uint64_t{0});
    tocsin::Push late;
    late.token = {device.token.data(), device.token.size()};
    late.part = {device.magic.data(), device.magic.size()};
    late.deadline_unix_ns = 1;
    late.template_handle = *wakeup;
    late.credential = *credential;
    const auto result = submitter->submit({&late, 1});
    if (result.taken != 1) return "the engine is full; " + result.message;
    while (std::chrono::steady_clock::now() - start < std::chrono::minutes(10)) {
      if ((*engine)->wait(outcomes, 100) != 0) return {};
    }
    return "the engine does not read on";
  };
  std::size_t submitted = 0;
  while (submitted < options.pushes) {
    const std::size_t made = std::min(kBatch, options.pushes - submitted);
    for (std::size_t i = 0; i < made; ++i) {
      devices[i].make(submitted + i);
      batch[i] = {};
      batch[i].id = submitted + i;
      batch[i].token = {devices[i].token.data(), devices[i].token.size()};
      batch[i].part = {devices[i].magic.data(), devices[i].magic.size()};
      batch[i].deadline_unix_ns = deadline;
      batch[i].template_handle = *wakeup;
      batch[i].credential = *credential;
    }
    for (std::size_t first = 0; first < made;) {
      const auto result = submitter->submit(std::span(batch).subspan(first, made - first));
      if (result.error != tocsin::Code::ok) return fail(result.message);
      if (result.taken == 0) return fail("the engine is full after " + std::to_string(submitted + first) + " pushes");
      first += result.taken;
    }
    submitted += made;
    if (submitted % kAhead != 0 && submitted != options.pushes) continue;
    if (const std::string wrong = settle(); !wrong.empty()) return fail(wrong);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::uint64_t waiting = (*engine)->stats().waiting;
  const std::uint64_t after = resident_bytes();
  std::printf("{\"pushes\":%zu,\"waiting\":%llu,\"seconds\":%.2f,\"rss_before\":%llu,\"rss_waiting\":%llu,"
              "\"rss_peak\":%llu,\"bytes_per_push\":%.1f,\"peak_bytes_per_push\":%.1f}\n",
              options.pushes, static_cast<unsigned long long>(waiting), seconds,
              static_cast<unsigned long long>(before), static_cast<unsigned long long>(after),
              static_cast<unsigned long long>(peak_bytes()),
              static_cast<double>(after) / static_cast<double>(options.pushes),
              static_cast<double>(peak_bytes()) / static_cast<double>(options.pushes));
  std::fflush(stdout);
  if (waiting != options.pushes) return fail("not every push waits");
  (*engine)->stop(0);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Resident memory of pushes that wait: MDM wake-ups, coalescing on, to a paused credential; nothing is sent"};
  app.add_option("--pushes", options.pushes, "how many")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
