// SPDX-License-Identifier: Apache-2.0
#include "io/resolver.h"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
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
Result<std::vector<Address>> loopback() {
  std::vector<Address> out;
  for (const char* literal : {"127.0.0.1:0", "[::1]:0"}) {
    auto address = parse_address(literal);
    if (!address) return address.error();
    out.push_back(*address);
  }
  return out;
}

// Addresses with port 0, each once.
Result<std::vector<Address>> system_query(const std::string& host) {
  // No AI_ADDRCONFIG: it drops "localhost" on a machine whose only interface is the loopback.
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  const int error = errno;
  if (code != 0 && ::strcasecmp(host.c_str(), "localhost") == 0) return loopback();
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
    if (std::find(out.begin(), out.end(), address) == out.end()) out.push_back(address);
  }
  ::freeaddrinfo(list);
  if (out.empty()) return cannot_resolve(host, "the name has no IPv4 or IPv6 address");
  return out;
}

// The port stands at the same place in both families.
void set_port(Address& address, std::uint16_t port) {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  const std::uint16_t network = htons(port);
  std::memcpy(address.storage + offsetof(sockaddr_in, sin_port), &network, sizeof(network));
}

}  // namespace

struct Resolver::Impl {
  Impl(std::size_t limit, Query q) : requests_max(limit), query(q ? std::move(q) : Query(system_query)) {}

  // The first waiting host that no other thread asks about, or the end.
  std::deque<Request>::iterator next() {
    return std::find_if(waiting.begin(), waiting.end(), [this](const Request& request) {
      return std::find(asking.begin(), asking.end(), request.host) == asking.end();
    });
  }

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      ++idle;
      changed.wait(lock, [this] { return stopping || next() != waiting.end(); });
      --idle;
      if (stopping) return;
      // All that wait for this host: a query that begins now is fresh for each of them.
      const std::string host = next()->host;
      std::vector<Request> mine;
      std::erase_if(waiting, [&](Request& request) {
        if (request.host != host) return false;
        mine.push_back(std::move(request));
        return true;
      });
      asking.push_back(host);
      lock.unlock();
      const Result<std::vector<Address>> answer = query(host);
      for (Request& request : mine) {
        Result<std::vector<Address>> own = answer;
        if (own) {
          for (Address& address : *own) set_port(address, request.port);
        }
        request.done(std::move(own));
      }
      mine.clear();
      lock.lock();
      std::erase(asking, host);
      changed.notify_all();  // others that wait for this host
    }
  }

  // Under the lock: one more thread, if names would wait for want of one. True if there is any.
  bool grow() {
    if (idle == 0 && threads.size() < kThreadsMax) {
      try {
        threads.emplace_back([this] { run(); });
      } catch (const std::system_error&) {
        // None to be had now: the others will do, or the caller is told.
      }
    }
    return !threads.empty();
  }

  const std::size_t requests_max;
  const Query query;
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  std::deque<Request> waiting;
  std::vector<std::string> asking;  // hosts with a query under way
  std::size_t idle = 0;             // threads that wait for a host
  bool stopping = false;
  std::vector<std::thread> threads;
};

Resolver::Resolver(std::size_t requests_max, Query query) : impl_(std::make_unique<Impl>(requests_max, std::move(query))) {}

Resolver::~Resolver() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
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
  bool threads = true;
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->waiting.size() < impl_->requests_max) {
      threads = impl_->grow();
      if (threads) {
        impl_->waiting.push_back({std::move(host), port, std::move(done)});
        impl_->changed.notify_all();
        return;
      }
    }
  }
  done(cannot_resolve(host, threads ? std::to_string(impl_->requests_max) + " names are waiting already; try again later"
                                    : "the resolver's thread could not be started; raise the limit on threads"));
}

}  // namespace tocsin::io
