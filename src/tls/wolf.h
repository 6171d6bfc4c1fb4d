// SPDX-License-Identifier: Apache-2.0
// What contexts and channels share: a wolfSSL context with what channels must know about it.
//
// Threads: immutable once made; wolfSSL counts the channels that use it. Ownership: shared by context and channels.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <tocsin/result.h>

#include "tls/channel.h"

struct WOLFSSL_CTX;

namespace tocsin::tls {

enum class Role : unsigned char { client, server };

struct WolfContext {
  WolfContext() = default;
  ~WolfContext();
  WolfContext(const WolfContext&) = delete;
  WolfContext& operator=(const WolfContext&) = delete;

  WOLFSSL_CTX* ctx = nullptr;
  Role role = Role::client;
  bool alpn = true;           // client: required; server: offered
  bool tls13 = true;          // offered
  std::string identity_name;  // of our certificate, for messages; "" if we have none
  std::vector<std::string> anchors;  // subjects (whole DER Names) of the trust anchors
};

// Once per context, before its first channel: the callbacks over memory, and whether the peer's
// certificate is asked for and must come.
void set_callbacks(WolfContext& context);
void set_verify(WolfContext& context, bool ask, bool require);

// `name` is the server's, for clients; "" for servers.
Result<std::unique_ptr<Channel>> make_wolf_channel(std::shared_ptr<const WolfContext> context, std::string_view name);

}  // namespace tocsin::tls
