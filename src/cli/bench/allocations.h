// SPDX-License-Identifier: Apache-2.0
// Allocations: how often the whole process asked the C library for memory while counting was on, operator new and
// wolfSSL's allocator included, because both end in malloc.
//
// Threads: any. Process-wide, for the program only: allocations.cc replaces malloc and belongs into the executable, never into a
// library (a host of libtocsin has an allocator of its own). The command is handed an AllocationCounter by main.
#pragma once

#include <cstdint>

namespace tocsin::cli::bench {

struct Allocations {
  std::uint64_t calls = 0;
  std::uint64_t bytes = 0;
};

struct AllocationCounter {
  void (*count)(bool on) = nullptr;      // null: this build cannot count
  Allocations (*total)() = nullptr;      // since the process began, of the times that were counted
};

AllocationCounter allocation_counter();

}  // namespace tocsin::cli::bench
