// SPDX-License-Identifier: Apache-2.0
// The file of --credentials: several certificates and provider keys, and which topics are whose.
//
//   [{"name":"acme","topics":["com.apple.mgmt.External.1f..."],"cert":"acme.pem","key":"acme.key"},
//    {"name":"app","topics":["com.example.app"],"p8":"AuthKey.p8","key_id":"ABC123DEFG","team_id":"DEF123GHIJ",
//     "endpoint":"api.sandbox.push.apple.com:443","connections":8}]
//
// Threads: one at a time; reads files. Relative paths are looked for beside the file. Bounds: kCredentialsMax entries.
// Errors name the file, the entry and the field; no secret stands in the file, and none is ever printed.
#pragma once

#include <cstdint>
#include <vector>

#include <tocsin/result.h>

#include "cli/preflight.h"
#include "cli/push_options.h"

namespace tocsin::cli {

inline constexpr std::size_t kCredentialsMax = 1000;

// Every entry loaded and judged, in the file's order; each has a name and topics of its own.
Result<std::vector<Preflight>> read_credentials(const PushOptions& options, std::int64_t now_unix_s);

}  // namespace tocsin::cli
