// SPDX-License-Identifier: Apache-2.0
// AES-GCM by libipsec-mb, behind plain C++: its header and wolfSSL's define the same names, so each lives
// in its own translation unit.
//
// Threads: any; expanded keys are cached per thread, without locks. Ownership: nothing of the caller's is
// kept but the expanded keys. Bounds: at most 1,024 expanded keys a thread (about 1 KiB each), least
// recently used ones replaced within a set of four; wiped when the thread ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tocsin::tls {

struct GcmBackend {
  bool usable = false;
  std::string name;  // "ipsec-mb (avx512)"
  std::string why;   // why it is not usable
};

// Asked once a process; the CPU does not change.
const GcmBackend& gcm_backend();

struct GcmText {
  const std::uint8_t* key = nullptr;
  std::size_t key_bytes = 0;  // 16 or 32
  const std::uint8_t* iv = nullptr;  // 12 bytes
  const std::uint8_t* aad = nullptr;
  std::size_t aad_bytes = 0;
  const std::uint8_t* in = nullptr;  // may be `out`
  std::uint8_t* out = nullptr;
  std::size_t bytes = 0;
};

inline constexpr std::size_t kGcmIvBytes = 12;
inline constexpr std::size_t kGcmTagBytes = 16;

// Only when the backend is usable.
void gcm_seal(const GcmText& text, std::uint8_t* tag);
// False, with `out` zeroed, if the tag is wrong.
bool gcm_open(const GcmText& text, const std::uint8_t* tag);

}  // namespace tocsin::tls
