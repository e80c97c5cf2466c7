#include "daemon/io/raw_disk.hpp"

#include <liburing.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <vector>

namespace kvtier::daemon {
namespace {

// The kernel's end of it, ended with the scope.
struct Ring {
  io_uring ring = {};
  bool is_open = false;
  ~Ring() {
    if (is_open) io_uring_queue_exit(&ring);
  }
};

}  // namespace

Result<RawDiskResult> run_raw_disk(const RawDiskOptions& options) {
  Ring owned;
  io_uring& ring = owned.ring;
  const auto entries = static_cast<unsigned>(std::max<size_t>(options.depth, 8));
  int error =
      -io_uring_queue_init(entries, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (error != 0) error = -io_uring_queue_init(entries, &ring, 0);
  if (error != 0) return Error::system(error, "io_uring");
  owned.is_open = true;
  error = -io_uring_register_files(&ring, &options.file, 1);
  if (error != 0) return Error::system(error, "registering a file with io_uring");

  std::vector<uint64_t> order(options.places);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(options.seed));
  uint64_t begun = 0;
  const auto begin = [&](uint64_t lane) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    std::byte* memory = options.memory + lane * options.lane_bytes;
    const uint64_t offset = options.offset + order[begun++ % order.size()] * options.stride_bytes;
    const auto bytes = static_cast<unsigned>(options.transfer_bytes);
    if (options.operation == DiskOperation::kRead) {
      io_uring_prep_read(entry, 0, memory, bytes, offset);
    } else {
      io_uring_prep_write(entry, 0, memory, bytes, offset);
    }
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, lane);
  };

  const auto start = std::chrono::steady_clock::now();
  for (uint64_t lane = 0; lane < options.depth && begun < options.transfers; ++lane) begin(lane);
  uint64_t ended = 0;
  while (ended < options.transfers) {
    const int submitted = io_uring_submit_and_wait(&ring, 1);
    if (submitted < 0 && submitted != -EINTR) return Error::system(-submitted, "io_uring_submit");
    io_uring_cqe* done = nullptr;
    while (io_uring_peek_cqe(&ring, &done) == 0) {
      const int result = done->res;
      const uint64_t lane = done->user_data;
      io_uring_cqe_seen(&ring, done);
      if (result < 0) return Error::system(-result, "a raw transfer");
      if (static_cast<uint64_t>(result) != options.transfer_bytes) {
        return Error(Code::kSystem, "a raw transfer was short");
      }
      ++ended;
      if (begun < options.transfers) begin(lane);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return RawDiskResult{took.count(), options.transfers * options.transfer_bytes};
}

}  // namespace kvtier::daemon
