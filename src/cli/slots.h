// SPDX-License-Identifier: Apache-2.0
// Slots: what must be known of a push when its outcome comes: its line, its token and its id as the input
// wrote them.
//
// Push::id is the slot's index. Threads: one at a time. Ownership: the texts stay until give_back().
// Bounds: a fixed number of slots, as many as the engine takes pushes; take() answers kNone when all are in
// use. A slot's text keeps its memory, so that a warmed-up pool does not allocate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/assertion.h"

namespace tocsin::cli {

class Slots {
 public:
  static constexpr std::uint32_t kNone = 0xffffffff;

  explicit Slots(std::uint32_t capacity) : slots_(capacity) {
    free_.reserve(capacity);
    for (std::uint32_t i = capacity; i-- > 0;) free_.push_back(i);
  }

  std::uint32_t take(std::uint64_t line, std::string_view token, std::string_view id, bool resumed = false,
                     std::uint32_t credential = 0) {
    if (free_.empty()) return kNone;
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Slot& slot = slots_[index];
    slot.line = line;
    slot.resumed = resumed;
    slot.credential = credential;
    slot.token_bytes = static_cast<std::uint32_t>(token.size());
    slot.text.assign(token).append(id);
    return index;
  }
  void give_back(std::uint32_t index) {
    TOCSIN_ASSERT(index < slots_.size() && free_.size() < slots_.size());
    free_.push_back(index);
  }

  std::uint64_t line(std::uint32_t index) const { return slots_[index].line; }
  bool resumed(std::uint32_t index) const { return slots_[index].resumed; }
  std::uint32_t credential(std::uint32_t index) const { return slots_[index].credential; }
  // Of a push that may have ended; 0 if its slot is another device's by now.
  std::uint64_t line_of_same_token(std::uint64_t index, std::string_view as) const {
    if (index >= slots_.size()) return 0;
    const auto number = static_cast<std::uint32_t>(index);
    return token(number) == as ? line(number) : 0;
  }
  std::string_view token(std::uint32_t index) const {
    return std::string_view(slots_[index].text).substr(0, slots_[index].token_bytes);
  }
  std::string_view id(std::uint32_t index) const {
    return std::string_view(slots_[index].text).substr(slots_[index].token_bytes);
  }
  std::size_t in_use() const { return slots_.size() - free_.size(); }
  bool full() const { return free_.empty(); }

 private:
  struct Slot {
    std::uint64_t line = 0;
    std::uint32_t token_bytes = 0;
    std::uint32_t credential = 0;
    bool resumed = false;
    std::string text;  // token, then id
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
};

}  // namespace tocsin::cli
