// Codecs by configuration: what stores are asked to use, and chunks that are written below in
// another codec than they have in host memory. Core thread, except the body of the job.
#include "daemon/core/core.hpp"
#include "daemon/core/reencode.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {

namespace {

kernels::Codec codec_of(Encode encode) {
  switch (encode) {
    case Encode::kLossless:
      return kernels::Codec::kLossless;
    case Encode::kFp8:
      return kernels::Codec::kFp8TokenHead;
    case Encode::kInt8:
      return kernels::Codec::kInt8;
    case Encode::kInt4:
      return kernels::Codec::kInt4;
    case Encode::kNone:
      break;
  }
  return kernels::Codec::kNone;
}

kernels::SpaceShape shape_of(const wire::SpaceSpecWire& spec) {
  return {spec.dtype,          spec.kind == static_cast<uint32_t>(wire::PayloadKind::kTyped),
          spec.layers,         spec.kv_heads,
          spec.head_dim,       spec.tokens_per_chunk,
          spec.chunk_bytes_max};
}

}  // namespace

// What the configuration says for the space, as far as it fits.
void Core::choose_codecs(Space& space) {
  const SpaceConfig wanted = config_.space_of(space.spec.model);
  const auto fitting = [&](Encode encode, const char* where) {
    const kernels::Codec codec = codec_of(encode);
    const Status fits = kernels::check_codec(shape_of(space.spec), codec);
    if (fits) return codec;
    log_event(LogCode::kCodecIgnored, "space {} of {}: chunks are {} as they are, not in {}: {}",
              space.id, space.spec.model, where, kernels::codec_name(codec),
              fits.error().message());
    return kernels::Codec::kNone;
  };
  space.store_codec = fitting(wanted.encode, "stored");
  space.lower_codec = lower_ ? fitting(wanted.nvme_encode, "written below") : kernels::Codec::kNone;
}

// Of a chunk that lies raw in host memory.
bool Core::is_reencoded_below(const Space& space, const SlotRecord& record) const {
  return space.lower_codec != kernels::Codec::kNone &&
         record.payload_bytes == space.spec.chunk_bytes_max;
}

bool Core::begin_reencode(const Space& space, uint64_t ticket, const TierChunk& chunk,
                          SlotId slot) {
  auto made = std::make_shared<Reencode>(Reencode{host_->data(slot), chunk, space.lower_codec,
                                                  space.spec.dtype, shape_of(space.spec)});
  Job job;
  job.work = [made] { made->run(); };
  job.done = [this, ticket, made] { reencoded(ticket, *made); };
  return executor_.submit(std::move(job));
}

void Core::reencoded(uint64_t ticket, Reencode& made) {
  Demotion& down = lower_.writes[ticket];
  if (made.verdict == Reencoded::kYes) {
    lower_.writing_bytes -= down.chunk.bytes() - made.chunk.bytes();
    down.chunk = made.chunk;
    lower_.encoded[ticket] = std::move(made.memory);
  } else {
    ++counters_.reencode_kept;
  }
  lower_.ready.push_back(ticket);
  pump_encoded();
}

// Hands what workers have encoded to the tier, as much as it takes.
void Core::pump_encoded() {
  while (!lower_.ready.empty()) {
    const uint64_t ticket = lower_.ready.front();
    const Demotion& down = lower_.writes[ticket];
    Tenant& tenant = *tenants_[down.tenant];
    const bool resident =
        host_->slots()[down.slot].state.load(std::memory_order_relaxed) == SlotState::kValid;
    Down what = Down::kRefused;
    if (resident) {
      const auto memory = lower_.encoded.find(ticket);
      const std::byte* data =
          memory == lower_.encoded.end() ? host_->data(down.slot) : memory->second.get();
      uint64_t CoreCounters::*why = nullptr;
      what = hand_down(tenant, ticket, down.chunk, data, &why);
    }
    if (what == Down::kLater) return;
    lower_.ready.pop_front();
    if (what == Down::kRefused) abandon_write(ticket);
  }
}

// It costs nothing yet: the chunk is dropped only when its slot is needed.
void Core::abandon_write(uint64_t ticket) {
  const auto write = lower_.writes.find(ticket);
  SlotNotes& note = notes_[write->second.slot];
  note.writing = false;
  --note.holds;
  lower_.writing_bytes -= write->second.chunk.bytes();
  lower_.writes.erase(write);
  lower_.encoded.erase(ticket);
}

}  // namespace kvtier::daemon
