// SPDX-License-Identifier: Apache-2.0
// The mock daemon over real sockets: our own client rooms on a blocking socket, and nghttp, curl and h2load
// as independent clients where they are installed.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apns/request.h"
#include "base/hex.h"
#include "h2/client_session.h"
#include "mockd/report.h"
#include "mockd/server.h"
#include "portal/portal.h"
#include "tls/context.h"

namespace tocsin::mockd {
namespace {

using Clock = std::chrono::steady_clock;

// One certificate kit for the whole program: RSA keys are slow to make.
struct Certificates {
  std::string directory;
  portal::Kit kit;
  Certificates() {
    char name[] = "/tmp/tocsin-mockd-XXXXXX";
    directory = ::mkdtemp(name);
    portal::KitOptions options;
    options.now_unix_s = std::time(nullptr);
    kit = portal::open_kit(directory, options).value();
  }
  ~Certificates() { std::filesystem::remove_all(directory); }
};
const Certificates& certificates() {
  static const Certificates instance;
  return instance;
}

Options basic_options() {
  Options options;
  options.listen = "127.0.0.1:0";
  options.admin = "127.0.0.1:0";
  options.certificate_pem = certificates().kit.server.certificate_pem;
  options.key_pem = certificates().kit.server.key_pem;
  options.client_ca_pem = certificates().kit.ca_pem;
  return options;
}

std::unique_ptr<Server> serve(Options options) {
  auto server = Server::start(std::move(options));
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
  return std::move(server).value();
}

int connect_to(const std::string& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  const timeval limit{10, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return fd;
}

struct Answered {
  unsigned status = 0;
  std::string body;
  std::string apns_id;
};

// A blocking APNs client out of our own rooms.
class Client {
 public:
  explicit Client(const std::string& address, bool with_certificate = true) : fd_(connect_to(address)) {
    const portal::Kit& kit = certificates().kit;
    tls::Identity identity;
    tls::ClientOptions options;
    options.ca_pem = kit.ca_pem;
    if (with_certificate) {
      identity = tls::identity_from_pkcs12(base::as_bytes(kit.push_p12), "tocsin").value();
      options.identity = &identity;
    }
    context_ = tls::make_client_context(options).value();
    channel_ = context_->connect("localhost").value();
    h2::ClientOptions h2_options;
    h2_options.captures = {"apns-id"};
    session_ = h2::make_nghttp2_client(h2_options).value();
    base::ByteBuffer wire;
    channel_->start(wire);
    send_wire(wire);
    while (!session_->settings_seen() && pump()) {
    }
    TemplateOptions text;
    text.topic = kit.topic;
    text.push_type = PushType::mdm;
    prepared_ = session_->prepare(apns::request_fields(text, "localhost", false), base::BodyShape::whole());
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  h2::ClientSession& session() { return *session_; }
  const tls::Channel& channel() const { return *channel_; }
  bool goaway_seen() const { return goaway_; }
  bool ended() const { return ended_; }
  std::map<std::uint64_t, Answered>& answers() { return answers_; }

  // Writes pushes [from, to) with tokens made of their number; answers how many were taken.
  std::size_t write(std::uint64_t from, std::uint64_t to) {
    std::vector<h2::Request> requests;
    std::vector<std::array<unsigned char, 32>> tokens(to - from);
    std::vector<Uuid> ids(to - from);
    for (std::uint64_t i = from; i < to; ++i) {
      tokens[i - from] = token_of(i);
      ids[i - from] = id_of(i);
      h2::Request request;
      request.tag = i;
      request.prepared = prepared_;
      request.slots[0] = std::as_bytes(std::span(tokens[i - from]));
      request.slots[1] = std::as_bytes(std::span(ids[i - from]));
      request.content = base::as_bytes(R"({"mdm":"magic"})");
      requests.push_back(request);
    }
    base::ByteBuffer plain;
    const std::size_t taken = session_->write(requests, plain);
    send_plain(plain);
    return taken;
  }

  // All of [from, to), answered.
  bool push(std::uint64_t from, std::uint64_t to) {
    std::uint64_t next = from;
    while (answers_.size() < to) {
      if (next < to) next += write(next, std::min(to, next + 500));
      if (answers_.size() < to && !pump()) return false;
    }
    return true;
  }

  // One receive; false when the connection ended.
  bool pump() {
    char bytes[16 * 1024];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      ended_ = n == 0;
      return false;
    }
    base::ByteBuffer plain, wire;
    channel_->receive(base::as_bytes({bytes, static_cast<std::size_t>(n)}), plain, wire);
    std::vector<h2::Answer> answers;
    std::vector<h2::Event> events;
    EXPECT_TRUE(session_->receive(plain.readable(), answers, events).ok());
    for (const h2::Answer& a : answers) {
      if (a.kind != h2::AnswerKind::complete) continue;
      answers_[a.tag] = {a.status, std::string(base::as_text(a.body)), std::string(a.captured[0])};
    }
    for (const h2::Event& e : events) goaway_ |= e.kind == h2::EventKind::goaway;
    plain.clear();
    if (channel_->state() == tls::State::open) {
      session_->write_pending(plain);
      if (!plain.empty()) channel_->send(plain.readable(), wire);
    }
    send_wire(wire);
    return true;
  }

  static std::array<unsigned char, 32> token_of(std::uint64_t i) {
    std::array<unsigned char, 32> token{};
    for (int b = 0; b < 8; ++b) token[b] = static_cast<unsigned char>(i >> (8 * b));
    token[31] = 0xaa;
    return token;
  }
  static Uuid id_of(std::uint64_t i) {
    Uuid id{};
    for (int b = 0; b < 8; ++b) id[b] = static_cast<std::uint8_t>((i + 1) >> (8 * b));
    return id;
  }

 private:
  void send_plain(const base::ByteBuffer& plain) {
    base::ByteBuffer wire;
    if (!plain.empty()) channel_->send(plain.readable(), wire);
    send_wire(wire);
  }
  void send_wire(const base::ByteBuffer& wire) {
    std::string_view left = base::as_text(wire.readable());
    while (!left.empty()) {
      const ssize_t n = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      left.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  int fd_;
  std::shared_ptr<tls::ClientContext> context_;
  std::unique_ptr<tls::Channel> channel_;
  std::unique_ptr<h2::ClientSession> session_;
  std::uint32_t prepared_ = 0;
  bool goaway_ = false;
  bool ended_ = false;
  std::map<std::uint64_t, Answered> answers_;
};

std::string run(const std::string& command, int* status = nullptr) {
  std::string text;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  char bytes[4096];
  while (const std::size_t n = std::fread(bytes, 1, sizeof bytes, pipe)) text.append(bytes, n);
  const int code = ::pclose(pipe);
  if (status != nullptr) *status = code;
  return text;
}
bool installed(const std::string& program) {
  int status = 0;
  run("command -v " + program, &status);
  return status == 0;
}

// GET over the admin address.
std::string get(const std::string& address, const std::string& path) {
  const int fd = connect_to(address);
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(::send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
  std::string text;
  char bytes[4096];
  for (ssize_t n; (n = ::recv(fd, bytes, sizeof bytes, 0)) > 0;) text.append(bytes, static_cast<std::size_t>(n));
  ::close(fd);
  return text;
}
nlohmann::json get_json(const std::string& address, const std::string& path) {
  const std::string text = get(address, path);
  return nlohmann::json::parse(text.substr(text.find("\r\n\r\n") + 4), nullptr, false);
}

std::string hex_of(std::uint64_t i) { return base::hex_encode(Client::token_of(i)); }

TEST(MockDaemon, AcceptsAndBooksEveryPushOfOneConnection) {
  const auto server = serve(basic_options());
  Client client(server->address());
  ASSERT_EQ(client.channel().facts().version, "TLS 1.3");
  EXPECT_EQ(client.session().peer_streams_max(), 1000u);
  ASSERT_TRUE(client.push(0, 5000));
  for (const auto& [tag, answer] : client.answers()) {
    ASSERT_EQ(answer.status, 200u) << answer.body;
    ASSERT_EQ(answer.apns_id, base::uuid_format(Client::id_of(tag)));
  }
  const mock::LedgerTotals totals = server->totals();
  EXPECT_EQ(totals.accepted, 5000u);
  EXPECT_EQ(totals.tokens_accepted, 5000u);
  EXPECT_EQ(totals.doubled, 0u);
  const nlohmann::json ledger = get_json(server->admin_address(), "/ledger");
  EXPECT_EQ(ledger["accepted"], 5000);
  const nlohmann::json one = get_json(server->admin_address(), "/ledger/" + hex_of(17));
  EXPECT_EQ(one["accepted"], 1);
  EXPECT_EQ(one["apns_id"], base::uuid_format(Client::id_of(17)));
}

TEST(MockDaemon, FloodJudgesTheBeginningAndCountsTheRest) {
  Options options = basic_options();
  options.profile = {mock::Profile::flood, 400};
  options.http2.window_bytes = 1 << 20;
  options.http2.connection_window_bytes = 1 << 30;
  options.workers = 2;
  const auto server = serve(std::move(options));
  std::vector<std::thread> threads;
  std::atomic<unsigned> good{0}, with_id{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Client client(server->address());
      if (!client.push(0, 5000)) return;
      for (const auto& [tag, answer] : client.answers()) {
        good += answer.status == 200;
        with_id += !answer.apns_id.empty();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 20'000u);
  const Totals totals = server->report();
  EXPECT_EQ(totals.requests(), 20'000u);
  EXPECT_EQ(totals.accepted(), 20'000u);
  // Each worker its half of 400, each connection its 100, and what was read in one piece with the last of them.
  EXPECT_GE(totals.ledger.accepted, 400u);
  EXPECT_LT(totals.ledger.accepted, 20'000u);
  EXPECT_EQ(totals.ledger.accepted, with_id) << "only what was judged is answered with an apns-id";
  EXPECT_EQ(totals.flood.connections, 4u);
  EXPECT_EQ(totals.flood.streams, totals.flood.end_streams);
  EXPECT_EQ(totals.flood.body_bytes, totals.flood.end_streams * 15);
  const nlohmann::json json = get_json(server->admin_address(), "/ledger");
  EXPECT_EQ(json["profile"], "flood");
  EXPECT_EQ(json["requests"], 20'000);
  EXPECT_EQ(json["accepted"], 20'000);
  EXPECT_EQ(json["validated"], totals.ledger.requests);
  EXPECT_EQ(json["flood"]["end_streams"], totals.flood.end_streams);
  EXPECT_EQ(json["flood"]["connections"], 4);
  const std::string metrics = get(server->admin_address(), "/metrics");
  EXPECT_NE(metrics.find("tocsin_mock_profile{profile=\"flood\"} 1\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("tocsin_mock_validated_total{worker=\"0\"}"), std::string::npos);
  EXPECT_NE(metrics.find("tocsin_mock_connections_handed_over_total{worker=\"1\"} 2\n"), std::string::npos) << metrics;
  const std::string text = totals_text(totals);
  EXPECT_NE(text.find("requests  20,000\n"), std::string::npos) << text;
  EXPECT_NE(text.find("profile   flood: "), std::string::npos) << text;
}

TEST(MockDaemon, FloodDelaysWhatItCounts) {
  Options options = basic_options();
  options.profile = {mock::Profile::flood, 0};
  options.gateway.delay_ns = 30 * base::kMillisecond;
  options.gateway.jitter_ns = 10 * base::kMillisecond;
  const auto server = serve(std::move(options));
  Client client(server->address());
  const auto begin = Clock::now();
  ASSERT_TRUE(client.push(0, 1000));
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(30));
  // What came in one piece with the acknowledgement of the server's SETTINGS was judged.
  EXPECT_EQ(server->report().requests(), 1000u);
  EXPECT_GT(server->report().flood.end_streams, 0u);
}

TEST(MockDaemon, ApnsGivesIdsBackInRecordsOfTheirOwn) {
  Options options = basic_options();
  options.profile = {mock::Profile::apns, 100};
  options.gateway.delay_ns = 3 * base::kMillisecond;
  options.gateway.jitter_ns = 2 * base::kMillisecond;
  const auto server = serve(std::move(options));
  Client client(server->address());
  EXPECT_EQ(client.session().peer_streams_max(), 1000u);
  ASSERT_TRUE(client.push(0, 4000));
  for (const auto& [tag, answer] : client.answers()) {
    ASSERT_EQ(answer.status, 200u);
    ASSERT_EQ(answer.apns_id, base::uuid_format(Client::id_of(tag)));
  }
  const nlohmann::json json = get_json(server->admin_address(), "/ledger");
  EXPECT_EQ(json["profile"], "apns");
  EXPECT_EQ(json["accepted"], 4000);
  EXPECT_GE(json["validated"], 100);
  EXPECT_EQ(json["flood"]["connections"], 1);
  // A frame's head, at least 25 bytes of block, and a record's 22 (RFC 8446 section 5.2) for each; packed it is under 42.
  const std::string metrics = get(server->admin_address(), "/metrics");
  constexpr std::string_view kSent = "tocsin_mock_bytes_sent_total{worker=\"0\"} ";
  const std::size_t at = metrics.find(kSent);
  ASSERT_NE(at, std::string::npos);
  EXPECT_GT(std::stoull(metrics.substr(at + kSent.size())), 4000u * 56);
}

TEST(MockDaemon, AScriptIsForTheValidateProfile) {
  Options options = basic_options();
  options.profile.profile = mock::Profile::flood;
  options.script = mock::Script::parse("when request 3 -> reset CANCEL", "t").value();
  const auto server = Server::start(std::move(options));
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().message.find("needs the profile validate"), std::string::npos) << server.error().message;
}

TEST(MockDaemon, FourWorkersShareConnectionsAndTheirLedgersAddUp) {
  Options options = basic_options();
  options.workers = 4;
  const auto server = serve(std::move(options));
  std::vector<std::thread> threads;
  std::atomic<unsigned> good{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      Client client(server->address());
      // Every client pushes to the same tokens: each token is booked by several workers.
      if (!client.push(0, 1500)) return;
      for (const auto& [tag, answer] : client.answers()) good += answer.status == 200;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 9000u);
  const mock::LedgerTotals totals = server->totals();
  EXPECT_EQ(totals.accepted, 9000u);
  EXPECT_EQ(totals.tokens, 1500u);
  EXPECT_EQ(totals.doubled, 7500u);
  const auto token = Client::token_of(3);
  const auto entry = server->find(std::as_bytes(std::span(token)));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->accepted, 6u);
  EXPECT_EQ(entry->first_apns_id, Client::id_of(3));
  EXPECT_EQ(server->requests(), 9000u);
  const std::string metrics = get(server->admin_address(), "/metrics");
  for (int worker = 0; worker < 4; ++worker) {
    const std::string name = "tocsin_mock_connections_accepted_total{worker=\"" + std::to_string(worker) + "\"} ";
    const std::size_t at = metrics.find(name);
    ASSERT_NE(at, std::string::npos) << metrics;
    EXPECT_NE(metrics[at + name.size()], '0');
  }
}

TEST(MockDaemon, AdminAnswersForWhatIsNotThere) {
  const auto server = serve(basic_options());
  EXPECT_EQ(get(server->admin_address(), "/ledger/" + hex_of(1)).rfind("HTTP/1.1 404 ", 0), 0u);
  EXPECT_EQ(get(server->admin_address(), "/ledger/xyz").rfind("HTTP/1.1 400 ", 0), 0u);
  EXPECT_EQ(get(server->admin_address(), "/ledger/" + std::string(300, 'a')).rfind("HTTP/1.1 400 ", 0), 0u);
  EXPECT_EQ(get(server->admin_address(), "/nothing").rfind("HTTP/1.1 404 ", 0), 0u);
  EXPECT_EQ(get(server->admin_address(), "/health").rfind("HTTP/1.1 200 ", 0), 0u);
  EXPECT_EQ(get_json(server->admin_address(), "/ledger")["requests"], 0);
}

TEST(MockDaemon, WithoutAClientCertificatePushesAreForbidden) {
  const auto server = serve(basic_options());
  Client client(server->address(), false);
  ASSERT_TRUE(client.push(0, 3));
  EXPECT_EQ(client.answers()[0].status, 403u);
  EXPECT_EQ(client.answers()[0].body, R"({"reason":"MissingProviderToken"})");
  EXPECT_EQ(server->totals().by_reason["MissingProviderToken"], 3u);
}

TEST(MockDaemon, MayRequireTheCertificateAlready) {
  Options options = basic_options();
  options.require_client_certificate = true;
  const auto server = serve(std::move(options));
  Client bare(server->address(), false);
  EXPECT_FALSE(bare.session().settings_seen());
  Client dressed(server->address());
  EXPECT_TRUE(dressed.push(0, 1));
  EXPECT_NE(get(server->admin_address(), "/metrics").find("handshakes_failed_total{worker=\"0\"} 1"), std::string::npos);
}

TEST(MockDaemon, DeadTokensGet410AndTheLedgerSaysSo) {
  Options options = basic_options();
  options.gateway.dead[hex_of(2)] = 1'700'000'000'123;
  const auto server = serve(std::move(options));
  Client client(server->address());
  ASSERT_TRUE(client.push(0, 4));
  EXPECT_EQ(client.answers()[1].status, 200u);
  EXPECT_EQ(client.answers()[2].status, 410u);
  EXPECT_EQ(client.answers()[2].body, R"({"reason":"Unregistered","timestamp":1700000000123})");
  const nlohmann::json one = get_json(server->admin_address(), "/ledger/" + hex_of(2));
  EXPECT_EQ(one["rejected"], 1);
  EXPECT_EQ(one["accepted"], 0);
  EXPECT_EQ(one["apns_id"], "");
}

TEST(MockDaemon, DelaysAnswersByDelayAndJitter) {
  Options options = basic_options();
  options.gateway.delay_ns = 80 * base::kMillisecond;
  options.gateway.jitter_ns = 40 * base::kMillisecond;
  const auto server = serve(std::move(options));
  Client client(server->address());
  const auto start = Clock::now();
  ASSERT_EQ(client.write(0, 200), 200u);
  ASSERT_TRUE(client.pump());
  while (client.answers().empty()) ASSERT_TRUE(client.pump());
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(80));
  while (client.answers().size() < 200) ASSERT_TRUE(client.pump());
  const auto took = Clock::now() - start;
  EXPECT_GE(took, std::chrono::milliseconds(100));  // the latest of 200 draws out of 40 ms
  EXPECT_LT(took, std::chrono::seconds(3));
}

TEST(MockDaemon, StopSaysGoawayAndGivesAnswersUnderWay) {
  Options options = basic_options();
  options.workers = 2;
  options.gateway.delay_ns = 300 * base::kMillisecond;
  const auto server = serve(std::move(options));
  Client busy(server->address());
  Client idle(server->address());
  ASSERT_EQ(busy.write(0, 50), 50u);
  while (server->requests() < 50) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::thread stopper([&] { server->stop(5000); });
  while (busy.pump()) {
  }
  while (idle.pump()) {
  }
  stopper.join();
  EXPECT_TRUE(busy.goaway_seen());
  EXPECT_EQ(busy.answers().size(), 50u);
  EXPECT_TRUE(busy.ended());
  EXPECT_TRUE(idle.goaway_seen());
  EXPECT_TRUE(idle.ended());
  EXPECT_EQ(server->totals().accepted, 50u);  // readable afterwards
  std::vector<ConnectionEnd> ends;
  server->ends(ends);
  ASSERT_EQ(ends.size(), 2u);
  for (const ConnectionEnd& end : ends) EXPECT_EQ(ended_by_word(end.by), "goaway");
}

TEST(MockDaemon, StopIsBoundedWhenAnswersWouldTakeLonger) {
  Options options = basic_options();
  options.gateway.delay_ns = 60 * base::kSecond;
  const auto server = serve(std::move(options));
  Client client(server->address());
  ASSERT_EQ(client.write(0, 5), 5u);
  while (server->requests() < 5) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto start = Clock::now();
  server->stop(200);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(3));
}

TEST(MockDaemon, BoundsConnectionsAndHandshakes) {
  Options options = basic_options();
  options.connections_max = 2;
  options.handshake_timeout_ms = 200;
  const auto server = serve(std::move(options));
  const int a = connect_to(server->address());
  const int b = connect_to(server->address());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const int c = connect_to(server->address());
  char byte = 0;
  EXPECT_LE(::recv(c, &byte, 1, 0), 0);  // one too many: closed at once
  EXPECT_LE(::recv(a, &byte, 1, 0), 0);  // silent: closed by the handshake's deadline
  EXPECT_LE(::recv(b, &byte, 1, 0), 0);
  for (const int fd : {a, b, c}) ::close(fd);
  std::string metrics;
  for (int i = 0; i < 100; ++i) {
    metrics = get(server->admin_address(), "/metrics");
    if (metrics.find("connections_open{worker=\"0\"} 0") != std::string::npos) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(metrics.find("connections_open{worker=\"0\"} 0"), std::string::npos);
  EXPECT_NE(metrics.find("connections_refused_total{worker=\"0\"} 1"), std::string::npos);
  EXPECT_NE(metrics.find("handshake_timeouts_total{worker=\"0\"} 2"), std::string::npos);
  Client client(server->address());  // room again
  EXPECT_TRUE(client.push(0, 10));
}

TEST(MockDaemon, SurvivesNonsenseAndVanishingClients) {
  const auto server = serve(basic_options());
  for (int i = 0; i < 5; ++i) {
    const int fd = connect_to(server->address());
    EXPECT_GT(::send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 0);
    char bytes[256];
    while (::recv(fd, bytes, sizeof bytes, 0) > 0) {
    }
    ::close(fd);
    Client vanishing(server->address());
    vanishing.write(0, 300);  // and gone, unread
  }
  Client client(server->address());
  EXPECT_TRUE(client.push(0, 100));
}

TEST(MockDaemon, ErrorsSayWhatIsWrong) {
  const auto message = [](Options options) {
    const auto server = Server::start(std::move(options));
    return server.ok() ? std::string("ok") : server.error().message;
  };
  Options options = basic_options();
  options.listen = "nowhere";
  EXPECT_NE(message(options).find("nowhere"), std::string::npos);
  options = basic_options();
  options.workers = 0;
  EXPECT_NE(message(options).find("workers"), std::string::npos);
  options = basic_options();
  options.cpus = {100'000};
  EXPECT_NE(message(options).find("cpu 100000 does not exist"), std::string::npos);
  const auto first = serve(basic_options());
  options = basic_options();
  options.listen = first->address();
  EXPECT_NE(message(options).find(first->address()), std::string::npos) << message(options);
  options = basic_options();
  options.admin = first->address();
  EXPECT_EQ(message(options).rfind("admin address: ", 0), 0u) << message(options);
  options = basic_options();
  options.key_pem = certificates().kit.push.key_pem;
  EXPECT_NE(message(options), "ok");
}

TEST(MockDaemon, LedgerFileHasALinePerToken) {
  Options options = basic_options();
  options.gateway.dead[hex_of(1)] = 1'700'000'000'000;
  const auto server = serve(std::move(options));
  Client client(server->address());
  ASSERT_TRUE(client.push(0, 3));
  server->stop();
  const std::string path = certificates().directory + "/ledger.ndjson";
  Result<void> written;
  server->with_ledger([&](const mock::Ledger& ledger) { written = write_ledger(ledger, path); });
  ASSERT_TRUE(written.ok()) << written.error().message;
  std::ifstream in(path);
  std::map<std::string, std::string> lines;
  for (std::string line; std::getline(in, line);) lines[nlohmann::json::parse(line)["token"]] = line;
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[hex_of(0)], "{\"token\":\"" + hex_of(0) + "\",\"accepted\":1,\"rejected\":0,\"apns_id\":\"" +
                                  base::uuid_format(Client::id_of(0)) + "\"}");
  EXPECT_EQ(lines[hex_of(1)], "{\"token\":\"" + hex_of(1) + "\",\"accepted\":0,\"rejected\":1,\"apns_id\":\"\"}");
  server->with_ledger([&](const mock::Ledger& ledger) { written = write_ledger(ledger, "/no/such/place"); });
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.error().message.find("/no/such/place"), std::string::npos);

  ASSERT_TRUE(write_connections({{3, 7, 1000, 2000, EndedBy::tls}}, path).ok());
  std::ifstream connections(path);
  std::string line;
  std::getline(connections, line);
  EXPECT_EQ(line, R"({"connection":3,"by":"tls","opened_unix_ms":1000,"ended_unix_ms":2000,"streams_open":7})");
  written = write_connections({}, "/no/such/place");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().message.rfind("cannot write the connections to /no/such/place: ", 0), 0u) << written.error().message;
}

// Independent clients.

std::string push_arguments(const char* field_option) {
  std::string text = " ";
  text.append(field_option).append("'apns-topic: ").append(certificates().kit.topic).append("' ");
  return text.append(field_option).append("'apns-push-type: mdm' ");
}

TEST(MockDaemon, CurlPushes) {
  ASSERT_TRUE(installed("curl")) << "tools/setup --test installs it";
  const auto server = serve(basic_options());
  const std::string& dir = certificates().directory;
  const std::string port = server->address().substr(server->address().rfind(':') + 1);
  const std::string common = "curl -sS -m 10 --http2 --cacert " + dir + "/ca.pem --cert " + dir + "/push.pem --key " + dir +
                             "/push.key" + push_arguments("-H ") + "-w '%{http_code} %{http_version}' ";
  const std::string url = "https://localhost:" + port + "/3/device/";
  EXPECT_EQ(run(common + "-d '{\"mdm\":\"m\"}' " + url + hex_of(9)), "200 2");
  EXPECT_EQ(run(common + "-d '{\"mdm\":\"m\"}' " + url + "xyz"), "{\"reason\":\"BadDeviceToken\"}400 2");
  EXPECT_EQ(run(common + url + hex_of(9)), "{\"reason\":\"MethodNotAllowed\"}405 2");
  EXPECT_EQ(server->totals().accepted, 1u);
  EXPECT_EQ(server->totals().rejected, 2u);
}

TEST(MockDaemon, NghttpSeesApplesSettings) {
  ASSERT_TRUE(installed("nghttp")) << "tools/setup --test installs it";
  const auto server = serve(basic_options());
  const std::string& dir = certificates().directory;
  const std::string port = server->address().substr(server->address().rfind(':') + 1);
  std::ofstream(dir + "/body") << R"({"mdm":"m"})";
  const std::string text = run("timeout 10 nghttp -nv --cert=" + dir + "/push.pem --key=" + dir + "/push.key -d " + dir +
                               "/body" + push_arguments("-H") + "https://127.0.0.1:" + port + "/3/device/" + hex_of(1));
  for (const char* expected : {"SETTINGS_MAX_CONCURRENT_STREAMS(0x03):1000", "SETTINGS_INITIAL_WINDOW_SIZE(0x04):65535",
                               "SETTINGS_HEADER_TABLE_SIZE(0x01):4096", "SETTINGS_MAX_HEADER_LIST_SIZE(0x06):8000",
                               ":status: 200", "apns-id: "}) {
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n" << text;
  }
  EXPECT_EQ(server->totals().accepted, 1u);
}

TEST(MockDaemon, H2loadManyStreamsOverManyConnections) {
  ASSERT_TRUE(installed("h2load")) << "tools/setup --test installs it";
  Options options = basic_options();
  options.workers = 2;
  const auto server = serve(std::move(options));
  const std::string& dir = certificates().directory;
  const std::string port = server->address().substr(server->address().rfind(':') + 1);
  std::ofstream(dir + "/body") << R"({"mdm":"m"})";
  // h2load has no client certificate: every push is judged, booked and refused.
  const std::string text = run("timeout 60 h2load -n 20000 -c 8 -m 200 -d " + dir + "/body" + push_arguments("-H") +
                               "https://127.0.0.1:" + port + "/3/device/" + hex_of(1));
  EXPECT_NE(text.find("20000 total, 20000 started, 20000 done"), std::string::npos) << text;
  EXPECT_NE(text.find("20000 4xx"), std::string::npos) << text;
  EXPECT_EQ(server->totals().by_reason["MissingProviderToken"], 20'000u);
}

}  // namespace
}  // namespace tocsin::mockd
