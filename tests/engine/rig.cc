// SPDX-License-Identifier: Apache-2.0
#include "rig.h"

#include <array>
#include <ctime>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <gtest/gtest.h>

#include "base/hex.h"
#include "base/prng.h"

namespace tocsin::engine_tests {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  return address;
}

int bound_socket(std::uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  socklen_t size = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

const portal::Kit& kit() {
  static const portal::Kit made = [] {
    portal::KitOptions options;
    options.now_unix_s = std::time(nullptr);
    return portal::make_kit(options).value();
  }();
  return made;
}

const std::string& foreign_ca_pem() {
  static const std::string pem = [] {
    portal::Validity validity;
    validity.now_unix_s = std::time(nullptr);
    return portal::Authority::make(validity).value()->ca_pem();
  }();
  return pem;
}

const std::string& p8_pem() {
  static const std::string text = [] {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    BIO* out = BIO_new(BIO_s_mem());
    EXPECT_EQ(PEM_write_bio_PKCS8PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    std::string pem(data, static_cast<std::size_t>(size));
    BIO_free(out);
    EVP_PKEY_free(key);
    return pem;
  }();
  return text;
}

mockd::Options mock_options() {
  mockd::Options options;
  options.listen = "127.0.0.1:0";
  options.certificate_pem = kit().server.certificate_pem;
  options.key_pem = kit().server.key_pem;
  options.client_ca_pem = kit().ca_pem;
  return options;
}

std::unique_ptr<mockd::Server> serve(mockd::Options options) {
  auto server = mockd::Server::start(std::move(options));
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
  return std::move(server).value();
}

std::uint16_t port_of(const std::string& address) {
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

std::uint16_t closed_port() {
  std::uint16_t port = 0;
  ::close(bound_socket(port));
  return port;
}

Peer::Peer(std::function<void(int)> act) {
  listener_ = bound_socket(port_);
  EXPECT_EQ(::listen(listener_, 16), 0);
  if (!act) return;
  thread_ = std::thread([this, act = std::move(act)] {
    while (!stop_.load()) {
      pollfd entry{listener_, POLLIN, 0};
      if (::poll(&entry, 1, 20) != 1) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const timeval limit{2, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
      act(fd);
      ::close(fd);
    }
  });
}

Peer::~Peer() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
  ::close(listener_);
}

CredentialOptions credential_options(std::uint16_t port) {
  CredentialOptions options;
  options.host = "127.0.0.1";
  options.port = port;
  options.ca_pem = kit().ca_pem;
  options.certificate_pem = kit().push.certificate_pem;
  options.key_pem = kit().push.key_pem;
  return options;
}

TemplateOptions mdm_template() {
  TemplateOptions options;
  options.topic = kit().topic;
  options.push_type = PushType::mdm;
  options.form = PayloadForm::with_part;
  options.payload = R"({"mdm":"%PART%"})";
  return options;
}

TemplateOptions own_template() {
  TemplateOptions options;
  options.topic = kit().topic;
  options.push_type = PushType::mdm;
  options.form = PayloadForm::own;
  return options;
}

std::string token_hex(std::uint64_t id) {
  std::array<std::uint8_t, 32> bytes{};
  std::uint64_t word = id;
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    word = base::mix64(word + 1);
    for (std::size_t j = 0; j < 8; ++j) bytes[i + j] = static_cast<std::uint8_t>(word >> (8 * j));
  }
  return base::hex_encode(bytes);
}

Batch::Batch(std::uint64_t first_id, std::size_t count, TemplateHandle what, CredentialHandle who) {
  tokens_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    tokens_.push_back(token_hex(first_id + i));
    Push push;
    push.id = first_id + i;
    push.token = std::string_view(tokens_.back());
    push.part = std::string_view("0F4C5E2A-8C4C-4B7E-9B1C-6F1B3B0C1D2E");
    push.template_handle = what;
    push.credential = who;
    pushes.push_back(push);
  }
}

void Batch::own_payloads(std::size_t bytes) {
  payload_ = R"({"mdm":")";
  payload_ += std::string(bytes - payload_.size() - 2, 'x') + "\"}";
  for (Push& push : pushes) {
    push.part = {};
    push.payload = std::string_view(payload_);
  }
}

Rig::Rig(const EngineOptions& options, const CredentialOptions& who) {
  auto started = Engine::start(options);
  EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error().message);
  engine = std::move(started).value();
  auto added = engine->add_credential(who);
  EXPECT_TRUE(added.ok()) << (added.ok() ? "" : added.error().message);
  credential = added.value();
  mdm = engine->add_template(mdm_template()).value();
  own = engine->add_template(own_template()).value();
}

std::vector<Outcome> Rig::collect(std::size_t count, int timeout_ms) const {
  std::vector<Outcome> all;
  std::vector<Outcome> some(1024);
  const auto end = Clock::now() + std::chrono::milliseconds(timeout_ms);
  while (all.size() < count && Clock::now() < end) {
    const std::size_t taken = engine->wait(some, 100);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  return all;
}

}  // namespace tocsin::engine_tests
