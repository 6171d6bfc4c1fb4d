// SPDX-License-Identifier: Apache-2.0
// libcrypto's AES-GCM as the oracle; apart, because its headers and wolfSSL's define the same names.
#pragma once

#include <cstdint>
#include <vector>

namespace tocsin::tls {

bool reference_gcm_seal(const std::vector<std::uint8_t>& key, const std::vector<std::uint8_t>& iv,
                        const std::vector<std::uint8_t>& aad, const std::vector<std::uint8_t>& plain,
                        std::vector<std::uint8_t>& sealed, std::vector<std::uint8_t>& tag);

}  // namespace tocsin::tls
