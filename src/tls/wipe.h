// SPDX-License-Identifier: Apache-2.0
// Wiping: zeroes memory that held a secret, in a way that the compiler keeps.
#pragma once

#include <cstddef>
#include <cstring>

#include <string.h>  // explicit_bzero

namespace tocsin::tls {

inline void wipe(void* memory, std::size_t bytes) {
  if (bytes != 0) ::explicit_bzero(memory, bytes);
}

}  // namespace tocsin::tls
