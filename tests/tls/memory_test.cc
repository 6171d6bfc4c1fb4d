// SPDX-License-Identifier: Apache-2.0
// wolfSSL on memory that is kept for reuse. A program of its own: allocators are the process's.
#include "tls/library_memory.h"

#include <cstring>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "pki.h"
#include "tls/channel.h"
#include "tls/context.h"

namespace tocsin::tls {
namespace {

using testing::Pki;

// Before anything of wolfSSL is used.
const bool g_kept = keep_library_memory().ok();

TEST(LibraryMemory, HandsBlocksOutAgain) {
  void* const first = library_allocate(16'500);
  std::memset(first, 1, 16'500);
  library_free(first);
  const std::uint64_t taken = library_blocks_taken();
  for (int i = 0; i < 100; ++i) {
    // Another size of the same class is the same block.
    void* const again = library_allocate(16'400 + static_cast<std::size_t>(i));
    EXPECT_EQ(again, first);
    library_free(again);
  }
  EXPECT_EQ(library_blocks_taken(), taken);
  void* const other = library_allocate(64);
  EXPECT_NE(other, first);
  library_free(other);
  library_free(nullptr);
}

TEST(LibraryMemory, EverySizeHoldsWhatWasAskedAndKeepsItWhenItGrows) {
  auto* block = static_cast<unsigned char*>(library_allocate(1));
  std::size_t size = 1;
  block[0] = 7;
  for (std::size_t next = 2; next < 300'000; next = next + next / 3 + 1) {
    block = static_cast<unsigned char*>(library_reallocate(block, next));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0u);
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], 7) << next;
    std::memset(block, 7, next);  // a sanitizer sees it if the block is smaller
    size = next;
  }
  EXPECT_EQ(library_reallocate(block, 10), block);
  library_free(block);
  auto* const fresh = static_cast<unsigned char*>(library_reallocate(nullptr, 100));
  std::memset(fresh, 1, 100);
  library_free(fresh);
}

TEST(LibraryMemory, WhatIsKeptHasABoundAndEndsWithItsThread) {
  std::thread([] {
    // Twice what may be kept: the other half goes back, and is taken anew.
    std::vector<void*> blocks(2 * kLibraryBytesKept / 65'536);
    for (void*& block : blocks) block = library_allocate(65'536);
    for (void* const block : blocks) library_free(block);
    const std::uint64_t taken = library_blocks_taken();
    for (void*& block : blocks) block = library_allocate(65'536);
    EXPECT_EQ(library_blocks_taken() - taken, blocks.size() / 2);
    for (void* const block : blocks) library_free(block);
  }).join();  // a leak sanitizer sees it if anything stays
}

// The rule: no allocation per push after warm-up, wolfSSL's per-record buffers included.
TEST(LibraryMemory, ServesRecordsWithoutTakingMore) {
  ASSERT_TRUE(g_kept);
  const Pki& pki = Pki::get();
  const Identity server_identity = pki.identity("server");
  for (const unsigned version : {12u, 13u}) {
    ClientOptions client_options;
    client_options.ca_pem = pki.file("root.pem");
    client_options.version_min = client_options.version_max = version;
    ServerOptions server_options;
    server_options.identity = &server_identity;
    auto client_context = make_client_context(client_options);
    auto server_context = make_server_context(server_options);
    ASSERT_TRUE(client_context.ok() && server_context.ok());
    auto client = (*client_context)->connect("localhost");
    auto server = (*server_context)->accept();
    ASSERT_TRUE(client.ok() && server.ok());
    base::ByteBuffer to_server, to_client, plain;
    const auto pass = [](base::ByteBuffer& wire, Channel& to, base::ByteBuffer& text, base::ByteBuffer& back) {
      const std::vector<std::byte> copy(wire.readable().begin(), wire.readable().end());
      wire.consume(copy.size());
      to.receive(copy, text, back);
    };
    (*client)->start(to_server);
    (*server)->start(to_client);
    while (!to_server.empty() || !to_client.empty()) {
      pass(to_server, **server, plain, to_client);
      pass(to_client, **client, plain, to_server);
    }
    ASSERT_EQ((*client)->state(), State::open) << (*client)->failure().text;
    const std::vector<std::byte> text(16'384, std::byte{1});
    const auto exchange = [&](std::size_t bytes) {
      (*client)->send(std::span(text).first(bytes), to_server);
      pass(to_server, **server, plain, to_client);
      (*server)->send(std::span(text).first(bytes), to_client);
      pass(to_client, **client, plain, to_server);
      EXPECT_EQ(plain.size(), 2 * bytes);
      plain.consume(plain.size());
    };
    const std::size_t sizes[] = {1, 160, 1400, 4096, 16'384};
    for (const std::size_t bytes : sizes) exchange(bytes);
    const std::uint64_t taken = library_blocks_taken();
    for (int i = 0; i < 200; ++i) {
      for (const std::size_t bytes : sizes) exchange(bytes);
    }
    EXPECT_EQ(library_blocks_taken(), taken) << "TLS version " << version;
  }
}

}  // namespace
}  // namespace tocsin::tls
