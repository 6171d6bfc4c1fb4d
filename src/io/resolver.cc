// SPDX-License-Identifier: Apache-2.0
#include "io/resolver.h"

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

namespace tocsin::io {

namespace {

struct Request {
  std::string host;
  std::uint16_t port = 0;
  Resolver::Done done;
};

// True if `host` is an IPv4 or IPv6 literal (brackets allowed); no query is needed then.
bool literal(const std::string& host, std::uint16_t port, Address& out) {
  in_addr v4;
  in6_addr v6;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::string bare = bracketed ? host.substr(1, host.size() - 2) : host;
  if (!bracketed && ::inet_pton(AF_INET, bare.c_str(), &v4) == 1) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr = v4;
    std::memcpy(out.storage, &in, sizeof(in));
    out.size = sizeof(in);
    return true;
  }
  if (::inet_pton(AF_INET6, bare.c_str(), &v6) == 1) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    in.sin6_addr = v6;
    std::memcpy(out.storage, &in, sizeof(in));
    out.size = sizeof(in);
    return true;
  }
  return false;
}

Error cannot_resolve(const std::string& host, const std::string& why) {
  return {Code::io, "cannot resolve '" + host + "': " + why};
}

// The loopback addresses, for a machine whose files do not know "localhost": RFC 6761 section 6.3 has resolvers
// answer it themselves.
Result<std::vector<Address>> loopback(std::uint16_t port) {
  std::vector<Address> out;
  for (const char* literal : {"127.0.0.1:", "[::1]:"}) {
    auto address = parse_address(literal + std::to_string(port));
    if (!address) return address.error();
    out.push_back(*address);
  }
  return out;
}

Result<std::vector<Address>> query(const std::string& host, std::uint16_t port) {
  // No AI_ADDRCONFIG: it drops "localhost" on a machine whose only interface is the loopback.
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  const int error = errno;
  if (code != 0 && ::strcasecmp(host.c_str(), "localhost") == 0) return loopback(port);
  if (code == EAI_AGAIN) {
    return cannot_resolve(host, "the name server did not answer; check /etc/resolv.conf and the network");
  }
  if (code != 0) {
    return cannot_resolve(host, std::string(code == EAI_SYSTEM ? std::strerror(error) : ::gai_strerror(code)) +
                                    "; check the spelling and this machine's name service");
  }
  std::vector<Address> out;
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    Address address;
    if (info->ai_addrlen != sizeof(sockaddr_in) && info->ai_addrlen != sizeof(sockaddr_in6)) continue;
    std::memcpy(address.storage, info->ai_addr, info->ai_addrlen);
    address.size = info->ai_addrlen;
    out.push_back(address);
  }
  ::freeaddrinfo(list);
  if (out.empty()) return cannot_resolve(host, "the name has no IPv4 or IPv6 address");
  return out;
}

}  // namespace

struct Resolver::Impl {
  explicit Impl(std::size_t limit) : requests_max(limit) {}

  void run() {
    for (;;) {
      Request request;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return stopping || !waiting.empty(); });
        if (stopping) return;
        request = std::move(waiting.front());
        waiting.pop_front();
      }
      request.done(query(request.host, request.port));
    }
  }

  const std::size_t requests_max;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Request> waiting;  // guarded by mutex
  bool stopping = false;        // guarded by mutex
  std::thread thread;
};

Resolver::Resolver(std::size_t requests_max) : impl_(std::make_unique<Impl>(requests_max)) {
  try {
    impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
  } catch (const std::system_error&) {
    // No thread to be had: literals still work, names are answered with an error below.
  }
}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void Resolver::resolve(std::string host, std::uint16_t port, Done done) {
  Address address;
  if (literal(host, port, address)) {
    done(std::vector<Address>{address});
    return;
  }
  if (host.empty() || host.find('\0') != std::string::npos) {
    done(cannot_resolve(host, "a host name is needed"));
    return;
  }
  if (!impl_->thread.joinable()) {
    done(cannot_resolve(host, "the resolver's thread could not be started; raise the limit on threads"));
    return;
  }
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->waiting.size() < impl_->requests_max) {
      impl_->waiting.push_back({std::move(host), port, std::move(done)});
      impl_->changed.notify_one();
      return;
    }
  }
  done(cannot_resolve(host, std::to_string(impl_->requests_max) + " names are waiting already; try again later"));
}

}  // namespace tocsin::io
