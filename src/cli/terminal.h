// SPDX-License-Identifier: Apache-2.0
// Terminal: colours and the one line that is rewritten in place, only where a person watches.
// Threads: clear_progress_line() and say() from any thread (a lock), the rest from one.
#pragma once

#include <string>
#include <string_view>

namespace tocsin::cli {

bool is_terminal(int fd);
bool colours_wanted(int fd);        // a terminal, no NO_COLOR, TERM not "dumb"
unsigned terminal_columns(int fd);  // 80 if unknown

// Rewrites standard error's progress line, cut to the terminal's width. "" removes it.
void show_progress_line(std::string_view text);
// A line to standard error, above the progress line.
void say(std::string_view text);

}  // namespace tocsin::cli
