// Prefetch: bringing chunks from lower tiers while the caller does something else (protocol.md,
// section 5). Any thread, one at a time for each Prefetch. Sends nothing when all is in host
// memory.
#include "client/prefetch_impl.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "client/tiers.hpp"

namespace kvtier {

using client::Ring;
using wire::Found;

namespace {

uint64_t monotonic_ns(Clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch());
  return since.count() < 0 ? 1 : static_cast<uint64_t>(since.count());
}

bool in_host(const Space::Impl::Opened& opened, ChunkKey key) {
  return wire::find_chunk(opened.attachment->view, key, opened.space->id).found == Found::kHost;
}

}  // namespace

size_t Prefetch::Impl::resident() const {
  size_t count = 0;
  while (count < keys.size() && in_host(opened, keys[count])) ++count;
  return count;
}

void Prefetch::Impl::plan(size_t chunks, const std::vector<bool>& wanted) {
  chunks = std::clamp<size_t>(chunks, 1, wire::kBatchChunksMax);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!wanted[i]) continue;
    if (parts.empty() || parts.back().first + parts.back().count != i ||
        parts.back().count == chunks) {
      parts.push_back({.first = i, .count = 0, .ticket = {}});
    }
    ++parts.back().count;
  }
}

bool Prefetch::Impl::ask(Part* part) {
  auto ticket = ring().prepare(part->count * sizeof(wire::KeyArg), Clock::time_point{});
  if (!ticket) {
    if (ticket.code() == Code::kFull) return false;
    part->state = State::kFailed;
    part->code = ticket.code();
    return true;
  }
  std::memcpy(ticket->arguments, keys.data() + part->first, part->count * sizeof(wire::KeyArg));
  Ring::Request request;
  request.op = wire::Op::kPrefetch;
  request.space = opened.space->id;
  request.count = static_cast<uint32_t>(part->count);
  request.a = monotonic_ns(deadline);
  ring().submit(*ticket, request);
  part->user_data = ticket->user_data;
  part->ticket = *ticket;
  part->state = State::kAsked;
  return true;
}

void Prefetch::Impl::ask_all() {
  const Clock::time_point now = Clock::now();
  for (Part& part : parts) {
    if (part.state != State::kToAsk) continue;
    // One that found no slots keeps its place in the order: those behind would take them.
    if (part.again > now || !ask(&part)) return;
  }
}

Status Prefetch::Impl::finish(Part* part, Clock::time_point until) {
  while (part->state == State::kToAsk || part->state == State::kAsked) {
    if (part->state == State::kToAsk) {
      if (client::passed(until)) return Error(Code::kDeadline, "the prefetch took too long");
      ask_all();
      if (part->state == State::kToAsk) {
        std::this_thread::sleep_until(
            std::min(until, std::max(part->again, client::after(std::chrono::microseconds(50)))));
      }
      continue;
    }
    wire::Completion answer = {};
    const Status status =
        ring().wait(&part->ticket, until, [&](const wire::Completion& came) { answer = came; });
    if (status) {
      part->state = State::kReady;
    } else if (answer.status == static_cast<int32_t>(Code::kFull) && answer.b != 0) {
      part->state = State::kToAsk;
      part->user_data = 0;
      part->again = client::after(std::chrono::microseconds(answer.b));
    } else if (answer.status != 0) {
      part->state = State::kFailed;
      part->code = status.code();
    } else {  // no answer: late, or the daemon has gone
      part->state = State::kFailed;
      part->code = status.code();
      return status;
    }
  }
  return {};
}

void Prefetch::Impl::cancel() {
  for (Part& part : parts) {
    if (part.state == State::kAsked) ring().forget(&part.ticket);
    if (part.user_data == 0) continue;
    Ring::Request request;
    request.op = wire::Op::kCancel;
    request.a = std::exchange(part.user_data, 0);
    (void)ring().post(request, nullptr, 0);
  }
}

Prefetch::Prefetch() = default;
Prefetch::Prefetch(Prefetch&&) noexcept = default;
Prefetch& Prefetch::operator=(Prefetch&& other) noexcept {
  if (this != &other) {
    Prefetch old(std::move(*this));
    impl_ = std::move(other.impl_);
  }
  return *this;
}
Prefetch::~Prefetch() {
  if (impl_ == nullptr) return;
  if (impl_->forked()) {
    (void)impl_.release();  // the parent's
    return;
  }
  impl_->cancel();
}

Result<size_t> Prefetch::wait(Clock::time_point deadline) {
  if (impl_ == nullptr) return size_t{0};
  if (impl_->forked()) return client::forked_error();
  const Clock::time_point until = std::min(deadline, impl_->deadline);
  for (Impl::Part& part : impl_->parts) {
    if (const Status status = impl_->finish(&part, until); !status) {
      if (status.code() == Code::kUnavailable) return status.error();
      break;
    }
    if (part.state == Impl::State::kFailed) break;
  }
  return impl_->resident();
}

void Prefetch::keep() {
  if (impl_ == nullptr || impl_->forked()) return;
  for (Impl::Part& part : impl_->parts) {
    if (part.state == Impl::State::kAsked) impl_->ring().forget(&part.ticket);
  }
  impl_.reset();
}

Result<Prefetch> Space::prefetch_begin(const KeyChain& chain, size_t first, size_t count,
                                       Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (first > chain.size() || count > chain.size() - first) {
    return Error::format(Code::kInvalidArgument, "chunks %zu to %zu of a chain of %zu", first,
                         first + count, chain.size());
  }
  return client::guarded<Prefetch>([&]() -> Result<Prefetch> {
    Impl::Opened opened = impl_->open();
    if (!opened) return impl_->core->refusal_of(*impl_->record).error();
    if (!Impl::current(chain, *opened.attachment)) return Impl::stale_chain();
    Prefetch made;
    made.impl_ = std::make_unique<Prefetch::Impl>(impl_->core->guard(), std::move(opened));
    const auto keys = chain.keys().subspan(first, count);
    made.impl_->keys.assign(keys.begin(), keys.end());
    made.impl_->deadline = deadline;
    std::vector<bool> wanted(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) wanted[i] = !in_host(made.impl_->opened, keys[i]);
    // Those that are there already are asked for, too: nothing else would keep them from being
    // evicted for the others.
    if (std::find(wanted.begin(), wanted.end(), true) != wanted.end()) {
      wanted.assign(wanted.size(), true);
    }
    made.impl_->plan(wire::kBatchChunksMax, wanted);
    made.impl_->ask_all();
    return made;
  });
}

Result<size_t> Space::prefetch(const KeyChain& chain, size_t first, size_t count,
                               Clock::time_point deadline) const {
  auto begun = prefetch_begin(chain, first, count, deadline);
  if (!begun) return begun.error();
  auto brought = begun->wait(deadline);
  if (brought && *brought > 0) begun->keep();  // held until leased, or until the deadline
  return brought;
}

}  // namespace kvtier
