#include "client/attach.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "kvtier/wire/plan_record.hpp"

namespace kvtier::client {
namespace {

Error malformed(const char* what, uint64_t found, const char* due) {
  return Error::format(Code::kIncompatible,
                       "attach reply: %s is %" PRIu64 "; due is %s. Update daemon or client", what,
                       found, due);
}

// One array of the shared memory.
struct Part {
  const char* name;
  uint64_t offset;
  uint64_t count;
  uint64_t item_bytes;
};

Status check_part(const Part& part, uint64_t header_bytes, uint64_t bytes) {
  if (part.offset % wire::kCacheLineBytes != 0 || part.offset < header_bytes ||
      part.offset > bytes) {
    return malformed(part.name, part.offset, "an aligned offset inside the memory");
  }
  if (part.count > (bytes - part.offset) / part.item_bytes) {
    return malformed(part.name, part.count, "a count that fits into the memory");
  }
  return {};
}

Status check_eventfd(int fd, const char* what) {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  char target[64] = "";
  const ssize_t size = ::readlink(path, target, sizeof target - 1);
  if (size > 0 && std::strstr(target, "[eventfd]") == nullptr) {
    return Error::format(Code::kIncompatible, "attach reply: the %s fd is %s; due is an eventfd",
                         what, target);
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return Error::system(errno, "making an eventfd non-blocking");
  }
  return {};
}

Result<wire::AttachReply> handshake(ControlChannel* channel, const AttachOptions& options,
                                    Packet* packet) {
  wire::AttachRequest request = {};
  request.header.type = static_cast<uint16_t>(wire::MessageType::kAttach);
  request.header.version = static_cast<uint16_t>(KVTIER_CLIENT_VERSION_MAX);
  request.header.bytes = sizeof request;
  request.version_min = KVTIER_CLIENT_VERSION_MIN;
  request.version_max = KVTIER_CLIENT_VERSION_MAX;
  request.flags = options.read_only ? wire::kAttachReadOnly : 0;
  std::snprintf(request.name, sizeof request.name, "%s", options.name.c_str());
  const ControlChannel::Expected expected = {wire::MessageType::kAttachReply,
                                             sizeof(wire::AttachReply), wire::kAttachFds};
  if (Status status =
          channel->call(&request.header, expected, packet, options.deadline, options.stop_fd);
      !status) {
    return status.error();
  }
  wire::AttachReply reply;
  std::memcpy(&reply, packet->bytes.data(), sizeof reply);
  if (reply.version < KVTIER_CLIENT_VERSION_MIN || reply.version > KVTIER_CLIENT_VERSION_MAX) {
    return Error::format(Code::kIncompatible,
                         "the daemon chose protocol %u; this client speaks %u to %u", reply.version,
                         static_cast<unsigned>(KVTIER_CLIENT_VERSION_MIN),
                         static_cast<unsigned>(KVTIER_CLIENT_VERSION_MAX));
  }
  if (reply.epoch == 0) return malformed("epoch", 0, "not 0");
  if (reply.verify_default > 2) return malformed("verify_default", reply.verify_default, "0 to 2");
  return reply;
}

}  // namespace

Status check_sealed(int fd, uint64_t bytes, const char* what) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return Error::system(errno, what);
  if (static_cast<uint64_t>(status.st_size) != bytes) {
    return Error::format(Code::kIncompatible,
                         "the daemon's %s has %" PRIu64 " bytes, but was announced with %" PRIu64,
                         what, static_cast<uint64_t>(status.st_size), bytes);
  }
  constexpr int kDue = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kDue) != kDue) {
    return Error::format(Code::kIncompatible,
                         "the daemon's %s has seals %d; shrink, grow and seal are due, since a "
                         "shrinking mapping would kill this process",
                         what, seals);
  }
  return {};
}

Status check_published(const std::byte* memory, uint64_t bytes, const wire::AttachReply& reply) {
  if (bytes < sizeof(wire::PublishedHeader)) {
    return malformed("published memory", bytes, "room for its header");
  }
  const auto& header = *reinterpret_cast<const wire::PublishedHeader*>(memory);
  if (header.magic != wire::kPublishedMagic) {
    return malformed("published magic", header.magic, "KVPUB01");
  }
  if (header.version != reply.version) {
    return malformed("published version", header.version, "the chosen one");
  }
  if (header.header_bytes != sizeof(wire::PublishedHeader)) {
    return malformed("published header_bytes", header.header_bytes, "192");
  }
  if (header.bytes != bytes) return malformed("published bytes", header.bytes, "the file's size");
  const uint64_t buckets = uint64_t{header.bucket_mask} + 1;
  if (!std::has_single_bit(buckets)) {
    return malformed("bucket_mask", header.bucket_mask, "a power of two less 1");
  }
  if (header.entries_max == 0) return malformed("entries_max", 0, "at least 1");
  if (header.spaces_max == 0 || header.spaces_max > wire::kSpacesMax) {
    return malformed("spaces_max", header.spaces_max, "1 to 256");
  }
  if (header.segments_max == 0 || header.segments_max > wire::kSegmentsMax) {
    return malformed("segments_max", header.segments_max, "1 to 16384");
  }
  const Part parts[] = {
      {"board_offset", header.board_offset, 1, sizeof(wire::CostBoard)},
      {"spaces_offset", header.spaces_offset, header.spaces_max, sizeof(wire::SpaceDescriptor)},
      {"segments_offset", header.segments_offset, header.segments_max,
       sizeof(wire::SegmentDescriptor)},
      {"buckets_offset", header.buckets_offset, buckets, sizeof(wire::Bucket)},
      {"entries_offset", header.entries_offset, header.entries_max, sizeof(wire::Entry)},
  };
  for (const Part& part : parts) {
    if (Status status = check_part(part, sizeof header, bytes); !status) return status;
  }
  if (header.epoch.load(std::memory_order_acquire) != reply.epoch) {
    return Error(Code::kUnavailable, "the daemon is stopping: its published epoch is another one");
  }
  return {};
}

Status check_session(const std::byte* memory, uint64_t bytes, const wire::AttachReply& reply) {
  if (bytes < wire::kSessionHeaderBytes) {
    return malformed("session memory", bytes, "room for its header");
  }
  const auto& header = *reinterpret_cast<const wire::SessionHeader*>(memory);
  if (header.magic != wire::kSessionMagic) {
    return malformed("session magic", header.magic, "KVSES01");
  }
  if (header.version != reply.version) {
    return malformed("session version", header.version, "the chosen one");
  }
  if (header.session != reply.session) {
    return malformed("session number", header.session, "the reply's");
  }
  if (header.epoch != reply.epoch) return malformed("session epoch", header.epoch, "the reply's");
  if (header.bytes != bytes) return malformed("session bytes", header.bytes, "the file's size");
  const std::pair<const char*, uint32_t> powers[] = {
      {"submission_entries", header.submission_entries},
      {"completion_entries", header.completion_entries},
      {"touch_entries", header.touch_entries},
  };
  for (const auto& [name, value] : powers) {
    if (!std::has_single_bit(value)) return malformed(name, value, "a power of two");
  }
  if (header.cells_max == 0 || header.cells_max > wire::kLeaseCellsMax) {
    return malformed("cells_max", header.cells_max, "1 to 65536");
  }
  const Part parts[] = {
      {"submissions_offset", header.submissions_offset, header.submission_entries,
       sizeof(wire::Submission)},
      {"completions_offset", header.completions_offset, header.completion_entries,
       sizeof(wire::Completion)},
      {"cells_offset", header.cells_offset, header.cells_max, 8},
      {"touches_offset", header.touches_offset, header.touch_entries, 8},
      {"args_offset", header.args_offset, header.args_bytes, 1},
  };
  for (const Part& part : parts) {
    if (Status status = check_part(part, wire::kSessionHeaderBytes, bytes); !status) return status;
  }
  if (header.plan_entries != 0) {  // a daemon that takes plan records
    if (!std::has_single_bit(header.plan_entries)) {
      return malformed("plan_entries", header.plan_entries, "a power of two");
    }
    const Part plans = {"plans_offset", header.plans_offset, header.plan_entries,
                        sizeof(wire::PlanCell)};
    if (Status status = check_part(plans, wire::kSessionHeaderBytes, bytes); !status) return status;
  }
  return {};
}

Result<AttachedMemory> attach(const AttachOptions& options) {
  Result<Fd> socket = ControlChannel::connect(options.socket);
  if (!socket) return socket.error();
  ControlChannel channel(*std::move(socket));
  Packet packet;
  Result<wire::AttachReply> handshaken = handshake(&channel, options, &packet);
  if (!handshaken) return handshaken.error();
  const wire::AttachReply& reply = *handshaken;

  if (Status s = check_sealed(packet.fds[0].get(), reply.published_bytes, "published memory"); !s) {
    return s.error();
  }
  if (Status s = check_sealed(packet.fds[1].get(), reply.session_bytes, "session memory"); !s) {
    return s.error();
  }
  if (Status s = check_eventfd(packet.fds[2].get(), "submission"); !s) return s.error();
  if (Status s = check_eventfd(packet.fds[3].get(), "completion"); !s) return s.error();

  Result<Mapping> published =
      Mapping::map(packet.fds[0].get(), reply.published_bytes, Access::kRead);
  if (!published) return published.error();
  Result<Mapping> session =
      Mapping::map(packet.fds[1].get(), reply.session_bytes, Access::kReadWrite);
  if (!session) return session.error();
  if (Status s = check_published(published->data(), published->bytes(), reply); !s) {
    return s.error();
  }
  if (Status s = check_session(session->data(), session->bytes(), reply); !s) return s.error();

  AttachedMemory memory;
  memory.socket = channel.take_socket();
  memory.version = reply.version;
  memory.session = reply.session;
  memory.epoch = reply.epoch;
  memory.verify_default = reply.verify_default;
  std::memcpy(memory.secret.bytes, reply.secret, sizeof memory.secret.bytes);
  memory.published = *std::move(published);
  memory.session_memory = *std::move(session);
  memory.submission_eventfd = std::move(packet.fds[2]);
  memory.completion_eventfd = std::move(packet.fds[3]);
  return memory;
}

}  // namespace kvtier::client
