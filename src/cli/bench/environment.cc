// SPDX-License-Identifier: Apache-2.0
#include "cli/bench/environment.h"

#include <sys/utsname.h>
#include <unistd.h>
#include <wolfssl/version.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include <nghttp2/nghttp2ver.h>
#include <nlohmann/json.hpp>

#include "cli/bench/usage.h"
#include "cli/units.h"

namespace tocsin::cli::bench {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
  return line;
}

// "model name : ..." of /proc/cpuinfo, "MemTotal: ..." of /proc/meminfo.
std::string field_of(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const std::size_t colon = line.find(':');
    const std::size_t at = colon == std::string::npos ? std::string::npos : line.find_first_not_of(" \t", colon + 1);
    return at == std::string::npos ? "" : line.substr(at);
  }
  return "";
}

// A reference of a repository: a file of its own, or a line of packed-refs.
std::string resolve_reference(const fs::path& git, const fs::path& common, const std::string& name) {
  for (const fs::path& at : {git, common}) {
    if (const std::string direct = first_line(at / name); !direct.empty()) return direct;
  }
  std::ifstream packed(common / "packed-refs");
  for (std::string line; std::getline(packed, line);) {
    if (line.size() > 41 && line[0] != '#' && line.substr(41) == name) return line.substr(0, 40);
  }
  return "";
}

// gcc has macros for it, clang has features.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOCSIN_SANITIZER "address"
#elif __has_feature(thread_sanitizer)
#define TOCSIN_SANITIZER "thread"
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TOCSIN_SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define TOCSIN_SANITIZER "thread"
#endif
#ifndef TOCSIN_SANITIZER
#define TOCSIN_SANITIZER ""
#endif

constexpr bool kOptimized =
#ifdef __OPTIMIZE__
    true;
#else
    false;
#endif

}  // namespace

std::string commit_of_this_build() {
  std::error_code error;
  fs::path at = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (; !at.empty(); at = at.parent_path()) {
    fs::path git = at / ".git";
    if (!fs::exists(git, error)) {
      if (at == at.root_path()) return "";
      continue;
    }
    // In a further work tree .git is a file that says where its own part is, and that where the common one is.
    if (fs::is_regular_file(git, error)) {
      const std::string line = first_line(git);
      if (!line.starts_with("gitdir: ")) return "";
      git = fs::path(at) / line.substr(8);
    }
    const std::string common = first_line(git / "commondir");
    const std::string head = first_line(git / "HEAD");
    if (!head.starts_with("ref: ")) return head;
    return resolve_reference(git, common.empty() ? git : git / common, head.substr(5));
  }
  return "";
}

nlohmann::ordered_json environment() {
  utsname name{};
  ::uname(&name);
  double load[3] = {};
  ::getloadavg(load, 3);
  TimeText clock;
  std::string now;
  clock.append(wall_ns(), now);
  return {
      {"time", now},
      {"tocsin", TOCSIN_VERSION},
      {"commit", commit_of_this_build()},
      {"compiler", __VERSION__},
      {"optimized", kOptimized},
      {"sanitizer", TOCSIN_SANITIZER},
      {"kernel", std::string(name.sysname) + " " + name.release},
      {"machine", name.machine},
      {"cpu", field_of("/proc/cpuinfo", "model name")},
      {"cpus", allowed_cpus().size()},
      {"cpu_governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")},
      {"memory", field_of("/proc/meminfo", "MemTotal")},
      {"load_before", load[0]},
      {"wolfssl", LIBWOLFSSL_VERSION_STRING},
      {"nghttp2", NGHTTP2_VERSION},
      {"kernel_polling", false},
  };
}

}  // namespace tocsin::cli::bench
