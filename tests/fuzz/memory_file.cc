// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

namespace tocsin::fuzz {

MemoryFile::MemoryFile(std::string_view bytes)
    : fd_(::memfd_create("fuzz-input", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
  FUZZ_CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd_, bytes.data(), bytes.size());
    FUZZ_CHECK(wrote > 0);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

MemoryFile::~MemoryFile() { ::close(fd_); }

}  // namespace tocsin::fuzz
