// A daemon in the test's own process, made of nothing but the wire structures: one tenant, one
// thread that serves the attach socket and all rings, a pool of one segment per space. It follows
// docs/protocol.md where it is not told to misbehave, and it is told by the tests: that is what it
// is for. It is not kvtierd's code and shares none with it.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kvtier/wire/chunk_header.hpp"
#include "kvtier/wire/key.hpp"
#include "kvtier/wire/lookup.hpp"
#include "kvtier/wire/plan_record.hpp"
#include "kvtier/wire/session.hpp"

namespace kvtier::testing {

// A sealed memfd, mapped for writing.
struct SharedMemory {
  SharedMemory() = default;
  SharedMemory(uint64_t bytes, bool sealed);
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  int fd = -1;
  std::byte* data = nullptr;
  uint64_t bytes = 0;
};

// What is about to be sent to a client that attaches; a test changes it.
struct AttachAnswer {
  wire::AttachReply reply;
  wire::PublishedHeader* published;
  wire::SessionHeader* session;
  std::vector<int> fds;
  size_t bytes_sent = sizeof(wire::AttachReply);
};

struct FakeOptions {
  uint32_t slots = 64;
  uint32_t buckets = 256;
  uint32_t entries_max = 1024;
  uint32_t cells_max = 1024;
  uint32_t touch_entries = 256;
  uint32_t plan_entries = 8;  // 0: a daemon that takes no records
  uint32_t ring_entries = 64;
  uint64_t args_bytes = 256 * wire::KiB;
  uint32_t verify_default = 2;
  uint64_t epoch = 0x1111;
  uint8_t secret_seed = 7;
  bool sealed = true;
  std::function<void(AttachAnswer&)> on_attach = {};
};

class FakeDaemon {
 public:
  explicit FakeDaemon(std::string socket, FakeOptions options = {});
  ~FakeDaemon();

  const std::string& socket() const { return socket_; }

  // Ends every connection; clients may attach again.
  void drop_connections();
  // A daemon that was stopped with SIGSTOP: it takes connections and answers nothing.
  void set_stuck(bool stuck) { stuck_.store(stuck); }
  // Answers reserve with busy this many times.
  void set_busy(int times) { busy_.store(times); }
  void close_epoch();
  // As the daemon does before it takes a leased slot.
  void revoke();
  // Unpublishes; true when no lease held the slot (protocol.md, section 4, reclaim).
  bool evict(ChunkKey key);
  // The published index says that the chunk is only on nvme.
  void demote(ChunkKey key);
  void mark_unverified(ChunkKey key);

  // The slot of a published chunk; its header and payload, for tests that damage them.
  std::byte* slot_of(ChunkKey key);
  // After a test changed a header on purpose.
  static void seal_header(std::byte* slot);
  uint64_t place_of(ChunkKey key);
  wire::CostBoard& board();
  wire::PublishedHeader& published();
  wire::SessionHeader& session_header();  // of the latest session

  uint64_t segment_bytes_used(size_t number);  // without holes
  size_t chunks();
  size_t leases();
  size_t grants();
  std::vector<uint64_t> bad_chunks();  // places that clients reported
  std::vector<uint64_t> touches();     // places, in the order they were logged
  std::vector<uint32_t> given_up();    // sessions
  std::vector<wire::Submission> requests(wire::Op op);
  size_t attaches() const { return attaches_.load(); }
  size_t detaches() const { return detaches_.load(); }

  // Waits (without sleeping a fixed time) until holds() is true; false after five seconds.
  static bool eventually(const std::function<bool()>& holds);

 private:
  struct Client;
  struct Chunk {
    uint32_t entry = 0;
    wire::Place place;
    uint32_t space = 0;
  };
  struct Grant {
    wire::Place place;
    ChunkKey key;
    uint32_t space = 0;
    uint32_t session = 0;
    uint32_t payload_bytes = 0;
    uint32_t tokens = 0;
  };
  struct Space {
    wire::SpaceSpecWire spec = {};
    uint32_t segment = 0;
    uint64_t slot_bytes = 0;
    uint32_t header_bytes = 0;
    std::vector<uint32_t> free;
    std::vector<uint32_t> generations;
  };

  void run();
  void serve_socket(Client* client);
  void serve_ring(Client* client);
  void answer(Client* client, const wire::Submission& submission);
  void reserve(Client* client, const wire::Submission& submission);
  void commit(Client* client, const wire::Submission& submission);
  void abort(Client* client, const wire::Submission& submission);
  void complete(Client* client, uint64_t user_data, int32_t status, uint32_t count);
  void attach(Client* client, const wire::AttachRequest& request);
  void open_space(Client* client, const wire::OpenSpaceRequest& request);
  void drain_touches(Client* client);
  void publish(const Grant& grant, const wire::CommitArg& argument);
  wire::ReserveAnswer grant_slot(Client* client, uint32_t space, const wire::ReserveArg& argument);
  std::byte* slot(wire::Place place);
  bool leased(uint64_t slot_name);

  const std::string socket_;
  const FakeOptions options_;
  int listener_ = -1;
  int stop_fd_ = -1;
  std::atomic<bool> stuck_{false};
  std::atomic<int> busy_{0};
  std::atomic<size_t> attaches_{0};
  std::atomic<size_t> detaches_{0};

  std::mutex mutex_;  // of all below
  SharedMemory published_;
  wire::PublishedView view_;
  std::vector<SharedMemory> segments_;
  std::vector<Space> spaces_;
  std::map<std::pair<uint64_t, uint32_t>, Chunk> chunks_;  // by key.lo and space
  std::map<uint64_t, Grant> grants_;                       // by place
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<uint64_t> bad_;
  std::vector<uint64_t> touched_;
  std::vector<uint32_t> given_up_;
  std::vector<wire::Submission> requests_;
  uint32_t next_session_ = 1;
  uint32_t next_entry_ = 0;
  bool drop_ = false;
  std::thread thread_;
};

}  // namespace kvtier::testing
