// SPDX-License-Identifier: Apache-2.0
// ByteSource: the bytes of a file or of standard input, plain or gzip (known by its first bytes; several
// members one after another are one text).
//
// Threads: one at a time. Ownership: owns its descriptor (standard input excepted). Bounds: two buffers of
// fixed size; never waits longer than 20 ms, so that its caller can look after other things.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <tocsin/result.h>

namespace tocsin::cli {

enum class ReadState : std::uint8_t {
  data,   // `bytes` were read
  end,    // nothing is left
  wait,   // nothing has come for 20 ms (a pipe); ask again
  failed  // see error()
};

struct ReadResult {
  ReadState state = ReadState::end;
  std::size_t bytes = 0;
};

class ByteSource {
 public:
  // "-" is standard input. `chunk_bytes`: what one read asks the kernel for.
  static Result<std::unique_ptr<ByteSource>> open(const std::string& path, std::size_t chunk_bytes = 256 * 1024);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  ReadResult read(std::span<char> out);
  const std::string& error() const;

  bool gzip() const;                  // known after the first read
  std::uint64_t bytes_read() const;   // of the file, compressed if it is
  std::uint64_t bytes_total() const;  // of the file; 0 if unknown (a pipe)
  const std::string& name() const;    // for messages: the path, or "standard input"

 private:
  struct Impl;
  explicit ByteSource(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tocsin::cli
