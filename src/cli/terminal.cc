// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace tocsin::cli {
namespace {

std::mutex g_lock;
std::string g_shown;  // the progress line on the terminal now

void write_all(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool colours_wanted(int fd) {
  const char* off = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && (off == nullptr || *off == '\0') && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

unsigned terminal_columns(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void show_progress_line(std::string_view text) {
  const std::lock_guard guard(g_lock);
  if (text.empty() && g_shown.empty()) return;
  g_shown = text.substr(0, terminal_columns(STDERR_FILENO) - 1);
  write_all("\r\x1b[K");
  write_all(g_shown);
  std::fflush(stderr);
}

void say(std::string_view text) {
  const std::lock_guard guard(g_lock);
  if (!g_shown.empty()) write_all("\r\x1b[K");
  write_all(text);
  write_all("\n");
  write_all(g_shown);
  std::fflush(stderr);
}

}  // namespace tocsin::cli
