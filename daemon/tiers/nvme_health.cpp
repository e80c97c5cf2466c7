// When a device of the nvme tier goes out of service and comes back. Out: errors in a row, a piece
// that takes longer than the time-out, or a busy window in which it moved too little. Back: probes
// that are right and fast, twice in a row.
#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "daemon/tiers/nvme_device.hpp"

namespace kvtier::daemon::nvme {

constexpr uint64_t kProbeTicket = UINT64_MAX;
constexpr uint32_t kErrorsInRowMax = 3;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMillisecond;
// Two windows end within 2 s of the moment when a disk becomes slow.
constexpr uint64_t kWindowNs = 800 * kMillisecond;
constexpr uint64_t kSlowerThanBest = 64;  // times: a disk 100 times slower is out, a loaded one not
constexpr uint64_t kProbeBytes = wire::MiB;
constexpr uint64_t kProbeAgainNs = 100 * kMillisecond;
constexpr uint64_t kBackoffMin = 250 * kMillisecond;
constexpr uint64_t kBackoffMax = 30 * kSecond;
constexpr uint64_t kStableNs = 30 * kSecond;  // in service for so long: the next back-off is short
constexpr uint64_t kProbeTimeMin = 20 * kMillisecond;
constexpr uint32_t kProbesOk = 2;

void Device::judge_error(const Running& running) {
  if (running.error == 0) {
    errors_in_row_ = 0;
    return;
  }
  if (running.error == EINVAL || state_ != State::kOk) return;
  by_write_error_ = running.io.operation == DiskOperation::kWrite;
  if (++errors_in_row_ < kErrorsInRowMax) return;
  go_out(std::to_string(errors_in_row_) + (by_write_error_ ? " writes" : " reads") +
         " in a row failed, the last with " + strerrordesc_np(running.error));
}

void Device::go_out(const std::string& reason) {
  if (state_ != State::kOk) return;
  const uint64_t now = clock_.now_ns();
  state_ = State::kOut;
  counters_.state = "out_of_service";
  counters_.reason = reason;
  ++counters_.times_out_of_service;
  notices_.push_back({true, counters_.name + " is out of service: " + reason +
                                "; its chunks are misses until it answers again"});
  const bool was_stable = back_ns_ == 0 || now - back_ns_ > kStableNs;
  backoff_ns_ = was_stable ? kBackoffMin : std::min(2 * backoff_ns_, kBackoffMax);
  probe_due_ns_ = now + backoff_ns_;
  probes_ok_ = 0;
  loads_.clear();
  stores_.clear();
  background_.clear();
  unissued_store_bytes_ = 0;
  live_pieces_ = 0;  // what is out is given up
  std::vector<bool> is_free(ios_.size());
  for (const uint32_t number : free_) is_free[number] = true;
  for (uint32_t number = 0; number < ios_.size(); ++number) {
    Running& running = ios_[number];
    if (is_free[number] || running.is_abandoned) continue;
    running.issued = running.io.bytes;
    if (running.error == 0) running.error = ETIMEDOUT;
    if (running.pieces == 0) {
      finish(number);
      continue;
    }
    ++counters_.timeouts;
    running.is_abandoned = true;
    results_.push_back({running.io.cookie, running.error, true, false,
                        static_cast<double>(now - running.begun_ns) * 1e-9});
  }
}

void Device::come_back() {
  state_ = State::kOk;
  counters_.state = "ok";
  counters_.reason.clear();
  back_ns_ = clock_.now_ns();
  errors_in_row_ = 0;
  by_write_error_ = false;
  window_begin_ns_ = back_ns_;
  window_bytes_ = 0;
  notices_.push_back({false, counters_.name + " is back in service"});
}

uint64_t Device::slow_limit() const {
  if (options_.slow_bytes_per_s == 0) return 0;
  return std::max(options_.slow_bytes_per_s, best_bytes_per_s_ / kSlowerThanBest);
}

// A read of what is there, and after write errors a write of the second superblock as it is.
void Device::begin_probe() {
  if (probe_memory_ == nullptr) {
    probe_memory_ = static_cast<std::byte*>(std::aligned_alloc(kPage, kProbeBytes + kPage));
    if (probe_memory_ == nullptr) return;
  }
  probe_begun_ns_ = clock_.now_ns();
  probe_error_ = 0;
  DiskRequest request;
  request.ticket = kProbeTicket;
  request.offset = superblock_.data_offset;
  request.data = probe_memory_;
  request.bytes = static_cast<uint32_t>(std::min(kProbeBytes, superblock_.segment_bytes));
  if (disk_->begin(request).ok()) ++probes_out_;
  if (by_write_error_) {
    Page page;
    encode(superblock_, page);
    std::copy(page.begin(), page.end(), probe_memory_ + kProbeBytes);
    request.operation = DiskOperation::kWrite;
    request.durable = true;
    request.offset = kPage;
    request.data = probe_memory_ + kProbeBytes;
    request.bytes = kPage;
    if (disk_->begin(request).ok()) ++probes_out_;
  }
  disk_->submit();
}

void Device::end_probe(const DiskCompletion& completion) {
  --probes_out_;
  if (completion.error != 0) probe_error_ = completion.error;
  if (probes_out_ > 0 || state_ != State::kOut) return;
  const uint64_t now = clock_.now_ns();
  const uint64_t took = now - probe_begun_ns_;
  uint64_t limit = options_.io_timeout_ns;
  if (slow_limit() > 0) {
    limit = std::clamp(kProbeBytes * kSecond / (2 * slow_limit()), kProbeTimeMin, limit);
  }
  // With most of its queue still hanging it would serve nobody.
  const bool is_hanging = 2 * free_pieces_.size() < pieces_.size();
  if (probe_error_ != 0 || took > limit || is_hanging) {
    probes_ok_ = 0;
    backoff_ns_ = std::min(2 * backoff_ns_, kBackoffMax);
    probe_due_ns_ = now + backoff_ns_;
    return;
  }
  probe_due_ns_ = now + kProbeAgainNs;
  if (++probes_ok_ >= kProbesOk) come_back();
}

void Device::check_pieces(uint64_t now) {
  for (const Piece& piece : pieces_) {
    if (!piece.is_out || ios_[piece.running].is_abandoned) continue;
    if (now - piece.begun_ns <= options_.io_timeout_ns) continue;
    go_out("a transfer has not ended within " +
           std::to_string(options_.io_timeout_ns / kMillisecond) + " ms");
    return;
  }
}

// Whole windows in which the disk always had something to do; any pause begins a new one.
void Device::check_speed(uint64_t now) {
  if (live_pieces_ == 0) {
    window_begin_ns_ = now;
    window_bytes_ = 0;
    return;
  }
  if (now - window_begin_ns_ < kWindowNs) return;
  const uint64_t speed = window_bytes_ * kSecond / (now - window_begin_ns_);
  const uint64_t limit = slow_limit();
  // What was best is forgotten slowly, so that one lucky window does not count for ever.
  best_bytes_per_s_ = std::max(speed, best_bytes_per_s_ - best_bytes_per_s_ / 256);
  const uint64_t window_bytes = window_bytes_;
  window_begin_ns_ = now;
  window_bytes_ = 0;
  if (limit == 0 || speed >= limit) return;
  go_out("it moved " + std::to_string(window_bytes / wire::KiB) + " KiB in " +
         std::to_string(kWindowNs / kMillisecond) + " ms while it was busy; the least is " +
         std::to_string(limit / wire::KiB) + " KiB/s");
}

void Device::tick() {
  if (disk_ == nullptr) return;
  const uint64_t now = clock_.now_ns();
  checked_ns_ = now;
  if (state_ == State::kOk) {
    check_pieces(now);
    if (state_ == State::kOk) check_speed(now);
  } else if (state_ == State::kOut && probes_out_ == 0 && now >= probe_due_ns_) {
    begin_probe();
  }
}

}  // namespace kvtier::daemon::nvme
