// See replies.hpp.
#include "daemon/session/replies.hpp"

#include <algorithm>
#include <cstring>

#include "daemon/session/versions.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

// As AttachReply::verify_default counts them.
uint32_t verify_word(VerifyMode mode) {
  switch (mode) {
    case VerifyMode::kNever:
      return 0;
    case VerifyMode::kSampled:
      return 1;
    case VerifyMode::kAlways:
      return 2;
  }
  return 2;
}

}  // namespace

wire::MessageHeader reply_header(wire::MessageType type, size_t bytes) {
  wire::MessageHeader header = {};
  header.magic = wire::kMessageMagic;
  header.type = static_cast<uint16_t>(type);
  header.version = static_cast<uint16_t>(served_versions().max);
  header.bytes = static_cast<uint32_t>(bytes);
  return header;
}

wire::AttachReply attach_reply(const Core& core, const Session& session, const Tenant& tenant) {
  wire::AttachReply reply = {};
  reply.session = session.id;
  reply.features = 0;
  reply.epoch = core.epoch();
  reply.tenant = tenant.number;
  reply.published_bytes = tenant.index->bytes();
  reply.session_bytes = session.memory.bytes();
  reply.verify_default = verify_word(core.config().verify.host);
  const uint64_t seconds = (core.config().host.lease_max_ns + kSecondNs - 1) / kSecondNs;
  reply.lease_seconds_max = static_cast<uint32_t>(std::min<uint64_t>(seconds, UINT32_MAX));
  static_assert(sizeof reply.secret == sizeof tenant.secret.bytes);
  std::memcpy(reply.secret, tenant.secret.bytes, sizeof reply.secret);
  return reply;
}

std::string printable(const char* text, size_t bytes_max) {
  std::string result(text, ::strnlen(text, bytes_max));
  for (char& c : result) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return result;
}

}  // namespace kvtier::daemon
