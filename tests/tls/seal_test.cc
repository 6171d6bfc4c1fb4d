// SPDX-License-Identifier: Apache-2.0
// Records that the crypto callback seals where they are sent from (tls/seal_place.h): which are, and what happens if
// anything does not agree. A callback in front of ours watches each record, and damages some.
#include "tls/seal_place.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <gtest/gtest.h>

#include "need_ipsec_mb.h"
#include "pair.h"
#include "pki.h"
#include "tls/gcm.h"
#include "tls/library.h"

namespace tocsin::tls {
namespace {

using testing::End;
using testing::Pair;
using testing::Pki;
using testing::Scene;
using testing::noise;

using Seal = decltype(wc_CryptoInfo{}.cipher.aesgcm_enc);

// In front of the callback for its lifetime. `damage` is called around it, and answers what wolfSSL is told.
class Front {
 public:
  Front() {
    EXPECT_TRUE(init_library().ok() && register_crypto_callback().ok());
    EXPECT_EQ(wc_CryptoCb_RegisterDevice(kCryptoDeviceId, called, this), 0);
  }
  ~Front() { EXPECT_EQ(wc_CryptoCb_RegisterDevice(kCryptoDeviceId, crypto_callback, nullptr), 0); }

  static int pass_on(wc_CryptoInfo* info) { return crypto_callback(kCryptoDeviceId, info, nullptr); }

  std::function<int(wc_CryptoInfo*)> damage;
  bool software_opens = false;
  std::size_t elsewhere = 0;  // records that wolfSSL's buffer still shows in the clear
  std::size_t in_place = 0;

 private:
  static int called(int, wc_CryptoInfo* info, void* user) {
    auto* const self = static_cast<Front*>(user);
    const bool seals = info->algo_type == WC_ALGO_TYPE_CIPHER && info->cipher.type == WC_CIPHER_AES_GCM && info->cipher.enc != 0;
    // Opened by wolfSSL's own AES: another implementation than the one that sealed.
    if (!seals) return self->software_opens ? CRYPTOCB_UNAVAILABLE : pass_on(info);
    if (self->damage) return self->damage(info);
    const Seal& seal = info->cipher.aesgcm_enc;
    const std::string before(reinterpret_cast<const char*>(seal.in), seal.sz);
    const int result = pass_on(info);
    const bool clear = before == std::string_view(reinterpret_cast<const char*>(seal.out), seal.sz);
    ++(clear ? self->elsewhere : self->in_place);
    return result;
  }
};

class Sealed : public ::testing::Test {
 protected:
  void SetUp() override { testing::need_ipsec_mb(); }
  static Scene both(unsigned version = 13) {
    Scene setup;
    setup.client_min = setup.client_max = version;
    setup.client_crypto = setup.server_crypto = Crypto::ipsec_mb;
    return setup;
  }
};

std::vector<std::size_t> sizes() {
  std::vector<std::size_t> all;
  for (std::size_t bytes = 1; bytes <= 200; ++bytes) all.push_back(bytes);
  for (std::size_t bytes = 16'384 - 20; bytes <= 16'384 + 20; ++bytes) all.push_back(bytes);
  for (const std::size_t bytes : {32'767u, 32'768u, 32'769u, 100'000u}) all.push_back(bytes);
  return all;
}

TEST_F(Sealed, EverySizeIsSealedWhereItIsSent) {
  Pair pair(both());
  pair.handshake();
  ASSERT_TRUE(pair.open()) << pair.why();
  Front front;
  std::size_t records = 0;
  for (const std::size_t bytes : sizes()) {
    for (const bool up : {true, false}) {
      front.software_opens = up;
      End& from = up ? pair.client : pair.server;
      End& to = up ? pair.server : pair.client;
      const std::string text = noise(bytes, bytes);
      ASSERT_EQ(from.channel->send(base::as_bytes(text), from.wire), State::open);
      const std::size_t here = (bytes + 16'383) / 16'384;
      records += here;
      ASSERT_EQ(from.wire.size(), bytes + here * (5 + 1 + 16));
      pair.pump();
      ASSERT_TRUE(pair.open()) << bytes << ": " << pair.why();
      ASSERT_TRUE(base::as_text(to.plain.readable()) == text) << bytes;
      to.plain.clear();
    }
  }
  EXPECT_EQ(front.elsewhere, records);
  EXPECT_EQ(front.in_place, 0u);
}

// Where the record goes in the buffer: behind what waits there, from wherever that begins, growing or not.
TEST_F(Sealed, BehindWhatWaits) {
  Pair pair(both());
  pair.handshake();
  ASSERT_TRUE(pair.open());
  Front front;
  base::Prng prng(3);
  std::string sent;
  std::size_t records = 0;
  for (int round = 0; round < 300; ++round) {
    const std::string text = noise(1 + prng.next() % 40'000, static_cast<std::uint64_t>(round));
    ASSERT_EQ(pair.client.channel->send(base::as_bytes(text), pair.client.wire), State::open);
    records += (text.size() + 16'383) / 16'384;
    sent += text;
    const std::size_t bytes = prng.next() % (pair.client.wire.size() + 1);
    const std::vector<std::byte> some(pair.client.wire.readable().begin(), pair.client.wire.readable().begin() + static_cast<std::ptrdiff_t>(bytes));
    pair.client.wire.consume(bytes);
    if (round % 7 == 0) pair.client.wire.compact();
    pair.server.channel->receive(some, pair.server.plain, pair.server.wire);
    if (round % 50 == 49) pair.client.wire = base::ByteBuffer(std::move(pair.client.wire));
  }
  Pair::move(pair.client, pair.server, 1 << 20);
  ASSERT_TRUE(pair.open()) << pair.why();
  EXPECT_TRUE(base::as_text(pair.server.plain.readable()) == sent);
  EXPECT_EQ(front.elsewhere, records);
}

TEST_F(Sealed, OtherRecordsAreSealedByWolfSslsBuffer) {
  {
    Pair pair(both());
    Front front;
    pair.handshake();
    ASSERT_TRUE(pair.open());
    EXPECT_GT(front.in_place, 0u);  // the handshake's
    EXPECT_EQ(front.elsewhere, 0u);
    const std::size_t before = front.in_place;
    pair.client.channel->send(base::as_bytes("last words"), pair.client.wire);
    pair.client.channel->close(pair.client.wire);
    EXPECT_EQ(front.elsewhere, 1u);
    EXPECT_EQ(front.in_place, before + 1);
    Pair::move(pair.client, pair.server, 1 << 20);
    EXPECT_EQ(base::as_text(pair.server.plain.readable()), "last words");
    EXPECT_EQ(pair.server.channel->state(), State::closed);
  }
  Pair pair(both(12));
  pair.handshake();
  ASSERT_TRUE(pair.open());
  Front front;
  const std::string text = noise(50'000, 1);
  pair.client.channel->send(base::as_bytes(text), pair.client.wire);
  pair.pump();
  EXPECT_TRUE(base::as_text(pair.server.plain.readable()) == text);
  EXPECT_EQ(front.in_place, 4u);
  EXPECT_EQ(front.elsewhere, 0u);
}

// --- something does not agree

struct Fault {
  const char* name;
  std::function<int(wc_CryptoInfo*, base::ByteBuffer& wire)> damage;
};

// A record of the same form elsewhere in memory, which is sealed in the place of wolfSSL's.
int seal_another(wc_CryptoInfo* info, std::size_t shorter) {
  static std::vector<std::uint8_t> memory;
  Seal& seal = info->cipher.aesgcm_enc;
  memory.assign(5 + seal.sz + 16, 0);
  const std::size_t text = seal.sz - shorter;
  std::memcpy(memory.data(), seal.authIn, 5);
  memory[3] = static_cast<std::uint8_t>((text + 16) >> 8);
  memory[4] = static_cast<std::uint8_t>(text + 16);
  std::memcpy(memory.data() + 5, seal.in, text);
  memory[5 + text - 1] = 23;
  seal.in = seal.out = memory.data() + 5;
  seal.authIn = memory.data();
  seal.authTag = memory.data() + 5 + text;
  seal.sz = static_cast<word32>(text);
  return Front::pass_on(info);
}

const Fault kFaults[] = {
    {"another record", [](wc_CryptoInfo* info, base::ByteBuffer&) { return seal_another(info, 0); }},
    {"a shorter record", [](wc_CryptoInfo* info, base::ByteBuffer&) { return seal_another(info, 1); }},
    {"sealed twice", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      Front::pass_on(info);
      const int result = Front::pass_on(info);
      EXPECT_NE(result, 0);
      return result;
    }},
    {"another record, and called good", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      seal_another(info, 0);
      return 0;
    }},
    {"sealed and not sent", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      Front::pass_on(info);
      return static_cast<int>(WC_HW_E);
    }},
    {"the output grew", [](wc_CryptoInfo* info, base::ByteBuffer& wire) {
      const int result = Front::pass_on(info);
      wire.append("x");
      return result;
    }},
    {"the output begins anew", [](wc_CryptoInfo* info, base::ByteBuffer& wire) {
      const int result = Front::pass_on(info);
      if (wire.empty()) wire.append("x");
      else wire.clear();
      return result;
    }},
    {"the output moved", [](wc_CryptoInfo* info, base::ByteBuffer& wire) {
      const int result = Front::pass_on(info);
      base::ByteBuffer other(wire.capacity() * 2);
      other.append(wire.readable());
      wire.swap(other);
      return result;
    }},
    {"another type", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      const int result = Front::pass_on(info);
      const_cast<std::uint8_t*>(info->cipher.aesgcm_enc.authIn)[0] = 22;
      return result;
    }},
    {"another length", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      const int result = Front::pass_on(info);
      const_cast<std::uint8_t*>(info->cipher.aesgcm_enc.authIn)[4] ^= 1;
      return result;
    }},
    {"the tag's first byte", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      const int result = Front::pass_on(info);
      info->cipher.aesgcm_enc.authTag[0] ^= 1;
      return result;
    }},
    {"the tag's last byte", [](wc_CryptoInfo* info, base::ByteBuffer&) {
      const int result = Front::pass_on(info);
      info->cipher.aesgcm_enc.authTag[15] ^= 1;
      return result;
    }},
};

// No piece of the plaintext, wherever it might begin.
bool shows(const base::ByteBuffer& wire, const std::string& text) {
  const std::string_view bytes = base::as_text(wire.readable());
  for (std::size_t at = 0; at + 8 <= text.size(); at += 4) {
    if (bytes.find(std::string_view(text).substr(at, 8)) != std::string_view::npos) return true;
  }
  return false;
}

TEST_F(Sealed, AMismatchFailsAndSendsNothing) {
  for (const Fault& fault : kFaults) {
    SCOPED_TRACE(fault.name);
    for (const std::size_t good : {0u, 1u, 2u}) {  // records of the same write before it
      for (const bool waiting : {false, true}) {
        Pair pair(both());
        pair.handshake();
        ASSERT_TRUE(pair.open());
        if (waiting) pair.client.channel->send(base::as_bytes("waits"), pair.client.wire);
        const std::size_t before = pair.client.wire.size();
        const std::string text = noise(good * 16'384 + 300, 7);
        Front front;
        std::size_t sealed = 0;
        base::ByteBuffer& wire = pair.client.wire;
        std::size_t kept = 0;
        bool untouched = true;
        front.damage = [&](wc_CryptoInfo* info) {
          if (sealed++ < good) return Front::pass_on(info);
          EXPECT_EQ(sealed, good + 1);
          const int result = fault.damage(info, wire);
          kept = wire.size();
          untouched = kept == before + good * (16'384 + 22);
          return result;
        };
        EXPECT_EQ(pair.client.channel->send(base::as_bytes(text), wire), State::failed);
        EXPECT_EQ(pair.client.channel->failure().cause, Cause::protocol);
        EXPECT_NE(pair.client.channel->failure().text.find("not sealed"), std::string::npos) << pair.why();
        // Nothing came to what was there, and nothing comes any more.
        EXPECT_EQ(wire.size(), kept);
        EXPECT_FALSE(shows(wire, text));
        EXPECT_EQ(pair.client.channel->send(base::as_bytes("more"), wire), State::failed);
        pair.client.channel->close(wire);
        front.damage = nullptr;
        pair.server.channel->send(base::as_bytes("hello"), pair.server.wire);
        Pair::move(pair.server, pair.client, 1 << 20);
        EXPECT_EQ(wire.size(), kept);
        EXPECT_TRUE(pair.client.plain.empty());
        EXPECT_EQ(SealPlace::here(), nullptr);
        if (!untouched) continue;
        // What went before it is whole.
        Pair::move(pair.client, pair.server, 1 << 20);
        EXPECT_EQ(pair.server.channel->state(), State::open) << pair.why();
        EXPECT_TRUE(base::as_text(pair.server.plain.readable()) ==
                    (waiting ? "waits" : "") + text.substr(0, good * 16'384));
      }
    }
  }
}

// --- the place itself

struct Record {
  explicit Record(std::size_t text_bytes, std::uint8_t inner = 23) : bytes(5 + text_bytes + 16, 'p') {
    text.key = key;
    text.key_bytes = 16;
    text.iv = key;
    text.aad = bytes.data();
    text.aad_bytes = 5;
    text.in = text.out = bytes.data() + 5;
    text.bytes = text_bytes;
    bytes[0] = 23;
    bytes[1] = bytes[2] = 3;
    bytes[3] = static_cast<std::uint8_t>((text_bytes + 16) >> 8);
    bytes[4] = static_cast<std::uint8_t>(text_bytes + 16);
    if (text_bytes != 0) bytes[5 + text_bytes - 1] = inner;
  }
  std::uint8_t* tag() { return bytes.data() + 5 + text.bytes; }
  void seal_at(std::uint8_t* at) {
    std::memset(at, 's', text.bytes);
    std::memset(at + text.bytes, 't', 16);
    std::memset(tag(), 't', 16);
  }
  std::uint8_t key[16] = {};
  std::vector<std::uint8_t> bytes;
  GcmText text;
};

TEST(SealPlaces, OnlyApplicationDataOfTls13) {
  const std::function<void(Record&, std::uint8_t*&)> others[] = {
      [](Record& r, std::uint8_t*&) { r.bytes[5 + r.text.bytes - 1] = 21; },  // an alert
      [](Record& r, std::uint8_t*&) { r.bytes[5 + r.text.bytes - 1] = 22; },  // a key update
      [](Record& r, std::uint8_t*&) { r.bytes[5 + r.text.bytes - 1] = 0; },   // padding
      [](Record& r, std::uint8_t*&) { r.bytes[0] = 22; },
      [](Record& r, std::uint8_t*&) { r.bytes[1] = 2; },
      [](Record& r, std::uint8_t*&) { r.bytes[2] = 4; },
      [](Record& r, std::uint8_t*&) { ++r.bytes[4]; },
      [](Record& r, std::uint8_t*&) { ++r.bytes[3]; },
      [](Record& r, std::uint8_t*&) { r.text.aad_bytes = 13; },
      [](Record& r, std::uint8_t*&) { r.text.aad_bytes = 0; },
      [](Record& r, std::uint8_t*&) { ++r.text.out; },
      [](Record& r, std::uint8_t*&) { r.text.aad = r.key; },
      [](Record&, std::uint8_t*& tag) { --tag; },
      [](Record& r, std::uint8_t*& tag) { tag = r.key; }};
  for (const auto& change : others) {
    base::ByteBuffer out;
    SealPlace place(out);
    Record record(100);
    std::uint8_t* tag = record.tag();
    change(record, tag);
    EXPECT_EQ(place.begin(record.text, tag), nullptr);
    EXPECT_FALSE(place.broken());
    // The usual way.
    EXPECT_TRUE(SealPlace::send(out, record.bytes.data(), record.bytes.size()));
    EXPECT_EQ(out.size(), record.bytes.size());
  }
  for (const std::size_t bytes : {0u, 1u, 16'386u, 16'400u, 65'535u - 16}) {
    base::ByteBuffer out;
    SealPlace place(out);
    Record record(bytes);
    EXPECT_EQ(place.begin(record.text, record.tag()), nullptr) << bytes;
  }
  for (const std::size_t bytes : {2u, 3u, 16'384u, 16'385u}) {
    base::ByteBuffer out;
    SealPlace place(out);
    Record record(bytes);
    std::uint8_t* const at = place.begin(record.text, record.tag());
    ASSERT_NE(at, nullptr) << bytes;
    EXPECT_TRUE(place.pending());
    EXPECT_EQ(place.begin(record.text, record.tag()), nullptr);  // one at a time
    record.seal_at(at);
    EXPECT_TRUE(SealPlace::send(out, record.bytes.data(), record.bytes.size()));
    EXPECT_FALSE(place.broken());
    std::string expected(reinterpret_cast<const char*>(record.bytes.data()), 5);
    expected += std::string(bytes, 's') + std::string(16, 't');
    EXPECT_TRUE(base::as_text(out.readable()) == expected) << bytes;
  }
}

// The send callback's view: part of the record, more than the record, a record before it.
TEST(SealPlaces, OtherBytesThanTheRecordAreRefusedAndWiped) {
  for (const int change : {0, 1, 2, 3}) {
    base::ByteBuffer out, stranger;
    SealPlace place(out);
    Record record(100);
    record.bytes.resize(record.bytes.size() + 8, 'p');
    Record fresh(100);
    fresh.seal_at(place.begin(fresh.text, fresh.tag()));
    std::uint8_t* bytes = fresh.bytes.data();
    std::size_t count = fresh.bytes.size();
    base::ByteBuffer* to = &out;
    if (change == 0) --count;
    if (change == 1) bytes = record.bytes.data(), count = record.bytes.size();
    if (change == 2) ++bytes, --count;
    if (change == 3) to = &stranger;
    EXPECT_FALSE(SealPlace::send(*to, bytes, count));
    EXPECT_TRUE(out.empty());
    EXPECT_TRUE(stranger.empty());
    EXPECT_TRUE(place.broken());
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(bytes[i], 0);
    // For good.
    Record next(50);
    EXPECT_EQ(place.begin(next.text, next.tag()), nullptr);
    EXPECT_FALSE(SealPlace::send(out, next.bytes.data(), next.bytes.size()));
    EXPECT_FALSE(SealPlace::send(out, fresh.bytes.data(), fresh.bytes.size()));
    EXPECT_TRUE(out.empty());
  }
}

TEST(SealPlaces, WithoutAPlaceBytesAreCopied) {
  EXPECT_EQ(SealPlace::here(), nullptr);
  base::ByteBuffer out;
  std::uint8_t bytes[] = {'a', 'b', 'c'};
  EXPECT_TRUE(SealPlace::send(out, bytes, 3));
  EXPECT_EQ(base::as_text(out.readable()), "abc");
}

// --- wolfSSL itself between two places: what it writes of its own accord within a write

struct Raw {
  Raw(WOLFSSL_METHOD* method, bool server) : ctx(wolfSSL_CTX_new(method)) {
    wolfSSL_CTX_SetDevId(ctx, kCryptoDeviceId);
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, nullptr);
    EXPECT_EQ(wolfSSL_CTX_set_cipher_list(ctx, "TLS13-AES128-GCM-SHA256"), WOLFSSL_SUCCESS);
    wolfSSL_CTX_SetIORecv(ctx, on_read);
    wolfSSL_CTX_SetIOSend(ctx, on_write);
    if (server) {
      const std::string certificate = Pki::get().file("server.pem"), key = Pki::get().file("server.key");
      EXPECT_EQ(wolfSSL_CTX_use_certificate_chain_buffer(ctx, reinterpret_cast<const unsigned char*>(certificate.data()),
                                                         static_cast<long>(certificate.size())), WOLFSSL_SUCCESS);
      EXPECT_EQ(wolfSSL_CTX_use_PrivateKey_buffer(ctx, reinterpret_cast<const unsigned char*>(key.data()),
                                                  static_cast<long>(key.size()), WOLFSSL_FILETYPE_PEM), WOLFSSL_SUCCESS);
    }
    ssl = wolfSSL_new(ctx);
    wolfSSL_SetIOReadCtx(ssl, this);
    wolfSSL_SetIOWriteCtx(ssl, this);
  }
  ~Raw() {
    wolfSSL_free(ssl);
    wolfSSL_CTX_free(ctx);
  }
  static int on_read(WOLFSSL*, char* buffer, int bytes, void* user) {
    base::ByteBuffer& in = static_cast<Raw*>(user)->peer->out;
    const std::size_t count = std::min(in.size(), static_cast<std::size_t>(bytes));
    if (count == 0) return WOLFSSL_CBIO_ERR_WANT_READ;
    std::memcpy(buffer, in.readable().data(), count);
    in.consume(count);
    return static_cast<int>(count);
  }
  static int on_write(WOLFSSL*, char* buffer, int bytes, void* user) {
    auto* const self = static_cast<Raw*>(user);
    if (self->blocked) return WOLFSSL_CBIO_ERR_WANT_WRITE;
    const bool sent = SealPlace::send(self->out, reinterpret_cast<std::uint8_t*>(buffer), static_cast<std::size_t>(bytes));
    return sent ? bytes : WOLFSSL_CBIO_ERR_GENERAL;
  }
  std::string read() {
    std::string all(100'000, '\0');
    std::size_t used = 0;
    while (true) {
      const int result = wolfSSL_read(ssl, all.data() + used, static_cast<int>(all.size() - used));
      if (result <= 0) break;
      used += static_cast<std::size_t>(result);
    }
    all.resize(used);
    return all;
  }
  WOLFSSL_CTX* ctx;
  WOLFSSL* ssl = nullptr;
  Raw* peer = nullptr;
  bool blocked = false;
  base::ByteBuffer out;
};

struct RawPair {
  RawPair() : client(wolfTLSv1_3_client_method(), false), server(wolfTLSv1_3_server_method(), true) {
    client.peer = &server;
    server.peer = &client;
    int up = 0, down = 0;
    for (int turn = 0; turn < 10 && (up != WOLFSSL_SUCCESS || down != WOLFSSL_SUCCESS); ++turn) {
      up = wolfSSL_connect(client.ssl);
      down = wolfSSL_accept(server.ssl);
    }
    EXPECT_EQ(up, WOLFSSL_SUCCESS);
    EXPECT_EQ(down, WOLFSSL_SUCCESS);
  }
  Raw client, server;
};

TEST_F(Sealed, KeyUpdatesAndAlertsBetweenRecords) {
  ASSERT_TRUE(init_library().ok() && register_crypto_callback().ok());
  RawPair pair;
  Front front;
  std::string sent;
  {
    // As if wolfSSL changed its keys, or warned, in the middle of a write.
    SealPlace place(pair.client.out);
    for (int round = 0; round < 5; ++round) {
      const std::string text = noise(20'000, static_cast<std::uint64_t>(round));
      ASSERT_EQ(wolfSSL_write(pair.client.ssl, text.data(), 20'000), 20'000);
      ASSERT_EQ(wolfSSL_update_keys(pair.client.ssl), WOLFSSL_SUCCESS);
      ASSERT_FALSE(place.broken());
      sent += text;
    }
    EXPECT_EQ(front.elsewhere, 10u);
    EXPECT_EQ(front.in_place, 5u);
  }
  EXPECT_TRUE(pair.server.read() == sent);
  // The answers to the key updates are read, and the connection goes on both ways.
  {
    SealPlace place(pair.server.out);
    ASSERT_EQ(wolfSSL_write(pair.server.ssl, "down", 4), 4);
  }
  EXPECT_EQ(pair.client.read(), "down");
  {
    SealPlace place(pair.client.out);
    ASSERT_EQ(wolfSSL_write(pair.client.ssl, "up", 2), 2);
    wolfSSL_shutdown(pair.client.ssl);
    EXPECT_FALSE(place.broken());
  }
  EXPECT_EQ(pair.server.read(), "up");
  EXPECT_NE(wolfSSL_get_shutdown(pair.server.ssl) & WOLFSSL_RECEIVED_SHUTDOWN, 0);
}

// wolfSSL keeps a record that could not be sent, and would add others behind it.
TEST_F(Sealed, ARecordThatStaysInWolfSslIsNeverSent) {
  ASSERT_TRUE(init_library().ok() && register_crypto_callback().ok());
  RawPair pair;
  const std::string text = noise(500, 9);
  {
    SealPlace place(pair.client.out);
    pair.client.blocked = true;
    EXPECT_LT(wolfSSL_write(pair.client.ssl, text.data(), 500), 0);
    EXPECT_TRUE(place.broken());
    // An alert behind it: it is not sealed, and what is there is not sent.
    wolfSSL_shutdown(pair.client.ssl);
    EXPECT_TRUE(place.broken());
    pair.client.blocked = false;
  }
  EXPECT_TRUE(pair.client.out.empty());
}

}  // namespace
}  // namespace tocsin::tls
