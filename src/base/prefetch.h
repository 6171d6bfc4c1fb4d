// SPDX-License-Identifier: Apache-2.0
// Asks for the cache line at an address that is read soon; any address will do. Threads: any.
#pragma once

namespace tocsin::base {

inline void prefetch(const void* at) {
  __builtin_prefetch(at);
  // To the compiler a function that only prefetches does nothing, and a call of it may go; this it must keep.
  __asm__ volatile("" : : "r"(at));
}

}  // namespace tocsin::base
