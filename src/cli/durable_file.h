// SPDX-License-Identifier: Apache-2.0
// DurableFile: a file that is only appended to, and that tells when what was appended has reached the disk.
//
// Syncing (fdatasync) runs on a thread of its own, so that the caller waits only where it must. Tests put
// another DurableFile in its place, which can be cut at every byte.
//
// Threads: the interface from one thread at a time. Ownership: a Syncer looks at a descriptor that must
// outlive it, SystemFile owns its own. Errors: the first failed sync is kept; the disk's word cannot be had
// again by asking twice (fsync(2)), so all later waits fail as well.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include <tocsin/result.h>

namespace tocsin::cli {

class DurableFile {
 public:
  virtual ~DurableFile() = default;
  virtual Result<void> append(std::string_view bytes) = 0;
  // Begins to sync what was appended up to now; answers a ticket, from 1 on.
  virtual std::uint64_t start_sync() = 0;
  // The highest ticket whose bytes are on the disk.
  virtual std::uint64_t synced() = 0;
  virtual Result<void> wait(std::uint64_t ticket) = 0;
};

// The thread that syncs one descriptor; it begins with the first request.
class Syncer {
 public:
  Syncer(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~Syncer();
  Syncer(const Syncer&) = delete;
  Syncer& operator=(const Syncer&) = delete;

  std::uint64_t start();
  std::uint64_t finished();
  Result<void> wait(std::uint64_t ticket);
  Result<void> error();

 private:
  void loop();

  const int fd_;
  const std::string path_;
  std::mutex mutex_;
  std::condition_variable wanted_, done_;
  std::uint64_t asked_ = 0;
  std::uint64_t finished_ = 0;
  std::string error_;
  bool ending_ = false;
  std::thread thread_;
};

class SystemFile final : public DurableFile {
 public:
  // Opens or makes the file, takes it for this process alone (flock(2): gone with the process, however it
  // ends).
  static Result<std::unique_ptr<SystemFile>> open(const std::string& path);

  const std::string& path() const { return path_; }
  Result<std::string> read_all() const;
  Result<void> keep(std::uint64_t bytes);  // cuts what is behind

  Result<void> append(std::string_view bytes) override;
  std::uint64_t start_sync() override { return syncer_.start(); }
  std::uint64_t synced() override { return syncer_.finished(); }
  Result<void> wait(std::uint64_t ticket) override { return syncer_.wait(ticket); }

 private:
  SystemFile(int fd, const std::string& path) : owned_{fd}, path_(path), syncer_(fd, path) {}

  struct Owned {
    int fd;
    ~Owned();
  };
  Owned owned_;  // before the syncer, whose thread must end first
  std::string path_;
  Syncer syncer_;
};

// A new or vanished name is on the disk only when its directory is.
Result<void> sync_directory_of(const std::string& path);

}  // namespace tocsin::cli
