// SPDX-License-Identifier: Apache-2.0
// A guest in its host's process: no output, no signal handler, no descriptor or thread left or unannounced, a log
// callback that is used; and the embedding example, compiled against the shared library, run as a program.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "rig.h"

namespace tocsin::engine_tests {
namespace {

std::set<std::string> open_descriptors() {
  std::set<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    // The directory being read is itself open.
    if (!error && target.string().find("/proc/") != 0) all.insert(entry.path().filename().string() + " " + target.string());
  }
  return all;
}

std::map<std::string, std::string> threads() {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(entry.path() / "comm");
    std::string name;
    std::getline(file, name);
    all[entry.path().filename().string()] = name;
  }
  return all;
}

// One whole life: a good push, an engine that cannot connect, and one stopped with work inside.
void live(const mockd::Server& server, const LogCallback& log = {}) {
  EngineOptions options;
  options.shards = 2;
  options.log = log;
  {
    const Rig rig(options, credential_options(port_of(server.address())));
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, 200);
    ASSERT_EQ(submitter.submit(batch.pushes).taken, 200u);
    ASSERT_EQ(rig.collect(200).size(), 200u);
  }
  {
    CredentialOptions who = credential_options(closed_port());
    who.backoff_max_ms = 100;
    who.connect_give_up_ms = 50;
    const Rig rig(options, who);
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, 20);
    ASSERT_EQ(submitter.submit(batch.pushes).taken, 20u);
    ASSERT_EQ(rig.collect(20).size(), 20u);
  }
  {
    const Peer silent;
    const Rig rig(options, credential_options(silent.port()));
    auto submitter = rig.engine->submitter().value();
    Batch batch = rig.batch(0, 20);
    ASSERT_EQ(submitter.submit(batch.pushes).taken, 20u);
  }
}

TEST(Guest, PrintsNothingAndLogsToTheCallback) {
  const auto server = serve(mock_options());
  std::mutex mutex;
  std::set<std::string> events;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  live(*server, [&](const LogRecord& record) {
    const std::lock_guard lock(mutex);
    events.insert(std::string(record.event));
    EXPECT_FALSE(record.text.empty());
  });
  live(*server);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(events.contains("dial_failed"));
  EXPECT_TRUE(events.contains("gave_up"));
}

TEST(Guest, InstallsNoSignalHandler) {
  const auto server = serve(mock_options());
  const auto handlers = [] {
    std::vector<void (*)(int)> all;
    for (int signal = 1; signal < SIGRTMAX; ++signal) {
      struct sigaction action{};
      ::sigaction(signal, nullptr, &action);
      all.push_back(action.sa_handler);
    }
    return all;
  };
  sigset_t mask_before{}, mask_after{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  const auto before = handlers();
  live(*server);
  {
    const Rig rig(EngineOptions{}, credential_options(port_of(server->address())));
    EXPECT_EQ(handlers(), before) << "while an engine lives";
  }
  EXPECT_EQ(handlers(), before);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  EXPECT_EQ(std::memcmp(&mask_before, &mask_after, sizeof(mask_before)), 0);
}

TEST(Guest, LeavesNoDescriptorAndNoThread) {
  const auto server = serve(mock_options());
  live(*server);  // what the process needs once (name service, random source) is open now
  const auto descriptors = open_descriptors();
  const auto tasks = threads();
  for (int i = 0; i < 3; ++i) live(*server);
  // The mock notices the end of its connections a little later.
  const auto limit = Clock::now() + std::chrono::seconds(10);
  while (open_descriptors() != descriptors && Clock::now() < limit) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(threads(), tasks);
}

TEST(Guest, StartsTheAnnouncedThreadsOnly) {
  const auto server = serve(mock_options());
  const auto before = threads();
  EngineOptions options;
  options.shards = 3;
  const Rig rig(options, credential_options(port_of(server->address())));
  auto submitter = rig.engine->submitter().value();
  Batch batch = rig.batch(0, 200);
  ASSERT_EQ(submitter.submit(batch.pushes).taken, 200u);
  ASSERT_EQ(rig.collect(200).size(), 200u);
  std::multiset<std::string> added;
  for (const auto& [id, name] : threads()) {
    if (!before.contains(id)) added.insert(name);
  }
  for (const char* shard : {"tocsin-0", "tocsin-1", "tocsin-2"}) EXPECT_EQ(added.count(shard), 1u) << shard;
  std::string all;
  for (const std::string& name : added) all += name + ' ';
  EXPECT_EQ(added.size(), 3u) << "three shards, and no name to resolve, but there are: " << all;
}

TEST(Guest, StartFailsCleanlyWhereDescriptorsRunOut) {
  const auto before = open_descriptors();
  // Leaves no room for a ring: start() must say so and give back what it had. Whatever the limit is, it is one to reach here.
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low{std::min<rlim_t>(limit.rlim_max, 1024), limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> filler;
  for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) filler.push_back(fd);
  ASSERT_FALSE(filler.empty());
  ::close(filler.back());  // room for the eventfd, none for the ring
  filler.pop_back();
  const auto started = Engine::start({});
  const bool ok = started.ok();
  const std::string message = ok ? "" : started.error().message;
  for (const int fd : filler) ::close(fd);
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_FALSE(ok);
  EXPECT_FALSE(message.empty());
  EXPECT_EQ(open_descriptors(), before);
}

struct Ran {
  int code = -1;
  std::string output;
};
Ran run(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) != 0;) ran.output.append(buffer, n);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) ran.code = WEXITSTATUS(status);
  return ran;
}

TEST(EmbeddingSamples, DoWhatTheTextSays) {
  const char* program = std::getenv("TOCSIN_EMBEDDING_SAMPLES");
  ASSERT_NE(program, nullptr) << "run by meson test, which names the program";
  char name[] = "/tmp/tocsin-samples-XXXXXX";
  const std::string directory = ::mkdtemp(name);
  std::ofstream(directory + "/ca.pem", std::ios::binary) << kit().ca_pem;
  const Ran ran = run(std::string(program) + " " + directory + "/ca.pem");
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_EQ(ran.output.find("the old certificate stays in use: "), 0u) << ran.output;
  std::filesystem::remove_all(directory);
}

TEST(EmbeddingExample, WakesADevice) {
  const char* program = std::getenv("TOCSIN_EMBEDDING_EXAMPLE");
  ASSERT_NE(program, nullptr) << "run by meson test, which names the program";
  mockd::Options options = mock_options();
  options.gateway.dead[token_hex(2)] = 1'700'000'000'000;
  const auto server = serve(std::move(options));
  char name[] = "/tmp/tocsin-example-XXXXXX";
  const std::string directory = ::mkdtemp(name);
  const auto put = [&](const char* file, const std::string& text) {
    const std::string path = directory + "/" + file;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  };
  const std::string before = std::string(program) + " 127.0.0.1 " + std::to_string(port_of(server->address())) + " ";
  const std::string certificates = put("push.pem", kit().push.certificate_pem) + " " + put("push.key", kit().push.key_pem);
  const std::string ca = put("ca.pem", kit().ca_pem);
  const std::string tail = " " + kit().topic + " ";

  const Ran good = run(before + ca + " " + certificates + tail + token_hex(1) + " MAGIC");
  EXPECT_EQ(good.code, 0) << good.output;
  EXPECT_EQ(good.output, "push 1: accepted 200 \n");
  const Ran dead = run(before + ca + " " + certificates + tail + token_hex(2) + " MAGIC");
  EXPECT_EQ(dead.code, 1);
  EXPECT_EQ(dead.output, "push 1: rejected 410 Unregistered\n");
  const Ran bad = run(before + ca + " " + certificates + tail + "xyz MAGIC");
  EXPECT_EQ(bad.code, 1);
  EXPECT_EQ(bad.output.find("invalid_argument: token"), 0u) << bad.output;
  EXPECT_EQ(server->totals().accepted, 1u);
  EXPECT_EQ(server->totals().rejected, 1u);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace tocsin::engine_tests
