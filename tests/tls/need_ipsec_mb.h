// SPDX-License-Identifier: Apache-2.0
// Tests of what runs on libipsec-mb. tools/setup installs it, so they may be left out only where the CPU has no AES
// instructions: anywhere else that it does not work is a failure.
#pragma once

#include <gtest/gtest.h>

#include "tls/gcm.h"

namespace tocsin::tls::testing {

// Called by SetUp(): the test is skipped, or has failed, if libipsec-mb cannot be used.
inline void need_ipsec_mb() {
  const auto& backend = gcm_backend();
  if (backend.usable) return;
#if defined(__x86_64__)
  ASSERT_FALSE(__builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul")) << backend.why;
#endif
  GTEST_SKIP() << backend.why;
}

}  // namespace tocsin::tls::testing
