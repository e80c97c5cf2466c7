#include "client/reserve.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "client/grant_impl.hpp"

namespace kvtier::client {
namespace {

struct Ids {
  uint64_t tokens_bytes;
  uint64_t bytes;  // with extra ids, multiple of 8
};

Ids ids_of(const KeyChain::Impl& chain, size_t chunk) {
  const uint64_t tokens = wire::round_up(chain.chunk_tokens(chunk).size_bytes(), 8);
  return {tokens, tokens + chain.chunk_extras(chunk).size_bytes()};
}

void write_argument(const KeyChain::Impl& chain, size_t chunk, const StoredAs& stored_as,
                    std::byte* arguments, size_t index, uint32_t area_offset, uint64_t ids_at) {
  const Ids ids = ids_of(chain, chunk);
  const auto tokens = chain.chunk_tokens(chunk);
  const auto extras = chain.chunk_extras(chunk);
  wire::ReserveArg argument = {};
  argument.key = chain.keys[chunk];
  argument.parent = chain.parent(chunk);
  argument.payload_bytes = stored_as.bytes;
  argument.position = static_cast<uint32_t>(chunk);
  argument.tokens = static_cast<uint32_t>(tokens.size());
  argument.extra_ids = static_cast<uint32_t>(extras.size());
  argument.ids_offset = area_offset + static_cast<uint32_t>(ids_at);
  argument.codec = stored_as.codec;
  if (!chain.engine_hashes.empty()) {
    std::memcpy(argument.engine_hash, chain.engine_hashes[chunk].data(),
                sizeof argument.engine_hash);
  }
  std::memcpy(arguments + index * sizeof argument, &argument, sizeof argument);
  if (!tokens.empty()) std::memcpy(arguments + ids_at, tokens.data(), tokens.size_bytes());
  if (!extras.empty()) {
    std::memcpy(arguments + ids_at + ids.tokens_bytes, extras.data(), extras.size_bytes());
  }
}

}  // namespace

StoreOutcome outcome_of(uint32_t reserve_outcome) {
  switch (static_cast<wire::ReserveOutcome>(reserve_outcome)) {
    case wire::ReserveOutcome::kGranted:
      return StoreOutcome::kStored;
    case wire::ReserveOutcome::kPresent:
      return StoreOutcome::kPresent;
    case wire::ReserveOutcome::kInProgress:
      return StoreOutcome::kInProgress;
    case wire::ReserveOutcome::kFull:
      return StoreOutcome::kFull;
    case wire::ReserveOutcome::kOverQuota:
      return StoreOutcome::kOverQuota;
    case wire::ReserveOutcome::kDeclined:
      return StoreOutcome::kDeclined;
    case wire::ReserveOutcome::kBusy:
      return StoreOutcome::kBusy;
  }
  return StoreOutcome::kFailed;
}

Reserving& Reserving::operator=(Reserving&& other) noexcept {
  if (this == &other) return *this;
  forget();
  space_ = other.space_;
  attachment_ = std::move(other.attachment_);
  header_bytes_ = other.header_bytes_;
  chunks_ = std::move(other.chunks_);
  payload_bytes_ = std::move(other.payload_bytes_);
  ticket_ = std::exchange(other.ticket_, {});
  return *this;
}

void Reserving::forget() {
  if (ticket_.held()) attachment_->ring.forget(&ticket_);
}

Result<Reserving> Reserving::ask(const Space::Impl& space, const Space::Impl::Opened& opened,
                                 const KeyChain::Impl& chain, std::span<const size_t> chunks,
                                 Clock::time_point deadline, size_t* taken,
                                 std::span<const StoredAs> stored_as) {
  Attachment& attachment = *opened.attachment;
  // A quarter of the area at most, so that four requests can be under way.
  const uint64_t bytes_max = attachment.ring.argument_bytes_max() / 4;
  uint64_t ids_bytes = 0;
  size_t count = 0;
  while (count < chunks.size() && count < wire::kBatchChunksMax) {
    const uint64_t more = wire::round_up(ids_of(chain, chunks[count]).bytes, 8);
    const uint64_t bytes = (count + 1) * sizeof(wire::ReserveArg) + ids_bytes + more;
    if (count > 0 && bytes > bytes_max) break;
    ids_bytes += more;
    ++count;
  }
  Reserving result;
  result.chunks_.assign(chunks.begin(), chunks.begin() + static_cast<ptrdiff_t>(count));
  result.payload_bytes_.resize(count);
  const uint64_t begin = count * sizeof(wire::ReserveArg);  // a multiple of 8
  auto ticket = attachment.ring.prepare(begin + ids_bytes, deadline);
  if (!ticket) return ticket.error();
  uint64_t ids_at = begin;
  for (size_t i = 0; i < count; ++i) {
    const StoredAs as = stored_as.empty()
                            ? StoredAs{space.record->spec.chunk_bytes, wire::kCodecNone}
                            : stored_as[i];
    result.payload_bytes_[i] = as.bytes;
    write_argument(chain, chunks[i], as, ticket->arguments, i, ticket->block.offset, ids_at);
    ids_at += wire::round_up(ids_of(chain, chunks[i]).bytes, 8);
  }
  Ring::Request request;
  request.op = wire::Op::kReserve;
  request.space = opened.space->id;
  request.count = static_cast<uint32_t>(count);
  attachment.ring.submit(*ticket, request);
  result.space_ = &space;
  result.attachment_ = opened.attachment.another();
  result.header_bytes_ = opened.space->header_bytes;
  result.ticket_ = *ticket;
  *taken = count;
  return result;
}

Result<std::vector<Reservation>> Reserving::take(Clock::time_point deadline) {
  std::vector<Reservation> reservations;
  reservations.reserve(chunks_.size());
  std::array<wire::ReserveAnswer, wire::kBatchChunksMax> answers = {};
  uint32_t answered = 0;
  const std::byte* arguments = ticket_.arguments;
  const Status status =
      attachment_->ring.wait(&ticket_, deadline, [&](const wire::Completion& completion) {
        answered = completion.count;
        std::memcpy(answers.data(), arguments, answered * sizeof answers[0]);
      });
  if (!status) return status.error();
  // G: a reader that sees a byte written from here on also sees the revocation, or the epoch, that
  // made the slot free for this grant. No instruction on x86.
  std::atomic_thread_fence(std::memory_order_release);
  size_t i = 0;
  try {
    for (; i < chunks_.size(); ++i) {
      Reservation made;
      made.outcome = StoreOutcome::kFailed;
      if (i < answered) made = reservation(answers[i], i, deadline);
      reservations.push_back(std::move(made));
    }
  } catch (...) {  // reservation() gave grant i back
    for (++i; i < answered; ++i) {
      if (outcome_of(answers[i].outcome) == StoreOutcome::kStored) {
        attachment_->ring.abort_grant(answers[i].place);
      }
    }
    throw;
  }
  return reservations;
}

// Throws nothing after the grant is known but bad_alloc, and then gives the grant back.
Reservation Reserving::reservation(const wire::ReserveAnswer& answer, size_t i,
                                   Clock::time_point deadline) {
  Reservation made;
  made.outcome = outcome_of(answer.outcome);
  made.retry_after = std::chrono::microseconds(answer.retry_after_us);
  if (made.outcome != StoreOutcome::kStored) return made;
  const wire::Place place(answer.place);
  const uint64_t payload_bytes = payload_bytes_[i];
  try {
    Segments::Use use(&attachment_->segments);
    const auto segment = attachment_->segments.get(place, deadline);
    if (!segment || header_bytes_ + payload_bytes > (*segment)->slot_bytes) {
      attachment_->ring.abort_grant(place.word());
      made.outcome = StoreOutcome::kFailed;
      return made;
    }
    auto impl =
        std::make_unique<Grant::Impl>(space_->core->guard(), attachment_.another(), std::move(use));
    impl->place = place;
    impl->chunk = chunks_[i];
    impl->payload = {(*segment)->slot(place.slot()) + header_bytes_, payload_bytes};
    made.grant = GrantAccess::make(std::move(impl));
    return made;
  } catch (...) {
    attachment_->ring.abort_grant(place.word());
    throw;
  }
}

Committing& Committing::operator=(Committing&& other) noexcept {
  if (this == &other) return *this;
  forget();
  attachment_ = std::move(other.attachment_);
  count_ = other.count_;
  ticket_ = std::exchange(other.ticket_, {});
  return *this;
}

void Committing::forget() {
  if (ticket_.held()) attachment_->ring.forget(&ticket_);
}

Result<Committing> Committing::ask(AttachmentRef attachment, std::span<const Item> items,
                                   Clock::time_point deadline) {
  auto ticket = attachment->ring.prepare(items.size() * sizeof(wire::CommitArg), deadline);
  if (!ticket) return ticket.error();
  for (size_t i = 0; i < items.size(); ++i) {
    wire::CommitArg argument = {};
    argument.place = items[i].place.word();
    argument.checksum = items[i].checksum;
    argument.flags = items[i].has_checksum ? wire::kCommitHasChecksum : 0;
    std::memcpy(ticket->arguments + i * sizeof argument, &argument, sizeof argument);
  }
  Ring::Request request;
  request.op = wire::Op::kCommit;
  request.count = static_cast<uint32_t>(items.size());
  attachment->ring.submit(*ticket, request);
  Committing result;
  result.count_ = request.count;
  result.ticket_ = *ticket;
  result.attachment_ = std::move(attachment);
  return result;
}

Status Committing::take(std::span<StoreOutcome> outcomes, Clock::time_point deadline) {
  std::fill(outcomes.begin(), outcomes.end(), StoreOutcome::kFailed);
  const std::byte* arguments = ticket_.arguments;
  return attachment_->ring.wait(&ticket_, deadline, [&](const wire::Completion& completion) {
    const size_t count = std::min<size_t>(completion.count, outcomes.size());
    for (size_t i = 0; i < count; ++i) {
      wire::CommitAnswer answer;
      std::memcpy(&answer, arguments + i * sizeof answer, sizeof answer);
      switch (static_cast<wire::CommitOutcome>(answer.outcome)) {
        case wire::CommitOutcome::kStored:
          outcomes[i] = StoreOutcome::kStored;
          break;
        case wire::CommitOutcome::kPresent:
          outcomes[i] = StoreOutcome::kPresent;
          break;
        case wire::CommitOutcome::kUnknownGrant:
        case wire::CommitOutcome::kFailed:
          break;
      }
    }
  });
}

}  // namespace kvtier::client
