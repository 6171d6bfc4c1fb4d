// SPDX-License-Identifier: Apache-2.0
// DER: a reader of nested tag-length-value elements, as far as certificates and keys need it.
//
// Threads: values. Ownership: views into the caller's bytes. Bounds: never reads past the given bytes;
// lengths of at most four octets; anything malformed ends as an empty element with `ok` false.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace tocsin::tls::der {

inline constexpr unsigned kBoolean = 0x01;
inline constexpr unsigned kInteger = 0x02;
inline constexpr unsigned kBitString = 0x03;
inline constexpr unsigned kOctetString = 0x04;
inline constexpr unsigned kOid = 0x06;
inline constexpr unsigned kUtcTime = 0x17;
inline constexpr unsigned kGeneralizedTime = 0x18;
inline constexpr unsigned kBmpString = 0x1e;
inline constexpr unsigned kSequence = 0x30;
inline constexpr unsigned kSet = 0x31;

struct Element {
  bool ok = false;
  unsigned tag = 0;
  base::ByteView whole;  // header and content
  base::ByteView content;
  bool is(unsigned wanted) const { return ok && tag == wanted; }
};

class Reader {
 public:
  explicit Reader(base::ByteView bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  Element next();
  // The next element's tag without taking it; 0 at the end.
  unsigned peek() const { return rest_.empty() ? 0 : static_cast<unsigned>(rest_[0]); }

 private:
  base::ByteView rest_;
};

// "1.2.840.113549" of an OID's content; "" if malformed.
std::string oid_text(base::ByteView content);

// UTCTime or GeneralizedTime in its DER form (UTC, seconds) as Unix seconds. False if malformed.
bool parse_time(const Element& element, std::int64_t& unix_s);

// "2026-07-31" of Unix seconds.
std::string date_text(std::int64_t unix_s);

}  // namespace tocsin::tls::der
