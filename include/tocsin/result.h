// SPDX-License-Identifier: Apache-2.0
// Error and Result: how every fallible call of the public door answers.
//
// What: a code for programs, a message for people (what was wrong, where, and what to do).
// Threads: values; share them as you would a std::string. Ownership: the value owns its message.
// Bounds: messages carry no secret (no key, password, provider token or device token beyond 8 digits).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include <tocsin/export.h>

namespace tocsin {

// Stable numbers: they reach logs, JSON and later the C door. Append, never renumber.
enum class Code : std::uint16_t {
  ok = 0,
  invalid_argument = 1,  // a field is malformed or out of its documented bounds
  unsupported = 2,       // a field asks for what this version does not act on
  capacity = 3,          // a fixed table (templates, credentials, submitters) is full
  unknown_handle = 4,    // a handle that this engine never gave out
  stopped = 5,           // the engine is draining or has stopped
  io = 6,                // the operating system said no (errno text is in the message)
  ring_refused = 7,      // the kernel refuses io_uring (old kernel, seccomp)
  bad_certificate = 8,   // not a certificate, or a broken chain
  bad_key = 9,           // not a private key, or one that cannot be read
  key_mismatch = 10,     // the private key does not belong to the certificate
  bad_password = 11,     // the PKCS#12 or key password is wrong
  unsupported_p12 = 12,  // PKCS#12 in a form the TLS library cannot open (RC2-40)
  expired = 13,          // the certificate's validity is over, or has not begun
  out_of_memory = 14,    // memory could not be had at start
  internal = 15,         // a broken invariant of ours; please report it
};

// A short, stable name of a code ("invalid_argument"). Static storage.
TOCSIN_API const char* code_name(Code code) noexcept;

struct Error {
  Code code = Code::internal;
  std::string message;
};

// A value or an Error. `*result` and `result->` need ok(); asking for the wrong side is a bug of the
// caller and ends in std::terminate by way of std::get's exception in a noexcept function.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & noexcept { return std::get<0>(state_); }
  const T& value() const& noexcept { return std::get<0>(state_); }
  T&& value() && noexcept { return std::get<0>(std::move(state_)); }
  T& operator*() & noexcept { return value(); }
  const T& operator*() const& noexcept { return value(); }
  T&& operator*() && noexcept { return std::move(*this).value(); }
  T* operator->() noexcept { return &value(); }
  const T* operator->() const noexcept { return &value(); }

  const Error& error() const& noexcept { return std::get<1>(state_); }
  Error&& error() && noexcept { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const Error& error() const& noexcept { return error_.value(); }
  Error&& error() && noexcept { return std::move(error_).value(); }

 private:
  std::optional<Error> error_;
};

}  // namespace tocsin
