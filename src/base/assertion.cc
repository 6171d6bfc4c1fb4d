// SPDX-License-Identifier: Apache-2.0
#include "base/assertion.h"

#include <cstdio>
#include <cstdlib>

namespace tocsin::base {

void assert_failed(const char* expression, const char* file, int line) noexcept {
  // The one line this library ever prints, immediately before it ends the process: a broken invariant.
  std::fprintf(stderr, "tocsin: broken invariant: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace tocsin::base
