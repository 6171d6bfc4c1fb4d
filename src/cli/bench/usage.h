// SPDX-License-Identifier: Apache-2.0
// Usage: clocks and what the kernel counted: CPU of this process, of the mock, of the machine; memory.
//
// Threads: any; thread_cpu_ns is the caller's own. Errors: a figure that the kernel does not give is -1.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace tocsin::cli::bench {

std::int64_t mono_ns();
std::int64_t wall_ns();

struct OwnCpu {
  std::int64_t user_ns = 0;
  std::int64_t system_ns = 0;
  std::int64_t sum_ns() const { return user_ns + system_ns; }
};
OwnCpu own_cpu();                          // getrusage: all threads, ended ones included
std::int64_t thread_cpu_ns();
std::int64_t process_cpu_ns(pid_t pid);    // all threads of another process, to the nanosecond
// All CPUs of the machine but for idle time, from /proc/stat: in steps of the kernel's tick, 10 ms as a rule.
std::int64_t machine_busy_ns();
std::int64_t rss_bytes();                  // resident memory of this process, now

std::vector<int> allowed_cpus();           // this process may run on, ascending
bool pin_this_thread(const std::vector<int>& cpus);  // threads made from here on are pinned too

}  // namespace tocsin::cli::bench
