// SPDX-License-Identifier: Apache-2.0
// ECDSA over P-256 with SHA-256, deterministic (RFC 6979): the one file of the room that knows wolfCrypt.
//
// The signature depends on scalar and message alone. While it computes, wolfCrypt masks the scalar with numbers from the system's
// random source, which leave no trace in the result. Threads: pure functions but for that. Ownership: nothing is kept; copies of
// secrets are wiped. wolfCrypt keeps tables of points per thread, see tls::free_tables_at_thread_exit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tocsin::apns {

using P256Scalar = std::array<std::uint8_t, 32>;     // big-endian
using P256Point = std::array<std::uint8_t, 65>;      // SEC 1 section 2.3.3, uncompressed: 4, x, y
using P256Signature = std::array<std::uint8_t, 64>;  // r, s (RFC 7518 section 3.4)

// The public point of a scalar; false if it is 0 or not below the order of the group.
bool p256_point_of(const P256Scalar& scalar, P256Point& point);

bool p256_on_curve(const P256Point& point);

// False if the system's random source or memory fails; `out` is then all zero.
bool p256_sign(const P256Scalar& scalar, std::string_view message, P256Signature& out);

bool p256_verify(const P256Point& point, std::string_view message, const P256Signature& signature);

// Zeroes memory that held a secret, in a way that the compiler keeps.
void wipe(void* memory, std::size_t bytes);

}  // namespace tocsin::apns
