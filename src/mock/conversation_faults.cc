// SPDX-License-Identifier: Apache-2.0
// What a fault script does to a conversation.
//
// The model stays honest where honesty is APNs' promise: GOAWAY never disowns a stream that was judged, REFUSED_STREAM is
// only said of a request that nobody looked at, and a 200 always stands in the ledger. A client that trusts
// those promises must lose and double nothing.
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/hex.h"
#include "mock/conversation.h"

namespace tocsin::mock {
namespace {

constexpr std::int32_t kLastAll = 0x7fffffff;
constexpr std::int64_t kSecondGoawayNs = 20 * base::kMillisecond;

std::string_view field(const h2::ServerRequest& request, std::string_view name) {
  for (const h2::FieldView& field : request.fields) {
    if (field.name == name) return field.value;
  }
  return {};
}

RequestFacts facts_of(const h2::ServerRequest& request, const Peer& peer) {
  constexpr std::string_view kPrefix = "/3/device/";
  RequestFacts facts;
  facts.connection = peer.connection;
  facts.topic = field(request, "apns-topic");
  if (facts.topic.empty()) facts.topic = peer.uid;
  facts.token_hex = field(request, ":path");
  if (facts.token_hex.starts_with(kPrefix)) facts.token_hex.remove_prefix(kPrefix.size());
  return facts;
}

bool decides(Fault fault) {
  return fault == Fault::answer || fault == Fault::no_answer || fault == Fault::lost_answer || fault == Fault::reset ||
         fault == Fault::oversized_body || fault == Fault::broken_body;
}

// The push is taken by the gateway, whatever the client is told of it.
bool takes(const Action& action) {
  return action.fault == Fault::lost_answer || (action.fault == Fault::reset && (action.accepted || action.after_headers));
}

// Big-endian, as HTTP/2 has it.
void put(std::string& out, std::uint32_t value, int bytes) {
  while (bytes-- > 0) out.push_back(static_cast<char>(value >> (8 * bytes) & 0xff));
}

// RFC 9113 section 4.1.
std::string frame(std::uint8_t type, std::uint8_t flags, std::int32_t stream_id, std::string_view payload) {
  std::string out;
  put(out, static_cast<std::uint32_t>(payload.size()), 3);
  put(out, type, 1);
  put(out, flags, 1);
  put(out, static_cast<std::uint32_t>(stream_id), 4);
  return out.append(payload);
}

}  // namespace

void Conversation::judge_by_script(const h2::ServerRequest& request, base::Now now) {
  std::vector<const Action*>& actions = service_.actions_;
  actions.clear();
  const RequestFacts facts = facts_of(request, peer_);
  service_.script_->on_request(facts, now, actions);
  if (actions.empty()) return judge(request, now);

  Verdict verdict;
  for (const Action* action : actions) {
    if (action->fault == Fault::delay) {
      verdict.delay_ns += action->duration_ns;
      service_.counts_.add(Fault::delay);
    } else if (decides(action->fault) && verdict.action == nullptr) {
      verdict.action = action;
      service_.counts_.add(action->fault);
      if (action->fault == Fault::answer && action->duration_ns != 0) service_.script_->hold(facts.token_hex, *action, now);
    }
  }
  // A push that is to be taken is taken before its connection is broken; any other is lost with it unread.
  const bool first = verdict.action != nullptr && takes(*verdict.action);
  if (first) decide(request, verdict, now);
  for (const Action* action : actions) {
    if (action->fault != Fault::delay && !decides(action->fault)) perform(*action, now);
  }
  const bool disowned = goaway_last_ >= 0 && request.stream_id > goaway_last_;
  if (!first && !deaf() && !disowned) decide(request, verdict, now);
}

void Conversation::decide(const h2::ServerRequest& request, const Verdict& verdict, base::Now now) {
  const Action* action = verdict.action;
  Reply& reply = service_.reply_;
  if (action == nullptr || takes(*action)) {
    service_.gateway_.handle(peer_, request, now, reply, action != nullptr);
  } else if (action->fault == Fault::no_answer) {
    return;
  } else if (action->fault == Fault::reset) {
    return session_->reset(request.stream_id, action->code);
  } else {
    const bool bad_body = action->fault != Fault::answer;
    std::int64_t timestamp = action->timestamp_unix_ms;
    const std::int64_t ago_ns = action->timestamp_ago_ns >= 0 ? action->timestamp_ago_ns : action->status == 410 ? 0 : -1;
    if (timestamp < 0 && ago_ns >= 0) timestamp = (now.wall_ns - ago_ns) / base::kMillisecond;
    service_.gateway_.refuse(peer_, request, now, action->status, bad_body ? "InternalServerError" : std::string_view(action->text),
                             timestamp, reply);
  }
  last_judged_ = std::max(last_judged_, request.stream_id);
  book(reply);
  if (action != nullptr) {
    switch (action->fault) {
      case Fault::lost_answer: return;
      case Fault::oversized_body:
      case Fault::broken_body: return answer_with_bad_body(request.stream_id, *action, reply);
      case Fault::reset:
        if (action->after_headers) answer_headers_only(request.stream_id, reply);
        return session_->reset(request.stream_id, action->code);
      default: break;
    }
  }
  const std::int64_t delay_ns = reply.delay_ns + verdict.delay_ns;
  if (delay_ns <= 0) answer(request.stream_id, reply);
  else answer_later(request.stream_id, reply, delay_ns, now);
}

void Conversation::answer_with_bad_body(std::int32_t stream_id, const Action& action, const Reply& reply) {
  char id[base::kUuidTextBytes];
  base::uuid_format(reply.apns_id, id);
  const h2::FieldView fields[1] = {{"apns-id", {id, sizeof id}, true}};
  std::string body = "{\"reason\":\"Intern";
  if (action.fault == Fault::oversized_body) {
    constexpr std::string_view kHead = "{\"reason\":\"InternalServerError\",\"pad\":\"";
    constexpr std::string_view kTail = "\"}";
    const std::size_t around = kHead.size() + kTail.size();
    body.assign(kHead).append(action.number > around ? action.number - around : 0, 'x').append(kTail);
  }
  (void)session_->respond(stream_id, reply.status, fields, base::as_bytes(body));
}

// The answer's HEADERS without END_STREAM. Literals only (RFC 7541 section 6.2.2), so that the client's table and the
// session's stay in step.
void Conversation::answer_headers_only(std::int32_t stream_id, const Reply& reply) {
  const auto literal = [](std::string& block, std::string_view value) {
    block.push_back(static_cast<char>(value.size()));
    block.append(value);
  };
  std::string block(1, '\x08');  // ":status" by its index, without indexing
  literal(block, std::to_string(reply.status));
  block.push_back('\x00');
  literal(block, "apns-id");
  literal(block, base::uuid_format(reply.apns_id));
  inject(base::as_bytes(frame(0x1, 0x4, stream_id, block)));
}

void Conversation::perform(const Action& action, base::Now now) {
  if (deaf()) return;
  if (action.fault != Fault::stall && action.fault != Fault::throttle) service_.counts_.add(action.fault);
  switch (action.fault) {
    case Fault::goaway: return goaway(action, now);
    case Fault::stall: {
      const std::int64_t own = action.duration_ns != 0 ? now.mono_ns + action.duration_ns : service_.script_->stalled_until(now);
      return service_.stall(own);
    }
    case Fault::unknown_frame: return inject(base::as_bytes(frame(0xfa, 0xff, 0, "unknown!")));
    case Fault::garbage:
      // A frame of 16 MiB of no type: no client can take it for anything. What it sends from now on is not read.
      inject(base::as_bytes(std::string(64, '\xff')));
      return end(Ending::half_close);
    case Fault::vanish: return vanish();
    case Fault::close: return end(Ending::close);
    case Fault::tcp_reset: return end(Ending::reset);
    case Fault::half_close: return end(Ending::half_close);
    case Fault::tls_alert: return end(Ending::alert);
    default:
      change(action, now);
      return settle(now);
  }
}

void Conversation::goaway(const Action& action, base::Now now) {
  std::int32_t last = session_->last_stream_id();
  switch (action.last) {
    case GoawayLast::seen: break;
    case GoawayLast::all: last = kLastAll; break;
    case GoawayLast::none: last = 0; break;
    case GoawayLast::exact: last = action.last_value; break;
    case GoawayLast::back: last = action.last_value > last / 2 ? 0 : last - 2 * action.last_value; break;
  }
  if (action.twice) {
    // RFC 9113 section 6.8: first a notice with the highest id, a little later the true one.
    say_goaway(kLastAll, action, false);
    later_.add(now.mono_ns + kSecondGoawayNs, {Due::goaway, last, {}, &action});
    ++service_.traffic_.answers_waiting;
    return;
  }
  say_goaway(last, action, true);
}

void Conversation::say_goaway(std::int32_t last, const Action& action, bool whole) {
  last = std::max(last, last_judged_);                         // what was judged is not disowned,
  if (goaway_last_ >= 0) last = std::min(last, goaway_last_);  // and no id rises again
  goaway_last_ = last;
  if (last == kLastAll) {
    // By hand: the session would take no further streams, which this notice promises.
    std::string payload;
    put(payload, static_cast<std::uint32_t>(last), 4);
    put(payload, whole ? action.code : 0, 4);
    return inject(base::as_bytes(frame(0x7, 0, 0, whole ? payload.append(action.text) : payload)));
  }
  session_->goaway(last, action.code, action.text);
  leaving_ = true;
}

// Orders for good; settle() tells the session.
void Conversation::change(const Action& action, base::Now) {
  if (lasts(action.fault)) apply(action, base_);
  else if (action.fault == Fault::probe) probing_ = true;
  else if (action.fault == Fault::throttle) throttle_errors_ = action.number;
  else if (action.fault == Fault::settings && action.code == 3) base_.streams = action.number;
  else if (action.fault == Fault::settings && action.code == 4) base_.window = action.number;
  else if (action.fault == Fault::settings) {
    const std::pair<std::uint16_t, std::uint32_t> entry{static_cast<std::uint16_t>(action.code), action.number};
    session_->set_settings({&entry, 1});
  }
}

void Conversation::settle(base::Now now) {
  Manner wanted = base_;
  service_.script_->overlay(peer_.connection, now, wanted);
  const Manner told = std::exchange(manner_, wanted);
  if (wanted.window != told.window) session_->set_initial_window(wanted.window);
  if (wanted.window_updates != told.window_updates) session_->set_auto_window_update(wanted.window_updates);
  if (wanted.ping_answers != told.ping_answers) session_->set_auto_ping_ack(wanted.ping_answers);
  if (wanted.split_headers != told.split_headers) session_->split_headers(wanted.split_headers);
  const std::uint32_t streams = std::min(probing_ ? 1u : throttle_limit_, wanted.streams);
  if (streams == streams_max_) return;
  streams_max_ = streams;
  session_->set_streams_max(streams);
}

// Lasting faults that begin without a word of their own: by a time window.
void Conversation::count_departures(const Manner& before) {
  ScriptCounts& counts = service_.counts_;
  const auto count = [&](auto Manner::*part, Fault fault) {
    if (manner_.*part != before.*part && manner_.*part != base_.*part) counts.add(fault);
  };
  count(&Manner::streams, Fault::streams);
  count(&Manner::window, Fault::window);
  count(&Manner::split_headers, Fault::split_headers);
  count(&Manner::window_updates, Fault::no_window_updates);
  count(&Manner::ping_answers, Fault::ping_silence);
  count(&Manner::pace, Fault::slow);
}

void Conversation::run(base::Now now) {
  if (session_ == nullptr) return;
  if (flood_ != nullptr) run_flood(now);
  Later due;
  while (later_.take_due(now.mono_ns, due)) {
    --service_.traffic_.answers_waiting;
    if (deaf()) continue;
    if (due.what == Due::answer) answer(due.stream_id, due.reply);
    else say_goaway(due.action->last == GoawayLast::seen ? session_->last_stream_id() : due.stream_id, *due.action, true);
  }
  if (now.mono_ns < edge_mono_ns_ || deaf()) return;
  std::vector<const Action*>& actions = service_.actions_;
  actions.clear();
  service_.script_->on_time(peer_.connection, looked_mono_ns_, now.mono_ns, actions);
  looked_mono_ns_ = now.mono_ns;
  edge_mono_ns_ = service_.script_->next_edge(now);
  const Manner before = manner_;
  settle(now);
  count_departures(before);
  for (const Action* action : actions) perform(*action, now);
}

}  // namespace tocsin::mock
