// SPDX-License-Identifier: Apache-2.0
// Built where libipsec-mb is not (other CPUs, or the package is missing).
#include "base/assertion.h"
#include "tls/gcm.h"

namespace tocsin::tls {

const GcmBackend& gcm_backend() {
  static const GcmBackend backend{false, {}, "this build has no libipsec-mb (package libipsec-mb-dev, x86-64 only)"};
  return backend;
}

void gcm_seal(const GcmText&, std::uint8_t*) { TOCSIN_ASSERT(gcm_backend().usable); }

bool gcm_open(const GcmText&, const std::uint8_t*) {
  TOCSIN_ASSERT(gcm_backend().usable);
  return false;
}

}  // namespace tocsin::tls
