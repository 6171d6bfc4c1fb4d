// SPDX-License-Identifier: Apache-2.0
// The half of the script's parser behind the arrow.
#include <array>
#include <charconv>

#include "base/now.h"
#include "mock/script_words.h"

namespace tocsin::mock {
namespace {

constexpr std::array<std::string_view, kFaults> kFaultWords = {
    "answer", "delay", "no-answer", "no-answer-but-accept", "reset", "oversized-body", "broken-body",
    "goaway", "streams", "window", "no-window-updates", "settings", "unknown-frame", "split-headers", "ping-silence",
    "garbage", "vanish", "close", "tcp-reset", "half-close", "slow", "probe", "throttle", "tls alert",
    "stall",
    "tls refuse-certificate", "tls expired", "tls wrong-name", "tls no-alpn", "tls hang", "refuse", "accept-and-hang"};

// RFC 9113 section 7, from 0.
constexpr std::string_view kErrorCodes[] = {
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"};
constexpr std::uint32_t kRefusedStream = 7;
// RFC 9113 section 6.5.2, from 1.
constexpr std::string_view kSettings[] = {"HEADER_TABLE_SIZE", "ENABLE_PUSH", "MAX_CONCURRENT_STREAMS",
                                          "INITIAL_WINDOW_SIZE", "MAX_FRAME_SIZE", "MAX_HEADER_LIST_SIZE"};

constexpr std::uint32_t kStreamsMax = 1'000'000;
constexpr std::uint32_t kWindowMax = 0x7fffffff;
constexpr std::size_t kReasonMax = 100;  // Reply::body_storage holds it with its JSON and a time
constexpr std::size_t kTextMax = 1000;

void read_answer(Words& words, Action& action) {
  action.status = static_cast<std::uint16_t>(words.number("a status of a refusal", 300, 599));
  const auto option = [&] { return words.is("timestamp") || words.is("hold"); };
  if (!words.is_separator() && !option()) {
    const std::size_t where = words.column();
    action.text = words.text("a reason");
    if (action.text.size() > kReasonMax || action.text.find_first_of("\"\\") != std::string::npos) {
      words.complain(where, "a reason has at most " + std::to_string(kReasonMax) + " characters and no backslash");
    }
  }
  while (!words.done() && option()) {
    if (words.take("hold")) {
      action.duration_ns = words.duration("how long to hold");
      continue;
    }
    words.take("timestamp");
    const std::string_view word = words.peek();
    if (word.starts_with('-') && word.size() > 1) {
      Words ago({Word{word.substr(1), words.column() + 1}}, 0);
      action.timestamp_ago_ns = ago.duration("a time before now");
      if (ago.failed()) words.complain(ago.complaint().column, ago.complaint().text);
      words.skip();
    } else {
      action.timestamp_unix_ms =
          static_cast<std::int64_t>(words.number("a time in Unix milliseconds, or -5m for five minutes before now", 0, 1ull << 53));
    }
  }
}

void read_reset(Words& words, Action& action) {
  const std::size_t where = words.column();
  action.code = words.code("an HTTP/2 error code", kErrorCodes, 0, 0xffffffffu);
  for (;;) {
    if (words.take("after")) {
      words.expect("headers", "as in: reset CANCEL after headers");
      action.after_headers = true;
    } else if (words.take("accepted")) {
      action.accepted = true;
    } else {
      break;
    }
  }
  if (action.code == kRefusedStream && (action.accepted || action.after_headers)) {
    words.complain(where, "REFUSED_STREAM promises that nothing was done with the request; use another code with accepted or after headers");
  }
}

void read_last(Words& words, Action& action) {
  const std::size_t where = words.column();
  const std::string_view word = words.text("all, none, a stream id or -N");
  if (word == "all") {
    action.last = GoawayLast::all;
    return;
  }
  if (word == "none") {
    action.last = GoawayLast::none;
    return;
  }
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  const bool number = error == std::errc{} && end == word.data() + word.size();
  if (number && value < 0) {
    action.last = GoawayLast::back;
    action.last_value = -value;
  } else if (number && value % 2 == 1) {
    action.last = GoawayLast::exact;
    action.last_value = value;
  } else {
    words.complain(where, quoted(word) + " is no last stream: give all, none, a stream's odd id, or -N for N streams below the highest seen");
  }
}

void read_goaway(Words& words, Action& action) {
  static constexpr std::string_view kOptions[] = {"last", "code", "reason", "text", "twice"};
  while (!words.is_separator()) {
    const std::size_t where = words.column();
    if (words.take("last")) read_last(words, action);
    else if (words.take("code")) action.code = words.code("an HTTP/2 error code", kErrorCodes, 0, 0xffffffffu);
    else if (words.take("reason")) action.text.assign("{\"reason\":\"").append(words.text("a reason")).append("\"}");
    else if (words.take("text")) action.text = words.text("the debug text");
    else if (words.take("twice")) action.twice = true;
    else return words.complain(where, words.here() + " is no part of goaway" + suggestion(words.peek(), kOptions));
    if (action.text.size() > kTextMax) words.complain(where, "at most " + std::to_string(kTextMax) + " characters");
  }
}

void read_slow(Words& words, Action& action) {
  const std::size_t where = words.column();
  const std::string_view word = words.text("bytes and interval, as 1/10ms");
  const std::size_t slash = word.find('/');
  if (words.failed()) return;
  if (slash == std::string_view::npos) return words.complain(where, "slow takes bytes/interval, as in: slow 1/10ms");
  Words bytes({Word{word.substr(0, slash), where}}, 0);
  Words interval({Word{word.substr(slash + 1), where + slash + 1}}, 0);
  action.number = static_cast<std::uint32_t>(bytes.number("a number of bytes", 1, 1u << 20));
  action.duration_ns = interval.duration("an interval");
  if (bytes.failed()) words.complain(bytes.complaint().column, bytes.complaint().text);
  if (interval.failed()) words.complain(interval.complaint().column, interval.complaint().text);
  if (!words.failed() && action.duration_ns == 0) words.complain(where + slash + 1, "the interval must be more than 0");
}

// How the word of a fault begins: all before the blank for the TLS ones.
std::string_view first_part(std::string_view word) { return word.substr(0, word.find(' ')); }

bool find_fault(Words& words, Fault& out) {
  const std::size_t where = words.column();
  const std::string_view first = words.text("what to do");
  if (words.failed()) return false;
  const std::string_view second = first == "tls" ? words.text("which TLS fault") : std::string_view();
  if (words.failed()) return false;
  for (std::size_t i = 0; i < kFaults; ++i) {
    const std::string_view word = kFaultWords[i];
    if (first_part(word) != first) continue;
    if (first == "tls" && word.substr(4) != second) continue;
    out = static_cast<Fault>(i);
    return true;
  }
  std::string name(first);
  if (!second.empty()) name.append(" ").append(second);
  words.complain(where, quoted(name) + " is nothing that the mock can do" + suggestion(name, kFaultWords));
  return false;
}

}  // namespace

std::string_view fault_word(Fault fault) { return kFaultWords[static_cast<std::size_t>(fault)]; }

Action read_action(Words& words) {
  Action action;
  if (!find_fault(words, action.fault)) return action;
  const auto number = [&](std::string_view what, std::uint64_t min, std::uint64_t max) {
    return static_cast<std::uint32_t>(words.number(what, min, max));
  };
  switch (action.fault) {
    case Fault::answer: read_answer(words, action); break;
    case Fault::delay: action.duration_ns = words.duration("a delay"); break;
    case Fault::reset: read_reset(words, action); break;
    case Fault::goaway: read_goaway(words, action); break;
    case Fault::slow: read_slow(words, action); break;
    case Fault::streams: action.number = number("a stream limit", 0, kStreamsMax); break;
    case Fault::window: action.number = number("a window in bytes", 0, kWindowMax); break;
    case Fault::split_headers: action.number = number("bytes of a header fragment", 1, 16'384); break;
    case Fault::throttle: action.number = number("errors in a row that halve the limit", 1, 1'000'000); break;
    case Fault::settings:
      action.code = words.code("a setting", kSettings, 1, 0xffff);
      action.number = number("the setting's value", 0, 0xffffffffu);
      break;
    case Fault::stall:
      if (!words.is_separator()) action.duration_ns = words.duration("how long to be silent");
      break;
    case Fault::broken_body:
      action.status = words.is_separator() ? 500 : static_cast<std::uint16_t>(number("a status of a refusal", 300, 599));
      break;
    case Fault::oversized_body:
      action.status = 500;
      action.number = words.is_separator() ? 65'536 : number("bytes of the body", 1, 1u << 24);
      break;
    default: break;
  }
  return action;
}

}  // namespace tocsin::mock
