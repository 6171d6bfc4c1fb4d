// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <algorithm>

namespace tocsin::base {

void ByteBuffer::grow(std::size_t bytes) {
  const std::size_t used = size();
  // Moving to the front first often makes the room without memory.
  if (begin_ != 0 && capacity_ - used >= bytes && begin_ >= used) {
    std::memcpy(data_.get(), data_.get() + begin_, used);
    begin_ = 0;
    end_ = used;
    return;
  }
  const std::size_t capacity = std::max<std::size_t>({capacity_ * 2, used + bytes, 256});
  std::unique_ptr<std::byte[]> data(new std::byte[capacity]);
  if (used != 0) std::memcpy(data.get(), data_.get() + begin_, used);
  data_ = std::move(data);
  capacity_ = capacity;
  begin_ = 0;
  end_ = used;
}

}  // namespace tocsin::base
