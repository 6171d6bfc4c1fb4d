// SPDX-License-Identifier: Apache-2.0
// wolfSSL's memory, kept for reuse: it takes and gives back a buffer for every record. Blocks that it frees go to lists of the
// thread that freed them, by size, and are handed out again, so that a thread that has warmed up takes none from the system.
//
// For programs, before anything of wolfSSL is used: its allocators are the process's, and memory that was taken under others must
// not meet these. The library leaves them alone: a host that shares wolfSSL may have set its own (docs/embedding.md).
// Threads: any; no locks. Bounds: kept_bytes_max a thread; what goes beyond is given back. A size takes at most a quarter more.
#pragma once

#include <cstddef>
#include <cstdint>

#include <tocsin/result.h>

namespace tocsin::tls {

inline constexpr std::size_t kLibraryBytesKept = 4u << 20;

// Once. Code::internal if wolfSSL refuses.
Result<void> keep_library_memory();

// What wolfSSL is given then; also for tests.
void* library_allocate(std::size_t bytes);  // nullptr only if the system has none
void library_free(void* block);             // nullptr is allowed
void* library_reallocate(void* block, std::size_t bytes);

// Blocks that this thread took from the system, so far.
std::uint64_t library_blocks_taken();

}  // namespace tocsin::tls
