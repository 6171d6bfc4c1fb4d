// SPDX-License-Identifier: Apache-2.0
#include "h2/client_stream.h"

#include <cstring>

#include "base/hex.h"

namespace tocsin::h2 {
namespace {

std::uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));  // nghttp2_nv is not const-correct; it only reads
}

std::size_t formatted_bytes(base::SlotFormat format, std::size_t raw) {
  switch (format) {
    case base::SlotFormat::text: return raw;
    case base::SlotFormat::hex: return raw * 2;
    case base::SlotFormat::uuid:
    case base::SlotFormat::uuid_upper: return base::kUuidTextBytes;
  }
  return raw;
}

void format_value(base::SlotFormat format, base::ByteView raw, char* out) {
  if (raw.empty()) return;
  switch (format) {
    case base::SlotFormat::text: std::memcpy(out, raw.data(), raw.size()); return;
    case base::SlotFormat::hex:
      base::hex_encode({reinterpret_cast<const std::uint8_t*>(raw.data()), raw.size()}, out);
      return;
    case base::SlotFormat::uuid:
    case base::SlotFormat::uuid_upper:
      base::uuid_format(reinterpret_cast<const std::uint8_t*>(raw.data()), out, format == base::SlotFormat::uuid_upper);
      return;
  }
}

}  // namespace

void KeptResponse::capture(BlockHeap& heap, std::size_t position, std::string_view value) {
  Capture& at = captured[position];
  if (at.set) return;  // a repeated field: the first counts
  at.set = true;
  at.size = static_cast<std::uint32_t>(value.size());
  if (text_bytes + value.size() <= text.size()) {
    at.at = text_bytes;
    if (!value.empty()) std::memcpy(text.data() + text_bytes, value.data(), value.size());
    text_bytes += at.size;
    return;
  }
  at.at = static_cast<std::uint32_t>(text.size()) + more_text.size;
  more_text.append(heap, value.data(), value.size());
}

std::string_view KeptResponse::captured_text(std::size_t position) const {
  const Capture& at = captured[position];
  if (at.size == 0) return {};
  if (at.at < text.size()) return {text.data() + at.at, at.size};
  return base::as_text(more_text.view().subspan(at.at - text.size(), at.size));
}

void KeptResponse::drop_captures(BlockHeap& heap) {
  captured = {};
  text_bytes = 0;
  more_text.release(heap);
}

void ClientStream::reset(BlockHeap& heap) {
  out.release(heap);
  body.release(heap);
  drop_captures(heap);
  tag = 0;
  id = 0;
  status = 0;
  in_use = settled = closed = not_sent = peer_reset = final_seen = body_cut = false;
  block_status = block_regular = false;
  block_bytes = 0;
  body_bytes = 0;
  length = kNoLength;
}

ClientTable::~ClientTable() {
  for_each([&](ClientStream& stream) { stream.reset(heap_); });
}

ClientStream& ClientTable::acquire() {
  if (free_.empty()) {
    chunks_.push_back(std::make_unique<Chunk>());
    Chunk& chunk = *chunks_.back();
    free_.reserve(chunks_.size() * chunk.size());
    for (std::size_t i = chunk.size(); i-- > 0;) free_.push_back(&chunk[i]);
  }
  ClientStream& stream = *free_.back();
  free_.pop_back();
  stream.in_use = true;
  return stream;
}

void ClientTable::release(ClientStream& stream) {
  stream.reset(heap_);
  free_.push_back(&stream);
}

void ClientTable::release_retired() {
  for (ClientStream* stream : retired_) release(*stream);
  retired_.clear();
}

PreparedFields::PreparedFields(const base::FieldList& list) : list_(list) {
  fields_.reserve(list_.fields.size());
  for (const base::FieldSpec& spec : list_.fields) {
    std::uint8_t flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    // nghttp2 knows one way only to keep a value out of the table: literal never indexed.
    if (spec.indexing != base::Indexing::table) flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    fields_.push_back({bytes_of(spec.name), bytes_of(spec.value), spec.name.size(), spec.value.size(), flags});
    if (spec.slot) slots_.push_back({fields_.size() - 1, spec.format, spec.value.size(), spec.value});
  }
  TOCSIN_ASSERT(slots_.size() <= base::kFieldSlotsMax);
}

std::span<const nghttp2_nv> PreparedFields::fill(const std::array<base::ByteView, base::kFieldSlotsMax>& values) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const base::ByteView raw = values[i];
    const bool uuid = slot.format == base::SlotFormat::uuid || slot.format == base::SlotFormat::uuid_upper;
    TOCSIN_ASSERT(!uuid || raw.size() == 16);
    const std::size_t bytes = slot.prefix_bytes + formatted_bytes(slot.format, raw.size());
    if (slot.text.size() < bytes) slot.text.resize(bytes);
    format_value(slot.format, raw, slot.text.data() + slot.prefix_bytes);
    fields_[slot.field].value = bytes_of(slot.text);
    fields_[slot.field].valuelen = bytes;
  }
  return fields_;
}

}  // namespace tocsin::h2
