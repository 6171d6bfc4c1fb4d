// SPDX-License-Identifier: Apache-2.0
#include "http/parser.h"

#include <optional>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>

namespace tocsin::http {
namespace {

namespace beast = boost::beast::http;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

struct Parser::Impl {
  std::size_t head_bytes_max;
  std::string unread;
  std::size_t head_bytes = 0;  // of the request under way, consumed by Beast already
  std::optional<beast::request_parser<beast::empty_body>> parser;

  void begin() {
    parser.emplace();
    parser->header_limit(static_cast<std::uint32_t>(head_bytes_max));
    parser->skip(true);  // bodies are refused, not read
    head_bytes = 0;
  }

  Parsed refuse(Incoming& out, unsigned status, std::string_view text) {
    out.refusal = json_error(status, text);
    out.keep_alive = false;
    return Parsed::refused;
  }

  Parsed judge(Incoming& out) {
    const auto& message = parser->get();
    out.keep_alive = message.keep_alive();
    const bool get = message.method() == beast::verb::get;
    if (!get && message.method() != beast::verb::head) {
      out.allow_header = true;
      return refuse(out, 405, "only GET and HEAD are served here");
    }
    if (message.version() >= 11 && message.find(beast::field::host) == message.end()) {
      return refuse(out, 400, "an HTTP/1.1 request needs a Host field");
    }
    if (message.find(beast::field::transfer_encoding) != message.end() ||
        (message.find(beast::field::content_length) != message.end() &&
         view(message[beast::field::content_length]) != "0")) {
      return refuse(out, 413, "a request body is not accepted here");
    }
    const std::string_view target = view(message.target());
    if (target.empty() || target.front() != '/') return refuse(out, 400, "the request target must be a path");
    const std::size_t mark = target.find('?');
    out.request.method = get ? "GET" : "HEAD";
    out.request.path = target.substr(0, mark);
    out.request.query = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
    return Parsed::request;
  }
};

Parser::Parser(std::size_t head_bytes_max) : impl_(std::make_unique<Impl>()) {
  impl_->head_bytes_max = head_bytes_max;
  impl_->begin();
}
Parser::~Parser() = default;

void Parser::feed(std::string_view bytes) { impl_->unread.append(bytes); }

bool Parser::idle() const { return impl_->unread.empty() && impl_->head_bytes == 0; }

Parsed Parser::next(Incoming& out) {
  Impl& me = *impl_;
  out = {};
  while (!me.parser->is_header_done()) {
    if (me.unread.empty()) return Parsed::more;
    boost::system::error_code error;
    const std::size_t used = me.parser->put(boost::asio::buffer(me.unread.data(), me.unread.size()), error);
    me.unread.erase(0, used);
    me.head_bytes += used;
    const bool too_large = me.head_bytes + (me.parser->is_header_done() ? 0 : me.unread.size()) > me.head_bytes_max;
    if (error == beast::error::header_limit || too_large) {
      return me.refuse(out, 431, "the request head is too large");
    }
    if (error == beast::error::need_more) {
      return Parsed::more;
    }
    if (error) return me.refuse(out, 400, "this is not an HTTP/1.1 request");
  }
  const Parsed answer = me.judge(out);
  me.begin();
  return answer;
}

std::string serialise(const Response& response, bool keep_alive, bool head_only, bool allow_header) {
  const boost::beast::string_view reason = beast::obsolete_reason(static_cast<beast::status>(response.status));
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + " ";
  text.append(reason.data(), reason.size());
  text.append("\r\nContent-Type: ").append(response.content_type);
  text.append("\r\nContent-Length: ").append(std::to_string(response.body.size()));
  text.append("\r\nCache-Control: no-store");
  if (allow_header) text.append("\r\nAllow: GET, HEAD");
  text.append(keep_alive ? "\r\nConnection: keep-alive" : "\r\nConnection: close").append("\r\n\r\n");
  if (!head_only) text.append(response.body);
  return text;
}

}  // namespace tocsin::http
