// SPDX-License-Identifier: Apache-2.0
// SealPlace: lets the crypto callback seal a TLS 1.3 application record where it is sent from.
//
// wolfSSL builds a record in a buffer of its own, has it sealed in place and hands it to the send callback, which copies
// it into the caller's buffer. With a SealPlace around wolfSSL_write the ciphertext is written into the caller's buffer
// at once, and the send callback adds the header only. wolfSSL's own buffer then holds the record's plaintext with the true
// header and tag around it, until it is used again or freed (the caller's holds it too, and neither is wiped). That must never
// be sent: whether a record is sealed elsewhere is decided before it is sealed, by what only TLS 1.3 application data looks
// like; everything else is sealed and copied as ever. A record that was sealed elsewhere is sent next, alone, and is known by
// its address, length, header and tag, or nothing is sent any more.
//
// Threads: one; the crypto callback finds the place of its own thread. Ownership: refers to the caller's buffer, and, as
// an address to compare, to wolfSSL's. Bounds: one record at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "tls/gcm.h"

namespace tocsin::tls {

class SealPlace {
 public:
  // For the length of one wolfSSL_write. `out` is the buffer that its send callback appends to.
  explicit SealPlace(base::ByteBuffer& out);
  ~SealPlace();
  SealPlace(const SealPlace&) = delete;
  SealPlace& operator=(const SealPlace&) = delete;

  // The calling thread's; null if there is none.
  static SealPlace* here();

  // For the crypto callback: where the ciphertext of `text` goes, with room for the tag behind it; null if it is sealed
  // where wolfSSL has it. `tag` is where wolfSSL has the tag, which must be written there too.
  std::uint8_t* begin(const GcmText& text, const std::uint8_t* tag);

  // A record was sealed here and not sent: no other may be sealed.
  bool pending() const { return record_ != nullptr; }
  // Something did not agree: the connection has to fail, even if wolfSSL saw nothing wrong.
  bool broken() const { return refused_ || pending(); }

  // For the send callback, with or without a place: adds what wolfSSL sends to `out`. False: it must not be sent; it was
  // wiped, because it may be plaintext.
  static bool send(base::ByteBuffer& out, std::uint8_t* bytes, std::size_t count);

 private:
  static constexpr std::size_t kHeaderBytes = 5;

  bool is_pending(const base::ByteBuffer& out, const std::uint8_t* bytes, std::size_t count) const;

  base::ByteBuffer& out_;
  const std::uint8_t* record_ = nullptr;  // wolfSSL's, from the header on
  std::size_t record_bytes_ = 0;
  std::array<std::uint8_t, kHeaderBytes> header_{};  // as it was authenticated
  const std::byte* at_ = nullptr;         // in out_, as it was then
  std::size_t before_ = 0;                // bytes in out_ then
  bool refused_ = false;
};

}  // namespace tocsin::tls
