// SPDX-License-Identifier: Apache-2.0
#include "cli/run_history.h"

#include <algorithm>

namespace tocsin::cli {

LineMap::Page* LineMap::find(std::uint64_t number) const {
  if (number == last_number_) return last_page_;
  const auto found = pages_.find(number);
  if (found == pages_.end()) return nullptr;
  last_number_ = number;
  return last_page_ = found->second.get();
}

std::uint8_t LineMap::get(std::uint64_t line) const {
  const Page* page = find(line / kPageLines);
  if (page == nullptr) return 0;
  const std::uint64_t at = line % kPageLines;
  return static_cast<std::uint8_t>((*page)[at / 2] >> (at % 2 * 4) & 15);
}

void LineMap::set(std::uint64_t line, std::uint8_t value) {
  Page* page = find(line / kPageLines);
  if (page == nullptr) {
    auto& made = pages_[line / kPageLines];
    made = std::make_unique<Page>();
    page = made.get();
  }
  const std::uint64_t at = line % kPageLines;
  const unsigned shift = at % 2 * 4;
  std::uint8_t& pair = (*page)[at / 2];
  pair = static_cast<std::uint8_t>((pair & ~(15u << shift)) | unsigned{value} << shift);
}

void LineMap::remap(std::uint64_t last, const std::array<std::uint8_t, 16>& table) {
  std::array<std::uint8_t, 256> pairs{};
  for (unsigned pair = 0; pair < 256; ++pair)
    pairs[pair] = static_cast<std::uint8_t>(table[pair & 15] | table[pair >> 4] << 4);
  for (auto& [number, page] : pages_) {
    const std::uint64_t first = number * kPageLines;
    if (first > last) continue;
    const std::uint64_t lines = std::min(kPageLines, last - first + 1);
    for (std::uint64_t at = 0; at < lines / 2; ++at) (*page)[at] = pairs[(*page)[at]];
    if (lines % 2 != 0) {
      std::uint8_t& pair = (*page)[lines / 2];
      pair = static_cast<std::uint8_t>(table[pair & 15] | (pair & 0xf0));
    }
  }
}

// What was admitted and has no outcome is in doubt from now on.
void RunHistory::close_session() {
  std::array<std::uint8_t, 16> table{};
  for (std::uint8_t i = 0; i < 16; ++i) table[i] = i == kOpen ? std::uint8_t{kDoubtful} : i;
  states_.remap(mark_, table);
}

void RunHistory::begin_session(std::uint64_t mark, bool retry_failed) {
  close_session();
  std::array<std::uint8_t, 16> table{};
  for (std::uint8_t i = 0; i < 16; ++i) table[i] = i;
  table[kUnsent] = kOpen;
  if (retry_failed) {
    table[kFailed] = kOpen;
    table[kFailedDoubtful] = kDoubtful;
    if (policy_ == Policy::at_least_once) table[kUnknown] = kDoubtful;
  }
  states_.remap(mark, table);
  mark_before_ = mark_;
  mark_ = std::max(mark_, mark);
}

void RunHistory::outcome(std::uint64_t line, End end, bool unsent) {
  const std::uint8_t before = states_.get(line);
  const bool clean = before == kOpen || (before == kNone && line > mark_before_);
  State after = kFinal;
  if (unsent)
    after = clean ? kUnsent : kDoubtful;
  else if (end == End::failed)
    after = clean ? kFailed : kFailedDoubtful;
  else if (end == End::unknown)
    after = kUnknown;
  states_.set(line, after);
}

void RunHistory::finish() {
  close_session();
  mark_before_ = mark_;
}

Fate RunHistory::fate(std::uint64_t line, bool retry_failed) const {
  switch (states_.get(line)) {
    case kNone:
      return line > mark_ ? Fate::fresh : Fate::doubtful;
    case kUnsent:
      return Fate::fresh;
    case kOpen:
    case kDoubtful:
      return Fate::doubtful;
    case kFailed:
      return retry_failed ? Fate::fresh : Fate::done;
    case kFailedDoubtful:
      return retry_failed ? Fate::doubtful : Fate::done;
    case kUnknown:
      return retry_failed && policy_ == Policy::at_least_once ? Fate::doubtful : Fate::done;
    default:
      return Fate::done;
  }
}

}  // namespace tocsin::cli
