// SPDX-License-Identifier: Apache-2.0
// The short cut for NDJSON lines as nearly all are: one flat object of known keys, each once, with plain texts (no escape,
// ASCII) and whole numbers, without white space but one blank behind a colon or a comma.
//
// Whatever else a line is, right or wrong, it is left to the general parser: what is read here is what that would read.
// Threads: pure. Ownership: views into the line. kLinePadding bytes behind it must be readable.
#pragma once

#include <string_view>

#include "cli/record.h"

namespace tocsin::cli {

// False: not of this kind; `record` may hold anything then. Sets all but `line` and `input` of an empty record.
bool read_plain_line(std::string_view line, Record& record);

}  // namespace tocsin::cli
