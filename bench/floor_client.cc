// SPDX-License-Identifier: Apache-2.0
#include "floor_client.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>

#include <fmt/format.h>

#include "apns/answer.h"
#include "base/prng.h"
#include "cli/bench/usage.h"
#include "cli/signals.h"

namespace tocsin::bench {
namespace {

using cli::bench::mono_ns;

// As the shard has them: a batch of requests, and unsent bytes of a connection beyond which it is given no more.
constexpr std::size_t kBatch = 64;
constexpr std::size_t kHighWaterBytes = 512 * 1024;
// A PushMagic, as the engine keeps it.
constexpr std::array<std::uint8_t, 16> kPart = {0xd7, 0xd3, 0xa0, 0xb4, 0x53, 0xf1, 0x4d, 0x8e,
                                                0x9b, 0x10, 0x2e, 0x2a, 0x1e, 0x9d, 0x6a, 0x11};
constexpr std::int64_t kWaitNs = 100'000'000;
constexpr std::int64_t kSilenceNs = 30'000'000'000;

}  // namespace

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::io, "cannot read " + path};
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

// What clocks and counters say at one time.
struct FloorClient::Moment {
  std::int64_t mono_ns = 0, user_ns = 0, system_ns = 0, mock_ns = 0;
  std::uint64_t answered = 0, bytes_sent = 0, enters = 0;
};

FloorClient::FloorClient(const FloorOptions& options, cli::bench::MockChild& mock)
    : options_(options), mock_(mock), connections_(options.connections), tokens_(kBatch), ids_(kBatch), requests_(kBatch) {
  template_.topic = mock.topic();
  template_.push_type = PushType::mdm;
  template_.form = PayloadForm::with_part;
  template_.payload = R"({"mdm":"%PART%"})";
  halves_ = apns::split_payload(template_.payload);
  for (std::size_t i = 0; i < kBatch; ++i) {
    requests_[i].slots = {std::as_bytes(std::span(tokens_[i])), std::as_bytes(std::span(ids_[i])), {}};
    requests_[i].content = std::as_bytes(std::span(kPart));
  }
}

Result<void> FloorClient::dial(const std::string& certificates) {
  const auto choice = tls::choose_crypto(tls::Crypto::automatic);
  if (!choice.ok()) return choice.error();
  std::array<std::string, 3> pem;
  for (std::size_t i = 0; i < pem.size(); ++i) {
    constexpr std::array kNames = {"/ca.pem", "/push.pem", "/push.key"};
    Result<std::string> text = read_file(certificates + kNames[i]);
    if (!text.ok()) return text.error();
    pem[i] = *std::move(text);
  }
  const Result<tls::Identity> identity = tls::identity_from_pem(pem[1], pem[2], "");
  if (!identity.ok()) return identity.error();
  tls::ClientOptions tls_options;
  tls_options.identity = &*identity;
  tls_options.ca_pem = pem[0];
  tls_options.crypto = choice->crypto;
  tls_options.version_min = tls_options.version_max = 13;
  auto context = tls::make_client_context(tls_options);
  if (!context.ok()) return context.error();
  context_ = std::move(context).value();
  const auto address = io::parse_address(mock_.host() + ":" + std::to_string(mock_.port()));
  if (!address.ok()) return address.error();
  io::DriverOptions driver_options;
  driver_options.sockets_max = options_.connections;
  auto driver = io::Driver::open(driver_options);
  if (!driver.ok()) return driver.error();
  driver_ = std::move(driver).value();
  for (unsigned i = 0; i < options_.connections; ++i) {
    connections_[i].handle = std::uint64_t{1} << 32 | i;
    driver_->dial(connections_[i].handle, *address);
  }
  return {};
}

Result<Figures> FloorClient::measure() {
  Result<void> ran = run([this](std::int64_t) { return answered_ >= options_.warmup; });
  if (!ran.ok()) return ran.error();
  const Moment first = moment();
  const std::int64_t end_ns = first.mono_ns + static_cast<std::int64_t>(options_.seconds * 1e9);
  ran = run([this, &first, end_ns](std::int64_t now) { return now >= end_ns && answered_ != first.answered; });
  if (!ran.ok()) return ran.error();
  const Moment last = moment();
  draining_ = true;
  ran = run([this](std::int64_t) { return answered_ == sent_; });
  if (!ran.ok()) return ran.error();
  for (const Connection& connection : connections_) driver_->close(connection.handle);
  while (driver_->sockets_in_use() != 0) {
    driver_->wait(mono_ns() + kWaitNs);
    completions_.clear();
    driver_->reap(completions_);
  }
  const auto per_push = [&first, &last](auto field) {
    return static_cast<double>(last.*field - first.*field) / static_cast<double>(last.answered - first.answered);
  };
  return Figures{1e9 / per_push(&Moment::mono_ns), per_push(&Moment::user_ns), per_push(&Moment::system_ns),
                 per_push(&Moment::mock_ns), per_push(&Moment::bytes_sent), per_push(&Moment::enters)};
}

FloorClient::Moment FloorClient::moment() const {
  rusage used{};
  getrusage(RUSAGE_THREAD, &used);
  const auto ns = [](const timeval& t) { return t.tv_sec * std::int64_t{1'000'000'000} + t.tv_usec * std::int64_t{1000}; };
  return {mono_ns(), ns(used.ru_utime), ns(used.ru_stime), cli::bench::process_cpu_ns(mock_.pid()), answered_, bytes_sent_,
          driver_->stats().enters};
}

template <class Until>
Result<void> FloorClient::run(Until until) {
  std::int64_t moved_ns = mono_ns();
  for (std::uint64_t seen = answered_;;) {
    const std::int64_t now = mono_ns();
    if (until(now)) return {};
    if (cli::interrupted()) return Error{Code::stopped, "interrupted"};
    if (answered_ != seen) {
      seen = answered_;
      moved_ns = now;
    } else if (now - moved_ns > kSilenceNs) {
      return Error{Code::io, fmt::format("the mock answered nothing for 30 s; {} of {} requests were answered", answered_, sent_)};
    }
    driver_->wait(now + kWaitNs);
    completions_.clear();
    driver_->reap(completions_);
    for (const io::Completion& completion : completions_) {
      if (Result<void> taken = take(connections_[static_cast<std::uint32_t>(completion.handle)], completion); !taken.ok()) return taken;
    }
    for (Connection& connection : connections_) {
      if (connection.h2 != nullptr) write(connection);
      if (!connection.sending && !connection.fill().empty()) send(connection);
    }
  }
}

// The mock's own end is said before what it did to a connection.
Error FloorClient::broken(const char* what, int error) {
  if (Result<void> alive = mock_.check(); !alive.ok()) return alive.error();
  return Error{Code::io, fmt::format("{} {}:{}{}", what, mock_.host(), mock_.port(), error == 0 ? "" : std::string(": ") + std::strerror(error))};
}

Result<void> FloorClient::take(Connection& connection, const io::Completion& completion) {
  using Kind = io::CompletionKind;
  switch (completion.kind) {
    case Kind::dialled: {
      if (completion.error != 0) return broken("cannot connect to the mock at", completion.error);
      auto channel = context_->connect(mock_.host());
      if (!channel.ok()) return channel.error();
      connection.tls = std::move(channel).value();
      connection.tls->start(connection.fill());
      return {};
    }
    case Kind::received: return receive(connection, completion.bytes);
    case Kind::sent: {
      if (completion.result <= 0) return broken("cannot send to the mock at", static_cast<int>(-completion.result));
      base::ByteBuffer& buffer = connection.wire[connection.sending_index];
      bytes_sent_ += static_cast<std::uint64_t>(completion.result);
      buffer.consume(static_cast<std::size_t>(completion.result));
      connection.sending = !buffer.empty();
      if (connection.sending) driver_->send(connection.handle, buffer.readable());  // a short send: the rest goes first
      return {};
    }
    case Kind::peer_closed: return broken("the connection was closed by the mock at", completion.error);
    case Kind::closed:
    case Kind::accepted: break;
  }
  return {};
}

Result<void> FloorClient::receive(Connection& connection, base::ByteView bytes) {
  const tls::State state = connection.tls->receive(bytes, connection.plain_in, connection.fill());
  if (state == tls::State::failed) return Error{Code::io, "TLS with the mock failed: " + connection.tls->failure().text};
  if (state == tls::State::closed) return Error{Code::io, "the mock ended a connection"};
  if (state != tls::State::open) return {};
  if (connection.h2 == nullptr) {
    h2::ClientOptions h2_options;
    h2_options.streams_max = options_.streams;
    h2_options.captures = {std::string(apns::kCaptureApnsId)};
    h2_options.plain_apart = true;
    auto session = h2::make_fast_client(h2_options);
    if (!session.ok()) return session.error();
    connection.h2 = std::move(session).value();
  }
  answers_.clear();
  events_.clear();
  const Result<void> read = connection.h2->receive(connection.plain_in.readable(), answers_, events_);
  connection.plain_in.clear();
  if (!read.ok()) return read.error();
  for (const h2::Event& event : events_) {
    if (event.kind == h2::EventKind::goaway) return Error{Code::io, fmt::format("the mock sent GOAWAY {}", event.error_code)};
  }
  for (const h2::Answer& answer : answers_) {
    if (answer.kind == h2::AnswerKind::complete && answer.status == 200) continue;
    return Error{Code::io, answer.kind == h2::AnswerKind::complete
                               ? fmt::format("a push was answered :status {} {}, not 200", answer.status, base::as_text(answer.body))
                               : fmt::format("a push's stream ended without an answer, error code {}", answer.error_code)};
  }
  answered_ += answers_.size() + connection.h2->plain_tags().size();
  return {};
}

// A request for each stream that is free, then all that is encoded into one run of records.
void FloorClient::write(Connection& connection) {
  while (!draining_ && connection.unsent_bytes() < kHighWaterBytes) {
    const std::size_t count = std::min<std::size_t>(connection.h2->can_start(), kBatch);
    if (count == 0) break;
    if (!connection.prepared) {
      const std::string authority = mock_.host() + ":" + std::to_string(mock_.port());
      connection.list = connection.h2->prepare(apns::request_fields(template_, authority, false),
                                               {halves_.before, halves_.after, true, base::SlotFormat::uuid_upper});
      connection.prepared = true;
    }
    for (std::size_t i = 0; i < count; ++i) make_request(i, connection.list);
    const std::size_t written = connection.h2->write(std::span(requests_).first(count), connection.plain_out);
    sent_ += written;
    if (written < count) break;  // a window is shut
  }
  connection.h2->write_pending(connection.plain_out);
  if (connection.plain_out.empty()) return;
  connection.tls->send(connection.plain_out.readable(), connection.fill());
  connection.plain_out.clear();
}

void FloorClient::make_request(std::size_t i, std::uint32_t list) {
  const std::uint64_t number = made_++ * 8;
  for (std::size_t word = 0; word < tokens_[i].size(); ++word) tokens_[i][word] = base::mix64(number + word);
  for (std::size_t word = 0; word < ids_[i].size(); ++word) ids_[i][word] = base::mix64(number + 4 + word);
  requests_[i].tag = made_;
  requests_[i].prepared = list;
}

void FloorClient::send(Connection& connection) {
  connection.sending_index = 1 - connection.sending_index;
  connection.sending = true;
  driver_->send(connection.handle, connection.wire[connection.sending_index].readable());
}

}  // namespace tocsin::bench
