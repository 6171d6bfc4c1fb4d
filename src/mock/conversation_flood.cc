// SPDX-License-Identifier: Apache-2.0
// The profiles flood and apns: a connection begins under full validation and is handed over between two frames. What was begun before
// is judged and answered as ever; what begins later is only counted.
#include <algorithm>
#include <utility>

#include "mock/conversation.h"

namespace tocsin::mock {

bool Conversation::hand_over_due() const {
  const ProfileOptions& profile = service_.profile_;
  return profile.profile != Profile::validate && !probing_ && !leaving_ && session_->settings_acknowledged() &&
         judged_ >= std::min(profile.validate_first, kValidatedEach) &&
         service_.traffic_.requests - service_.traffic_.flood.end_streams >= profile.validate_first;
}

// Up to where the hand-over may be; answers how much of `plain` was read.
std::size_t Conversation::receive_before_hand_over(base::ByteView plain, base::Now now) {
  const bool due = hand_over_due();
  const std::size_t read = cursor_.advance(plain, due);
  if (read != 0) receive_validated(plain.first(read), now);
  if (!due || !cursor_.between_frames() || deaf()) return read;
  h2::ServerOptions options = service_.options_;
  options.streams_max = streams_max_;
  cursor_.read_blocks(nullptr);
  flood_ = std::make_unique<h2::FloodServer>(options, *session_, std::move(echo_));
  ++service_.traffic_.flood.connections;
  return read;
}

void Conversation::receive_flood(base::ByteView plain, base::Now now) {
  std::vector<h2::ServerRequest>& requests = service_.requests_;
  const std::size_t waited = flood_->waiting();
  while (!plain.empty()) {
    requests.clear();
    const Result<std::size_t> read = flood_->receive(plain, requests);
    for (const h2::ServerRequest& request : requests) {
      if (goaway_last_ < 0 || request.stream_id <= goaway_last_) judge(request, now);
    }
    if (!read.ok()) {
      broken_ = true;
      why_ = read.error().message;
      end(Ending::close);  // its GOAWAY still goes out
      break;
    }
    plain = plain.subspan(*read);
  }
  count_flood();
  const std::size_t fresh = flood_->waiting() - waited;
  if (fresh == 0 || deaf()) return;
  last_judged_ = std::max(last_judged_, flood_->last_stream_id());
  // One delay for all that came together.
  const std::int64_t delay_ns = service_.gateway_.draw_delay();
  if (delay_ns <= 0) return flood_->answer(fresh);
  flood_later_.add(now.mono_ns + delay_ns, fresh);
  flood_delayed_ += fresh;
  service_.traffic_.answers_waiting += fresh;
}

void Conversation::count_flood() {
  const h2::FloodServer::Counts& counts = flood_->counts();
  Traffic& traffic = service_.traffic_;
  traffic.requests += counts.end_streams - flood_told_.end_streams;
  traffic.accepted += counts.end_streams - flood_told_.end_streams;
  traffic.flood.end_streams += counts.end_streams - flood_told_.end_streams;
  traffic.flood.streams += counts.streams - flood_told_.streams;
  traffic.flood.body_bytes += counts.body_bytes - flood_told_.body_bytes;
  traffic.flood.resets += counts.resets - flood_told_.resets;
  flood_told_ = counts;
}

void Conversation::run_flood(base::Now now) {
  std::size_t count = 0;
  while (flood_later_.take_due(now.mono_ns, count)) {
    flood_delayed_ -= count;
    service_.traffic_.answers_waiting -= count;
    flood_->answer(count);
  }
}

}  // namespace tocsin::mock
