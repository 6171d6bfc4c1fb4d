// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "io/resolver.h"

namespace tocsin::io {
namespace {

Result<std::vector<Address>> ask(Resolver& resolver, const std::string& host, std::uint16_t port) {
  auto promise = std::make_shared<std::promise<Result<std::vector<Address>>>>();
  auto answer = promise->get_future();
  resolver.resolve(host, port, [promise](Result<std::vector<Address>> result) { promise->set_value(std::move(result)); });
  return answer.get();
}

TEST(Resolver, LiteralsAreAnsweredOnTheCallersThread) {
  Resolver resolver;
  std::thread::id thread;
  std::string text;
  for (const auto& [host, expected] : {std::pair{"192.0.2.7", "192.0.2.7:443"},
                                       std::pair{"2001:db8::1", "[2001:db8::1]:443"},
                                       std::pair{"[::1]", "[::1]:443"}}) {
    resolver.resolve(host, 443, [&](Result<std::vector<Address>> result) {
      ASSERT_TRUE(result);
      ASSERT_EQ(result->size(), 1u);
      text = result->front().text();
      thread = std::this_thread::get_id();
    });
    EXPECT_EQ(text, expected);
    EXPECT_EQ(thread, std::this_thread::get_id());
  }
}

TEST(Resolver, LocalhostIsALoopbackAddress) {
  Resolver resolver;
  const auto result = ask(resolver, "localhost", 2197);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_FALSE(result->empty());
  for (const Address& address : *result) {
    EXPECT_TRUE(address.text() == "127.0.0.1:2197" || address.text() == "[::1]:2197") << address.text();
  }
}

TEST(Resolver, BadNamesAreSaidByName) {
  Resolver resolver;
  for (const char* host : {"no-such-host.invalid", "bad name with blanks", ""}) {
    const auto result = ask(resolver, host, 443);
    ASSERT_FALSE(result) << host;
    EXPECT_EQ(result.error().code, Code::io);
    EXPECT_NE(result.error().message.find(std::string("cannot resolve '").append(host).append("'")), std::string::npos)
        << result.error().message;
  }
}

TEST(Resolver, TooManyWaitingAreRefusedAtOnce) {
  Resolver resolver(2);
  std::promise<void> release;
  auto released = release.get_future().share();
  std::promise<void> entered;
  resolver.resolve("localhost", 1, [&](auto) {
    entered.set_value();
    released.wait();
  });
  entered.get_future().wait();  // the resolver's thread is now busy
  std::atomic<int> answered{0};
  resolver.resolve("localhost", 2, [&](auto) { ++answered; });
  resolver.resolve("localhost", 3, [&](auto) { ++answered; });
  bool refused = false;
  resolver.resolve("localhost", 4, [&](auto result) { refused = !result; });
  EXPECT_TRUE(refused);
  EXPECT_EQ(answered, 0);
  release.set_value();
  while (answered < 2) std::this_thread::yield();
}

TEST(Resolver, DestructionDropsWhatWaits) {
  std::promise<void> release;
  auto released = release.get_future().share();
  std::promise<void> entered;
  int later = 0;
  auto resolver = std::make_unique<Resolver>();
  resolver->resolve("localhost", 1, [&](auto) {
    entered.set_value();
    released.wait();
  });
  entered.get_future().wait();
  resolver->resolve("localhost", 2, [&](auto) { ++later; });
  std::thread releaser([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    release.set_value();
  });
  resolver.reset();
  releaser.join();
  EXPECT_EQ(later, 0);
}

// Blocks queries for hosts that begin with "slow" until release().
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  std::map<std::string, int> begun;
  int at_once = 0;
  int most_at_once = 0;

  Result<std::vector<Address>> query(const std::string& host) {
    std::unique_lock lock(mutex);
    ++begun[host];
    most_at_once = std::max(most_at_once, ++at_once);
    changed.notify_all();
    if (host.starts_with("slow")) changed.wait(lock, [this] { return open; });
    --at_once;
    return std::vector<Address>{*parse_address("192.0.2.1:0"), *parse_address("[2001:db8::1]:0")};
  }
  void wait_for(const std::string& host, int times) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return begun[host] >= times; });
  }
  void release() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};

TEST(Resolver, ASlowNameHoldsUpNoOtherAndOccupiesOneThread) {
  Gate gate;
  Resolver resolver(1024, [&](const std::string& host) { return gate.query(host); });
  std::atomic<int> slow{0};
  std::mutex mutex;
  std::vector<std::string> texts;
  const auto count = [&](Result<std::vector<Address>> result) {
    ASSERT_TRUE(result);
    ASSERT_EQ(result->size(), 2u) << "all addresses of the name";
    const std::lock_guard lock(mutex);
    texts.push_back(result->back().text());
    ++slow;
  };
  resolver.resolve("slow.example", 443, count);
  gate.wait_for("slow.example", 1);
  for (const std::uint16_t port : std::array<std::uint16_t, 3>{2197, 443, 2197}) resolver.resolve("slow.example", port, count);
  for (int i = 0; i < 50; ++i) {
    const auto result = ask(resolver, "host" + std::to_string(i), 443);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->front().text(), "192.0.2.1:443");
  }
  EXPECT_EQ(slow, 0);
  EXPECT_EQ(gate.begun["slow.example"], 1) << "one query per host at a time";
  gate.release();
  while (slow < 4) std::this_thread::yield();
  EXPECT_EQ(gate.begun["slow.example"], 2) << "those that waited share one that began after they asked";
  const std::lock_guard lock(mutex);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "[2001:db8::1]:2197"), 2);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "[2001:db8::1]:443"), 2);
}

TEST(Resolver, NoMoreThreadsThanItSays) {
  Gate gate;
  std::atomic<int> answered{0};
  {
    Resolver resolver(1024, [&](const std::string& host) { return gate.query(host); });
    for (int i = 0; i < 10; ++i) resolver.resolve("slow" + std::to_string(i), 1, [&](auto) { ++answered; });
    for (int i = 0; i < static_cast<int>(Resolver::kThreadsMax); ++i) gate.wait_for("slow" + std::to_string(i), 1);
    EXPECT_EQ(gate.most_at_once, static_cast<int>(Resolver::kThreadsMax));
    gate.release();
    while (answered < 10) std::this_thread::yield();
  }
  EXPECT_EQ(gate.most_at_once, static_cast<int>(Resolver::kThreadsMax));
}

TEST(Address, ParsesAndPrints) {
  for (const auto& [text, expected] : {std::pair{"127.0.0.1:2197", "127.0.0.1:2197"}, std::pair{"[::1]:1", "[::1]:1"},
                                       std::pair{":0", "0.0.0.0:0"}, std::pair{"0.0.0.0:80", "0.0.0.0:80"},
                                       std::pair{"[::]:65535", "[::]:65535"}}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), expected);
  }
  for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "localhost:80", "::1:80",
                           "[::1]", "[::1:80", "[1.2.3.4]:80", "1.2.3:80", "127.0.0.1:80x"}) {
    const auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, Code::invalid_argument);
    EXPECT_NE(address.error().message.find(std::string("'").append(text).append("'")), std::string::npos);
  }
}

}  // namespace
}  // namespace tocsin::io
