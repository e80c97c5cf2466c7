#include "tools/bench/prompts.hpp"

#include <algorithm>
#include <array>
#include <thread>

#include "kernels/copy.hpp"
#include "tools/trace/block_content.hpp"

namespace kvtier::tools {
namespace {

constexpr auto kCallTime = std::chrono::seconds(30);
constexpr auto kBusyWait = std::chrono::microseconds(500);

}  // namespace

std::span<const uint32_t> Prompts::tokens(uint64_t number) {
  const size_t each = space_.spec().tokens_per_chunk;
  tokens_.resize(chunks_ * each);
  for (size_t i = 0; i < chunks_; ++i) {
    fill_tokens(number * chunks_ + i, std::span(tokens_).subspan(i * each, each));
  }
  return tokens_;
}

Result<KeyChain> Prompts::store(uint64_t number, std::span<const std::byte> payload) {
  auto made = chain(number);
  if (!made) return made.error();
  for (size_t end = chunks_; end > 0;) {
    const size_t count = std::min<size_t>(end, wire::kBatchChunksMax);
    if (Status status = store_some(*made, end - count, count, payload); !status) {
      return status.error();
    }
    end -= count;
  }
  return made;
}

// Chunks [first, first + count), the last one first; waits for room.
Status Prompts::store_some(const KeyChain& chain, size_t first, size_t count,
                           std::span<const std::byte> payload) {
  std::array<size_t, wire::kBatchChunksMax> wanted;
  for (size_t i = 0; i < count; ++i) wanted[i] = first + count - 1 - i;
  const auto deadline = Clock::now() + kCallTime;
  for (size_t done = 0; done < count;) {
    auto made = space_.reserve(chain, {wanted.data() + done, count - done}, deadline);
    if (!made) return made.error();
    std::vector<Grant> grants;
    std::vector<uint64_t> checksums;
    for (Reservation& one : *made) {
      if (one.outcome == StoreOutcome::kBusy) break;
      if (one.outcome != StoreOutcome::kStored) {
        return Error::format(Code::kFull, "a chunk could not be stored: %s",
                             store_outcome_name(one.outcome));
      }
      const std::span<std::byte> target = one.grant.payload();
      checksums.push_back(kernels::copy_and_hash(target.data(), payload.data(), target.size()));
      grants.push_back(std::move(one.grant));
    }
    made->clear();
    done += grants.size();
    if (grants.empty()) {
      std::this_thread::sleep_for(kBusyWait);
      continue;
    }
    const auto outcomes = space_.commit(grants, checksums, deadline);
    if (!outcomes) return outcomes.error();
    for (const StoreOutcome outcome : *outcomes) {
      if (outcome == StoreOutcome::kStored) continue;
      return Error::format(Code::kFull, "a chunk could not be committed: %s",
                           store_outcome_name(outcome));
    }
  }
  return {};
}

uint64_t Random::below(uint64_t end) {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return (mixed ^ (mixed >> 31)) % end;
}

}  // namespace kvtier::tools
