#include "tests/faults/fault_client.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/checksum.hpp"
#include "tools/trace/block_content.hpp"

namespace kvtier::faults {
namespace {

constexpr size_t kChunksMax = 4096;

uint64_t content_id(uint64_t prompt, size_t chunk) {
  return prompt * kChunksMax + chunk;
}

}  // namespace

Clock::time_point in(std::chrono::milliseconds time) {
  return Clock::now() + time;
}

FaultClient::FaultClient(const ClientOptions& options) : options_(options) {
  SessionOptions session;
  session.socket = options.socket;
  session.name = options.name;
  session.call_deadline = options.call_deadline;
  session.verify = Verify::kAlways;
  session.retry_last = std::chrono::milliseconds(100);
  auto opened = Session::open(session);
  if (!opened.ok()) {
    ADD_FAILURE() << opened.error().message();
    return;
  }
  session_ = std::move(*opened);
  SpaceSpec spec;
  spec.model = options.model;
  spec.layout = "faults-1";
  spec.tokens_per_chunk = options.tokens_per_chunk;
  spec.chunk_bytes = options.chunk_bytes;
  auto space = session_->open_space(spec);
  if (!space.ok()) {
    ADD_FAILURE() << space.error().message();
    return;
  }
  space_ = std::move(*space);
}

bool FaultClient::wait_attached(std::chrono::milliseconds patience) {
  const Status attached = session_->wait_attached(in(patience));
  EXPECT_TRUE(attached.ok()) << attached.error().message();
  return attached.ok();
}

void FaultClient::close() {
  space_.reset();
  session_.reset();
}

KeyChain FaultClient::chain(uint64_t prompt, size_t chunks) {
  std::vector<uint32_t> tokens(chunks * options_.tokens_per_chunk);
  for (size_t i = 0; i < chunks; ++i) {
    tools::fill_tokens(
        content_id(prompt, i),
        std::span(tokens).subspan(i * options_.tokens_per_chunk, options_.tokens_per_chunk));
  }
  auto derived = space_->derive({.tokens = tokens});
  return derived.ok() ? std::move(*derived) : KeyChain();
}

std::vector<std::byte> FaultClient::bytes_of(uint64_t prompt, size_t chunk) const {
  std::vector<std::byte> bytes(options_.chunk_bytes);
  tools::fill_payload(content_id(prompt, chunk), options_.salt, bytes);
  return bytes;
}

uint64_t FaultClient::wrong_bytes(uint64_t prompt, size_t chunk,
                                  std::span<const std::byte> payload) const {
  return tools::count_wrong_bytes(content_id(prompt, chunk), options_.salt, payload);
}

std::vector<StoreOutcome> FaultClient::store(uint64_t prompt, size_t chunks,
                                             std::chrono::milliseconds patience) {
  const KeyChain keys = chain(prompt, chunks);
  std::vector<StoreOutcome> failed(chunks, StoreOutcome::kFailed);
  if (keys.size() != chunks) return failed;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<ConstFragment> fragments;
  std::vector<StoreSource> sources;
  for (size_t i = 0; i < chunks; ++i) {
    bytes.push_back(bytes_of(prompt, i));
    fragments.push_back({bytes.back().data(), bytes.back().size()});
  }
  for (size_t i = 0; i < chunks; ++i) sources.push_back({i, std::span(fragments).subspan(i, 1)});
  auto outcomes = space_->store(keys, sources, in(patience));
  return outcomes.ok() ? std::move(*outcomes) : failed;
}

bool FaultClient::store_all(uint64_t prompt, size_t chunks) {
  for (const StoreOutcome outcome : store(prompt, chunks)) {
    if (outcome == StoreOutcome::kStored || outcome == StoreOutcome::kPresent) continue;
    ADD_FAILURE() << "a store ended " << store_outcome_name(outcome);
    return false;
  }
  return true;
}

Result<Match> FaultClient::match(uint64_t prompt, size_t chunks) {
  const KeyChain keys = chain(prompt, chunks);
  return space_->match(keys);
}

ReadBack FaultClient::read(uint64_t prompt, size_t chunks) {
  auto found = match(prompt, chunks);
  if (!found.ok()) return {.failed = true};
  return load(*found, prompt);
}

ReadBack FaultClient::load(const Match& match, uint64_t prompt) {
  ReadBack back;
  back.found = match.chunks();
  back.ended = match.ended();
  if (back.found == 0) return back;
  std::vector<std::byte> buffer(back.found * options_.chunk_bytes, std::byte{0x5a});
  std::vector<Fragment> fragments;
  std::vector<LoadTarget> targets;
  for (size_t i = 0; i < back.found; ++i) {
    fragments.push_back({buffer.data() + i * options_.chunk_bytes, options_.chunk_bytes});
  }
  for (size_t i = 0; i < back.found; ++i) {
    targets.push_back({i, std::span(fragments).subspan(i, 1)});
  }
  const auto loaded = space_->load(match, targets);
  if (!loaded.ok()) {
    back.failed = true;
    return back;
  }
  back.loaded = loaded->chunks;
  for (size_t i = 0; i < back.loaded; ++i) {
    back.wrong_bytes += wrong_bytes(prompt, i, {fragments[i].data, fragments[i].bytes});
  }
  return back;
}

ReadBack FaultClient::read_prefix(uint64_t prompt, size_t chunks,
                                  std::chrono::milliseconds patience) {
  ReadBack back;
  std::vector<std::byte> buffer(chunks * options_.chunk_bytes, std::byte{0x5a});
  std::vector<Fragment> fragments;
  std::vector<LoadTarget> targets;
  for (size_t i = 0; i < chunks; ++i) {
    fragments.push_back({buffer.data() + i * options_.chunk_bytes, options_.chunk_bytes});
  }
  for (size_t i = 0; i < chunks; ++i) targets.push_back({i, std::span(fragments).subspan(i, 1)});
  const auto loaded = space_->load_prefix(chain(prompt, chunks), targets, in(patience));
  if (!loaded.ok()) {
    back.failed = true;
    return back;
  }
  back.found = back.loaded = loaded->chunks;
  back.lower = loaded->chunks_lower;
  back.ended = loaded->ended;
  for (size_t i = 0; i < back.loaded; ++i) {
    back.wrong_bytes += wrong_bytes(prompt, i, {fragments[i].data, fragments[i].bytes});
  }
  return back;
}

std::vector<Grant> FaultClient::grants(uint64_t prompt, size_t chunks) {
  const KeyChain keys = chain(prompt, chunks);
  std::vector<size_t> wanted(chunks);
  std::iota(wanted.begin(), wanted.end(), size_t{0});
  std::vector<Grant> held;
  // A tier that grows for them says busy; what was granted meanwhile is kept.
  const auto until = in(std::chrono::seconds(10));
  while (!wanted.empty() && Clock::now() < until) {
    auto reserved = space_->reserve(keys, wanted, until);
    if (!reserved.ok()) return held;
    std::vector<size_t> busy;
    for (size_t i = 0; i < reserved->size(); ++i) {
      Reservation& one = (*reserved)[i];
      if (one.outcome == StoreOutcome::kStored) held.push_back(std::move(one.grant));
      if (one.outcome == StoreOutcome::kBusy) busy.push_back(wanted[i]);
    }
    wanted = std::move(busy);
  }
  return held;
}

std::vector<StoreOutcome> FaultClient::commit(uint64_t prompt, std::span<Grant> grants) {
  std::vector<uint64_t> checksums;
  for (const Grant& grant : grants) {
    const std::vector<std::byte> bytes = bytes_of(prompt, grant.chunk());
    std::memcpy(grant.payload().data(), bytes.data(), bytes.size());
    checksums.push_back(kernels::hash_only(bytes.data(), bytes.size()));
  }
  auto outcomes = space_->commit(grants, checksums, in(std::chrono::seconds(5)));
  if (outcomes.ok()) return std::move(*outcomes);
  return std::vector<StoreOutcome>(grants.size(), StoreOutcome::kFailed);
}

}  // namespace kvtier::faults
