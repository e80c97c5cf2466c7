// From a request in a ring to a call of the core and its answer: arguments are copied out of the
// client's memory once, checked there, and answers are written over their place. Core thread.
// Trusts nothing in the submission; the submission itself is a private copy already.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "daemon/core/core.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::daemon {

class RequestDecoder {
 public:
  explicit RequestDecoder(Core& core) : core_(core) {}

  // Carries the request out. A request that makes no sense gets the status invalid_argument. None:
  // the core took it and answers later (Core::take_prefetch_answers).
  std::optional<wire::Completion> carry_out(Session& session, const wire::Submission& request);

  // Bytes copied out of argument areas since the last call.
  uint64_t take_bytes_copied() { return std::exchange(bytes_copied_, 0); }

 private:
  struct Answer {
    Code status = Code::kOk;
    uint32_t count = 0;
    uint64_t a = 0;
    bool later = false;
  };

  Answer dispatch(Session& session, const wire::Submission& request);
  Answer reserve(Session& session, const wire::Submission& request);
  Answer commit(Session& session, const wire::Submission& request);
  Answer abort(Session& session, const wire::Submission& request);
  Answer prefetch(Session& session, const wire::Submission& request);
  Answer hint(Session& session, const wire::Submission& request);
  Answer report_load(Session& session, const wire::Submission& request);
  Answer bad_chunk(Session& session, const wire::Submission& request);

  // The `count` arguments of a request, copied; empty if its count or place makes no sense.
  template <typename Argument>
  std::span<const Argument> arguments(const Session& session, const wire::Submission& request,
                                      std::array<Argument, wire::kBatchChunksMax>* room);
  // Ids of all chunks of a reserve request, into ids_. False if they are out of bounds.
  bool copy_ids(const Session& session, const wire::Submission& request,
                std::span<const wire::ReserveArg> arguments);
  template <typename AnswerWord>
  void write_answers(const Session& session, const wire::Submission& request,
                     std::span<const AnswerWord> answers);

  Core& core_;
  // Room for one request, reused.
  std::array<wire::ReserveArg, wire::kBatchChunksMax> reserve_arguments_;
  std::array<wire::CommitArg, wire::kBatchChunksMax> commit_arguments_;
  std::array<wire::KeyArg, wire::kBatchChunksMax> keys_;
  std::array<ReserveRequest, wire::kBatchChunksMax> reserves_;
  std::array<wire::ReserveAnswer, wire::kBatchChunksMax> reserve_answers_;
  std::array<wire::CommitAnswer, wire::kBatchChunksMax> commit_answers_;
  std::vector<uint64_t> ids_;  // at most what fits into an argument area
  uint64_t bytes_copied_ = 0;
};

}  // namespace kvtier::daemon
