// SPDX-License-Identifier: Apache-2.0
// The purpose-made client session, with one door more than client_session.h: where stream ids begin, so that tests can
// reach their end. Threads, ownership, bounds: client_session.h.
#pragma once

#include <cstdint>
#include <memory>

#include <tocsin/result.h>

#include "h2/client_session.h"

namespace tocsin::h2 {

Result<std::unique_ptr<ClientSession>> make_fast_client_at(const ClientOptions& options, std::int32_t first_stream_id);

}  // namespace tocsin::h2
