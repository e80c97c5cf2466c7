// Reserve and commit requests, split into asking and taking the answer, so that store() can keep
// several under way. Any thread; a Reserving and a Committing belong to one.
#pragma once

#include <span>
#include <vector>

#include "client/space_impl.hpp"

namespace kvtier::client {

// One reserve request under way. Forgotten (and its grants given back) if dropped.
// Size and codec of a chunk that is about to be stored.
struct StoredAs {
  uint64_t bytes;
  uint32_t codec;
};

class Reserving {
 public:
  Reserving() = default;
  Reserving(Reserving&& other) noexcept { *this = std::move(other); }
  Reserving& operator=(Reserving&& other) noexcept;
  ~Reserving() { forget(); }

  // Asks for slots of the first of `chunks`, as many as fit into one request; *taken says how many.
  // stored_as[i] is what chunks[i] will be; empty: raw.
  // Errors: deadline, full, unavailable.
  static Result<Reserving> ask(const Space::Impl& space, const Space::Impl::Opened& opened,
                               const KeyChain::Impl& chain, std::span<const size_t> chunks,
                               Clock::time_point deadline, size_t* taken,
                               std::span<const StoredAs> stored_as = {});
  // The answers, in order. Throws bad_alloc. Errors: deadline, unavailable, the daemon's.
  Result<std::vector<Reservation>> take(Clock::time_point deadline);
  bool under_way() const { return ticket_.held(); }

 private:
  void forget();
  Reservation reservation(const wire::ReserveAnswer& answer, size_t i, Clock::time_point deadline);

  const Space::Impl* space_ = nullptr;
  AttachmentRef attachment_;
  uint32_t header_bytes_ = 0;
  std::vector<size_t> chunks_;
  std::vector<uint64_t> payload_bytes_;  // of each
  Ring::Ticket ticket_;
};

// One commit request under way. Its grants are spent when it was asked.
class Committing {
 public:
  Committing() = default;
  Committing(Committing&& other) noexcept { *this = std::move(other); }
  Committing& operator=(Committing&& other) noexcept;
  ~Committing() { forget(); }

  struct Item {
    wire::Place place;
    uint64_t checksum;
    bool has_checksum;
  };
  // At most kBatchChunksMax. Errors: deadline, full, unavailable.
  static Result<Committing> ask(AttachmentRef attachment, std::span<const Item> items,
                                Clock::time_point deadline);
  // outcomes[i] of item i; kFailed for all on an error.
  Status take(std::span<StoreOutcome> outcomes, Clock::time_point deadline);
  bool under_way() const { return ticket_.held(); }

 private:
  void forget();

  AttachmentRef attachment_;
  uint32_t count_ = 0;
  Ring::Ticket ticket_;
};

// The outcome of a chunk that was not granted.
StoreOutcome outcome_of(uint32_t reserve_outcome);

}  // namespace kvtier::client
