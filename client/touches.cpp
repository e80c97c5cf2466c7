// Space::touch and Space::flush_touches.
#include "client/touches.hpp"

#include <algorithm>
#include <array>

#include "client/space_impl.hpp"

namespace kvtier {
namespace client {

uint64_t touch_resident(Attachment& attachment, std::span<const ChunkKey> keys, size_t count,
                        uint32_t space) {
  constexpr size_t kSlice = 64;
  std::array<uint64_t, kSlice> places;
  uint64_t dropped = 0;
  for (size_t end = std::min(count, keys.size()); end > 0;) {
    const size_t begin = end > kSlice ? end - kSlice : 0;
    // Each by itself: chunks behind a missing one are touched too.
    size_t filled = 0;
    for (size_t i = begin; i < end; ++i) {
      const wire::FoundChunk found = wire::find_chunk(attachment.view, keys[i], space);
      if (found.found == wire::Found::kHost) places[filled++] = found.place.word();
    }
    dropped +=
        attachment.touches.append([&]() -> uint64_t { return filled == 0 ? 0 : places[--filled]; });
    end = begin;
  }
  return dropped;
}

}  // namespace client

void Space::touch(const KeyChain& chain, size_t chunks) const {
  if (impl_->core->forked() || !impl_->fits(chain)) return;
  const Impl::Opened opened = impl_->open();
  if (!opened || !Impl::current(chain, *opened.attachment)) return;
  const uint64_t dropped =
      client::touch_resident(*opened.attachment, chain.keys(), chunks, opened.space->id);
  if (dropped != 0) opened.attachment->count(wire::Counter::kTouchesDropped, dropped);
}

Status Space::flush_touches(Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  return client::guarded<void>([&]() -> Status {
    const client::AttachmentRef attachment = impl_->core->attached();
    if (!attachment) return client::unattached_error();
    auto ticket = attachment->ring.prepare(0, deadline);
    if (!ticket) return ticket.error();
    client::Ring::Request request;
    request.op = wire::Op::kTouchFlush;
    attachment->ring.submit(*ticket, request);
    return attachment->ring.wait(&*ticket, deadline, [](const wire::Completion&) {});
  });
}

}  // namespace kvtier
