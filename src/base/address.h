// SPDX-License-Identifier: Apache-2.0
// Address: a resolved network address with its port, as plain bytes. Rooms that know sockets read and write it (io::Address);
// pure rooms only compare addresses and hand them on.
#pragma once

#include <cstdint>
#include <cstring>

namespace tocsin::base {

struct Address {
  alignas(8) unsigned char storage[28] = {};  // sockaddr_in or sockaddr_in6
  std::uint32_t size = 0;

  bool operator==(const Address& other) const {
    return size == other.size && std::memcmp(storage, other.storage, sizeof(storage)) == 0;
  }
};

}  // namespace tocsin::base
