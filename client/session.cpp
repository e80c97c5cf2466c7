// Session and Space: what is checked of options and specs, and how they begin and end.
#include "client/session_impl.hpp"

#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "client/space_impl.hpp"

namespace kvtier {
namespace {

using client::guarded;

Status check_options(const SessionOptions& options) {
  if (options.socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error::format(Code::kInvalidArgument,
                         "socket path of %zu bytes; a unix socket takes at most %zu",
                         options.socket.size(), sizeof(sockaddr_un::sun_path) - 1);
  }
  if (options.name.size() >= wire::kNameBytes) {
    return Error::format(Code::kInvalidArgument, "session name of %zu bytes; at most %u",
                         options.name.size(), wire::kNameBytes - 1);
  }
  if (options.verify > Verify::kAlways) {
    return Error::format(Code::kInvalidArgument, "verify mode %u is not known",
                         static_cast<unsigned>(options.verify));
  }
  if (options.call_deadline.count() <= 0 || options.retry_first.count() <= 0 ||
      options.retry_last < options.retry_first) {
    return Error(Code::kInvalidArgument,
                 "call_deadline and retry_first must be above 0, retry_last not below the latter");
  }
  return {};
}

struct Text {
  const char* name;
  const std::string& value;
  char* out;
  size_t bytes;
};

struct Number {
  const char* name;
  uint64_t value;
  uint64_t min;
  uint64_t max;
};

Status to_wire(const SpaceSpec& spec, wire::SpaceSpecWire* wire) {
  const Text texts[] = {
      {"model", spec.model, wire->model, sizeof wire->model},
      {"dtype", spec.dtype, wire->dtype, sizeof wire->dtype},
      {"layout", spec.layout, wire->layout, sizeof wire->layout},
      {"isa", spec.isa, wire->isa, sizeof wire->isa},
  };
  for (const Text& text : texts) {
    if (text.value.size() >= text.bytes || text.value.find('\0') != std::string::npos) {
      return Error::format(Code::kInvalidArgument,
                           "space: %s has %zu bytes; at most %zu, none of them zero", text.name,
                           text.value.size(), text.bytes - 1);
    }
    std::memcpy(text.out, text.value.data(), text.value.size());
  }
  if (spec.model.empty()) {
    return Error(Code::kInvalidArgument, "space: the model's fingerprint or name is missing");
  }
  const Number numbers[] = {
      {"tokens_per_chunk", spec.tokens_per_chunk, 1, wire::kTokensPerChunkMax},
      {"shards", spec.shards, 1, wire::kShardsMax},
      {"shard", spec.shard, 0, uint64_t{spec.shards} - 1},
      {"chunk_bytes", spec.chunk_bytes, 1, wire::kChunkBytesMax},
      {"kind", static_cast<uint64_t>(spec.kind), 0, 1},
  };
  for (const Number& number : numbers) {
    if (number.value >= number.min && number.value <= number.max) continue;
    return Error::format(Code::kInvalidArgument, "space: %s is %llu; due is %llu to %llu",
                         number.name, static_cast<unsigned long long>(number.value),
                         static_cast<unsigned long long>(number.min),
                         static_cast<unsigned long long>(number.max));
  }
  wire->layers = spec.layers;
  wire->kv_heads = spec.kv_heads;
  wire->head_dim = spec.head_dim;
  wire->tokens_per_chunk = spec.tokens_per_chunk;
  wire->shard = spec.shard;
  wire->shards = spec.shards;
  wire->kind = static_cast<uint32_t>(spec.kind);
  wire->chunk_bytes_max = spec.chunk_bytes;
  return {};
}

}  // namespace

Result<std::unique_ptr<Session>> Session::open(const SessionOptions& options) {
  using Opened = Result<std::unique_ptr<Session>>;
  return guarded<std::unique_ptr<Session>>([&]() -> Opened {
    SessionOptions filled = options;
    if (filled.socket.empty()) filled.socket = default_socket_path();
    if (Status status = check_options(filled); !status) return status.error();
    auto impl = std::make_unique<Impl>();
    auto core = client::SessionCore::create(std::move(filled));
    if (!core) return core.error();
    impl->core = *std::move(core);
    impl->spaces.reserve(wire::kSpacesMax);
    if (Status status = impl->core->start(); !status) return status.error();
    return std::unique_ptr<Session>(new Session(std::move(impl)));
  });
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Session::~Session() {
  if (impl_->core->forked()) {
    (void)impl_.release();  // the parent's thread, locks and memory; nothing here may be touched
    return;
  }
  impl_->core->stop();
}

Status Session::wait_attached(Clock::time_point deadline) const {
  if (impl_->core->forked()) return client::forked_error();
  return impl_->core->wait_attached(deadline);
}

bool Session::attached() const {
  return epoch() != 0;
}

uint64_t Session::epoch() const {
  if (impl_->core->forked()) return 0;
  const client::AttachmentRef attachment = impl_->core->attached();
  return attachment ? attachment->epoch : 0;
}

uint32_t Session::id() const {
  if (impl_->core->forked()) return 0;
  const client::AttachmentRef attachment = impl_->core->attached();
  return attachment ? attachment->session : 0;
}

Result<std::shared_ptr<Space>> Session::open_space(const SpaceSpec& spec) {
  if (impl_->core->forked()) return client::forked_error();
  return guarded<std::shared_ptr<Space>>([&]() -> Result<std::shared_ptr<Space>> {
    wire::SpaceSpecWire wire = {};
    if (Status status = to_wire(spec, &wire); !status) return status.error();
    auto record = impl_->core->record_space(spec, wire);
    if (!record) return record.error();
    if (const client::AttachmentRef attachment = impl_->core->attached(); attachment) {
      const Status status = impl_->core->open_space(
          attachment.get(), *record, client::after(impl_->core->options().call_deadline));
      // A daemon that is away or slow opens it later.
      if (!status && status.code() != Code::kUnavailable && status.code() != Code::kDeadline) {
        return status.error();
      }
    }
    const std::lock_guard lock(impl_->mutex);
    impl_->spaces.resize(std::max<size_t>(impl_->spaces.size(), (*record)->number + 1));
    std::shared_ptr<Space>& space = impl_->spaces[(*record)->number];
    if (space == nullptr) {
      auto made = std::make_unique<Space::Impl>(Space::Impl{impl_->core, *record});
      space.reset(new Space(std::move(made)));
    }
    return space;
  });
}

SessionStats Session::stats() const {
  if (impl_->core->forked()) return {};
  return impl_->core->stats();
}

SessionOptions Session::options() const {
  return impl_->core->options();
}

Space::Space(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Space::~Space() = default;

const SpaceSpec& Space::spec() const {
  return impl_->record->spec;
}

}  // namespace kvtier
