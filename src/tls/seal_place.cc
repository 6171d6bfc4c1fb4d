// SPDX-License-Identifier: Apache-2.0
#include "tls/seal_place.h"

#include <cstring>

#include "base/assertion.h"
#include "tls/wipe.h"

namespace tocsin::tls {
namespace {

// RFC 8446 section 5.2: the header of a sealed record is its additional data, and the last octet of the plaintext
// (no padding here) is its type.
constexpr std::uint8_t kApplicationData = 23;
constexpr std::size_t kInnerBytesMax = 16'384 + 1;

thread_local SealPlace* t_here = nullptr;

}  // namespace

SealPlace::SealPlace(base::ByteBuffer& out) : out_(out) {
  TOCSIN_ASSERT(t_here == nullptr);
  t_here = this;
}

SealPlace::~SealPlace() { t_here = nullptr; }

SealPlace* SealPlace::here() { return t_here; }

std::uint8_t* SealPlace::begin(const GcmText& text, const std::uint8_t* tag) {
  if (broken() || text.bytes < 2 || text.bytes > kInnerBytesMax) return nullptr;
  // One record of TLS 1.3 as a whole: header, text and tag behind each other. TLS 1.2's additional data are 13 bytes.
  if (text.aad_bytes != kHeaderBytes || text.in != text.out) return nullptr;
  if (text.aad + kHeaderBytes != text.in || text.in + text.bytes != tag) return nullptr;
  const std::size_t length = text.bytes + kGcmTagBytes;
  if (text.aad[0] != kApplicationData || text.aad[1] != 3 || text.aad[2] != 3) return nullptr;
  if ((static_cast<std::size_t>(text.aad[3]) << 8 | text.aad[4]) != length) return nullptr;
  // Alerts and key updates are written between application records.
  if (text.in[text.bytes - 1] != kApplicationData) return nullptr;
  record_ = text.aad;
  record_bytes_ = kHeaderBytes + length;
  std::memcpy(header_.data(), text.aad, kHeaderBytes);
  std::byte* const at = out_.prepare(record_bytes_);
  at_ = at;
  before_ = out_.size();
  return reinterpret_cast<std::uint8_t*>(at) + kHeaderBytes;
}

bool SealPlace::is_pending(const base::ByteBuffer& out, const std::uint8_t* bytes, std::size_t count) const {
  if (&out != &out_ || bytes != record_ || count != record_bytes_ || out.size() != before_) return false;
  if (std::memcmp(bytes, header_.data(), kHeaderBytes) != 0) return false;
  // The buffer has not moved: what it holds ends where the record begins.
  if (out.readable().data() + before_ != at_) return false;
  const std::size_t tag_at = record_bytes_ - kGcmTagBytes;
  return std::memcmp(bytes + tag_at, at_ + tag_at, kGcmTagBytes) == 0;
}

bool SealPlace::send(base::ByteBuffer& out, std::uint8_t* bytes, std::size_t count) {
  SealPlace* const place = here();
  if (place == nullptr || !place->broken()) {
    out.append(base::ByteView(reinterpret_cast<const std::byte*>(bytes), count));
    return true;
  }
  if (place->refused_ || !place->is_pending(out, bytes, count)) {
    place->refused_ = true;
    wipe(bytes, count);
    return false;
  }
  std::memcpy(out.prepare(count), place->header_.data(), kHeaderBytes);
  out.commit(count);
  place->record_ = nullptr;
  return true;
}

}  // namespace tocsin::tls
