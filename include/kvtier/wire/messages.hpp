// Messages on the attach socket (SOCK_SEQPACKET): one fixed-size structure each way, fds beside it.
// Rare and slow by design: attach, spaces, segment fds, detach. docs/protocol.md, section 6.
#pragma once

#include "kvtier/wire/types.hpp"

namespace kvtier::wire {

inline constexpr uint32_t kMessageMagic = 0x3154'564b;  // "KVT1"
inline constexpr uint32_t kMessageBytesMax = 2048;
inline constexpr uint32_t kMessageFdsMax = 8;
inline constexpr uint32_t kSecretBytes = 192;  // of XXH3, >= XXH3_SECRET_SIZE_MIN

enum class MessageType : uint16_t {
  kAttach = 1,
  kAttachReply = 2,
  kOpenSpace = 3,
  kOpenSpaceReply = 4,
  kGetSegment = 5,
  kGetSegmentReply = 6,
  kDetach = 7,
  kDetachReply = 8,
  kGiveUp = 9,
  kGiveUpReply = 10,
  kRefused = 11,
};

struct MessageHeader {
  uint32_t magic;
  uint16_t type;
  uint16_t version;  // of the sender's structures
  uint32_t bytes;    // of the whole message
  uint32_t request;  // chosen by the client, repeated in the reply
  int32_t status;    // a kvtier::Code in replies, 0 in requests
  uint32_t reserved;
};
static_assert(sizeof(MessageHeader) == 24);

inline constexpr uint32_t kAttachReadOnly = 1u << 0;  // segments come read-only; no grants

struct AttachRequest {
  MessageHeader header;
  uint32_t version_min;  // protocol versions this client speaks
  uint32_t version_max;
  uint64_t features;  // none defined in version 1
  uint32_t flags;     // kAttach*
  uint32_t reserved0;
  char name[kNameBytes];  // for operators: "vllm-0 scheduler"
  uint64_t reserved1[4];
};
static_assert(sizeof(AttachRequest) == 24 + 24 + 64 + 32);

// fds in this order: published memory (read-only), session memory, submission eventfd (client
// writes), completion eventfd (client reads).
inline constexpr uint32_t kAttachFds = 4;
struct AttachReply {
  MessageHeader header;
  uint32_t version;  // chosen
  uint32_t session;
  uint64_t features;
  uint64_t epoch;
  uint64_t tenant;
  uint64_t published_bytes;
  uint64_t session_bytes;
  uint32_t verify_default;  // 0 never, 1 sampled, 2 always
  uint32_t lease_seconds_max;
  uint8_t secret[kSecretBytes];  // the tenant's, for keys
  uint64_t reserved[4];
};
static_assert(sizeof(AttachReply) == 24 + 56 + 192 + 32);

// The text answers "what was found and what to do" for any request that was not served.
struct Refused {
  MessageHeader header;
  uint32_t version_min;  // protocol versions this daemon serves
  uint32_t version_max;
  char message[256];
};

// One tensor shape of the tenant; two specs are the same space when every field is equal.
struct SpaceSpecWire {
  char model[256];  // fingerprint or name with revision, zero-terminated
  char dtype[32];
  char layout[64];
  char isa[32];  // where the bytes depend on it, else empty
  uint32_t layers;
  uint32_t kv_heads;
  uint32_t head_dim;  // or the MLA latent
  uint32_t tokens_per_chunk;
  uint32_t shard;
  uint32_t shards;
  uint32_t kind;  // PayloadKind
  uint32_t reserved0;
  uint64_t chunk_bytes_max;  // payload
  uint64_t reserved1[3];
};
static_assert(sizeof(SpaceSpecWire) == 256 + 32 + 64 + 32 + 32 + 32);

struct OpenSpaceRequest {
  MessageHeader header;
  SpaceSpecWire spec;
};
struct OpenSpaceReply {
  MessageHeader header;
  uint32_t space;   // id
  uint32_t number;  // in the published space table
  uint32_t header_bytes;
  uint32_t group;
  uint64_t slot_bytes;
};

struct GetSegmentRequest {
  MessageHeader header;
  uint32_t segment;
  uint32_t reserved;
  uint64_t uid;  // as published; another one is refused as not_found
};
struct GetSegmentReply {  // one fd
  MessageHeader header;
  uint64_t bytes;
};

struct DetachRequest {  // all copies of this session are done; its slots return at once
  MessageHeader header;
};
// On a new session of the same process: the copies of an ended one are done.
struct GiveUpRequest {
  MessageHeader header;
  uint32_t session;
  uint32_t reserved;
  uint64_t epoch;
};
struct EmptyReply {
  MessageHeader header;
};

}  // namespace kvtier::wire
