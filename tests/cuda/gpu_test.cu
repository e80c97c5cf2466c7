// Everything that needs a GPU to be shown: the device's bytes beside the CPU's, bad input,
// transfers by every way. Prints a line for each check and ends with 1 if any failed. gpu_bench has
// the speeds.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/checksum.hpp"
#include "kernels/codec.hpp"
#include "kernels/codec_math.hpp"
#include "kernels/cuda/transfer.hpp"
#include "tests/cuda/device_memory.hpp"

namespace kvtier::kernels::cuda::testing {
namespace {

int failures = 0;
int checks = 0;

void check(bool good, const std::string& what) {
  ++checks;
  if (good) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

constexpr Codec kCodecs[] = {Codec::kNone, Codec::kFp8TokenHead, Codec::kFp8Tensor, Codec::kInt8,
                             Codec::kInt4};

std::vector<std::byte> numbers(const ChunkShape& shape, uint64_t bytes) {
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal;
  std::vector<std::byte> all(bytes);
  for (uint64_t i = 0; i + 1 < bytes; i += 2) {
    const float value = normal(random) * std::exp(static_cast<float>(i / 2 % shape.dim) / 40.0f);
    const auto bits = static_cast<uint16_t>(shape.element == Element::kBf16 ? math::to_bf16(value)
                                                                            : math::to_f16(value));
    std::memcpy(all.data() + i, &bits, 2);
  }
  return all;
}

// One engine tensor, [blocks, layers, planes, tokens, heads, dim] or with heads first, on the host
// and on the device, `skew` bytes into its allocation.
struct Engine {
  ChunkShape shape;
  Pool pool;
  uint64_t bytes;
  std::vector<std::byte> host;
  Memory device;
  std::vector<uint32_t> blocks;
  std::vector<std::byte*> host_bases, device_bases;
  Memory bases_on_device, blocks_on_device;
  uint64_t skew;
  PagedLayout host_layout;
  DevicePages pages;

  Engine(const ChunkShape& s, bool heads_first, uint64_t skewed)
      : shape(s),
        pool{s.tokens / 16 + 3, 16, heads_first},
        bytes(pool.blocks_total * 16 * s.layers * s.planes * s.token_bytes()),
        host(numbers(s, bytes)),
        device(Memory::kDevice, bytes + 64),
        host_bases(s.layers * s.planes),
        device_bases(s.layers * s.planes),
        bases_on_device(Memory::kDevice, 8 * host_bases.size()),
        blocks_on_device(Memory::kDevice, 4 * (s.tokens / 16 + 1)),
        skew(skewed) {
    for (uint32_t i = 0; i * 16 < shape.tokens; ++i) {
      blocks.push_back((i * 5 + 2) % static_cast<uint32_t>(pool.blocks_total));
    }
    std::sort(blocks.begin(), blocks.end());
    blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
    for (uint32_t i = 0; blocks.size() * 16 < shape.tokens; ++i) {
      if (std::find(blocks.begin(), blocks.end(), i) == blocks.end()) blocks.push_back(i);
    }
    (void)cross_layer(shape, pool, host.data(), host_bases, &host_layout);
    (void)cross_layer(shape, pool, device.data() + skew, device_bases, &pages.layout);
    host_layout.blocks = pages.layout.blocks = blocks.data();
    bases_on_device.upload(device_bases.data(), 8 * device_bases.size());
    blocks_on_device.upload(blocks.data(), 4 * blocks.size());
    pages.bases = bases_on_device.as<std::byte*>();
    pages.blocks = blocks_on_device.as<uint32_t>();
    upload();
  }
  void upload() {
    must(cudaMemcpy(device.data() + skew, host.data(), bytes, cudaMemcpyDefault), "upload");
  }
  std::vector<std::byte> download() {
    std::vector<std::byte> all(bytes);
    must(cudaMemcpy(all.data(), device.data() + skew, bytes, cudaMemcpyDefault), "download");
    return all;
  }
};

uint32_t run_encode(Codec codec, Engine& engine, Memory& payload, Memory& word, OwnStream& stream) {
  std::memset(word.data(), 0, 4);
  const Launch launch = {stream.stream, word.as<uint32_t>(), 16};
  const Status status = encode(codec, engine.shape, engine.pages,
                               {payload.data(), encoded_bytes(codec, engine.shape)}, launch);
  check(status == Status::kOk, std::string("launch of encode ") + codec_name(codec));
  stream.wait();
  return *word.as<uint32_t>();
}

void check_codec(Codec codec, Engine& engine, const std::string& name) {
  const uint64_t bytes = encoded_bytes(codec, engine.shape);
  std::vector<std::byte> expected(bytes), found(bytes);
  check(kernels::encode(codec, engine.shape, engine.host_layout, {expected.data(), bytes}) ==
            Status::kOk,
        name + " on the CPU");
  OwnStream stream;
  Memory payload(Memory::kDevice, bytes + 16), word(Memory::kPinned, 4);
  must(cudaMemset(payload.data(), 0xa5, bytes), "memset");
  check(run_encode(codec, engine, payload, word, stream) == 0, name + " status");
  payload.download(found.data(), bytes);
  check(found == expected, name + " encode gives the CPU's bytes");

  const uint64_t pieces = piece_count(bytes);
  Memory hashes(Memory::kPinned, 8 * pieces);
  check(hash_pieces({payload.data(), bytes}, hashes.as<uint64_t>(), stream.stream) == Status::kOk,
        name + " launch of hashes");
  stream.wait();
  std::vector<uint64_t> list(hashes.as<uint64_t>(), hashes.as<uint64_t>() + pieces);
  const uint64_t last = bytes - (pieces - 1) * kPieceBytes;
  if (last <= 240) list.back() = piece_hash(expected.data() + bytes - last, last);
  uint64_t root = 0;
  check(root_of(list, bytes, &root) && root == hash_only(expected.data(), bytes),
        name + " checksum");

  // Back, over poison: equal to the CPU's, and nothing else touched.
  const std::vector<std::byte> before = engine.host;
  std::fill(engine.host.begin(), engine.host.end(), std::byte{0x77});
  engine.upload();
  check(kernels::decode(codec, engine.shape, {expected.data(), bytes}, engine.host_layout) ==
            Status::kOk,
        name + " decode on the CPU");
  const Launch launch = {stream.stream, word.as<uint32_t>(), 16};
  check(decode(codec, engine.shape, {payload.data(), bytes}, engine.pages, launch) == Status::kOk,
        name + " launch of decode");
  stream.wait();
  check(*word.as<uint32_t>() == 0, name + " decode status");
  check(engine.download() == engine.host, name + " decode gives the CPU's bytes");
  engine.host = before;
  engine.upload();
}

void check_layouts() {
  const ChunkShape shapes[] = {
      {.layers = 4, .planes = 2, .heads = 8, .dim = 128, .tokens = 256},
      {.layers = 2, .planes = 2, .heads = 3, .dim = 80, .tokens = 70},
      {.layers = 1, .planes = 2, .heads = 2, .dim = 33, .tokens = 31},
      {.layers = 3, .planes = 1, .heads = 1, .dim = 576, .tokens = 64},
      {.layers = 1, .planes = 2, .heads = 2, .dim = 1024, .tokens = 33},
      {.layers = 2, .planes = 2, .heads = 4, .dim = 64, .tokens = 48, .element = Element::kF16}};
  for (const ChunkShape& shape : shapes) {
    for (const bool heads_first : {false, true}) {
      for (const uint64_t skew : {0, 2}) {
        Engine engine(shape, heads_first, skew);
        for (const Codec codec : kCodecs) {
          check_codec(codec, engine,
                      std::string(codec_name(codec)) + " dim " + std::to_string(shape.dim) +
                          (heads_first ? " heads first" : "") + (skew != 0 ? " misaligned" : ""));
        }
      }
    }
  }
}

void check_bad_input() {
  Engine engine({.layers = 1, .planes = 2, .heads = 2, .dim = 64, .tokens = 40}, false, 0);
  const uint16_t nan = 0x7fc0;
  std::memcpy(engine.host.data() + engine.blocks[0] * engine.host_layout.block_stride, &nan, 2);
  engine.upload();
  OwnStream stream;
  Memory word(Memory::kPinned, 4);
  for (const Codec codec : kCodecs) {
    if (codec == Codec::kNone) continue;
    const uint64_t bytes = encoded_bytes(codec, engine.shape);
    Memory payload(Memory::kDevice, bytes + 16);
    check(run_encode(codec, engine, payload, word, stream) ==
              1u << static_cast<uint32_t>(Status::kNotFinite),
          std::string(codec_name(codec)) + " reports a NaN");
    must(cudaMemset(payload.data(), 0x81, bytes), "memset");
    std::memset(word.data(), 0, 4);
    const Launch launch = {stream.stream, word.as<uint32_t>(), 0};
    check(decode(codec, engine.shape, {payload.data(), bytes}, engine.pages, launch) == Status::kOk,
          "launch");
    stream.wait();
    check(*word.as<uint32_t>() == 1u << static_cast<uint32_t>(Status::kMalformed),
          std::string(codec_name(codec)) + " reports unsound scales");
    check(encode(codec, engine.shape, engine.pages, {payload.data() + 8, bytes}, launch) ==
              Status::kSize,
          "a payload at 8 is refused");
    DevicePages outside = engine.pages;
    outside.layout.blocks_total = 1;
    check(encode(codec, engine.shape, outside, {payload.data(), bytes}, launch) == Status::kLayout,
          "a block outside the pool is refused");
  }
}

void check_transfers() {
  constexpr uint64_t kBytes = uint64_t{4} << 20;
  OwnStream stream;
  Memory device(Memory::kDevice, kBytes), host(Memory::kPinned, kBytes);
  Memory list(Memory::kPinned, kBytes / 4096 * sizeof(DeviceCopy));
  std::vector<std::byte> pattern(kBytes), back(kBytes);
  for (uint64_t i = 0; i < kBytes; ++i) pattern[i] = static_cast<std::byte>(i * 31 + i / 256);
  for (int way = 0; way < kWays; ++way) {
    for (const uint64_t fragment : {uint64_t{4096}, uint64_t{65536}}) {
      device.upload(pattern.data(), kBytes);
      const uint64_t count = kBytes / fragment;
      auto* copies = list.as<DeviceCopy>();
      for (uint64_t i = 0; i < count; ++i) {
        copies[i] = {host.data() + i * fragment, device.data() + i * 3 % count * fragment,
                     fragment};
      }
      check(copy(static_cast<Way>(way), Direction::kToHost, {copies, count}, stream.stream),
            std::string("copies by ") + way_name(static_cast<Way>(way)));
      stream.wait();
      bool same = true;
      for (uint64_t i = 0; i < count; ++i) {
        same &= std::memcmp(host.data() + i * fragment, pattern.data() + i * 3 % count * fragment,
                            fragment) == 0;
      }
      check(same, std::string("bytes by ") + way_name(static_cast<Way>(way)));
    }
  }
}

}  // namespace
}  // namespace kvtier::kernels::cuda::testing

int main() {
  using namespace kvtier::kernels::cuda::testing;
  check_layouts();
  check_bad_input();
  check_transfers();
  std::printf("gpu_test: %d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
