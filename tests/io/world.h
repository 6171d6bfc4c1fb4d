// SPDX-License-Identifier: Apache-2.0
// A driver and the sockets on it, with a loop that drives them: what the driver's tests stand on.
// Threads: one. Sockets outlive the driver, because an outstanding send looks at their bytes.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <dirent.h>

#include <gtest/gtest.h>

#include "io/driver.h"

namespace tocsin::io {

inline std::string pattern(std::size_t size, std::uint32_t seed) {
  std::string text(size, '\0');
  for (char& c : text) {
    seed = seed * 1664525u + 1013904223u;
    c = static_cast<char>(seed >> 24);
  }
  return text;
}

inline int open_fds() {
  int count = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

struct Socket {
  std::string in;
  std::string out;     // queued
  std::string flying;  // the kernel's
  std::size_t flown = 0;
  bool sending = false;
  bool echo = false;
  bool open = false;
  int dialled = -1;  // errno once known
  int sent_error = 0;
  std::uint64_t sent_bytes = 0;
  int peer_closed = 0;
  int peer_error = 0;
  int closed = 0;
  std::vector<std::uint64_t> accepted;  // of a listener: the handles adopted
  std::vector<int> accept_errors;
};

class World {
 public:
  explicit World(DriverOptions options = {}) {
    auto opened = Driver::open(options);
    if (!opened) throw std::runtime_error(opened.error().message);
    driver = std::move(opened).value();
    generations.resize(options.sockets_max);
  }

  // The lowest free index, in its next generation.
  std::uint64_t name() {
    for (std::uint32_t i = 0; i < generations.size(); ++i) {
      if (generations[i] % 2 == 0) return std::uint64_t{++generations[i]} << 32 | i;
    }
    throw std::runtime_error("no free index");
  }

  std::uint64_t dial(const Address& address) {
    const std::uint64_t handle = name();
    sockets[handle].open = true;
    driver->dial(handle, address);
    return handle;
  }
  std::uint64_t listen(Address& address, int backlog = 512) {
    const std::uint64_t handle = name();
    auto bound = driver->listen(handle, address, backlog);
    if (!bound) throw std::runtime_error(bound.error().message);
    sockets[handle].open = true;
    address = *bound;
    return handle;
  }
  void send(std::uint64_t handle, std::string_view text) {
    sockets[handle].out += text;
    pump(handle);
  }
  void close(std::uint64_t handle, bool reset = false) {
    sockets[handle].open = false;
    driver->close(handle, reset);
  }

  void reap() {
    batch.clear();
    driver->reap(batch);
    for (const Completion& completion : batch) take(completion);
  }
  void step(std::int64_t deadline_ns) {
    reap();
    driver->submit();
    driver->wait(deadline_ns);
  }
  template <class Predicate>
  bool until(Predicate&& done, int seconds = 30) {
    const std::int64_t end = clock_now().mono_ns + seconds * base::kSecond;
    while (!done()) {
      if (clock_now().mono_ns > end) return false;
      step(clock_now().mono_ns + 20 * base::kMillisecond);
    }
    return true;
  }
  void run_for(int milliseconds) {
    const std::int64_t end = clock_now().mono_ns + milliseconds * base::kMillisecond;
    while (clock_now().mono_ns < end) step(end);
  }
  // Closes everything and waits for rest.
  bool close_all() {
    for (auto& [handle, socket] : sockets) {
      if (socket.open) close(handle);
    }
    return until([&] { return driver->sockets_in_use() == 0; });
  }

  std::map<std::uint64_t, Socket> sockets;
  std::vector<std::uint32_t> generations;
  std::unique_ptr<Driver> driver;
  std::vector<Completion> batch;
  bool echo = true;   // what accepted sockets do
  bool adopt = true;  // false: keep accepted descriptors in `raw`
  std::vector<int> raw;

 private:
  void pump(std::uint64_t handle) {
    Socket& socket = sockets[handle];
    if (socket.sending || !socket.open) return;
    if (socket.flown == socket.flying.size()) {
      socket.flying.clear();
      socket.flying.swap(socket.out);
      socket.flown = 0;
    }
    if (socket.flown == socket.flying.size()) return;
    socket.sending = true;
    driver->send(handle, base::as_bytes(std::string_view(socket.flying).substr(socket.flown)));
  }

  void take(const Completion& completion) {
    Socket& socket = sockets[completion.handle];
    EXPECT_EQ(socket.closed, 0) << "a completion after `closed`";
    switch (completion.kind) {
      case CompletionKind::dialled:
        EXPECT_EQ(socket.dialled, -1);
        socket.dialled = completion.error;
        break;
      case CompletionKind::received:
        EXPECT_EQ(socket.peer_closed, 0);
        EXPECT_EQ(static_cast<std::size_t>(completion.result), completion.bytes.size());
        socket.in += base::as_text(completion.bytes);
        if (socket.echo) send(completion.handle, base::as_text(completion.bytes));
        break;
      case CompletionKind::peer_closed:
        ++socket.peer_closed;
        socket.peer_error = completion.error;
        break;
      case CompletionKind::sent:
        EXPECT_TRUE(socket.sending);
        socket.sending = false;
        if (completion.result < 0) {
          EXPECT_EQ(completion.error, -completion.result);
          socket.sent_error = completion.error;
          break;
        }
        socket.flown += static_cast<std::size_t>(completion.result);
        socket.sent_bytes += static_cast<std::uint64_t>(completion.result);
        pump(completion.handle);
        break;
      case CompletionKind::closed:
        ++socket.closed;
        EXPECT_FALSE(socket.open);
        ++generations[static_cast<std::uint32_t>(completion.handle)];
        break;
      case CompletionKind::accepted: {
        if (completion.result < 0) {
          socket.accept_errors.push_back(completion.error);
          break;
        }
        const int fd = static_cast<int>(completion.result);
        if (!adopt) {
          raw.push_back(fd);
          break;
        }
        const std::uint64_t handle = name();
        sockets[completion.handle].accepted.push_back(handle);
        sockets[handle].echo = echo;
        sockets[handle].open = true;
        driver->adopt(handle, fd);
        break;
      }
    }
  }
};

}  // namespace tocsin::io
