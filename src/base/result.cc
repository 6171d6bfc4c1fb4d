// SPDX-License-Identifier: Apache-2.0
#include <tocsin/result.h>

namespace tocsin {

const char* code_name(Code code) noexcept {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid_argument: return "invalid_argument";
    case Code::unsupported: return "unsupported";
    case Code::capacity: return "capacity";
    case Code::unknown_handle: return "unknown_handle";
    case Code::stopped: return "stopped";
    case Code::io: return "io";
    case Code::ring_refused: return "ring_refused";
    case Code::bad_certificate: return "bad_certificate";
    case Code::bad_key: return "bad_key";
    case Code::key_mismatch: return "key_mismatch";
    case Code::bad_password: return "bad_password";
    case Code::unsupported_p12: return "unsupported_p12";
    case Code::expired: return "expired";
    case Code::out_of_memory: return "out_of_memory";
    case Code::internal: return "internal";
  }
  return "?";  // a number from a later version
}

}  // namespace tocsin
