#include "tests/client/fake_daemon.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kvtier/result.hpp"

namespace kvtier::testing {
namespace {

// The test itself is broken; there is nothing to report to.
void require(bool holds, const char* what) {
  if (holds) return;
  std::perror(what);
  std::abort();
}

template <typename T>
T* at(std::byte* base, uint64_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

void send_packet(int socket, const void* bytes, size_t size, const std::vector<int>& fds = {}) {
  iovec part = {const_cast<void*>(bytes), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16)] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  (void)::sendmsg(socket, &message, MSG_NOSIGNAL);
}

template <typename Reply>
Reply reply_to(const wire::MessageHeader& request, wire::MessageType type) {
  Reply reply = {};
  reply.header.magic = wire::kMessageMagic;
  reply.header.type = static_cast<uint16_t>(type);
  reply.header.version = wire::kProtocolVersion;
  reply.header.bytes = sizeof reply;
  reply.header.request = request.request;
  return reply;
}

}  // namespace

SharedMemory::SharedMemory(uint64_t size, bool sealed) : bytes(size) {
  fd = ::memfd_create("kvtier-fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  require(fd >= 0, "memfd_create");
  require(::ftruncate(fd, static_cast<off_t>(size)) == 0, "ftruncate");
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  require(mapped != MAP_FAILED, "mmap");
  data = static_cast<std::byte*>(mapped);
  if (sealed) {
    require(::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0, "seals");
  }
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept {
  *this = std::move(other);
}
SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd, other.fd);
  std::swap(data, other.data);
  std::swap(bytes, other.bytes);
  return *this;
}
SharedMemory::~SharedMemory() {
  if (data != nullptr) ::munmap(data, bytes);
  if (fd >= 0) ::close(fd);
}

struct FakeDaemon::Client {
  int socket = -1;
  uint32_t session = 0;
  SharedMemory memory;
  int submission_fd = -1;
  int completion_fd = -1;
  uint32_t head = 0;

  wire::SessionHeader& header() const { return *at<wire::SessionHeader>(memory.data, 0); }
  ~Client() {
    for (const int fd : {socket, submission_fd, completion_fd}) {
      if (fd >= 0) ::close(fd);
    }
  }
};

FakeDaemon::FakeDaemon(std::string socket, FakeOptions options)
    : socket_(std::move(socket)), options_(std::move(options)) {
  const uint64_t board = 4096;
  const uint64_t spaces = board + wire::round_up(sizeof(wire::CostBoard), 4096);
  const uint64_t segments = spaces + wire::round_up(64 * 16, 4096);
  const uint64_t buckets = segments + wire::round_up(64 * 16, 4096);
  const uint64_t entries = buckets + wire::round_up(uint64_t{64} * options_.buckets, 4096);
  const uint64_t bytes = entries + wire::round_up(uint64_t{64} * options_.entries_max, 4096);
  published_ = SharedMemory(bytes, options_.sealed);
  auto& header = published();
  header.magic = wire::kPublishedMagic;
  header.version = wire::kProtocolVersion;
  header.header_bytes = sizeof header;
  header.bytes = bytes;
  header.board_offset = board;
  header.spaces_offset = spaces;
  header.segments_offset = segments;
  header.buckets_offset = buckets;
  header.entries_offset = entries;
  header.spaces_max = 16;
  header.segments_max = 16;
  header.bucket_mask = options_.buckets - 1;
  header.entries_max = options_.entries_max;
  header.epoch.store(options_.epoch);
  view_ = wire::PublishedView::of(published_.data);

  ::unlink(socket_.c_str());
  listener_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  require(socket_.size() < sizeof address.sun_path, "socket path");
  std::memcpy(address.sun_path, socket_.c_str(), socket_.size());
  require(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
  require(::listen(listener_, 16) == 0, "listen");
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { run(); });
}

FakeDaemon::~FakeDaemon() {
  const uint64_t one = 1;
  require(::write(stop_fd_, &one, sizeof one) == sizeof one, "stop");
  thread_.join();
  close_epoch();
  ::close(listener_);
  ::close(stop_fd_);
  ::unlink(socket_.c_str());
}

void FakeDaemon::run() {
  for (;;) {
    std::vector<pollfd> fds = {{stop_fd_, POLLIN, 0}};
    std::vector<Client*> polled;
    if (!stuck_.load()) {
      const std::lock_guard lock(mutex_);
      if (drop_) clients_.clear();
      drop_ = false;
      fds.push_back({listener_, POLLIN, 0});
      for (const auto& client : clients_) {
        polled.push_back(client.get());
        fds.push_back({client->socket, POLLIN, 0});
        fds.push_back({client->submission_fd, POLLIN, 0});
        if (client->memory.data == nullptr) continue;
        client->header().daemon_need_wake.store(1, std::memory_order_relaxed);
      }
      std::atomic_thread_fence(std::memory_order_seq_cst);
      for (const auto& client : clients_) {
        if (client->memory.data != nullptr) serve_ring(client.get());
      }
    }
    // The timeout is for what tests change from outside (stuck, drop).
    ::poll(fds.data(), fds.size(), 5);
    if (fds[0].revents != 0) return;
    if (stuck_.load() || fds.size() == 1) continue;
    const std::lock_guard lock(mutex_);
    if (fds[1].revents != 0) {
      auto client = std::make_unique<Client>();
      client->socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (client->socket >= 0) clients_.push_back(std::move(client));
    }
    for (size_t i = 0; i < polled.size(); ++i) {
      if (fds[2 + 2 * i].revents != 0) serve_socket(polled[i]);
      if (fds[3 + 2 * i].revents != 0) {
        uint64_t count = 0;
        (void)!::read(polled[i]->submission_fd, &count, sizeof count);
      }
    }
    std::erase_if(clients_, [](const auto& client) { return client->socket < 0; });
  }
}

void FakeDaemon::serve_socket(Client* client) {
  alignas(8) std::byte bytes[wire::kMessageBytesMax];
  const ssize_t size = ::recv(client->socket, bytes, sizeof bytes, MSG_DONTWAIT);
  if (size <= 0) {
    ::close(client->socket);
    client->socket = -1;
    std::erase_if(grants_,
                  [&](const auto& item) { return item.second.session == client->session; });
    return;
  }
  const auto& header = *reinterpret_cast<const wire::MessageHeader*>(bytes);
  switch (static_cast<wire::MessageType>(header.type)) {
    case wire::MessageType::kAttach:
      attach(client, *reinterpret_cast<const wire::AttachRequest*>(bytes));
      break;
    case wire::MessageType::kOpenSpace:
      open_space(client, *reinterpret_cast<const wire::OpenSpaceRequest*>(bytes));
      break;
    case wire::MessageType::kGetSegment: {
      const auto& request = *reinterpret_cast<const wire::GetSegmentRequest*>(bytes);
      auto reply = reply_to<wire::GetSegmentReply>(header, wire::MessageType::kGetSegmentReply);
      const SharedMemory& memory = segments_[request.segment];
      reply.bytes = memory.bytes;
      send_packet(client->socket, &reply, sizeof reply, {memory.fd});
      break;
    }
    case wire::MessageType::kDetach: {
      detaches_.fetch_add(1);
      const auto reply = reply_to<wire::EmptyReply>(header, wire::MessageType::kDetachReply);
      send_packet(client->socket, &reply, sizeof reply);
      break;
    }
    case wire::MessageType::kGiveUp: {
      given_up_.push_back(reinterpret_cast<const wire::GiveUpRequest*>(bytes)->session);
      const auto reply = reply_to<wire::EmptyReply>(header, wire::MessageType::kGiveUpReply);
      send_packet(client->socket, &reply, sizeof reply);
      break;
    }
    default:
      require(false, "a message no client sends");
  }
}

void FakeDaemon::attach(Client* client, const wire::AttachRequest& request) {
  attaches_.fetch_add(1);
  client->session = next_session_++;
  const uint64_t submissions = wire::kSessionHeaderBytes;
  const uint64_t completions = submissions + uint64_t{64} * options_.ring_entries;
  const uint64_t cells = completions + wire::round_up(uint64_t{32} * options_.ring_entries, 64);
  const uint64_t touches = cells + wire::round_up(uint64_t{8} * options_.cells_max, 64);
  const uint64_t plans = wire::round_up(touches + uint64_t{8} * options_.touch_entries, 64);
  const uint64_t args =
      wire::round_up(plans + sizeof(wire::PlanCell) * options_.plan_entries, 4096);
  const uint64_t bytes = args + options_.args_bytes;
  client->memory = SharedMemory(bytes, options_.sealed);
  client->submission_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  client->completion_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  wire::SessionHeader& header = client->header();
  header.magic = wire::kSessionMagic;
  header.version = wire::kProtocolVersion;
  header.session = client->session;
  header.bytes = bytes;
  header.epoch = published().epoch.load();
  header.submissions_offset = submissions;
  header.completions_offset = completions;
  header.cells_offset = cells;
  header.touches_offset = touches;
  header.args_offset = args;
  header.args_bytes = options_.args_bytes;
  header.submission_entries = options_.ring_entries;
  header.completion_entries = options_.ring_entries;
  header.touch_entries = options_.touch_entries;
  header.cells_max = options_.cells_max;
  header.plans_offset = plans;
  header.plan_entries = options_.plan_entries;

  AttachAnswer answer = {
      .reply = reply_to<wire::AttachReply>(request.header, wire::MessageType::kAttachReply),
      .published = &published(),
      .session = &header,
      .fds = {published_.fd, client->memory.fd, client->submission_fd, client->completion_fd}};
  wire::AttachReply& reply = answer.reply;
  reply.version = wire::kProtocolVersion;
  reply.session = client->session;
  reply.epoch = header.epoch;
  reply.published_bytes = published_.bytes;
  reply.session_bytes = bytes;
  reply.verify_default = options_.verify_default;
  std::memset(reply.secret, options_.secret_seed, sizeof reply.secret);
  if (options_.on_attach) options_.on_attach(answer);
  if (answer.bytes_sent == 0) {
    ::shutdown(client->socket, SHUT_RDWR);
    return;
  }
  send_packet(client->socket, &answer.reply, answer.bytes_sent, answer.fds);
}

void FakeDaemon::open_space(Client* client, const wire::OpenSpaceRequest& request) {
  uint32_t number = 0;
  while (number < spaces_.size() &&
         std::memcmp(&spaces_[number].spec, &request.spec, sizeof request.spec) != 0) {
    ++number;
  }
  if (number == 16) {
    auto refused = reply_to<wire::Refused>(request.header, wire::MessageType::kRefused);
    refused.header.status = static_cast<int32_t>(Code::kFull);
    std::snprintf(refused.message, sizeof refused.message, "16 spaces are open");
    send_packet(client->socket, &refused, sizeof refused);
    return;
  }
  if (number == spaces_.size()) {
    Space space;
    space.spec = request.spec;
    space.segment = number;
    space.header_bytes =
        static_cast<uint32_t>(wire::header_bytes_for(request.spec.tokens_per_chunk));
    space.slot_bytes = wire::slot_bytes_for(space.header_bytes + request.spec.chunk_bytes_max);
    for (uint32_t i = options_.slots; i > 0; --i) space.free.push_back(i - 1);
    space.generations.assign(options_.slots, 0);
    segments_.emplace_back(space.slot_bytes * options_.slots, true);
    auto& segment = const_cast<wire::SegmentDescriptor&>(view_.segments[number]);
    segment.bytes.store(segments_.back().bytes);
    segment.slot_bytes.store(space.slot_bytes);
    segment.slots.store(options_.slots);
    segment.uid.store(1000 + number, std::memory_order_release);
    auto& descriptor = const_cast<wire::SpaceDescriptor&>(view_.spaces[number]);
    descriptor.group.store(
        1 + static_cast<uint32_t>(wire::group_fingerprint_of(request.spec).lo & 0xffff));
    descriptor.shard.store(request.spec.shard);
    descriptor.shards.store(request.spec.shards);
    descriptor.id.store(number + 1, std::memory_order_release);
    spaces_.push_back(std::move(space));
  }
  auto reply = reply_to<wire::OpenSpaceReply>(request.header, wire::MessageType::kOpenSpaceReply);
  reply.space = number + 1;
  reply.number = number;
  reply.header_bytes = spaces_[number].header_bytes;
  reply.group = view_.spaces[number].group.load();
  reply.slot_bytes = spaces_[number].slot_bytes;
  send_packet(client->socket, &reply, sizeof reply);
}

void FakeDaemon::serve_ring(Client* client) {
  drain_touches(client);
  wire::SessionHeader& header = client->header();
  const auto* submissions = at<wire::Submission>(client->memory.data, header.submissions_offset);
  const uint32_t tail = header.submission_tail.load(std::memory_order_acquire);
  while (client->head != tail) {
    const wire::Submission submission = submissions[client->head & (options_.ring_entries - 1)];
    ++client->head;
    header.submission_head.store(client->head, std::memory_order_release);
    requests_.push_back(submission);
    answer(client, submission);
  }
}

void FakeDaemon::answer(Client* client, const wire::Submission& submission) {
  switch (static_cast<wire::Op>(submission.op)) {
    case wire::Op::kReserve:
      return reserve(client, submission);
    case wire::Op::kCommit:
      return commit(client, submission);
    case wire::Op::kAbort:
      return abort(client, submission);
    case wire::Op::kBadChunk:
      bad_.push_back(submission.a);
      break;
    default:
      break;
  }
  complete(client, submission.user_data, 0, submission.count);
}

void FakeDaemon::complete(Client* client, uint64_t user_data, int32_t status, uint32_t count) {
  wire::SessionHeader& header = client->header();
  auto* completions = at<wire::Completion>(client->memory.data, header.completions_offset);
  const uint32_t tail = header.completion_tail.load(std::memory_order_relaxed);
  completions[tail & (options_.ring_entries - 1)] = {user_data, status, count, 0, 0};
  header.completion_tail.store(tail + 1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (header.client_need_wake.load(std::memory_order_relaxed) != 0) {
    const uint64_t one = 1;
    (void)!::write(client->completion_fd, &one, sizeof one);
  }
}

std::byte* FakeDaemon::slot(wire::Place place) {
  return segments_[place.segment()].data + place.slot() * spaces_[place.segment()].slot_bytes;
}

wire::ReserveAnswer FakeDaemon::grant_slot(Client* client, uint32_t space,
                                           const wire::ReserveArg& argument) {
  using wire::ReserveOutcome;
  const auto answer = [](ReserveOutcome outcome, uint32_t retry_after_us = 0) {
    return wire::ReserveAnswer{0, static_cast<uint32_t>(outcome), retry_after_us};
  };
  if (chunks_.contains({argument.key.lo, space})) return answer(ReserveOutcome::kPresent);
  for (const auto& [place, grant] : grants_) {
    if (grant.key == argument.key && grant.space == space) {
      return answer(ReserveOutcome::kInProgress);
    }
  }
  if (busy_.load() > 0) {
    busy_.fetch_sub(1);
    return answer(ReserveOutcome::kBusy, 200);
  }
  Space& made = spaces_[space - 1];
  if (made.free.empty()) return answer(ReserveOutcome::kFull);
  const uint32_t number = made.free.back();
  made.free.pop_back();
  const auto place =
      wire::Place::make(wire::Tier::kHost, made.segment, number, ++made.generations[number]);
  std::byte* memory = slot(place);
  std::memset(memory, 0, made.header_bytes);
  auto& header = *at<wire::ChunkHeader>(memory, 0);
  header.magic = wire::kChunkMagic;
  header.version = 1;
  header.header_bytes = made.header_bytes;
  header.key = argument.key;
  header.parent = argument.parent;
  const wire::Fingerprint fingerprint = wire::fingerprint_of(made.spec);
  header.fingerprint_lo = fingerprint.lo;
  header.fingerprint_hi = fingerprint.hi;
  header.payload_bytes = argument.payload_bytes;
  header.codec = argument.codec;
  std::memcpy(header.engine_hash, argument.engine_hash, sizeof header.engine_hash);
  header.tokens = argument.tokens;
  header.extra_ids = argument.extra_ids;
  header.position = argument.position;
  header.generation = place.generation();
  const std::byte* ids = client->memory.data + client->header().args_offset + argument.ids_offset;
  const uint64_t tokens_bytes = wire::round_up(uint64_t{argument.tokens} * 4, 8);
  std::memcpy(memory + sizeof header, ids, uint64_t{argument.tokens} * 4);
  std::memcpy(memory + wire::extra_ids_offset(argument.tokens), ids + tokens_bytes,
              uint64_t{argument.extra_ids} * 8);
  seal_header(memory);
  grants_[place.word()] = {place,
                           argument.key,
                           space,
                           client->session,
                           static_cast<uint32_t>(argument.payload_bytes),
                           argument.tokens};
  wire::ReserveAnswer granted = answer(ReserveOutcome::kGranted);
  granted.place = place.word();
  return granted;
}

void FakeDaemon::seal_header(std::byte* slot) {
  auto& header = *at<wire::ChunkHeader>(slot, 0);
  std::vector<std::byte> copy(slot, slot + header.header_bytes);
  auto& copied = *at<wire::ChunkHeader>(copy.data(), 0);
  copied.checksum = 0;
  copied.flags = 0;
  copied.header_checksum = 0;
  header.header_checksum = XXH3_64bits(copy.data(), copy.size());
}

void FakeDaemon::reserve(Client* client, const wire::Submission& submission) {
  std::byte* args = client->memory.data + client->header().args_offset + submission.args_offset;
  std::vector<wire::ReserveArg> arguments(submission.count);
  std::memcpy(arguments.data(), args, submission.count * sizeof arguments[0]);
  std::vector<wire::ReserveAnswer> answers;
  for (const wire::ReserveArg& argument : arguments) {
    answers.push_back(grant_slot(client, submission.space, argument));
  }
  std::memcpy(args, answers.data(), answers.size() * sizeof answers[0]);
  complete(client, submission.user_data, 0, submission.count);
}

void FakeDaemon::publish(const Grant& grant, const wire::CommitArg& argument) {
  auto& header = *at<wire::ChunkHeader>(slot(grant.place), 0);
  const bool has_checksum = (argument.flags & wire::kCommitHasChecksum) != 0;
  header.checksum = argument.checksum;
  header.flags = has_checksum ? wire::kHeaderHasChecksum : 0;
  const uint32_t number = next_entry_++;
  auto& entry = const_cast<wire::Entry&>(view_.entries[number]);
  entry.key_lo.store(grant.key.lo, std::memory_order_relaxed);
  entry.key_hi.store(grant.key.hi, std::memory_order_relaxed);
  entry.space.store(grant.space, std::memory_order_relaxed);
  entry.payload_bytes.store(grant.payload_bytes, std::memory_order_relaxed);
  entry.tokens.store(grant.tokens, std::memory_order_relaxed);
  entry.flags.store(has_checksum ? 0 : wire::kUnverified, std::memory_order_relaxed);
  entry.host_place.store(grant.place.word(), std::memory_order_release);
  const wire::IndexHash hash = wire::index_hash(grant.key, grant.space);
  auto& bucket = const_cast<wire::Bucket&>(view_.buckets[hash.first & (options_.buckets - 1)]);
  for (uint32_t i = 0; i < wire::kBucketWidth; ++i) {
    const uint64_t word = bucket.tags[i / 4].load(std::memory_order_relaxed);
    if ((word >> (i % 4 * 16) & 0xffff) != 0) continue;
    bucket.entries[i].store(number, std::memory_order_relaxed);
    bucket.tags[i / 4].store(word | uint64_t{hash.tag} << (i % 4 * 16), std::memory_order_release);
    published().entries_high_water.store(next_entry_, std::memory_order_release);
    chunks_[{grant.key.lo, grant.space}] = {number, grant.place, grant.space};
    return;
  }
  require(false, "a full bucket in a test");
}

void FakeDaemon::commit(Client* client, const wire::Submission& submission) {
  std::byte* args = client->memory.data + client->header().args_offset + submission.args_offset;
  std::vector<wire::CommitArg> arguments(submission.count);
  std::memcpy(arguments.data(), args, submission.count * sizeof arguments[0]);
  std::vector<wire::CommitAnswer> answers;
  for (const wire::CommitArg& argument : arguments) {
    const auto grant = grants_.find(argument.place);
    if (grant == grants_.end()) {
      answers.push_back({static_cast<uint32_t>(wire::CommitOutcome::kUnknownGrant), 0});
      continue;
    }
    publish(grant->second, argument);
    grants_.erase(grant);
    answers.push_back({static_cast<uint32_t>(wire::CommitOutcome::kStored), 0});
  }
  std::memcpy(args, answers.data(), answers.size() * sizeof answers[0]);
  complete(client, submission.user_data, 0, submission.count);
}

void FakeDaemon::abort(Client* client, const wire::Submission& submission) {
  const std::byte* args =
      client->memory.data + client->header().args_offset + submission.args_offset;
  for (uint32_t i = 0; i < submission.count; ++i) {
    wire::CommitArg argument;
    std::memcpy(&argument, args + i * sizeof argument, sizeof argument);
    const auto grant = grants_.find(argument.place);
    if (grant == grants_.end()) continue;
    spaces_[grant->second.space - 1].free.push_back(grant->second.place.slot());
    grants_.erase(grant);
  }
  complete(client, submission.user_data, 0, submission.count);
}

void FakeDaemon::drain_touches(Client* client) {
  wire::SessionHeader& header = client->header();
  const auto* ring = at<std::atomic<uint64_t>>(client->memory.data, header.touches_offset);
  uint32_t head = header.touch_head.load(std::memory_order_relaxed);
  const uint32_t tail = header.touch_tail.load(std::memory_order_acquire);
  for (; head != tail; ++head) {
    touched_.push_back(ring[head & (options_.touch_entries - 1)].load(std::memory_order_relaxed));
  }
  header.touch_head.store(head, std::memory_order_release);
}

// ---- What tests do to it ----

void FakeDaemon::drop_connections() {
  const size_t before = attaches_.load();
  {
    const std::lock_guard lock(mutex_);
    drop_ = true;
  }
  require(eventually([&] {
            const std::lock_guard lock(mutex_);
            return !drop_ || attaches_.load() != before;
          }),
          "dropping connections");
}

void FakeDaemon::close_epoch() {
  published().epoch.store(0, std::memory_order_release);
}

void FakeDaemon::revoke() {
  session_header().revocations.fetch_add(1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

bool FakeDaemon::leased(uint64_t slot_name) {
  for (const auto& client : clients_) {
    if (client->memory.data == nullptr) continue;
    wire::SessionHeader& header = client->header();
    const auto* cells = at<std::atomic<uint64_t>>(client->memory.data, header.cells_offset);
    const uint32_t count =
        std::min(header.cells_high_water.load(std::memory_order_acquire), options_.cells_max);
    for (uint32_t i = 0; i < count; ++i) {
      const wire::Place held(cells[i].load(std::memory_order_acquire));
      if (!held.empty() && held.slot_name() == slot_name) return true;
    }
  }
  return false;
}

bool FakeDaemon::evict(ChunkKey key) {
  const std::lock_guard lock(mutex_);
  for (auto it = chunks_.begin(); it != chunks_.end(); ++it) {
    if (it->first.first != key.lo) continue;
    const Chunk chunk = it->second;
    const_cast<wire::Entry&>(view_.entries[chunk.entry])
        .host_place.store(0, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // D
    const bool free = !leased(chunk.place.slot_name());
    if (free) spaces_[chunk.space - 1].free.push_back(chunk.place.slot());
    chunks_.erase(it);
    return free;
  }
  return false;
}

void FakeDaemon::demote(ChunkKey key) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, chunk] : chunks_) {
    if (name.first != key.lo) continue;
    auto& entry = const_cast<wire::Entry&>(view_.entries[chunk.entry]);
    entry.host_place.store(0);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    entry.lower.store(wire::kOnNvme);
  }
}

void FakeDaemon::mark_unverified(ChunkKey key) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, chunk] : chunks_) {
    if (name.first != key.lo) continue;
    const_cast<wire::Entry&>(view_.entries[chunk.entry]).flags.store(wire::kUnverified);
  }
}

std::byte* FakeDaemon::slot_of(ChunkKey key) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, chunk] : chunks_) {
    if (name.first == key.lo) return slot(chunk.place);
  }
  return nullptr;
}

uint64_t FakeDaemon::place_of(ChunkKey key) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, chunk] : chunks_) {
    if (name.first == key.lo) return chunk.place.word();
  }
  return 0;
}

wire::CostBoard& FakeDaemon::board() {
  return *at<wire::CostBoard>(published_.data, published().board_offset);
}
wire::PublishedHeader& FakeDaemon::published() {
  return *at<wire::PublishedHeader>(published_.data, 0);
}
wire::SessionHeader& FakeDaemon::session_header() {
  const std::lock_guard lock(mutex_);
  return clients_.back()->header();
}

uint64_t FakeDaemon::segment_bytes_used(size_t number) {
  const std::lock_guard lock(mutex_);
  struct stat status = {};
  require(::fstat(segments_[number].fd, &status) == 0, "fstat");
  return static_cast<uint64_t>(status.st_blocks) * 512;
}
size_t FakeDaemon::chunks() {
  const std::lock_guard lock(mutex_);
  return chunks_.size();
}
size_t FakeDaemon::leases() {
  const std::lock_guard lock(mutex_);
  size_t held = 0;
  for (const auto& client : clients_) {
    if (client->memory.data == nullptr) continue;
    const auto* cells =
        at<std::atomic<uint64_t>>(client->memory.data, client->header().cells_offset);
    for (uint32_t i = 0; i < options_.cells_max; ++i) held += cells[i].load() != 0;
  }
  return held;
}
size_t FakeDaemon::grants() {
  const std::lock_guard lock(mutex_);
  return grants_.size();
}
std::vector<uint64_t> FakeDaemon::bad_chunks() {
  const std::lock_guard lock(mutex_);
  return bad_;
}
std::vector<uint64_t> FakeDaemon::touches() {
  const std::lock_guard lock(mutex_);
  return touched_;
}
std::vector<uint32_t> FakeDaemon::given_up() {
  const std::lock_guard lock(mutex_);
  return given_up_;
}
std::vector<wire::Submission> FakeDaemon::requests(wire::Op op) {
  const std::lock_guard lock(mutex_);
  std::vector<wire::Submission> found;
  for (const wire::Submission& request : requests_) {
    if (request.op == static_cast<uint16_t>(op)) found.push_back(request);
  }
  return found;
}

bool FakeDaemon::eventually(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace kvtier::testing
