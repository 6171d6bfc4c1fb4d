// SPDX-License-Identifier: Apache-2.0
#include "h2/hpack_writer.h"

#include <algorithm>
#include <cstring>

#include "base/assertion.h"
#include "base/hex.h"

namespace tocsin::h2 {
namespace {

// First bytes of representations (RFC 7541 section 6) with the bits of their integer.
struct Form {
  std::uint8_t bits;
  unsigned prefix;
};
constexpr Form kIndexed{0x80, 7}, kAdded{0x40, 6}, kSizeUpdate{0x20, 5}, kNever{0x10, 4}, kLiteral{0x00, 4};
constexpr Form kPlainText{0x00, 7};  // the length of a string without Huffman

constexpr std::size_t kIntegerMax = 6;

// Section 5.1.
std::size_t write_integer(Form form, std::uint32_t value, char* out) {
  const std::uint32_t most = (1u << form.prefix) - 1;
  if (value < most) {
    out[0] = static_cast<char>(form.bits | value);
    return 1;
  }
  out[0] = static_cast<char>(form.bits | most);
  std::size_t at = 1;
  for (value -= most; value >= 128; value >>= 7) out[at++] = static_cast<char>((value & 0x7f) | 0x80);
  out[at++] = static_cast<char>(value);
  return at;
}
std::size_t text_length_bytes(std::size_t bytes) {
  if (bytes < 127) return 1;
  std::size_t count = 2;
  for (bytes -= 127; bytes >= 128; bytes >>= 7) ++count;
  return count;
}
void append_integer(Form form, std::size_t value, std::string& out) {
  char text[kIntegerMax];
  out.append(text, write_integer(form, static_cast<std::uint32_t>(value), text));
}
void append_text(std::string_view text, std::string& out) {
  append_integer(kPlainText, text.size(), out);
  out += text;
}
// A literal's name: by its index, or as text if that is 0.
void append_name(Form form, std::uint32_t index, std::string_view name, std::string& out) {
  append_integer(form, index, out);
  if (index == 0) append_text(name, out);
}

std::uint32_t static_name(std::string_view name) {
  for (std::uint32_t i = 0; i < kStaticFields; ++i) {
    if (kStaticTable[i].name == name) return i + 1;
  }
  return 0;
}
std::uint32_t static_field(std::string_view name, std::string_view value) {
  for (std::uint32_t i = 0; i < kStaticFields; ++i) {
    if (kStaticTable[i].name == name && kStaticTable[i].value == value) return i + 1;
  }
  return 0;
}

std::size_t value_bytes(base::SlotFormat format, base::ByteView raw) {
  switch (format) {
    case base::SlotFormat::text: return raw.size();
    case base::SlotFormat::hex: return raw.size() * 2;
    case base::SlotFormat::uuid:
    case base::SlotFormat::uuid_upper: return base::kUuidTextBytes;
  }
  return raw.size();
}

}  // namespace

std::uint32_t HpackWriter::prepare(const base::FieldList& fields) {
  List list;
  list.fields = fields;
  list.bytes_max = 2 * kIntegerMax;
  std::size_t slots = 0;
  for (const base::FieldSpec& field : fields.fields) {
    list.bytes_max += field.name.size() + field.value.size() + 2 * kIntegerMax;
    slots += field.slot ? 1 : 0;
  }
  TOCSIN_ASSERT(slots <= base::kFieldSlotsMax);
  lists_.push_back(std::move(list));
  return prepared_++;
}

void HpackWriter::set_limit(std::uint32_t bytes) {
  limit_ = std::min(bytes, kTableMax);
  smallest_ = std::min(smallest_, limit_);
  if (limit_ == said_ && smallest_ == said_) return;
  evict(smallest_);
  ++version_;  // every template waits for the size update that the next block begins with
}

std::size_t HpackWriter::block_bytes(const Slots& slots) const {
  std::size_t bytes = block_->text_bytes;
  for (std::uint32_t i = 0; i < block_->slots_used; ++i) {
    const Slot& slot = block_->slots[i];
    const std::size_t value = value_bytes(slot.format, slots[i]);
    bytes += text_length_bytes(slot.prefix_bytes + value) + value;
  }
  return bytes;
}

void HpackWriter::write_unusual(const Slots& slots, char* out) const {
  const char* const text = block_->text.data();
  std::uint32_t from = 0;
  for (std::uint32_t i = 0; i < block_->slots_used; ++i) {
    const Slot& slot = block_->slots[i];
    const base::ByteView raw = slots[i];
    out = copy_steps(out, text + from, slot.at - from);
    out += write_integer(kPlainText, slot.prefix_bytes + static_cast<std::uint32_t>(value_bytes(slot.format, raw)), out);
    out = copy_steps(out, text + slot.at, slot.prefix_bytes);
    from = slot.at + slot.prefix_bytes;
    switch (slot.format) {
      case base::SlotFormat::text:
        if (!raw.empty()) std::memcpy(out, raw.data(), raw.size());
        out += raw.size();
        break;
      case base::SlotFormat::hex:
        base::hex_encode({reinterpret_cast<const std::uint8_t*>(raw.data()), raw.size()}, out);
        out += raw.size() * 2;
        break;
      case base::SlotFormat::uuid:
      case base::SlotFormat::uuid_upper:
        TOCSIN_ASSERT(raw.size() == kUuidBytes);
        base::uuid_format(reinterpret_cast<const std::uint8_t*>(raw.data()), out, slot.format == base::SlotFormat::uuid_upper);
        out += base::kUuidTextBytes;
        break;
    }
  }
  copy_steps(out, text + from, block_->text_bytes - from);
}

bool HpackWriter::fits_exactly(const List& list, const Slots& slots, std::size_t bytes_max) {
  std::size_t bytes = list.bytes_max;
  std::size_t slot = 0;
  for (const base::FieldSpec& field : list.fields.fields) {
    if (field.slot) bytes += value_bytes(field.format, slots[slot++]);
  }
  return bytes <= bytes_max;
}

void HpackWriter::recompile(List& list) {
  bool left_out = false;
  if (compile(list, once_, left_out)) {  // it changes the table: good for one block only
    list.version = 0;
    block_ = &once_;
    return;
  }
  std::swap(list.compiled, once_);
  list.version = version_;
  list.again_at = left_out ? blocks_ + kEvictEvery : ~std::uint64_t{0};
  block_ = &list.compiled;
}

// Answers whether the block changes the peer's table. `left_out`: a constant found no place, and may find one later.
bool HpackWriter::compile(const List& list, Template& made, bool& left_out) {
  ++compilations_;
  made.text.clear();
  made.slots_used = 0;
  bool changes = false;
  if (limit_ != said_ || smallest_ < said_) {
    if (smallest_ < limit_ && smallest_ < said_) append_integer(kSizeUpdate, smallest_, made.text);
    append_integer(kSizeUpdate, limit_, made.text);
    said_ = smallest_ = limit_;
    changes = true;
  }
  for (const base::FieldSpec& field : list.fields.fields) {
    const Form apart = field.indexing == base::Indexing::never ? kNever : kLiteral;
    if (field.slot) {
      append_name(apart, static_name(field.name), field.name, made.text);
      made.slots[made.slots_used++] = {static_cast<std::uint32_t>(made.text.size()),
                                       static_cast<std::uint32_t>(field.value.size()), field.format};
      made.text += field.value;
      continue;
    }
    const bool table = field.indexing == base::Indexing::table;
    std::uint32_t index = table ? static_field(field.name, field.value) : 0;
    if (table && index == 0) index = find(field.name, field.value);
    if (index != 0) {
      append_integer(kIndexed, index, made.text);
      continue;
    }
    const std::size_t bytes = field.name.size() + field.value.size() + kEntryOverhead;
    const bool added = table && bytes <= limit_ && insert(field.name, field.value);
    changes = changes || added;
    left_out = left_out || (table && bytes <= limit_ && !added);
    append_name(added ? kAdded : apart, static_name(field.name), field.name, made.text);
    append_text(field.value, made.text);
  }
  made.text_bytes = static_cast<std::uint32_t>(made.text.size());
  made.text.append(kSlack, '\0');
  lay_out_usual(made);
  return changes;
}

void HpackWriter::lay_out_usual(Template& made) {
  Layout& usual = made.usual;
  usual.text.clear();
  usual.bytes = 0;
  usual.holes_used = 0;
  std::size_t from = 0;
  for (std::uint32_t i = 0; i < made.slots_used; ++i) {
    const Slot& slot = made.slots[i];
    if (slot.format == base::SlotFormat::text) return;
    const bool token = slot.format == base::SlotFormat::hex;
    const std::size_t bytes = token ? 2 * kTokenBytes : base::kUuidTextBytes;
    usual.text.append(made.text, from, slot.at - from);
    append_integer(kPlainText, slot.prefix_bytes + bytes, usual.text);
    usual.text.append(made.text, slot.at, slot.prefix_bytes);
    const auto at = static_cast<std::uint32_t>(usual.text.size());
    usual.holes[usual.holes_used++] = {at, at + static_cast<std::uint32_t>(bytes), token ? kTokenBytes : kUuidBytes, slot.format};
    usual.text.append(bytes, '\0');
    from = slot.at + slot.prefix_bytes;
  }
  usual.text.append(made.text, from, made.text_bytes - from);
  usual.bytes = static_cast<std::uint32_t>(usual.text.size());
  usual.text.append(kSlack, '\0');
}

std::uint32_t HpackWriter::find(std::string_view name, std::string_view value) {
  for (std::uint32_t age = 0; age < count_; ++age) {
    const Entry& found = entry(age);
    if (found.value != value || found.name != name) continue;
    return kStaticFields + 1 + age;
  }
  return 0;
}

bool HpackWriter::insert(std::string_view name, std::string_view value) {
  const auto bytes = static_cast<std::uint32_t>(name.size() + value.size()) + kEntryOverhead;
  if (used_ + bytes > limit_) {
    if (evicted_in_ != compilations_ && !may_evict()) return false;
    evicted_in_ = compilations_;
    evict(limit_ - bytes);
  }
  ++newest_;
  Entry& made = entry(0);
  made.name = name;
  made.value = value;
  ++count_;
  used_ += bytes;
  ++version_;
  return true;
}

// A burst is allowed, because what is evicted first may be what everybody uses, and must come in again.
bool HpackWriter::may_evict() {
  const std::uint64_t regained = (blocks_ - evictions_counted_) / kEvictEvery;
  evictions_counted_ += regained * kEvictEvery;
  evictions_left_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(kEvictBurst, evictions_left_ + regained));
  if (evictions_left_ == 0) return false;
  --evictions_left_;
  return true;
}

void HpackWriter::evict(std::uint32_t limit) {
  while (used_ > limit) {
    used_ -= entry(count_ - 1).bytes();
    --count_;
    ++version_;
  }
}

}  // namespace tocsin::h2
