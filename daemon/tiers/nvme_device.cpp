// Queues and pieces. Health is in nvme_health.cpp.
#include "daemon/tiers/nvme_device.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

namespace kvtier::daemon::nvme {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kProbeTicket = UINT64_MAX;
constexpr uint32_t kBackgroundPiecesMax = 2;
constexpr uint64_t kBetweenLoadsNs = 1'000'000;
constexpr uint64_t kLoadsPerStore = 16;  // in bytes, while loads are under way
constexpr uint32_t kProbePieces = 2;     // a read and a write, besides the depth

Device::Device(std::string name, std::unique_ptr<Disk> disk, const Superblock& superblock,
               const DeviceOptions& options, const Clock& clock)
    : disk_(std::move(disk)),
      clock_(clock),
      options_(options),
      superblock_(superblock),
      budget_(options.write_bytes_per_second, options.write_bytes_per_day) {
  counters_.name = std::move(name);
  counters_.state = "ok";
  counters_.capacity_bytes = uint64_t{superblock.segments} * superblock.segment_bytes;
  const size_t at_disk = disk_->in_flight_max() - kProbePieces;
  options_.depth = std::clamp<size_t>(options_.depth, 1, at_disk);
  // A piece larger than the budget of a second would never go.
  const uint64_t eighth = budget_.bytes_per_second() / 8 / kPage * kPage;
  options_.piece_bytes = std::clamp(eighth, kPage, options_.piece_bytes);
  store_credit_ = options_.piece_bytes;
  pieces_.resize(options_.depth);
  for (size_t i = pieces_.size(); i > 0; --i) free_pieces_.push_back(static_cast<uint32_t>(i - 1));
}

Device::Device(std::string name, std::string failure, const Clock& clock)
    : clock_(clock), budget_(UINT64_MAX, UINT64_MAX), state_(State::kFailed) {
  counters_.name = std::move(name);
  counters_.state = "failed";
  counters_.reason = std::move(failure);
}

Device::~Device() {
  disk_.reset();
  std::free(probe_memory_);
}

bool Device::may_store() {
  return !budget_.limited() || budget_.left(clock_.now_ns()) > unissued_store_bytes_;
}

void Device::begin(const Io& io) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(ios_.size()));
    ios_.emplace_back();
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  ios_[number] = {io, clock_.now_ns(), 0, 0, 0, false};
  switch (io.kind) {
    case IoKind::kLoad:
      queued_load_bytes_ += io.bytes;
      loads_.push_back(number);
      break;
    case IoKind::kStore:
    case IoKind::kDescriptor:
      queued_store_bytes_ += io.bytes;
      unissued_store_bytes_ += io.bytes;
      stores_.push_back(number);
      break;
    case IoKind::kBackground:
      ++background_count_;
      background_.push_back(number);
      break;
  }
  if (state_ != State::kOk) {  // a background transfer of one that went out meanwhile
    ios_[number].error = EIO;
    (io.kind == IoKind::kLoad         ? loads_
     : io.kind == IoKind::kBackground ? background_
                                      : stores_)
        .pop_back();
    finish(number);
  }
}

// One piece of the transfer in front. False: nothing can go now.
bool Device::issue_from(Queue& queue) {
  const uint32_t number = queue.front();
  Running& running = ios_[number];
  const bool is_write = running.io.operation == DiskOperation::kWrite;
  const auto bytes =
      static_cast<uint32_t>(std::min(options_.piece_bytes, running.io.bytes - running.issued));
  const uint64_t now = clock_.now_ns();
  if (is_write && budget_.limited()) {
    if (budget_.left(now) < bytes) return false;
  }
  const uint32_t piece = free_pieces_.back();
  DiskRequest request;
  request.ticket = piece;
  request.operation = running.io.operation;
  request.durable = running.io.durable;
  request.offset = running.io.offset + running.issued;
  request.data = running.io.data + running.issued;
  request.bytes = bytes;
  const Status begun = disk_->begin(request);
  if (!begun.ok()) {
    if (begun.code() == Code::kUnavailable) return false;
    running.error = EINVAL;  // past the end of a slab that was truncated, for one
    if (running.io.kind != IoKind::kLoad && running.io.kind != IoKind::kBackground) {
      unissued_store_bytes_ -= running.io.bytes - running.issued;
    }
    running.issued = running.io.bytes;
    queue.pop_front();
    if (running.pieces == 0) finish(number);
    return true;
  }
  if (is_write) budget_.charge(now, bytes);
  free_pieces_.pop_back();
  pieces_[piece] = {number, now, bytes, true};
  if (++live_pieces_ == 1) {
    window_begin_ns_ = now;
    window_bytes_ = 0;
  }
  running.issued += bytes;
  ++running.pieces;
  if (running.io.kind == IoKind::kBackground) {
    ++background_pieces_;
  } else if (is_write) {
    ++store_pieces_;
    store_credit_ -= std::min<uint64_t>(store_credit_, bytes);
    unissued_store_bytes_ -= bytes;
  } else {
    ++load_pieces_;
  }
  if (running.issued == running.io.bytes) {
    queue.pop_front();
    if (running.io.kind == IoKind::kDescriptor) barrier_ = number;
  }
  return true;
}

// Loads first; but while stores wait, one eighth of the depth is theirs, so that they never starve.
// What the disk has already it serves as it likes: beside loads under way stores get no more than
// an eighth of as many places, and a sixteenth of the bytes, or they would take their share of the
// disk from the loads.
void Device::pump() {
  if (state_ != State::kOk) return;
  const auto stores_least = static_cast<uint32_t>(std::max<size_t>(options_.depth / 8, 1));
  // Loads often end together: between two such bursts they are under way, too.
  const bool between = load_pieces_ == 0 && !stores_.empty() && load_ended_ns_ != 0 &&
                       clock_.now_ns() - load_ended_ns_ < kBetweenLoadsNs;
  const auto stores_can = [&] {
    if (stores_.empty() || barrier_ != kNone) return false;
    if (between) return store_pieces_ == 0;
    return load_pieces_ == 0 ||
           (store_credit_ > 0 && store_pieces_ < std::max(load_pieces_ / 8, 1u));
  };
  bool budget_is_up = false;
  while (!free_pieces_.empty()) {
    const bool kept_for_stores = stores_can() && !budget_is_up && store_pieces_ < stores_least &&
                                 free_pieces_.size() <= stores_least;
    if (!loads_.empty() && !kept_for_stores) {
      if (!issue_from(loads_)) break;
    } else if (stores_can() && !budget_is_up) {
      budget_is_up = !issue_from(stores_);
    } else if (loads_.empty() && stores_.empty() && !background_.empty() &&
               background_pieces_ < kBackgroundPiecesMax) {
      if (!issue_from(background_)) break;
    } else {
      break;
    }
  }
  disk_->submit();
}

void Device::count(const Running& running) {
  const uint64_t now = clock_.now_ns();
  const double seconds = static_cast<double>(now - running.begun_ns) * 1e-9;
  if (running.io.kind == IoKind::kBackground) return;
  if (running.io.operation == DiskOperation::kRead) {
    if (running.error != 0) {
      ++counters_.read_errors;
    } else {
      ++counters_.reads;
      counters_.read_seconds += seconds;
    }
  } else if (running.error != 0) {
    ++counters_.write_errors;
  } else if (running.io.kind == IoKind::kStore) {
    ++counters_.writes;
    counters_.write_seconds += seconds;
  }
}

void Device::finish(uint32_t number) {
  Running& running = ios_[number];
  switch (running.io.kind) {
    case IoKind::kLoad:
      queued_load_bytes_ -= running.io.bytes;
      break;
    case IoKind::kStore:
    case IoKind::kDescriptor:
      queued_store_bytes_ -= running.io.bytes;
      break;
    case IoKind::kBackground:
      --background_count_;
      break;
  }
  if (barrier_ == number) barrier_ = kNone;
  IoResult result;
  result.cookie = running.io.cookie;
  result.error = running.error;
  result.is_late = running.is_abandoned;
  result.seconds = static_cast<double>(clock_.now_ns() - running.begun_ns) * 1e-9;
  results_.push_back(result);
  const Running ended = running;
  free_.push_back(number);
  if (ended.is_abandoned) return;
  count(ended);
  judge_error(ended);  // may end all the others
}

void Device::end_piece(const DiskCompletion& completion) {
  const auto number = static_cast<uint32_t>(completion.ticket);
  Piece& piece = pieces_[number];
  Running& running = ios_[piece.running];
  piece.is_out = false;
  free_pieces_.push_back(number);
  --running.pieces;
  if (!running.is_abandoned) --live_pieces_;
  const bool is_write = running.io.operation == DiskOperation::kWrite;
  if (running.io.kind == IoKind::kBackground) {
    --background_pieces_;
  } else if (is_write) {
    --store_pieces_;
  } else {
    --load_pieces_;
    load_ended_ns_ = completion.ended_ns;
    store_credit_ = std::min(store_credit_ + piece.bytes / kLoadsPerStore, options_.piece_bytes);
  }
  if (completion.error == 0) {
    window_bytes_ += piece.bytes;
    (is_write ? counters_.write_bytes : counters_.read_bytes) += piece.bytes;
    if (is_write && running.io.kind == IoKind::kBackground) {
      counters_.prepare_write_bytes += piece.bytes;
    }
  } else if (running.error == 0) {
    running.error = completion.error;
  }
  // After an error the rest is not tried.
  if (running.error != 0 && running.issued < running.io.bytes && !running.is_abandoned) {
    Queue& queue = running.io.kind == IoKind::kLoad         ? loads_
                   : running.io.kind == IoKind::kBackground ? background_
                                                            : stores_;
    std::erase(queue, piece.running);
    if (&queue == &stores_) unissued_store_bytes_ -= running.io.bytes - running.issued;
    running.issued = running.io.bytes;
  }
  if (running.pieces == 0 && running.issued == running.io.bytes) finish(piece.running);
}

size_t Device::poll(std::span<IoResult> out) {
  if (disk_ != nullptr && results_.size() < out.size()) {
    std::array<DiskCompletion, 64> done;
    const size_t count = disk_->poll(done);
    for (size_t i = 0; i < count; ++i) {
      if (done[i].ticket == kProbeTicket) {
        end_probe(done[i]);
      } else {
        end_piece(done[i]);
      }
    }
    const uint64_t now = clock_.now_ns();
    if (now - checked_ns_ > 50'000'000) tick();
    pump();
  }
  size_t count = 0;
  while (count < out.size() && !results_.empty()) {
    out[count++] = results_.front();
    results_.pop_front();
  }
  return count;
}

TierDevice Device::counters() const {
  TierDevice counters = counters_;
  counters.queued_reads = loads_.size();
  counters.queued_writes = stores_.size();
  counters.in_flight = disk_ == nullptr ? 0 : disk_->in_flight();
  WriteBudget budget = budget_;  // looking at it moves its windows on
  const uint64_t now = clock_.now_ns();
  counters.budget_second_bytes_left = budget.second_left(now);
  counters.budget_day_bytes_left = budget.day_left(now);
  return counters;
}

}  // namespace kvtier::daemon::nvme
