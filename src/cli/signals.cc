// SPDX-License-Identifier: Apache-2.0
#include "cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "cli/exit_codes.h"

namespace tocsin::cli {
namespace {

std::atomic<int> g_signals{0};
static_assert(std::atomic<int>::is_always_lock_free, "touched by a signal handler");

void on_signal(int) {
  if (g_signals.fetch_add(1) < 2) return;
  _exit(exit_number(Exit::interrupted));
}

}  // namespace

void install_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // no SA_RESTART: a read that waits must come back
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return g_signals.load() != 0; }

bool interrupted_twice() { return g_signals.load() > 1; }

}  // namespace tocsin::cli
