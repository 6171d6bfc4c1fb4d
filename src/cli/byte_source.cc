// SPDX-License-Identifier: Apache-2.0
#include "cli/byte_source.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <isa-l/igzip_lib.h>

namespace tocsin::cli {
namespace {

constexpr int kWaitMs = 20;

}  // namespace

struct ByteSource::Impl {
  std::string name;
  int fd = -1;
  bool owned = false;
  bool regular = false;
  std::uint64_t total = 0;
  std::uint64_t taken = 0;
  std::string error;

  std::vector<char> raw;  // file bytes: [begin, end) are not used yet
  std::size_t begin = 0, end = 0;
  bool file_ended = false;
  bool sniffed = false;
  bool gzip = false;
  bool member_open = false;  // inside a gzip member
  std::unique_ptr<inflate_state> inflate;

  ReadResult fail(std::string text) {
    error = std::move(text);
    return {ReadState::failed, 0};
  }

  // Bytes of the file, at most a chunk.
  ReadResult read_file(char* to, std::size_t bytes) {
    if (!regular) {
      pollfd waited{fd, POLLIN, 0};
      if (::poll(&waited, 1, kWaitMs) <= 0) return {ReadState::wait, 0};
    }
    const ssize_t got = ::read(fd, to, std::min(bytes, raw.size()));
    if (got < 0) {
      if (errno == EINTR || errno == EAGAIN) return {ReadState::wait, 0};
      return fail(fmt::format("{}: cannot be read: {}", name, std::strerror(errno)));
    }
    if (got == 0) {
      file_ended = true;
      return {ReadState::end, 0};
    }
    taken += static_cast<std::uint64_t>(got);
    return {ReadState::data, static_cast<std::size_t>(got)};
  }

  // More bytes behind `end`.
  ReadResult fill() {
    if (begin == end) begin = end = 0;
    if (end == raw.size()) {
      std::memmove(raw.data(), raw.data() + begin, end - begin);
      end -= begin;
      begin = 0;
    }
    const ReadResult got = read_file(raw.data() + end, raw.size() - end);
    end += got.bytes;
    return got;
  }

  // Two bytes tell gzip from text.
  ReadResult sniff() {
    while (end - begin < 2 && !file_ended) {
      const ReadResult more = fill();
      if (more.state == ReadState::wait || more.state == ReadState::failed) return more;
    }
    gzip = end - begin >= 2 && raw[begin] == '\x1f' && raw[begin + 1] == '\x8b';
    sniffed = true;
    return {ReadState::data, 0};
  }

  ReadResult read_plain(std::span<char> out) {
    if (begin == end) return file_ended ? ReadResult{} : read_file(out.data(), out.size());
    const std::size_t n = std::min(out.size(), end - begin);
    std::memcpy(out.data(), raw.data() + begin, n);
    begin += n;
    return {ReadState::data, n};
  }

  void open_member() {
    if (!inflate) inflate = std::make_unique<inflate_state>();
    isal_inflate_init(inflate.get());
    inflate->crc_flag = ISAL_GZIP;  // header and trailer are read and checked by the library
    member_open = true;
  }

  ReadResult read_gzip(std::span<char> out) {
    for (;;) {
      if (begin == end && !file_ended) {
        if (const ReadResult more = fill(); more.state == ReadState::wait || more.state == ReadState::failed)
          return more;
        continue;
      }
      if (!member_open) {
        // Zeros behind the last member are padding (tar, block devices).
        while (begin < end && raw[begin] == '\0') ++begin;
        if (begin == end) {
          if (file_ended) return {ReadState::end, 0};
          continue;
        }
        if (raw[begin] != '\x1f') {
          return fail(fmt::format(
              "{}: there is something that is not gzip behind the compressed data; is the file damaged?", name));
        }
        open_member();
      }
      inflate->next_in = reinterpret_cast<std::uint8_t*>(raw.data() + begin);
      inflate->avail_in = static_cast<std::uint32_t>(end - begin);
      inflate->next_out = reinterpret_cast<std::uint8_t*>(out.data());
      inflate->avail_out = static_cast<std::uint32_t>(out.size());
      const int status = isal_inflate(inflate.get());
      begin = end - inflate->avail_in;
      const std::size_t got = out.size() - inflate->avail_out;
      if (status < 0) {
        return fail(fmt::format("{}: the gzip data is damaged ({}); test it with gzip -t", name,
                                status == ISAL_INCORRECT_CHECKSUM ? "wrong checksum" : "not a valid stream"));
      }
      const bool finished = inflate->block_state == ISAL_BLOCK_FINISH;
      if (finished) member_open = false;
      if (got != 0) return {ReadState::data, got};
      if (!finished && file_ended && begin == end) {
        return fail(
            fmt::format("{}: the gzip data ends in the middle; the file was cut off (test it with gzip -t)", name));
      }
    }
  }
};

ByteSource::ByteSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ByteSource::~ByteSource() {
  if (impl_->owned) ::close(impl_->fd);
}

Result<std::unique_ptr<ByteSource>> ByteSource::open(const std::string& path, std::size_t chunk_bytes) {
  auto impl = std::make_unique<Impl>();
  impl->name = path == "-" ? "standard input" : path;
  impl->fd = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  impl->owned = path != "-";
  struct stat facts {};
  if (impl->fd < 0 || ::fstat(impl->fd, &facts) != 0) {
    return Error{Code::io, fmt::format("{}: cannot be opened: {}", impl->name, std::strerror(errno))};
  }
  if (S_ISDIR(facts.st_mode)) {
    if (impl->owned) ::close(impl->fd);
    return Error{Code::io, fmt::format("{}: is a directory; give a file of devices or notifications", impl->name)};
  }
  impl->regular = S_ISREG(facts.st_mode);
  if (impl->regular) impl->total = static_cast<std::uint64_t>(facts.st_size);
  impl->raw.resize(std::max<std::size_t>(chunk_bytes, 2));  // two bytes: what sniff() needs at once
  return std::unique_ptr<ByteSource>(new ByteSource(std::move(impl)));
}

ReadResult ByteSource::read(std::span<char> out) {
  if (!impl_->sniffed) {
    if (const ReadResult sniffed = impl_->sniff(); sniffed.state != ReadState::data) return sniffed;
  }
  return impl_->gzip ? impl_->read_gzip(out) : impl_->read_plain(out);
}

const std::string& ByteSource::error() const { return impl_->error; }
bool ByteSource::gzip() const { return impl_->gzip; }
std::uint64_t ByteSource::bytes_read() const { return impl_->taken - (impl_->end - impl_->begin); }
std::uint64_t ByteSource::bytes_total() const { return impl_->total; }
const std::string& ByteSource::name() const { return impl_->name; }

}  // namespace tocsin::cli
