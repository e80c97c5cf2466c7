// Requests through one tier or two. One thread.
#include "tools/simulate/simulator.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace kvtier::tools {

namespace {

using daemon::ChunkFacts;
using daemon::kNoSlot;
using daemon::Policy;
using daemon::Removal;
using daemon::SlotId;
using daemon::VictimFilter;

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr size_t kVictimsAtOnce = 16;
constexpr uint64_t kWindowMs = 15 * 60'000;
// Twenty buckets of 45 seconds and the one that is beginning: no quarter of an hour has more than
// the sum.
using Window = daemon::nvme::Window<21, 45ull * 1'000'000'000>;

// The blocks of one tier: which slot each has, under a policy. One leaves for each that comes, and
// it may be one of the same request: as in the daemon, where a chunk that was stored is nobody's.
class Tier final : public VictimFilter {
 public:
  Tier(std::unique_ptr<Policy> policy, uint64_t chunks, uint32_t unique,
       daemon::MissCurve* curve = nullptr, uint64_t curve_seed = 0)
      : policy_(std::move(policy)),
        curve_(curve),
        curve_seed_(curve_seed),
        capacity_(std::min<uint64_t>(chunks, unique)) {
    slots_.assign(unique, kNoSlot);
    blocks_.reserve(capacity_);
    positions_.reserve(capacity_);
    uses_.reserve(capacity_);
  }

  bool has(uint32_t block) const { return slots_[block] != kNoSlot; }
  bool may_evict(SlotId) const override { return true; }
  uint64_t capacity() const { return capacity_; }
  void touch(uint32_t block, uint32_t position) {
    policy_->touched(slots_[block], position);
    ++uses_[slots_[block]];
  }
  void hint(uint32_t block) {
    policy_->hinted(slots_[block], Policy::Outlook::kNever);
    uses_[slots_[block]] = 0;
  }
  uint32_t uses(uint32_t block) const { return uses_[slots_[block]]; }
  uint32_t position(uint32_t block) const { return positions_[slots_[block]]; }
  bool full() const { return free_.empty() && blocks_.size() >= capacity_; }

  // Blocks that have to go for `wanted` new ones, `leaves` is told of each before it is gone.
  template <typename Leaves>
  void make_room(size_t wanted, const Leaves& leaves) {
    std::array<SlotId, kVictimsAtOnce> victims;
    const size_t found =
        policy_->victims(std::span(victims).first(std::min(wanted, victims.size())), *this);
    for (size_t i = 0; i < found; ++i) {
      leaves(blocks_[victims[i]]);
      remove(victims[i], Removal::kEvicted);
    }
  }
  // False when there is no room.
  bool insert(uint32_t block, uint32_t position, uint32_t tokens, uint32_t uses = 1) {
    if (full()) return false;
    SlotId slot;
    if (free_.empty()) {
      slot = static_cast<SlotId>(blocks_.size());
      blocks_.push_back(block);
      positions_.push_back(position);
      uses_.push_back(uses);
    } else {
      slot = free_.back();
      free_.pop_back();
      blocks_[slot] = block;
      positions_[slot] = position;
      uses_[slot] = uses;
    }
    slots_[block] = slot;
    if (curve_ != nullptr) curve_->entered({block, curve_seed_});
    policy_->inserted(slot,
                      {.key = {block, 0}, .position = position, .tokens = tokens, .bytes = 1});
    return true;
  }

 private:
  void remove(SlotId slot, Removal how) {
    policy_->removed(slot, how);
    if (curve_ != nullptr) curve_->left({blocks_[slot], curve_seed_});
    slots_[blocks_[slot]] = kNoSlot;
    free_.push_back(slot);
  }

  std::unique_ptr<Policy> policy_;
  daemon::MissCurve* curve_;
  uint64_t curve_seed_;  // half of the keys it is told: which ones are sampled
  uint64_t capacity_;
  std::vector<SlotId> slots_;        // by block
  std::vector<uint32_t> blocks_;     // by slot
  std::vector<uint32_t> positions_;  // by slot
  std::vector<uint32_t> uses_;       // by slot
  std::vector<SlotId> free_;
};

// A number that is the same on every machine, evenly spread.
uint64_t mixed(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

class Simulation {
 public:
  Simulation(const SimTrace& trace, const SimOptions& options, Tier host, Tier nvme)
      : trace_(trace),
        options_(options),
        host_(std::move(host)),
        nvme_(std::move(nvme)),
        written_(UINT64_MAX) {
    const uint64_t span_ms = std::max<uint64_t>(
        trace.requests.empty()
            ? 0
            : trace.requests.back().timestamp_ms - trace.requests.front().timestamp_ms,
        kWindowMs);
    if (options.nvme_write_share < 0) {
      result_.nvme_window_allowed = UINT64_MAX;
    } else {
      result_.nvme_window_allowed =
          static_cast<uint64_t>(options.nvme_write_share * static_cast<double>(trace.unique) *
                                static_cast<double>(kWindowMs) / static_cast<double>(span_ms));
    }
  }

  SimResult run() {
    is_partial_.resize(trace_.unique);
    for (const SimTrace::Request& request : trace_.requests) {
      if (request.count == 0) continue;
      const bool filled = request.tokens >= uint64_t{request.count} * request.block_tokens;
      is_partial_[trace_.blocks_of(request).back()] = !filled;
    }
    if (options_.hints == SimOptions::Hints::kBlocks) {
      last_request_.resize(trace_.unique);
      for (const SimTrace::Request& request : trace_.requests) {
        for (const uint32_t block : trace_.blocks_of(request)) last_request_[block] = &request;
      }
    }
    for (const SimTrace::Request& request : trace_.requests) serve(request);
    return result_;
  }

 private:
  void serve(const SimTrace::Request& request);
  void tell_curve(std::span<const uint32_t> blocks);
  void hint(const SimTrace::Request& request, std::span<const uint32_t> head);
  void leave_host(uint32_t block);
  void write_below(uint32_t block, uint32_t position);

  const SimTrace& trace_;
  const SimOptions& options_;
  Tier host_;
  Tier nvme_;
  daemon::Admission admission_;
  std::vector<bool> is_partial_;  // by block: not filled, so no chunk that a tier below would get
  std::vector<const SimTrace::Request*> last_request_;  // of a block; for hints
  Window written_;
  Window offered_{UINT64_MAX};
  SimResult result_;
  uint64_t now_ns_ = 0;
  uint32_t tokens_ = 0;
};

void Simulation::serve(const SimTrace::Request& request) {
  const std::span<const uint32_t> blocks = trace_.blocks_of(request);
  now_ns_ = request.timestamp_ms * kNsPerMs;
  tokens_ = request.block_tokens;
  uint32_t hit = 0, below = 0;
  for (; hit < blocks.size(); ++hit) {
    if (host_.has(blocks[hit])) continue;
    if (!nvme_.has(blocks[hit])) break;
    ++below;
  }
  if (options_.hits_by_request != nullptr) options_.hits_by_request->push_back(hit);
  ++result_.requests;
  result_.blocks_asked += blocks.size();
  result_.blocks_hit += hit;
  result_.blocks_hit_nvme += below;
  result_.tokens_asked += request.tokens;
  result_.tokens_hit += std::min<uint64_t>(request.tokens, uint64_t{hit} * request.block_tokens);

  if (options_.curve != nullptr) tell_curve(blocks);
  const std::span<const uint32_t> head =
      blocks.first(std::min<uint64_t>(blocks.size(), host_.capacity()));
  for (size_t i = head.size(); i-- > 0;) {
    const auto position = static_cast<uint32_t>(i);
    if (nvme_.has(head[i])) nvme_.touch(head[i], position);
    if (host_.has(head[i])) {
      host_.touch(head[i], position);
      continue;
    }
    if (host_.full()) host_.make_room(1, [&](uint32_t block) { leave_host(block); });
    host_.insert(head[i], position, tokens_, 1 + admission_.uses_before({head[i], 0}));
  }
  if (options_.hints != SimOptions::Hints::kNone) hint(request, head);
}

void Simulation::tell_curve(std::span<const uint32_t> blocks) {
  for (size_t i = blocks.size(); i-- > 0;) {
    const auto tokens = static_cast<double>(tokens_);
    options_.curve->used(now_ns_, {.key = {blocks[i], options_.seed},
                                   .position = static_cast<uint32_t>(i),
                                   .was_resident = host_.has(blocks[i]),
                                   .worth = {tokens, tokens}});
  }
}

void Simulation::hint(const SimTrace::Request& request, std::span<const uint32_t> head) {
  const double draw =
      static_cast<double>(mixed(result_.requests ^ (options_.seed << 40)) >> 11) * 0x1p-53;
  const bool right = draw < options_.hint_accuracy;
  const bool by_block = options_.hints == SimOptions::Hints::kBlocks;
  if (by_block ? !right : right != request.ends_session) return;
  for (size_t i = head.size(); i-- > 0;) {
    if (by_block && last_request_[head[i]] != &request) continue;
    if (host_.has(head[i])) host_.hint(head[i]);
    if (nvme_.has(head[i])) nvme_.hint(head[i]);
  }
}

void Simulation::leave_host(uint32_t block) {
  ++result_.evicted;
  if (nvme_.capacity() == 0 || nvme_.has(block)) return;
  if (is_partial_[block]) return;
  const uint32_t position = host_.position(block);
  if (result_.nvme_window_allowed != UINT64_MAX) {
    offered_.charge(now_ns_, 1);
    const uint64_t written = UINT64_MAX - written_.left(now_ns_);
    const uint64_t offers = UINT64_MAX - offered_.left(now_ns_);
    // Offers are counted over 21 buckets, of which the allowed ones fill 20.
    const double share = static_cast<double>(result_.nvme_window_allowed) * 21 / 20 /
                         static_cast<double>(std::max<uint64_t>(offers, 1));
    if (!admission_.admits({block, 0}, host_.uses(block), position, share) ||
        written >= result_.nvme_window_allowed) {
      ++result_.nvme_refused;
      return;
    }
  }
  write_below(block, position);
}

void Simulation::write_below(uint32_t block, uint32_t position) {
  if (nvme_.full()) nvme_.make_room(kVictimsAtOnce, [](uint32_t) {});
  if (!nvme_.insert(block, position, tokens_)) return;
  written_.charge(now_ns_, 1);
  ++result_.nvme_writes;
  result_.nvme_window_writes_max =
      std::max(result_.nvme_window_writes_max, UINT64_MAX - written_.left(now_ns_));
}

}  // namespace

Result<SimResult> simulate(const SimTrace& trace, const SimOptions& options) {
  const auto began = std::chrono::steady_clock::now();
  auto host = daemon::make_policy(options.host.policy);
  if (!host) return host.error();
  auto nvme =
      daemon::make_policy(options.nvme.policy.empty() ? options.host.policy : options.nvme.policy);
  if (!nvme) return nvme.error();
  Simulation simulation(
      trace, options,
      Tier(*std::move(host), options.host.chunks, trace.unique, options.curve, options.seed),
      Tier(*std::move(nvme), options.nvme.chunks, trace.unique));
  SimResult result = simulation.run();
  result.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return result;
}

}  // namespace kvtier::tools
