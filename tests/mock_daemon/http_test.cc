// SPDX-License-Identifier: Apache-2.0
// The admin server over real sockets: what it serves, what it refuses, and its bounds.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "http/server.h"
#include "log/log.h"

namespace tocsin::http {
namespace {

class Client {
 public:
  explicit Client(const std::string& address) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    const timeval limit{5, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  void send(std::string_view text) const { ASSERT_EQ(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size())); }

  // One answer with its body (by Content-Length); what came behind it stays for the next call.
  std::string answer(bool head_only = false) {
    for (;;) {
      const std::size_t end = unread_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::size_t field = unread_.find("Content-Length: ");
        const std::size_t body = head_only ? 0 : std::stoul(unread_.substr(field + 16));
        if (unread_.size() >= end + 4 + body) {
          std::string whole = unread_.substr(0, end + 4 + body);
          unread_.erase(0, whole.size());
          return whole;
        }
      }
      if (!more()) return unread_ + "<closed>";
    }
  }
  bool closed_by_peer() {
    while (more()) {
    }
    return ended_;
  }

 private:
  bool more() {
    char bytes[4096];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n > 0) unread_.append(bytes, static_cast<std::size_t>(n));
    ended_ = n == 0;
    return n > 0;
  }
  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  std::string unread_;
};

Response echo(const Request& request) {
  if (request.path == "/missing") return json_error(404, "nothing is \"here\"");
  return {200, "text/plain", request.method + " " + request.path + " [" + request.query + "]"};
}

std::unique_ptr<Server> serve(const ServerOptions& options = {}) {
  Result<std::unique_ptr<Server>> server = Server::start("127.0.0.1:0", echo, options);
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
  return std::move(server).value();
}

TEST(HttpServer, KeepsAliveAndServesPipelinedRequestsInOrder) {
  const auto server = serve();
  Client client(server->address());
  client.send("GET /a?x=1&y HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string first = client.answer();
  EXPECT_EQ(first.rfind("HTTP/1.1 200 OK\r\n", 0), 0u) << first;
  EXPECT_NE(first.find("Connection: keep-alive"), std::string::npos);
  EXPECT_TRUE(first.ends_with("\r\n\r\nGET /a [x=1&y]")) << first;
  EXPECT_TRUE(client.answer().ends_with("GET /b []"));
  client.send("GET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_NE(client.answer().find("Connection: close"), std::string::npos);
  EXPECT_TRUE(client.closed_by_peer());
}

TEST(HttpServer, HeadHasTheLengthButNoBody) {
  const auto server = serve();
  Client client(server->address());
  client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string answer = client.answer(true);
  EXPECT_NE(answer.find("Content-Length: 10\r\n"), std::string::npos) << answer;
  client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.answer().ends_with("\r\n\r\nGET /b []"));
}

TEST(HttpServer, ARequestMayComeByteByByte) {
  const auto server = serve();
  Client client(server->address());
  for (const char c : std::string("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")) client.send({&c, 1});
  EXPECT_TRUE(client.answer().ends_with("GET /slow []"));
}

TEST(HttpServer, HandlerDecidesUnknownPaths) {
  const auto server = serve();
  Client client(server->address());
  client.send("GET /missing HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string answer = client.answer();
  EXPECT_EQ(answer.rfind("HTTP/1.1 404 Not Found\r\n", 0), 0u) << answer;
  EXPECT_TRUE(answer.ends_with("{\"error\":\"nothing is \\\"here\\\"\"}\n")) << answer;
}

struct Refused {
  const char* request;
  const char* status;
};

TEST(HttpServer, RefusesWhatItDoesNotServe) {
  const auto server = serve();
  const Refused cases[] = {
      {"nonsense\r\n\r\n", "HTTP/1.1 400 "},
      {"GET / HTTP/9.9.9\r\n\r\n", "HTTP/1.1 400 "},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
      {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
      {"GET / HTTP/1.1\r\nHost : a\r\nb ad: x\r\n\r\n", "HTTP/1.1 400 "},
      {"GET http://x/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "},
      {"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", "HTTP/1.1 413 "},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 413 "},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 "},
  };
  for (const Refused& c : cases) {
    Client client(server->address());
    client.send(c.request);
    const std::string answer = client.answer();
    EXPECT_EQ(answer.rfind(c.status, 0), 0u) << c.request << "\n" << answer;
    EXPECT_NE(answer.find("Connection: close"), std::string::npos) << c.request;
    EXPECT_TRUE(client.closed_by_peer()) << c.request;
  }
}

TEST(HttpServer, BoundsTheHead) {
  const auto server = serve();
  for (const std::string& request :
       {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(9000, 'x') + "\r\n\r\n", "GET /" + std::string(9000, 'y'),
        [] {
          std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
          while (many.size() < 9000) many += "A: b\r\n";
          return many + "\r\n";
        }()}) {
    Client client(server->address());
    client.send(request);
    const std::string answer = client.answer();
    EXPECT_EQ(answer.rfind("HTTP/1.1 431 ", 0), 0u) << answer;
  }
  Client fits(server->address());
  fits.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(7000, 'x') + "\r\n\r\n");
  EXPECT_EQ(fits.answer().rfind("HTTP/1.1 200 ", 0), 0u);
}

TEST(HttpServer, ClosesIdleAndSlowConnections) {
  ServerOptions options;
  options.timeout_ms = 100;
  const auto server = serve(options);
  Client idle(server->address());
  Client slow(server->address());
  slow.send("GET / HT");
  EXPECT_TRUE(idle.closed_by_peer());
  EXPECT_TRUE(slow.closed_by_peer());
}

TEST(HttpServer, WaitsForRoomAtTheConnectionBound) {
  ServerOptions options;
  options.connections_max = 2;
  options.timeout_ms = 300;
  const auto server = serve(options);
  Client a(server->address()), b(server->address());
  a.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  b.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(a.answer().ends_with("GET /a []"));
  EXPECT_TRUE(b.answer().ends_with("GET /b []"));
  Client c(server->address());
  c.send("GET /c HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(c.answer().ends_with("GET /c []"));  // after a or b timed out
}

TEST(HttpServer, BindErrorsSayWhatAndHow) {
  const auto server = serve();
  const auto taken = Server::start(server->address(), echo);
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().message.find(server->address()), std::string::npos);
  EXPECT_NE(taken.error().message.find("another port"), std::string::npos) << taken.error().message;
  EXPECT_FALSE(Server::start("localhost:http", echo).ok());
}

TEST(HttpServer, StopEndsOpenConnectionsAndFreesThePort) {
  auto server = serve();
  const std::string address = server->address();
  Client client(address);
  client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  client.answer();
  server->stop();
  EXPECT_TRUE(client.closed_by_peer());
  EXPECT_FALSE(Client(address).connected());
  server->stop();
  EXPECT_TRUE(Server::start(address, echo).ok());
}

TEST(Log, JsonLinesEscapeWhatCouldForgeALine) {
  EXPECT_EQ(log::json_line("t", LogLevel::warning, "ev", "a\"b\\\n\x01\xff\xc3\xa9"),
            "{\"time\":\"t\",\"level\":\"warning\",\"event\":\"ev\",\"text\":\"a\\\"b\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\"}");
  EXPECT_TRUE(log::level_from_text("debug").ok());
  EXPECT_FALSE(log::level_from_text("loud").ok());
  EXPECT_FALSE(log::format_from_text("xml").ok());
}

TEST(Log, WritesOneLineARecordFromTheLevelUp) {
  testing::internal::CaptureStderr();
  log::init({log::Format::json, LogLevel::info});
  log::write(LogLevel::debug, "quiet", "not seen");
  log::write(LogLevel::error, "seen", "two\nlines");
  log::flush();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find(R"("level":"error","event":"seen","text":"two\nlines"})"), std::string::npos) << text;
}

}  // namespace
}  // namespace tocsin::http
