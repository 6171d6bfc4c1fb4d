// SPDX-License-Identifier: Apache-2.0
// Always-on assertions: the third kind of wrong (we are wrong). A program aborts; a library's host may
// install a hook first, which gets the text and must not return to the failed code.
#pragma once

namespace tocsin::base {

[[noreturn]] void assert_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace tocsin::base

#define TOCSIN_ASSERT(expression)                                                  \
  (static_cast<bool>(expression) ? static_cast<void>(0)                            \
                                 : ::tocsin::base::assert_failed(#expression, __FILE__, __LINE__))
