// SPDX-License-Identifier: Apache-2.0
// Signals: the first SIGINT or SIGTERM asks for an orderly end, the second for one without waiting,
// the third ends the process on the spot (exit 130).
// Threads: the flag may be read from any thread. Process-wide, for programs only.
#pragma once

namespace tocsin::cli {

void install_signals();  // and ignores SIGPIPE
bool interrupted();
bool interrupted_twice();

}  // namespace tocsin::cli
