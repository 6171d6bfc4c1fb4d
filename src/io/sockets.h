// SPDX-License-Identifier: Apache-2.0
// The plain system calls on sockets that the driver needs besides the ring. Errors are errno values.
//
// Sockets are blocking on purpose: io_uring tries without blocking and then polls by itself, while with
// O_NONBLOCK some kernels hand EAGAIN back instead. Threads: any. Ownership: descriptors are the caller's.
#pragma once

#include "io/driver.h"

namespace tocsin::io {

// A TCP socket for dialling, TCP_NODELAY set. -errno if there is none.
int stream_socket(const Address& address);

// Bound and listening, SO_REUSEADDR set. -errno if not.
int listening_socket(const Address& address, int backlog);

// Makes a foreign socket ours: TCP_NODELAY on, O_NONBLOCK off.
void prepare_adopted(int fd);

Address local_address(int fd);

// reset: the peer sees RST.
void close_socket(int fd, bool reset);

}  // namespace tocsin::io
