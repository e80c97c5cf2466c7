// Space::load: leased chunks to the engine's memory, checked (protocol.md, section 4, the end of a
// load). Any thread; no system call, no allocation. Never lets a chunk count whose leases were not
// seen to hold after its last byte was read.
#include <algorithm>
#include <cstring>

#include "client/encoding.hpp"
#include "client/match_impl.hpp"
#include "client/space_impl.hpp"
#include "kernels/copy.hpp"
#include "kvtier/wire/chunk_header.hpp"

namespace kvtier {
namespace {

using wire::Counter;

enum class ChunkEnd : uint8_t { kLoaded, kCorrupt, kSizes, kNoMemory };

Status check_targets(const Match::Impl& match, std::span<const LoadTarget> targets) {
  const uint64_t due = match.chunk_bytes;  // also of chunks that are stored in fewer
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].chunk >= match.held.size()) {
      return Error::format(Code::kInvalidArgument, "target %zu is chunk %zu of a match of %zu", i,
                           targets[i].chunk, match.held.size());
    }
    uint64_t bytes = 0;
    for (const Fragment& fragment : targets[i].fragments) {
      if (fragment.bytes > due - bytes) {
        bytes = due + 1;
        break;
      }
      bytes += fragment.bytes;
    }
    if (bytes != due) {
      return Error::format(Code::kInvalidArgument,
                           "target %zu: the fragments do not add up to the %llu bytes of chunk %zu",
                           i, static_cast<unsigned long long>(due), targets[i].chunk);
    }
  }
  return {};
}

struct Loader {
  const Space::Impl& space;
  const Match::Impl& match;

  bool must_check(const Match::Impl::Held& held) const;
  ChunkEnd copy(const Match::Impl::Held& held, std::span<const Fragment> fragments) const;
  ChunkEnd decode(const Match::Impl::Held& held, std::span<const Fragment> fragments) const;
  bool is_due(const wire::ChunkHeader& header, const Match::Impl::Held& held, uint64_t root) const;
  void report_corrupt(const Match::Impl::Held& held) const;
};

bool Loader::must_check(const Match::Impl::Held& held) const {
  if ((held.flags & wire::kCheckOnLoad) != 0) return true;
  switch (space.core->options().verify) {
    case Verify::kNever:
      return false;
    case Verify::kSampled:
      return space.core->sample();
    case Verify::kAlways:
      return true;
    case Verify::kDefault:
      break;
  }
  const uint32_t configured = match.attachment->verify_default;
  return configured == 2 || (configured == 1 && space.core->sample());
}

ChunkEnd Loader::copy(const Match::Impl::Held& held, std::span<const Fragment> fragments) const {
  if (held.payload_bytes != match.chunk_bytes) return decode(held, fragments);
  const std::byte* payload = held.slot() + match.header_bytes;
  if (!must_check(held)) {
    return kernels::scatter(fragments, payload, held.payload_bytes) ? ChunkEnd::kLoaded
                                                                    : ChunkEnd::kSizes;
  }
  // From the slot once, so that the comparison is with what was checked.
  wire::ChunkHeader header;
  std::memcpy(&header, held.slot(), sizeof header);
  uint64_t root = 0;
  if (!kernels::scatter_and_hash(fragments, payload, held.payload_bytes, &root)) {
    return ChunkEnd::kSizes;
  }
  match.attachment->count(Counter::kVerifiedBytes, held.payload_bytes);
  return is_due(header, held, root) ? ChunkEnd::kLoaded : ChunkEnd::kCorrupt;
}

bool Loader::is_due(const wire::ChunkHeader& header, const Match::Impl::Held& held,
                    uint64_t root) const {
  // The key too: another whole chunk in this slot would be sound in itself.
  return (header.flags & wire::kHeaderHasChecksum) != 0 && header.checksum == root &&
         header.key == held.key && header.generation == held.place.generation();
}

// A chunk in a codec, which its header names: read once, and compared with what the space can have.
ChunkEnd Loader::decode(const Match::Impl::Held& held, std::span<const Fragment> fragments) const {
  wire::ChunkHeader header;
  std::memcpy(&header, held.slot(), sizeof header);
  const SpaceSpec& spec = space.record->spec;
  if (!client::plausible(spec, header.codec, held.payload_bytes)) return ChunkEnd::kCorrupt;
  const bool check = must_check(held);
  uint64_t root = 0;
  const kernels::Status status = client::decode_payload(
      spec, header.codec, {held.slot() + match.header_bytes, held.payload_bytes}, fragments,
      check ? &root : nullptr);
  if (status == kernels::Status::kLayout) return ChunkEnd::kSizes;
  if (status == kernels::Status::kSize) return ChunkEnd::kNoMemory;
  if (status != kernels::Status::kOk) return ChunkEnd::kCorrupt;
  if (!check) return ChunkEnd::kLoaded;
  match.attachment->count(Counter::kVerifiedBytes, held.payload_bytes);
  return is_due(header, held, root) ? ChunkEnd::kLoaded : ChunkEnd::kCorrupt;
}

void Loader::report_corrupt(const Match::Impl::Held& held) const {
  match.attachment->count(Counter::kLoadFailedCorrupt, 1);
  client::Ring::Request bad;
  bad.op = wire::Op::kBadChunk;
  bad.a = held.place.word();
  bad.b = static_cast<uint64_t>(wire::BadKind::kChecksum);
  (void)match.attachment->ring.post(bad, nullptr, 0);
}

void count_load(const Space::Impl& space, const Match::Impl& match, const LoadResult& result) {
  const client::Attachment& attachment = *match.attachment;
  attachment.count(Counter::kLoads, 1);
  attachment.count(Counter::kLoadBytes, result.bytes);
  attachment.count(Counter::kLoadNanoseconds, static_cast<uint64_t>(result.seconds * 1e9));
  client::Ring::Request report;
  double seconds = 0;
  if (result.bytes == 0 ||
      !space.core->gather_load(result.bytes, result.seconds, &report.b, &seconds)) {
    return;
  }
  report.op = wire::Op::kReportLoad;
  report.a = static_cast<uint64_t>(Tier::kHost);
  report.c = wire::double_bits(seconds);
  (void)match.attachment->ring.post(report, nullptr, 0);
}

}  // namespace

Result<LoadResult> Space::load(const Match& match, std::span<const LoadTarget> targets,
                               Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  LoadResult result;
  if (targets.empty()) return result;
  const Match::Impl* held = match.impl();
  if (held == nullptr || !held->attachment) {
    return Error(Code::kInvalidArgument, "the match holds nothing");
  }
  if (Status status = check_targets(*held, targets); !status) return status.error();

  const Loader loader = {*impl_, *held};
  const client::Attachment& attachment = *held->attachment;
  const Clock::time_point began = Clock::now();
  if (!attachment.check(held->revocations)) {  // nothing to be had: do not copy it
    attachment.count(Counter::kLoadFailedRevoked, 1);
    return result;
  }
  for (const LoadTarget& target : targets) {
    if (client::passed(deadline)) {
      attachment.count(Counter::kLoadFailedDeadline, 1);
      break;
    }
    const Match::Impl::Held& chunk = held->held[target.chunk];
    const ChunkEnd end = loader.copy(chunk, target.fragments);
    // After every chunk, so that a revocation costs what follows and not what came before.
    if (!attachment.check(held->revocations)) {
      attachment.count(Counter::kLoadFailedRevoked, 1);
      break;
    }
    if (end == ChunkEnd::kSizes) {
      return Error(Code::kInvalidArgument, "the fragment list changed during the load");
    }
    if (end == ChunkEnd::kNoMemory) return Error(Code::kOutOfMemory, "no memory to decode a chunk");
    if (end == ChunkEnd::kCorrupt) {
      loader.report_corrupt(chunk);
      break;
    }
    ++result.chunks;
    result.bytes += chunk.payload_bytes;
  }
  result.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  count_load(*impl_, *held, result);
  return result;
}

}  // namespace kvtier
