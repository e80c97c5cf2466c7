// Space::hint, report_prefill: the requests that carry keys or numbers only.
#include <algorithm>
#include <array>
#include <cmath>

#include "client/space_impl.hpp"

namespace kvtier {
namespace {

using client::guarded;
using client::Ring;

// Keys of at most one request.
size_t copy_keys(std::span<const ChunkKey> keys, size_t first, size_t count,
                 std::array<wire::KeyArg, wire::kBatchChunksMax>* arguments) {
  const size_t taken = std::min<size_t>(count, arguments->size());
  for (size_t i = 0; i < taken; ++i) (*arguments)[i].key = keys[first + i];
  return taken;
}

Status check_range(const KeyChain& chain, size_t first, size_t count) {
  if (first <= chain.size() && count <= chain.size() - first) return {};
  return Error::format(Code::kInvalidArgument, "chunks %zu to %zu of a chain of %zu", first,
                       first + count, chain.size());
}

}  // namespace

Status Space::hint(const KeyChain& chain, size_t first, size_t count, Hint hint,
                   double value) const {
  if (impl_->core->forked()) return client::forked_error();
  if (!impl_->fits(chain)) return Impl::wrong_chain();
  if (Status status = check_range(chain, first, count); !status) return status;
  if (!std::isfinite(value) || value < 0) {
    return Error::format(Code::kInvalidArgument, "a hint's value is %g; due is 0 or more", value);
  }
  if (hint < Hint::kSessionEnd || hint > Hint::kClass) {
    return Error::format(Code::kInvalidArgument, "hint %u is not known",
                         static_cast<unsigned>(hint));
  }
  return guarded<void>([&]() -> Status {
    const Impl::Opened opened = impl_->open();
    if (!opened) return impl_->core->refusal_of(*impl_->record);
    if (!Impl::current(chain, *opened.attachment)) return Impl::stale_chain();
    for (size_t done = 0; done < count;) {
      std::array<wire::KeyArg, wire::kBatchChunksMax> arguments;
      const size_t taken = copy_keys(chain.keys(), first + done, count - done, &arguments);
      Ring::Request request;
      request.op = wire::Op::kHint;
      request.space = opened.space->id;
      request.count = static_cast<uint32_t>(taken);
      request.a = static_cast<uint64_t>(hint);
      request.b = wire::double_bits(value);
      const Status status =
          opened.attachment->ring.post(request, arguments.data(), taken * sizeof arguments[0]);
      if (!status) return status;
      done += taken;
    }
    return {};
  });
}

Status Space::report_prefill(uint64_t tokens, uint64_t context, double seconds) const {
  if (impl_->core->forked()) return client::forked_error();
  if (tokens == 0 || !std::isfinite(seconds) || seconds <= 0) {
    return Error::format(Code::kInvalidArgument,
                         "a prefill of %llu tokens in %g s; due are both positive and finite",
                         static_cast<unsigned long long>(tokens), seconds);
  }
  constexpr uint64_t kTokensMax = uint64_t{1} << 40;  // more is a mistake, and overflows sums
  if (tokens > kTokensMax || context > kTokensMax) {
    return Error::format(Code::kInvalidArgument, "a prefill of %llu tokens behind %llu",
                         static_cast<unsigned long long>(tokens),
                         static_cast<unsigned long long>(context));
  }
  const Impl::Opened opened = impl_->open();
  if (!opened) return impl_->core->refusal_of(*impl_->record);
  Ring::Request request;
  request.op = wire::Op::kReportPrefill;
  request.space = opened.space->id;
  request.a = tokens;
  request.b = context;
  request.c = wire::double_bits(seconds);
  return opened.attachment->ring.post(request, nullptr, 0);
}

Status Space::report_model(double flops_token, double flops_pair, double flops_per_s) const {
  if (impl_->core->forked()) return client::forked_error();
  const bool sound = std::isfinite(flops_token) && flops_token > 0 && std::isfinite(flops_pair) &&
                     flops_pair >= 0 && std::isfinite(flops_per_s) && flops_per_s > 0;
  if (!sound) {
    return Error::format(Code::kInvalidArgument, "a model of %g and %g FLOPs at %g a second",
                         flops_token, flops_pair, flops_per_s);
  }
  const Impl::Opened opened = impl_->open();
  if (!opened) return impl_->core->refusal_of(*impl_->record);
  Ring::Request request;
  request.op = wire::Op::kReportModel;
  request.space = opened.space->id;
  request.a = wire::double_bits(flops_token);
  request.b = wire::double_bits(flops_pair);
  request.c = wire::double_bits(flops_per_s);
  return opened.attachment->ring.post(request, nullptr, 0);
}

}  // namespace kvtier
