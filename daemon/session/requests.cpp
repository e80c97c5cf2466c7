// See requests.hpp. The argument area of a session: offsets are relative to its begin; every sum is
// of 32-bit numbers in 64 bits, so that none can overflow.
#include "daemon/session/requests.hpp"

#include <cstring>

#include "daemon/session/copy_once.hpp"
#include "kvtier/wire/published.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kWord = sizeof(uint64_t);

struct IdsPlace {
  uint64_t offset;
  uint64_t token_bytes;  // in whole words
  uint64_t bytes;
};

IdsPlace ids_place(const wire::ReserveArg& argument) {
  const uint64_t tokens = wire::round_up(uint64_t{argument.tokens} * sizeof(uint32_t), kWord);
  return {argument.ids_offset, tokens, tokens + uint64_t{argument.extra_ids} * kWord};
}

}  // namespace

std::optional<wire::Completion> RequestDecoder::carry_out(Session& session,
                                                          const wire::Submission& request) {
  const Answer answer = dispatch(session, request);
  ++session.requests;
  ++core_.counters().requests;
  if (answer.later) return std::nullopt;
  wire::Completion completion = {};
  completion.user_data = request.user_data;
  completion.status = static_cast<int32_t>(answer.status);
  completion.count = answer.count;
  completion.a = answer.a;
  return completion;
}

RequestDecoder::Answer RequestDecoder::dispatch(Session& session, const wire::Submission& request) {
  switch (static_cast<wire::Op>(request.op)) {
    case wire::Op::kNop:
    case wire::Op::kTouchFlush:  // the session's touches were drained before this was taken
      return {};
    case wire::Op::kReserve:
      return reserve(session, request);
    case wire::Op::kCommit:
      return commit(session, request);
    case wire::Op::kAbort:
      return abort(session, request);
    case wire::Op::kPrefetch:
      return prefetch(session, request);
    case wire::Op::kCancel:
      return {.status = core_.cancel(session, request.a).code()};
    case wire::Op::kHint:
      return hint(session, request);
    case wire::Op::kReportPrefill:
      return {.status = core_
                            .report_prefill(session, request.space, request.a, request.b,
                                            wire::bits_double(request.c))
                            .code()};
    case wire::Op::kReportLoad:
      return report_load(session, request);
    case wire::Op::kBadChunk:
      return bad_chunk(session, request);
    case wire::Op::kReportModel:
      return {.status =
                  core_
                      .report_model(session, request.space, wire::bits_double(request.a),
                                    wire::bits_double(request.b), wire::bits_double(request.c))
                      .code()};
  }
  ++core_.counters().invalid_requests;
  return {.status = Code::kInvalidArgument};
}

template <typename Argument>
std::span<const Argument> RequestDecoder::arguments(
    const Session& session, const wire::Submission& request,
    std::array<Argument, wire::kBatchChunksMax>* room) {
  static_assert(sizeof(Argument) % kWord == 0);
  const uint64_t area = session.memory.layout().argument_bytes;
  const uint64_t bytes = uint64_t{request.count} * sizeof(Argument);
  const bool sound = request.count >= 1 && request.count <= wire::kBatchChunksMax &&
                     request.args_offset % kWord == 0 && bytes <= request.args_bytes &&
                     uint64_t{request.args_offset} + request.args_bytes <= area;
  if (!sound) {
    ++core_.counters().invalid_requests;
    return {};
  }
  copy_once(room->data(), session.memory.arguments() + request.args_offset, bytes);
  bytes_copied_ += bytes;
  return {room->data(), request.count};
}

bool RequestDecoder::copy_ids(const Session& session, const wire::Submission& request,
                              std::span<const wire::ReserveArg> arguments) {
  const uint64_t begin = request.args_offset;
  const uint64_t end = wire::round_up(begin + request.args_bytes, kWord);
  uint64_t sum = 0;
  for (const wire::ReserveArg& argument : arguments) {
    if (argument.tokens > wire::kTokensPerChunkMax || argument.extra_ids > wire::kExtraIdsMax) {
      return false;
    }
    const IdsPlace place = ids_place(argument);
    if (place.bytes != 0 &&
        (place.offset % kWord != 0 || place.offset < begin || place.offset + place.bytes > end)) {
      return false;
    }
    sum += place.bytes;
  }
  // Chunks that share ids could ask for more work than they brought bytes.
  if (sum > request.args_bytes + kWord * arguments.size()) return false;
  ids_.resize(sum / kWord);
  uint64_t* next = ids_.data();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const IdsPlace place = ids_place(arguments[i]);
    copy_once(next, session.memory.arguments() + place.offset, place.bytes);
    reserves_[i].arg = arguments[i];
    reserves_[i].tokens = {reinterpret_cast<const uint32_t*>(next), arguments[i].tokens};
    reserves_[i].extra_ids = {next + place.token_bytes / kWord, arguments[i].extra_ids};
    next += place.bytes / kWord;
  }
  bytes_copied_ += sum;
  return true;
}

template <typename AnswerWord>
void RequestDecoder::write_answers(const Session& session, const wire::Submission& request,
                                   std::span<const AnswerWord> answers) {
  // Shorter than the arguments, which were checked to lie in the area.
  std::memcpy(session.memory.arguments() + request.args_offset, answers.data(),
              answers.size_bytes());
}

RequestDecoder::Answer RequestDecoder::reserve(Session& session, const wire::Submission& request) {
  static_assert(sizeof(wire::ReserveAnswer) <= sizeof(wire::ReserveArg));
  if (session.read_only) return {.status = Code::kPermission};
  const auto asked = arguments(session, request, &reserve_arguments_);
  if (asked.empty()) return {.status = Code::kInvalidArgument};
  if (!copy_ids(session, request, asked)) {
    ++core_.counters().invalid_requests;
    return {.status = Code::kInvalidArgument};
  }
  const std::span answers(reserve_answers_.data(), asked.size());
  std::fill(answers.begin(), answers.end(), wire::ReserveAnswer{});
  core_.reserve(session, request.space, {reserves_.data(), asked.size()}, answers);
  write_answers<wire::ReserveAnswer>(session, request, answers);
  return {.count = request.count};
}

RequestDecoder::Answer RequestDecoder::commit(Session& session, const wire::Submission& request) {
  static_assert(sizeof(wire::CommitAnswer) <= sizeof(wire::CommitArg));
  const auto asked = arguments(session, request, &commit_arguments_);
  if (asked.empty()) return {.status = Code::kInvalidArgument};
  const std::span answers(commit_answers_.data(), asked.size());
  std::fill(answers.begin(), answers.end(), wire::CommitAnswer{});
  core_.commit(session, asked, answers);
  write_answers<wire::CommitAnswer>(session, request, answers);
  return {.count = request.count};
}

RequestDecoder::Answer RequestDecoder::abort(Session& session, const wire::Submission& request) {
  const auto asked = arguments(session, request, &commit_arguments_);
  if (asked.empty()) return {.status = Code::kInvalidArgument};
  core_.abort(session, asked);
  return {.count = request.count};
}

RequestDecoder::Answer RequestDecoder::prefetch(Session& session, const wire::Submission& request) {
  const auto asked = arguments(session, request, &keys_);
  if (asked.empty()) return {.status = Code::kInvalidArgument};
  core_.prefetch(session, request.user_data, request.space, asked, request.a);
  return {.later = true};
}

RequestDecoder::Answer RequestDecoder::hint(Session& session, const wire::Submission& request) {
  const auto asked = arguments(session, request, &keys_);
  if (asked.empty()) return {.status = Code::kInvalidArgument};
  const Status taken =
      core_.hint(session, request.space, asked, static_cast<wire::HintKind>(request.a),
                 wire::bits_double(request.b));
  return {.status = taken.code(), .count = request.count};
}

RequestDecoder::Answer RequestDecoder::report_load(Session& session,
                                                   const wire::Submission& request) {
  if (request.a >= wire::kTierCount) {
    ++core_.counters().invalid_requests;
    return {.status = Code::kInvalidArgument};
  }
  const Status taken = core_.report_load(session, static_cast<wire::Tier>(request.a), request.b,
                                         wire::bits_double(request.c));
  return {.status = taken.code()};
}

RequestDecoder::Answer RequestDecoder::bad_chunk(Session& session,
                                                 const wire::Submission& request) {
  const auto kind = static_cast<wire::BadKind>(request.b);
  if (kind != wire::BadKind::kChecksum && kind != wire::BadKind::kHeader) {
    ++core_.counters().invalid_requests;
    return {.status = Code::kInvalidArgument};
  }
  core_.bad_chunk(session, wire::Place(request.a), kind);
  return {};
}

}  // namespace kvtier::daemon
