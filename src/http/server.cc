// SPDX-License-Identifier: Apache-2.0
// One poll loop. A connection is either reading a request (input polled) or writing its answer (output
// polled), never both, so that a client that does not read cannot make us hold more than one answer.
#include "http/server.h"

#include <cerrno>
#include <cstring>
#include <list>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/parser.h"
#include "io/driver.h"

namespace tocsin::http {
namespace {

std::int64_t mono_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Connection {
  Descriptor fd;
  Parser parser;
  std::string output;
  std::size_t output_done = 0;
  bool close_after = false;  // the answer in `output` is the last one
  bool half_closed = false;  // our side is shut; what the client still sends is read and dropped
  std::int64_t deadline_ms = 0;

  Connection(int socket, const ServerOptions& options) : fd(socket), parser(options.head_bytes_max) {}
  bool writing() const { return output_done < output.size(); }
};

Error bind_error(std::string_view address, const char* step, int error) {
  std::string text = "cannot listen on " + std::string(address) + ": " + step + ": " + std::strerror(error);
  if (error == EADDRINUSE) text += "; another process holds this port: stop it or choose another port (0 picks a free one)";
  if (error == EACCES) text += "; ports below 1024 need privileges: choose a higher one";
  if (error == EADDRNOTAVAIL) text += "; no interface of this machine has this address";
  return {Code::io, std::move(text)};
}

}  // namespace

Response json_error(unsigned status, std::string_view text) {
  std::string body = R"({"error":")";
  for (const char c : text) {
    if (c == '"' || c == '\\') body += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) body += c;
  }
  return {status, "application/json", body + "\"}\n"};
}

struct Server::Impl {
  ServerOptions options;
  Handler handler;
  std::string address;
  Descriptor listener;
  Descriptor stop_event;
  std::list<Connection> connections;
  std::thread thread;

  void run();
  void accept_one();
  bool read_some(Connection& connection);
  bool answer_next(Connection& connection);
  bool write_some(Connection& connection);
};

// True: the connection lives on.
bool Server::Impl::write_some(Connection& c) {
  while (c.writing()) {
    const ssize_t n = ::send(c.fd.get(), c.output.data() + c.output_done, c.output.size() - c.output_done, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    c.output_done += static_cast<std::size_t>(n);
  }
  c.output.clear();
  c.output_done = 0;
  c.deadline_ms = mono_ms() + options.timeout_ms;
  if (!c.close_after) return answer_next(c);
  // Closing with unread input would reset the connection and may take the answer with it.
  ::shutdown(c.fd.get(), SHUT_WR);
  c.half_closed = true;
  c.deadline_ms = mono_ms() + 1000;
  return true;
}

bool Server::Impl::answer_next(Connection& c) {
  Incoming incoming;
  const Parsed parsed = c.parser.next(incoming);
  if (parsed == Parsed::more) return true;
  const bool head_only = incoming.request.method == "HEAD";
  const Response response = parsed == Parsed::request ? handler(incoming.request) : incoming.refusal;
  c.close_after = !incoming.keep_alive;
  c.output = serialise(response, incoming.keep_alive, head_only, incoming.allow_header);
  c.output_done = 0;
  c.deadline_ms = mono_ms() + options.timeout_ms;
  return write_some(c);
}

bool Server::Impl::read_some(Connection& c) {
  char bytes[4096];
  const ssize_t n = ::recv(c.fd.get(), bytes, sizeof bytes, 0);
  if (n == 0) return false;
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (c.half_closed) return true;
  // The request's time starts with its first byte and is not prolonged by later ones.
  if (c.parser.idle()) c.deadline_ms = mono_ms() + options.timeout_ms;
  c.parser.feed({bytes, static_cast<std::size_t>(n)});
  return answer_next(c);
}

void Server::Impl::accept_one() {
  const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  connections.emplace_back(fd, options).deadline_ms = mono_ms() + options.timeout_ms;
}

void Server::Impl::run() {
  std::vector<pollfd> polled;
  for (;;) {
    polled.clear();
    polled.push_back({stop_event.get(), POLLIN, 0});
    // At the bound we do not accept; time-outs make room.
    polled.push_back({connections.size() < options.connections_max ? listener.get() : -1, POLLIN, 0});
    std::int64_t next_ms = mono_ms() + 60'000;
    for (const Connection& c : connections) {
      polled.push_back({c.fd.get(), static_cast<short>(c.writing() ? POLLOUT : POLLIN), 0});
      next_ms = std::min(next_ms, c.deadline_ms);
    }
    const std::int64_t wait_ms = std::max<std::int64_t>(next_ms - mono_ms(), 0) + 1;
    if (::poll(polled.data(), polled.size(), static_cast<int>(wait_ms)) < 0 && errno != EINTR) return;
    if ((polled[0].revents & POLLIN) != 0) return;
    const std::int64_t now_ms = mono_ms();
    std::size_t i = 2;
    for (auto c = connections.begin(); c != connections.end(); ++i) {
      bool lives = now_ms < c->deadline_ms;
      if (lives && polled[i].revents != 0) lives = c->writing() ? write_some(*c) : read_some(*c);
      c = lives ? std::next(c) : connections.erase(c);
    }
    if ((polled[1].revents & POLLIN) != 0) accept_one();
  }
}

Result<std::unique_ptr<Server>> Server::start(std::string_view address, Handler handler, const ServerOptions& options) {
  Result<io::Address> parsed = io::parse_address(address);
  if (!parsed.ok()) return parsed.error();
  const sockaddr* wanted = parsed->get();
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->handler = std::move(handler);
  impl->listener = Descriptor(::socket(wanted->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = impl->listener.get();
  if (fd < 0) return bind_error(address, "socket", errno);
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd, wanted, parsed->size) != 0) return bind_error(address, "bind", errno);
  if (::listen(fd, 64) != 0) return bind_error(address, "listen", errno);
  io::Address bound;
  socklen_t bytes = sizeof bound.storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(bound.storage), &bytes) != 0) {
    return bind_error(address, "getsockname", errno);
  }
  bound.size = bytes;
  impl->address = bound.text();
  impl->stop_event = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (impl->stop_event.get() < 0) return bind_error(address, "eventfd", errno);
  impl->thread = std::thread([me = impl.get()] { me->run(); });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { stop(); }

const std::string& Server::address() const { return impl_->address; }

void Server::stop() {
  if (!impl_->thread.joinable()) return;
  const std::uint64_t one = 1;
  // An eventfd takes this write unless it holds 2^64 - 2 already; either way it is readable.
  [[maybe_unused]] const ssize_t n = ::write(impl_->stop_event.get(), &one, sizeof one);
  impl_->thread.join();
  impl_->connections.clear();
  impl_->listener = Descriptor();
}

}  // namespace tocsin::http
