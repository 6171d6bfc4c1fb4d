// SPDX-License-Identifier: Apache-2.0
// The driver on loopback sockets, on this kernel's best paths and on those of an old one.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/ring.h"
#include "world.h"

namespace tocsin::io {
namespace {

class DriverTest : public ::testing::TestWithParam<bool> {
 protected:
  DriverOptions options() const {
    DriverOptions options;
    options.conservative = GetParam();
    return options;
  }
  static Address any_port() { return *parse_address("127.0.0.1:0"); }
};

INSTANTIATE_TEST_SUITE_P(Kernel, DriverTest, ::testing::Values(false, true),
                         [](const auto& kernel) { return kernel.param ? "old" : "best"; });

TEST_P(DriverTest, SaysItsMode) {
  World world(options());
  if (GetParam()) {
    EXPECT_EQ(world.driver->ring_mode(), "plain");
  } else {
    EXPECT_TRUE(world.driver->ring_mode() == "SINGLE_ISSUER|DEFER_TASKRUN" ||
                world.driver->ring_mode() == "COOP_TASKRUN" || world.driver->ring_mode() == "plain");
  }
}

TEST_P(DriverTest, EchoesFromOneByteToMegabytes) {
  World world(options());
  Address address = any_port();
  world.listen(address);
  for (const std::size_t size : {1ul, 2ul, 1000ul, 32'768ul, 32'769ul, 1ul << 20, (5ul << 20) + 3}) {
    const std::string text = pattern(size, static_cast<std::uint32_t>(size));
    const std::uint64_t client = world.dial(address);
    ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled >= 0; }));
    ASSERT_EQ(world.sockets[client].dialled, 0);
    world.send(client, text);
    ASSERT_TRUE(world.until([&] { return world.sockets[client].in.size() >= size; }));
    EXPECT_TRUE(world.sockets[client].in == text) << size;
    EXPECT_EQ(world.sockets[client].sent_bytes, size);
    world.close(client);
  }
  EXPECT_TRUE(world.close_all());
  EXPECT_GT(world.driver->stats().enters, 0u);
  EXPECT_GT(world.driver->stats().completions, world.sockets.size());
}

TEST_P(DriverTest, BetweenTwoDrivers) {
  World server(options());
  World client(options());
  Address address = any_port();
  server.listen(address);
  const std::uint64_t handle = client.dial(address);
  const std::string text = pattern(300'000, 7);
  client.send(handle, "");
  ASSERT_TRUE(client.until([&] { return client.sockets[handle].dialled == 0; }));
  client.send(handle, text);
  ASSERT_TRUE(client.until([&] {
    server.step(0);
    return client.sockets[handle].in.size() >= text.size();
  }));
  EXPECT_TRUE(client.sockets[handle].in == text);
  EXPECT_TRUE(client.close_all());
  EXPECT_TRUE(server.close_all());
}

TEST_P(DriverTest, ManySocketsThroughASmallQueue) {
  DriverOptions small = options();
  small.entries = 8;  // every batch overflows the submission queue, many the completion queue
  World world(small);
  Address address = any_port();
  world.listen(address);
  std::vector<std::uint64_t> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(world.dial(address));
  ASSERT_TRUE(world.until([&] {
    return std::all_of(clients.begin(), clients.end(), [&](auto c) { return world.sockets[c].dialled == 0; });
  }));
  for (std::size_t i = 0; i < clients.size(); ++i) world.send(clients[i], pattern(20'000 + i, static_cast<std::uint32_t>(i)));
  ASSERT_TRUE(world.until([&] {
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (world.sockets[clients[i]].in.size() < 20'000 + i) return false;
    }
    return true;
  }));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    EXPECT_TRUE(world.sockets[clients[i]].in == pattern(20'000 + i, static_cast<std::uint32_t>(i))) << i;
  }
  EXPECT_EQ(world.driver->sockets_in_use(), 401u);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, ExhaustedBuffersResumeAndLoseNothing) {
  DriverOptions tiny = options();
  tiny.buffers = 4;
  tiny.buffer_bytes = 64;
  World world(tiny);
  world.echo = false;
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  std::vector<std::uint64_t> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(world.dial(address));
  ASSERT_TRUE(world.until([&] { return world.sockets[listener].accepted.size() == clients.size(); }));
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < clients.size(); ++i) {
    texts.push_back(pattern(10'000 + i, static_cast<std::uint32_t>(i)));
    world.send(clients[i], texts.back());
  }
  // No deadline wakes this loop before its end: if receiving did not resume by itself, the test would fail.
  std::size_t total = 0;
  std::size_t expected = 0;
  for (const std::string& text : texts) expected += text.size();
  const std::int64_t end = clock_now().mono_ns + 30 * base::kSecond;
  while (clock_now().mono_ns < end) {
    world.reap();
    total = 0;
    for (const std::uint64_t server : world.sockets[listener].accepted) total += world.sockets[server].in.size();
    if (total == expected) break;
    world.driver->wait(end);
  }
  ASSERT_EQ(total, expected);
  EXPECT_LT(clock_now().mono_ns, end);
  std::vector<std::string> got;
  for (const std::uint64_t server : world.sockets[listener].accepted) got.push_back(world.sockets[server].in);
  std::sort(got.begin(), got.end());
  std::sort(texts.begin(), texts.end());
  EXPECT_TRUE(got == texts);
  EXPECT_GT(world.driver->stats().buffers_exhausted, 0u);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, BytesStayUntilTheNextReap) {
  DriverOptions two = options();
  two.buffers = 2;
  two.buffer_bytes = 16;
  World world(two);
  world.adopt = false;
  Address address = any_port();
  world.listen(address);
  const std::uint64_t client = world.dial(address);
  ASSERT_TRUE(world.until([&] { return world.raw.size() == 1 && world.sockets[client].dialled == 0; }));
  const std::string text = pattern(64, 3);
  ASSERT_EQ(::send(world.raw[0], text.data(), text.size(), 0), 64);
  std::vector<Completion> out;
  std::string in;
  while (in.size() < text.size()) {
    out.clear();
    world.driver->reap(out);
    // Entering the kernel must not let it write into what this reap handed over.
    world.driver->submit();
    world.driver->wait(clock_now().mono_ns + base::kMillisecond);
    for (const Completion& completion : out) {
      ASSERT_EQ(completion.kind, CompletionKind::received);
      in += base::as_text(completion.bytes);
    }
  }
  EXPECT_TRUE(in == text);
  ::close(world.raw[0]);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, RefusedConnection) {
  World world(options());
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  world.close(listener);
  ASSERT_TRUE(world.until([&] { return world.sockets[listener].closed == 1; }));
  const std::uint64_t client = world.dial(address);
  ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled >= 0; }));
  EXPECT_EQ(world.sockets[client].dialled, ECONNREFUSED);
  EXPECT_EQ(world.driver->sockets_in_use(), 1u);  // until it is closed
  EXPECT_TRUE(world.close_all());
  EXPECT_EQ(world.sockets[client].closed, 1);
}

TEST_P(DriverTest, UnusableAddressFailsTheDial) {
  World world(options());
  Address nowhere;  // family 0
  nowhere.size = sizeof(sockaddr_in);
  const std::uint64_t client = world.dial(nowhere);
  ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled >= 0; }));
  EXPECT_GT(world.sockets[client].dialled, 0);
  world.send(client, "x");
  ASSERT_TRUE(world.until([&] { return world.sockets[client].sent_error != 0; }));
  EXPECT_EQ(world.sockets[client].sent_error, ENOTCONN);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, ResetIsSeen) {
  World world(options());
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  const std::uint64_t client = world.dial(address);
  ASSERT_TRUE(world.until([&] { return world.sockets[listener].accepted.size() == 1; }));
  const std::uint64_t server = world.sockets[listener].accepted[0];
  world.close(server, true);
  ASSERT_TRUE(world.until([&] { return world.sockets[client].peer_closed != 0; }));
  EXPECT_EQ(world.sockets[client].peer_error, ECONNRESET);
  world.send(client, "into the void");
  ASSERT_TRUE(world.until([&] { return world.sockets[client].sent_error != 0; }));
  EXPECT_EQ(world.sockets[client].sent_error, EPIPE);  // and no SIGPIPE
  world.run_for(20);
  EXPECT_EQ(world.sockets[client].peer_closed, 1);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, HalfClose) {
  World world(options());
  world.echo = false;
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  const std::uint64_t client = world.dial(address);
  ASSERT_TRUE(world.until([&] {
    return world.sockets[client].dialled == 0 && world.sockets[listener].accepted.size() == 1;
  }));
  const std::uint64_t server = world.sockets[listener].accepted[0];
  const std::string text = pattern(3 << 20, 11);
  world.send(client, text);
  world.driver->shutdown_write(client);  // the send is outstanding: all of it goes first
  ASSERT_TRUE(world.until([&] { return world.sockets[server].peer_closed == 1; }));
  EXPECT_TRUE(world.sockets[server].in == text);
  EXPECT_EQ(world.sockets[server].peer_error, 0);
  world.send(server, "answer");
  ASSERT_TRUE(world.until([&] { return world.sockets[client].in == "answer"; }));
  world.driver->shutdown_write(server);
  ASSERT_TRUE(world.until([&] { return world.sockets[client].peer_closed == 1; }));
  EXPECT_EQ(world.sockets[client].peer_error, 0);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, CloseWithASendOutstanding) {
  World world(options());
  world.adopt = false;  // nobody reads
  Address address = any_port();
  world.listen(address);
  for (const bool reset : {false, true}) {
    const std::uint64_t client = world.dial(address);
    ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled == 0; }));
    std::string big(64 << 20, 'x');
    world.driver->send(client, base::as_bytes(big));
    world.run_for(30);
    EXPECT_EQ(world.sockets[client].closed, 0);
    world.close(client, reset);
    world.close(client, reset);           // ignored
    world.driver->send(client, base::as_bytes(big));  // ignored
    EXPECT_EQ(world.driver->sockets_in_use(), 2u);
    ASSERT_TRUE(world.until([&] { return world.sockets[client].closed == 1; }));
    EXPECT_EQ(world.sockets[client].sent_error, 0);
    EXPECT_EQ(world.driver->sockets_in_use(), 1u);
    big.clear();  // ours again
    world.run_for(20);
    EXPECT_EQ(world.sockets[client].closed, 1);
  }
  for (const int fd : world.raw) ::close(fd);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, CloseBeforeAnythingWasSubmitted) {
  World world(options());
  Address address = any_port();
  world.listen(address);
  const std::uint64_t client = world.dial(address);
  world.close(client);  // the connect is still in the submission queue
  ASSERT_TRUE(world.until([&] { return world.sockets[client].closed == 1; }));
  EXPECT_EQ(world.sockets[client].dialled, -1);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, CloseDuringConnect) {
  World world(options());
  // A listener whose queue is full drops further SYNs on loopback: those connects hang.
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(in);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&in), size), 0);
  ASSERT_EQ(::listen(fd, 0), 0);
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size), 0);
  Address address;
  std::memcpy(address.storage, &in, sizeof(in));
  address.size = sizeof(in);

  std::vector<std::uint64_t> clients;
  for (int i = 0; i < 6; ++i) clients.push_back(world.dial(address));
  world.run_for(50);
  std::vector<std::uint64_t> hanging;
  for (const std::uint64_t client : clients) {
    if (world.sockets[client].dialled == -1) hanging.push_back(client);
  }
  EXPECT_FALSE(hanging.empty());
  EXPECT_TRUE(world.close_all());
  for (const std::uint64_t client : clients) EXPECT_EQ(world.sockets[client].closed, 1);
  for (const std::uint64_t client : hanging) EXPECT_EQ(world.sockets[client].dialled, -1);
  ::close(fd);
}

TEST_P(DriverTest, StaleHandlesTouchNothing) {
  World world(options());
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  const std::uint64_t first = world.dial(address);
  ASSERT_TRUE(world.until([&] { return world.sockets[listener].accepted.size() == 1; }));
  world.close(first);
  ASSERT_TRUE(world.until([&] { return world.sockets[first].closed == 1; }));
  const std::uint64_t second = world.dial(address);
  ASSERT_EQ(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(second));
  ASSERT_NE(first, second);
  ASSERT_TRUE(world.until([&] { return world.sockets[second].dialled == 0; }));
  world.driver->send(first, base::as_bytes("stale"));
  world.driver->shutdown_write(first);
  world.driver->close(first);
  world.driver->close(0xffff'ffff'ffff);  // out of bounds
  world.send(second, "fresh");
  ASSERT_TRUE(world.until([&] { return world.sockets[second].in.size() >= 5; }));
  EXPECT_EQ(world.sockets[second].in, "fresh");
  EXPECT_EQ(world.sockets[first].in, "");
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, ListenSaysWhyNot) {
  World world(options());
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  EXPECT_EQ(address.text().rfind("127.0.0.1:", 0), 0u);
  EXPECT_NE(address.text(), "127.0.0.1:0");
  const auto again = world.driver->listen(7, address, 16);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::io);
  EXPECT_NE(again.error().message.find("cannot listen on " + address.text()), std::string::npos);
  EXPECT_NE(again.error().message.find("choose another port"), std::string::npos);
  EXPECT_EQ(world.driver->sockets_in_use(), 1u);
  world.close(listener);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, Ipv6) {
  const int probe = ::socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_addr = in6addr_loopback;
  const bool usable = probe >= 0 && ::bind(probe, reinterpret_cast<sockaddr*>(&in), sizeof(in)) == 0;
  if (probe >= 0) ::close(probe);
  if (!usable) GTEST_SKIP() << "no IPv6 loopback here";
  World world(options());
  Address address = *parse_address("[::1]:0");
  world.listen(address);
  const std::uint64_t client = world.dial(address);
  ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled == 0; }));
  world.send(client, "six");
  EXPECT_TRUE(world.until([&] { return world.sockets[client].in == "six"; }));
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, AcceptRecoversWhenDescriptorsRunOut) {
  World world(options());
  Address address = any_port();
  const std::uint64_t listener = world.listen(address);
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(::connect(client, address.get(), address.size), 0);
  const bool seen = world.until([&] { return !world.sockets[listener].accept_errors.empty(); });
  world.run_for(50);
  const std::size_t errors = world.sockets[listener].accept_errors.size();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(seen);
  EXPECT_EQ(world.sockets[listener].accept_errors[0], EMFILE);
  EXPECT_LE(errors, 2u);  // it does not spin
  // Some kernels drop a connection whose accept failed for want of a descriptor; the next one must work.
  const int second = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(second, address.get(), address.size), 0);
  EXPECT_TRUE(world.until([&] { return !world.sockets[listener].accepted.empty(); }));
  ::close(client);
  ::close(second);
  EXPECT_TRUE(world.close_all());
}

TEST_P(DriverTest, NoDescriptorLeaks) {
  const int before = open_fds();
  for (int round = 0; round < 3; ++round) {
    World world(options());
    Address address = any_port();
    const std::uint64_t listener = world.listen(address);
    for (int i = 0; i < 30; ++i) world.dial(address);
    if (round == 0) {
      ASSERT_TRUE(world.until([&] { return world.sockets[listener].accepted.size() == 30; }));
      EXPECT_TRUE(world.close_all());
    } else if (round == 1) {
      // The listener closes while accepted sockets lie in the completion queue.
      world.driver->submit();
      world.driver->wait(clock_now().mono_ns + 20 * base::kMillisecond);
      EXPECT_TRUE(world.close_all());
    } else {
      // Destroyed with everything open, accepted sockets unread, and a send that cannot end.
      world.adopt = false;
      const std::uint64_t client = world.dial(address);
      ASSERT_TRUE(world.until([&] { return world.sockets[client].dialled == 0; }));
      world.send(client, std::string(32 << 20, 'y'));
      world.driver->submit();
      for (const int fd : world.raw) ::close(fd);
      world.dial(address);
      world.driver->wait(clock_now().mono_ns + 20 * base::kMillisecond);
    }
  }
  EXPECT_EQ(open_fds(), before);
}

TEST_P(DriverTest, DeadlineIsKept) {
  World world(options());
  std::vector<Completion> out;
  for (const std::int64_t sleep_ms : {0, 1, 20, 60}) {
    world.driver->reap(out);
    const std::int64_t start = clock_now().mono_ns;
    const std::int64_t deadline = start + sleep_ms * base::kMillisecond;
    world.driver->wait(deadline);
    const std::int64_t now = clock_now().mono_ns;
    EXPECT_GE(now, deadline);
    EXPECT_LT(now, deadline + 2 * base::kSecond);
  }
  const std::int64_t start = clock_now().mono_ns;
  world.driver->wait(0);  // long past
  EXPECT_LT(clock_now().mono_ns, start + base::kSecond);
  EXPECT_TRUE(out.empty());
}

TEST_P(DriverTest, ClockGoesForward) {
  const base::Now a = clock_now();
  const base::Now b = clock_now();
  EXPECT_LE(a.mono_ns, b.mono_ns);
  EXPECT_GT(a.wall_ns, 1'700'000'000 * base::kSecond);
}

TEST(DriverOpen, OptionsAreChecked) {
  const auto refused = [](auto change) {
    DriverOptions options;
    change(options);
    const auto opened = Driver::open(options);
    return !opened && opened.error().code == Code::invalid_argument ? opened.error().message : std::string("taken");
  };
  EXPECT_EQ(refused([](auto& o) { o.buffers = 100; }).rfind("DriverOptions::buffers", 0), 0u);
  EXPECT_EQ(refused([](auto& o) { o.buffer_bytes = 0; }).rfind("DriverOptions::buffer_bytes", 0), 0u);
  EXPECT_EQ(refused([](auto& o) { o.entries = 0; }).rfind("DriverOptions::entries", 0), 0u);
  EXPECT_EQ(refused([](auto& o) { o.sockets_max = 0; }).rfind("DriverOptions::sockets_max", 0), 0u);
}

TEST(DriverOpen, RefusalSaysTheWayOut) {
  EXPECT_NE(ring_refusal(ENOSYS).message.find("5.11"), std::string::npos);
  EXPECT_NE(ring_refusal(EPERM).message.find("seccomp"), std::string::npos);
  EXPECT_NE(ring_refusal(ENOMEM).message.find("ulimit -l"), std::string::npos);
  for (const int error : {ENOSYS, EPERM, ENOMEM, EMFILE, EINVAL}) {
    EXPECT_EQ(ring_refusal(error).code, Code::ring_refused);
  }
}

// A child whose seccomp filter forbids io_uring_setup, as the default profile of Docker does.
TEST(DriverOpen, SeccompIsRecognised) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{4, filter};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(2);
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(2);
    const auto opened = Driver::open({});
    if (opened) ::_exit(3);
    const bool right = opened.error().code == Code::ring_refused &&
                       opened.error().message.find("seccomp") != std::string::npos;
    ::_exit(right ? 0 : 4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tocsin::io
