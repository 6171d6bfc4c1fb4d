// SPDX-License-Identifier: Apache-2.0
// What a fault script does below HTTP/2, seen by a client on a real socket: TCP and TLS.
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apns/provider_token.h"
#include "apns/request.h"
#include "h2/client_session.h"
#include "mockd/report.h"
#include "mockd/server.h"
#include "portal/portal.h"
#include "tls/context.h"

namespace tocsin::mockd {
namespace {

using Clock = std::chrono::steady_clock;

const portal::Kit& kit() {
  static const portal::Kit instance = [] {
    portal::KitOptions options;
    options.now_unix_s = std::time(nullptr);
    return portal::make_kit(options).value();
  }();
  return instance;
}

Options options_with(std::string_view script) {
  Options options;
  options.listen = "127.0.0.1:0";
  options.admin = "127.0.0.1:0";
  options.certificate_pem = kit().server.certificate_pem;
  options.key_pem = kit().server.key_pem;
  options.client_ca_pem = kit().ca_pem;
  options.expired_certificate_pem = kit().expired_server.certificate_pem;
  options.expired_key_pem = kit().expired_server.key_pem;
  options.wrong_name_certificate_pem = kit().wrong_name_server.certificate_pem;
  options.wrong_name_key_pem = kit().wrong_name_server.key_pem;
  if (!script.empty()) options.script = mock::Script::parse(script, "t").value();
  return options;
}

std::unique_ptr<Server> serve(Options options) {
  auto server = Server::start(std::move(options));
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
  return std::move(server).value();
}

enum class End { open, fin, rst, silence };

// Shakes hands, sends pushes, and reads until the end or until nothing has come for `patience_ms`.
struct Guest {
  int fd = -1;
  std::shared_ptr<tls::ClientContext> context;
  std::unique_ptr<tls::Channel> channel;
  std::unique_ptr<h2::ClientSession> session;
  std::uint32_t prepared = 0;
  End end = End::open;
  std::size_t bytes = 0;
  std::size_t reads = 0;
  std::map<std::uint64_t, unsigned> answers;

  explicit Guest(const std::string& address, int patience_ms = 10'000, bool certificate = true, std::string authorization = {}) {
    fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    const timeval limit{patience_ms / 1000, patience_ms % 1000 * 1000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    const tls::Identity identity = tls::identity_from_pem(kit().push.certificate_pem, kit().push.key_pem, "").value();
    tls::ClientOptions options;
    options.ca_pem = kit().ca_pem;
    if (certificate) options.identity = &identity;
    context = tls::make_client_context(options).value();
    channel = context->connect("localhost").value();
    session = h2::make_nghttp2_client({}).value();
    TemplateOptions push;
    push.topic = certificate ? kit().topic : "com.example.app";
    push.push_type = certificate ? PushType::mdm : PushType::alert;
    prepared = session->prepare(apns::request_fields(push, "localhost", false, authorization), base::BodyShape::whole());
    base::ByteBuffer wire;
    channel->start(wire);
    // A reset may be noticed by the first write already, and is told only once.
    if (::send(fd, wire.readable().data(), wire.size(), MSG_NOSIGNAL) < 0) end = End::rst;
    while (end == End::open && !session->settings_seen()) read();
  }
  ~Guest() { ::close(fd); }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  void put(const base::ByteBuffer& wire) {
    if (!wire.empty()) (void)::send(fd, wire.readable().data(), wire.size(), MSG_NOSIGNAL);
  }
  void read() {
    char buffer[16 * 1024];
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n == 0) end = End::fin;
    if (n < 0) end = errno == EAGAIN ? End::silence : End::rst;
    if (n <= 0) return;
    bytes += static_cast<std::size_t>(n);
    ++reads;
    base::ByteBuffer plain, wire;
    channel->receive(base::as_bytes({buffer, static_cast<std::size_t>(n)}), plain, wire);
    std::vector<h2::Answer> got;
    std::vector<h2::Event> events;
    (void)session->receive(plain.readable(), got, events);
    for (const h2::Answer& answer : got) answers[answer.tag] = answer.status;
    base::ByteBuffer out;
    if (channel->state() == tls::State::open) session->write_pending(out);
    if (!out.empty()) channel->send(out.readable(), wire);
    put(wire);
  }
  void until_end() {
    while (end == End::open) read();
  }
  // Pushes one and waits for its answer; 0: there was none.
  unsigned push(std::uint64_t tag) {
    h2::Request request;
    const std::array<std::uint8_t, 4> token{1, 2, 3, static_cast<std::uint8_t>(tag)};
    const Uuid id{4, 5, 6, static_cast<std::uint8_t>(tag)};
    request.tag = tag;
    request.prepared = prepared;
    request.slots[0] = std::as_bytes(std::span(token));
    request.slots[1] = std::as_bytes(std::span(id));
    request.content = base::as_bytes(alert ? R"({"aps":{"alert":"x"}})" : R"({"mdm":"magic"})");
    base::ByteBuffer plain, wire;
    EXPECT_EQ(session->write({&request, 1}, plain), 1u);
    channel->send(plain.readable(), wire);
    put(wire);
    while (end == End::open && !answers.contains(tag)) read();
    return answers.contains(tag) ? answers[tag] : 0;
  }
  bool alert = false;
};

TEST(MockDaemonFaults, OfTlsAndOfTheConnectionInTheMaking) {
  struct Row {
    const char* action;
    End end;
    tls::State state;
    tls::Cause cause;
  };
  // Where the client itself ends TLS, how the socket ends does not matter: it has seen enough.
  const Row rows[] = {
      {"refuse", End::rst, tls::State::handshaking, tls::Cause::none},
      {"accept-and-hang", End::silence, tls::State::handshaking, tls::Cause::none},
      {"tls hang", End::silence, tls::State::handshaking, tls::Cause::none},
      {"tls alert", End::fin, tls::State::failed, tls::Cause::alert},
      {"tls expired", End::fin, tls::State::failed, tls::Cause::certificate_expired},
      {"tls wrong-name", End::fin, tls::State::failed, tls::Cause::name_mismatch},
      {"tls no-alpn", End::fin, tls::State::failed, tls::Cause::no_alpn},
      {"tls refuse-certificate", End::fin, tls::State::failed, tls::Cause::own_certificate_refused},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.action);
    const auto server = serve(options_with(std::string("when connection 1 -> ") + row.action));
    Guest first(server->address(), row.end == End::silence ? 300 : 10'000);
    first.until_end();
    EXPECT_EQ(first.end, row.end);
    EXPECT_EQ(first.channel->state(), row.state);
    EXPECT_EQ(first.channel->failure().cause, row.cause) << first.channel->failure().text;
    EXPECT_EQ(first.bytes > 0, std::string_view(row.action).starts_with("tls"));
    Guest second(server->address());
    EXPECT_EQ(second.push(1), 200u);
    EXPECT_EQ(server->faults().sum(), 1u);
    EXPECT_NE(server->metrics_text().find(std::string("tocsin_mock_faults_total{fault=\"") + row.action + "\"} 1"), std::string::npos);
  }
}

TEST(MockDaemonFaults, OfTheConnectionUnderWay) {
  struct Row {
    const char* action;
    End end;
    tls::State state;
    EndedBy by = EndedBy::script;
  };
  for (const Row& row : {Row{"close", End::fin, tls::State::closed}, Row{"half-close", End::fin, tls::State::open},
                         Row{"tcp-reset", End::rst, tls::State::open}, Row{"tls alert", End::fin, tls::State::failed},
                         Row{"vanish", End::silence, tls::State::open}, Row{"no-answer", End::silence, tls::State::open, EndedBy::stop}}) {
    SCOPED_TRACE(row.action);
    const auto server = serve(options_with(std::string("when request 2 -> ") + row.action));
    Guest guest(server->address(), row.end == End::silence ? 300 : 10'000);
    EXPECT_EQ(guest.push(1), 200u);
    EXPECT_EQ(guest.push(2), 0u);
    guest.until_end();
    EXPECT_EQ(guest.end, row.end);
    EXPECT_EQ(guest.channel->state(), row.state) << guest.channel->failure().text;
    EXPECT_EQ(server->totals().accepted, 1u);
    Guest second(server->address());
    EXPECT_EQ(second.push(3), 200u);
    std::vector<ConnectionEnd> ends;
    EXPECT_EQ(server->ends(ends), 0u);
    EXPECT_EQ(ends.size(), row.by == EndedBy::stop ? 0u : 1u) << "what lives has no end";
    server->stop(0);
    ends.clear();
    EXPECT_EQ(server->ends(ends), 0u);
    ASSERT_EQ(ends.size(), 2u);
    const ConnectionEnd& first = ends[ends[0].connection == 1 ? 0 : 1];
    EXPECT_EQ(ended_by_word(first.by), ended_by_word(row.by));
    EXPECT_EQ(first.streams_open, 1u);
    EXPECT_GT(first.opened_unix_ms, 0);
    EXPECT_GE(first.ended_unix_ms, first.opened_unix_ms);
    const ConnectionEnd& other = ends[ends[0].connection == 1 ? 1 : 0];
    EXPECT_EQ(other.connection, 2u);
    EXPECT_EQ(other.streams_open, 0u);
  }
}

TEST(MockDaemonFaults, SlowBytes) {
  const auto server = serve(options_with("when connection 1 -> slow 100/2ms"));
  Guest guest(server->address());
  EXPECT_EQ(guest.push(1), 200u);
  EXPECT_GE(guest.reads, guest.bytes / 100) << "no more than 100 bytes at a time";
  EXPECT_GT(guest.bytes, 500u);
}

TEST(MockDaemonFaults, AStallHoldsEveryConnection) {
  const auto server = serve(options_with("when request 2 -> stall 400ms"));
  Guest one(server->address());
  EXPECT_EQ(one.push(1), 200u);
  const auto begun = Clock::now();
  EXPECT_EQ(one.push(2), 200u);
  EXPECT_GE(Clock::now() - begun, std::chrono::milliseconds(400));
  EXPECT_EQ(server->faults().of(mock::Fault::stall), 1u);
}

TEST(MockDaemonFaults, TimedRulesNeedNoTraffic) {
  const auto server = serve(options_with("when after 200ms -> goaway"));
  Guest guest(server->address());
  guest.until_end();
  EXPECT_EQ(guest.end, End::fin);
  EXPECT_EQ(server->faults().of(mock::Fault::goaway), 1u);
}

TEST(MockDaemonFaults, ProviderTokens) {
  const std::string& line = kit().provider_keys;
  const auto key = apns::read_p8(kit().provider_p8, line.substr(0, 10), line.substr(11, 10));
  ASSERT_TRUE(key.ok()) << key.error().message;
  Options options = options_with("");
  options.gateway.provider_keys[(*key)->key_id()] = {(*key)->public_key(), (*key)->team_id(), {}};
  const auto server = serve(std::move(options));
  Guest guest(server->address(), 10'000, false, "bearer " + apns::make_provider_token(**key, std::time(nullptr)));
  guest.alert = true;
  EXPECT_EQ(guest.session->peer_streams_max(), 1u);
  EXPECT_EQ(guest.push(1), 200u);
  EXPECT_EQ(guest.push(2), 200u);
  EXPECT_EQ(guest.session->peer_streams_max(), 1000u);
  Guest nobody(server->address(), 10'000, false);
  nobody.alert = true;
  EXPECT_EQ(nobody.push(3), 403u);
}

TEST(MockDaemonFaults, TheLedgerTellsEveryDoubledPush) {
  const auto server = serve(options_with("when request 1 -> no-answer-but-accept, tcp-reset"));
  {
    Guest guest(server->address());
    EXPECT_EQ(guest.push(1), 0u);
  }
  Guest guest(server->address());
  EXPECT_EQ(guest.push(1), 200u);
  const std::array<std::uint8_t, 4> token{1, 2, 3, 1};
  const auto history = server->history(std::as_bytes(std::span(token)));
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].connection, 1u);
  EXPECT_EQ(history[1].connection, 2u);
  EXPECT_EQ(history[0].apns_id, history[1].apns_id);
  const std::string path = (std::filesystem::temp_directory_path() / ("tocsin-faults-" + std::to_string(::getpid()))).string();
  server->with_ledger([&](const mock::Ledger& ledger) { EXPECT_TRUE(write_ledger(ledger, path).ok()); });
  std::ifstream in(path);
  std::string text;
  std::getline(in, text);
  std::filesystem::remove(path);
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["accepted"], 2);
  ASSERT_EQ(json["history"].size(), 2u);
  EXPECT_EQ(json["history"][1]["connection"], 2);
  EXPECT_EQ(json["history"][0]["answer_lost"], true);
  EXPECT_FALSE(json["history"][1].contains("answer_lost"));
  EXPECT_EQ(json["history"][1]["apns_id"], json["apns_id"]);
  const mock::ScriptCounts counts = server->faults();
  EXPECT_EQ(nlohmann::json::parse(totals_json(server->report(), &counts))["faults"]["tcp-reset"], 1);
  EXPECT_NE(totals_text(server->report(), &counts).find("faults    2\n          no-answer-but-accept 1\n"), std::string::npos);
}

TEST(MockDaemonFaults, ScriptsAskForTheCertificatesTheyNeed) {
  Options options = options_with("when always -> tls expired");
  options.expired_certificate_pem.clear();
  const auto server = Server::start(std::move(options));
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().message.find("script t says tls expired"), std::string::npos) << server.error().message;
}

}  // namespace
}  // namespace tocsin::mockd
