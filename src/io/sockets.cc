// SPDX-License-Identifier: Apache-2.0
#include "io/sockets.h"

#include <cerrno>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tocsin::io {

namespace {

void set_nodelay(int fd) {
  // Best effort: a socket that is no TCP socket (a test's socketpair) works as well without.
  const int on = 1;
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

int stream_socket(const Address& address) {
  const int fd = ::socket(address.get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  set_nodelay(fd);
  return fd;
}

int listening_socket(const Address& address, int backlog) {
  const int fd = ::socket(address.get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  if (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::bind(fd, address.get(), address.size) != 0 || ::listen(fd, backlog) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  return fd;
}

void prepare_adopted(int fd) {
  set_nodelay(fd);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) (void)::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

Address local_address(int fd) {
  Address address;
  socklen_t size = sizeof(address.storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(address.storage), &size) == 0) address.size = size;
  return address;
}

void close_socket(int fd, bool reset) {
  if (fd < 0) return;
  if (reset) {
    const linger hard{1, 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  }
  ::close(fd);  // on Linux the descriptor is gone even after EINTR: never twice
}

}  // namespace tocsin::io
