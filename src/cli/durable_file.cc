// SPDX-License-Identifier: Apache-2.0
#include "cli/durable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace tocsin::cli {
namespace {

Error error_of(const std::string& path, const char* what) {
  return Error{Code::io, fmt::format("{}: {}: {}", path, what, std::strerror(errno))};
}

}  // namespace

Syncer::~Syncer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wanted_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::uint64_t Syncer::start() {
  std::uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = ++asked_;
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  wanted_.notify_one();
  return ticket;
}

void Syncer::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wanted_.wait(lock, [this] { return ending_ || (asked_ > finished_ && error_.empty()); });
    if (asked_ == finished_ || !error_.empty()) return;
    const std::uint64_t ticket = asked_;  // one sync serves all that was asked for before it
    lock.unlock();
    int status = 0;
    do status = ::fdatasync(fd_);
    while (status != 0 && errno == EINTR);
    const std::string error = status == 0 ? std::string() : error_of(path_, "cannot be written to the disk").message;
    lock.lock();
    if (status == 0)
      finished_ = ticket;
    else
      error_ = error;
    done_.notify_all();
  }
}

std::uint64_t Syncer::finished() {
  const std::lock_guard lock(mutex_);
  return finished_;
}

Result<void> Syncer::wait(std::uint64_t ticket) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return finished_ >= ticket || !error_.empty(); });
  if (finished_ >= ticket) return {};
  return Error{Code::io, error_};
}

Result<void> Syncer::error() {
  const std::lock_guard lock(mutex_);
  if (error_.empty()) return {};
  return Error{Code::io, error_};
}

Result<std::unique_ptr<SystemFile>> SystemFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return error_of(path, "cannot be opened");
  std::unique_ptr<SystemFile> file(new SystemFile(fd, path));
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return file;
  if (errno != EWOULDBLOCK) return error_of(path, "cannot be locked");
  return Error{Code::stopped, fmt::format("{}: another tocsin is at work on this run; wait until it has ended", path)};
}

SystemFile::Owned::~Owned() { ::close(fd); }

Result<std::string> SystemFile::read_all() const {
  std::string bytes;
  for (;;) {
    const std::size_t had = bytes.size();
    bytes.resize(had + 64 * 1024);
    const ssize_t got = ::pread(owned_.fd, bytes.data() + had, bytes.size() - had, static_cast<off_t>(had));
    if (got < 0 && errno != EINTR) return error_of(path_, "cannot be read");
    bytes.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return bytes;
  }
}

Result<void> SystemFile::keep(std::uint64_t bytes) {
  if (::ftruncate(owned_.fd, static_cast<off_t>(bytes)) != 0) return error_of(path_, "cannot be cut");
  return {};
}

Result<void> SystemFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(owned_.fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return error_of(path_, "cannot be written");
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<void> sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory(slash == std::string::npos ? std::string_view(".")
                                                         : std::string_view(path).substr(0, slash == 0 ? 1 : slash));
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return error_of(directory, "cannot be opened");
  // Some file systems do not sync directories (EINVAL): they have nothing to sync there.
  const bool done = ::fsync(fd) == 0 || errno == EINVAL;
  const int cause = errno;
  ::close(fd);
  errno = cause;
  return done ? Result<void>() : Result<void>(error_of(directory, "cannot be written to the disk"));
}

}  // namespace tocsin::cli
