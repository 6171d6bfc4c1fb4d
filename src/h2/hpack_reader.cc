// SPDX-License-Identifier: Apache-2.0
#include "h2/hpack_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "h2/huffman.h"

namespace tocsin::h2 {
namespace {

enum class Integer : std::uint8_t { read, torn, bad };

// Section 5.1, up to 2^32 - 1 in at most five bytes behind the first.
Integer read_integer(const std::uint8_t*& at, const std::uint8_t* end, unsigned prefix, std::uint32_t& value) {
  const std::uint32_t most = (1u << prefix) - 1;
  std::uint64_t sum = *at & most;
  const std::uint8_t* next = at + 1;
  if (sum == most) {
    for (unsigned shift = 0;; shift += 7) {
      if (next == end) return Integer::torn;
      if (shift >= 32) return Integer::bad;
      const std::uint8_t byte = *next++;
      sum += static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (sum > UINT32_MAX) return Integer::bad;
      if ((byte & 0x80) == 0) break;
    }
  }
  value = static_cast<std::uint32_t>(sum);
  at = next;
  return Integer::read;
}

}  // namespace

void HpackReader::set_limit(std::uint32_t bytes) {
  limit_ = bytes;
  if (bytes >= capacity_) return;  // the peer need not say anything (section 4.2)
  update_due_ = true;
  update_max_ = bytes;
  evict(bytes);
  capacity_ = bytes;
}

HpackReader::Read HpackReader::next(const std::uint8_t*& at, const std::uint8_t* end, Field& field) {
  while (at != end) {
    const std::uint8_t first = *at;
    const std::uint8_t* next = at;
    if ((first & 0xe0) == 0x20) {  // a size update: only where a block begins
      if (!start_) return Read::bad;
      std::uint32_t bytes = 0;
      const Integer read = read_integer(next, end, 5, bytes);
      if (read == Integer::torn) return Read::torn;
      if (read == Integer::bad || bytes > std::min(limit_, update_max_)) return Read::bad;
      update_max_ = UINT32_MAX;
      update_due_ = false;
      evict(bytes);
      capacity_ = bytes;
      at = next;
      continue;
    }
    if (update_due_) return Read::bad;
    if ((first & 0x80) != 0) {
      std::uint32_t index = first & 0x7fu;
      if (index < 0x7f) {
        ++next;
      } else if (const Integer read = read_integer(next, end, 7, index); read != Integer::read) {
        return read == Integer::torn ? Read::torn : Read::bad;
      }
      if (!look_up(index, field)) return Read::bad;
      start_ = false;
      at = next;
      return Read::field;
    }
    const bool add = (first & 0x40) != 0;
    const Read read = read_literal(next, end, add ? 6 : 4, add, field);
    if (read == Read::field) {
      start_ = false;
      at = next;
    }
    return read;
  }
  return Read::torn;
}

bool HpackReader::look_up(std::uint64_t index, Field& field) const {
  if (index - 1 < kStaticFields) {
    field = {kStaticTable[index - 1].name, kStaticTable[index - 1].value};
    return true;
  }
  if (index == 0 || index > kStaticFields + count_) return false;
  const Entry& found = entry(static_cast<std::uint32_t>(index - kStaticFields - 1));
  const char* const begin = text(found.at);
  field = {{begin, found.name_bytes}, {begin + found.name_bytes, found.value_bytes}};
  return true;
}

HpackReader::Read HpackReader::read_literal(const std::uint8_t*& at, const std::uint8_t* end, unsigned prefix, bool add,
                                            Field& field) {
  std::uint32_t index = 0;
  if (const Integer read = read_integer(at, end, prefix, index); read != Integer::read) {
    return read == Integer::torn ? Read::torn : Read::bad;
  }
  if (index != 0) {
    Field named;
    if (!look_up(index, named)) return Read::bad;
    field.name = named.name;
  } else if (const Read read = read_string(at, end, name_, field.name); read != Read::field) {
    return read;
  }
  if (const Read read = read_string(at, end, value_, field.value); read != Read::field) return read;
  if (add) insert(field);
  return Read::field;
}

HpackReader::Read HpackReader::read_string(const std::uint8_t*& at, const std::uint8_t* end, std::vector<char>& scratch,
                                           std::string_view& out) {
  if (at == end) return Read::torn;
  const bool coded = (*at & 0x80) != 0;
  std::uint32_t bytes = 0;
  if (const Integer read = read_integer(at, end, 7, bytes); read != Integer::read) {
    return read == Integer::torn ? Read::torn : Read::bad;
  }
  if (bytes > kStringMax) return Read::bad;
  if (bytes > static_cast<std::size_t>(end - at)) return Read::torn;
  if (!coded) {
    out = {reinterpret_cast<const char*>(at), bytes};
    at += bytes;
    return Read::field;
  }
  if (scratch.size() < huffman_text_max(bytes)) scratch.resize(std::max<std::size_t>(huffman_text_max(bytes), 128));
  const std::ptrdiff_t size = huffman_decode({at, bytes}, scratch.data());
  if (size < 0) return Read::bad;
  out = {scratch.data(), static_cast<std::size_t>(size)};
  at += bytes;
  return Read::field;
}

// Section 4.4. The field's views stay good: a name that stands in the table is saved before its entry may go.
void HpackReader::insert(Field& field) {
  const std::size_t bytes = field.name.size() + field.value.size();
  if (bytes + kEntryOverhead > capacity_) {  // empties the table and is no error; what is gone stays readable for now
    evict(0);
    return;
  }
  const auto name_at = reinterpret_cast<std::uintptr_t>(field.name.data());
  const auto storage_at = reinterpret_cast<std::uintptr_t>(storage_.get());
  if (name_at - storage_at < storage_bytes_) {
    if (name_.size() < field.name.size()) name_.resize(field.name.size());
    std::memcpy(name_.data(), field.name.data(), field.name.size());
    field.name = {name_.data(), field.name.size()};
  }
  evict(capacity_ - static_cast<std::uint32_t>(bytes) - kEntryOverhead);
  make_room(bytes);
  char* const to = text(end_);
  if (!field.name.empty()) std::memcpy(to, field.name.data(), field.name.size());
  if (!field.value.empty()) std::memcpy(to + field.name.size(), field.value.data(), field.value.size());
  ring_[++newest_ & (ring_.size() - 1)] = {end_, static_cast<std::uint32_t>(field.name.size()),
                                           static_cast<std::uint32_t>(field.value.size())};
  ++count_;
  used_ += static_cast<std::uint32_t>(bytes) + kEntryOverhead;
  end_ += bytes;
}

// A place in the ring, and for `bytes` behind the newest text.
void HpackReader::make_room(std::size_t bytes) {
  if (count_ == ring_.size()) {
    std::vector<Entry> larger(std::max<std::size_t>(16, ring_.size() * 2));
    for (std::uint32_t age = 0; age < count_; ++age) larger[(newest_ - age) & (larger.size() - 1)] = entry(age);
    ring_.swap(larger);
  }
  if (end_ - base_ + bytes <= storage_bytes_) return;
  const std::uint64_t from = count_ != 0 ? entry(count_ - 1).at : end_;
  const std::size_t live = end_ - from;
  if (live + bytes > storage_bytes_ / 2) {
    // Twice what the table can hold is enough: the run then moves once in as many bytes as it is long.
    const std::size_t larger_bytes = std::max<std::size_t>(1024, 2 * (live + bytes));
    auto larger = std::make_unique<char[]>(larger_bytes);
    if (live != 0) std::memcpy(larger.get(), text(from), live);
    storage_ = std::move(larger);
    storage_bytes_ = larger_bytes;
  } else if (live != 0) {
    std::memmove(storage_.get(), text(from), live);
  }
  base_ = from;
}

void HpackReader::drop_oldest() {
  const Entry& oldest = entry(count_ - 1);
  used_ -= oldest.name_bytes + oldest.value_bytes + kEntryOverhead;
  --count_;
}

void HpackReader::evict(std::uint32_t limit) {
  while (used_ > limit) drop_oldest();
}

}  // namespace tocsin::h2
