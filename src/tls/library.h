// SPDX-License-Identifier: Apache-2.0
// The process-wide state of this room: wolfSSL's initialisation and the crypto callback.
//
// Threads: any. wolfSSL counts its initialisations, so a host that uses wolfSSL too is not disturbed; this
// room takes one reference and keeps it, because keys and sessions may outlive any order of destruction.
#pragma once

#include <tocsin/result.h>

struct wc_CryptoInfo;

namespace tocsin::tls {

Result<void> init_library();

// wolfSSL keeps tables for elliptic curve points per thread (megabytes, after many handshakes with many
// peers) and frees them for nobody. After this, the calling thread frees its own when it ends.
void free_tables_at_thread_exit();

// Registers the callback under kCryptoDeviceId, once. Only when gcm_backend() is usable.
Result<void> register_crypto_callback();

// The callback itself: tests put one of their own in front of it.
int crypto_callback(int device, wc_CryptoInfo* info, void* user);

}  // namespace tocsin::tls
