// Speeds of the device operations beside what the GPU and its link do at best in the same run, as
// rows of Markdown: ours, the limit, the ratio, and what was asked for. Medians of interleaved
// repeats.
#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/codec.hpp"
#include "kernels/cuda/transfer.hpp"
#include "tests/cuda/device_memory.hpp"

namespace kvtier::kernels::cuda::testing {
namespace {

constexpr int kRepeats = 15;
// Llama-3-8B, 256 tokens.
constexpr ChunkShape kShape = {.layers = 32, .planes = 2, .heads = 8, .dim = 128, .tokens = 256};
constexpr uint64_t kRaw = uint64_t{32} << 20;

using Work = std::function<void(cudaStream_t)>;

struct Timer {
  cudaEvent_t start, end;
  Timer() {
    must(cudaEventCreate(&start), "event");
    must(cudaEventCreate(&end), "event");
  }
  double milliseconds(cudaStream_t stream, const Work& work) const {
    must(cudaEventRecord(start, stream), "event");
    work(stream);
    must(cudaEventRecord(end, stream), "event");
    must(cudaEventSynchronize(end), "event");
    float took = 0;
    must(cudaEventElapsedTime(&took, start, end), "event");
    return took;
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Ours beside the limit, in turn; GB/s of `bytes`.
void row(const std::string& name, uint64_t bytes, const Work& limit, const Work& ours,
         const std::string& asked) {
  const OwnStream stream;
  const Timer timer;
  std::vector<double> limits, all;
  for (int i = 0; i < kRepeats + 2; ++i) {
    const double a = timer.milliseconds(stream.stream, limit);
    const double b = timer.milliseconds(stream.stream, ours);
    if (i < 2) continue;  // warm
    limits.push_back(static_cast<double>(bytes) / a / 1e6);
    all.push_back(static_cast<double>(bytes) / b / 1e6);
  }
  std::printf("| %s | %.1f | %.1f | %.2f | %s |\n", name.c_str(), median(all), median(limits),
              median(all) / median(limits), asked.c_str());
}

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "gpu_bench: %s failed\n", what);
  std::exit(1);
}

struct World {
  Pool pool = {512, 16, false};
  Memory tensors{Memory::kDevice, 512 * kRaw / 16};
  Memory payload{Memory::kDevice, kRaw};
  Memory other{Memory::kDevice, kRaw};
  Memory pinned{Memory::kPinned, kRaw};
  Memory pinned_too{Memory::kPinned, kRaw};
  Memory word{Memory::kPinned, 64};
  Memory list{Memory::kPinned, kRaw / 4096 * sizeof(DeviceCopy)};
  Memory list_too{Memory::kPinned, kRaw / 4096 * sizeof(DeviceCopy)};
  std::vector<std::byte*> layers, bases;
  std::vector<uint32_t> blocks;
  Memory bases_on_device{Memory::kDevice, 64 * 8};
  Memory blocks_on_device{Memory::kDevice, 16 * 4};
  DevicePages pages;

  World() : bases(64) {
    must(cudaMemset(tensors.data(), 0x3f, tensors.bytes()), "memset");
    for (uint32_t i = 0; i < 32; ++i) layers.push_back(tensors.data() + i * tensors.bytes() / 32);
    expect(vllm_split(kShape, pool, layers, bases, &pages.layout), "layout");
    for (uint32_t i = 0; i < 16; ++i) blocks.push_back((i * 37 + 5) % 512);
    pages.layout.blocks = blocks.data();
    bases_on_device.upload(bases.data(), 64 * 8);
    blocks_on_device.upload(blocks.data(), 16 * 4);
    pages.bases = bases_on_device.as<std::byte*>();
    pages.blocks = blocks_on_device.as<uint32_t>();
    std::memset(word.data(), 0, 64);
  }
  Work encoding(Codec codec) {
    return [this, codec](cudaStream_t stream) {
      expect(encode(codec, kShape, pages, {payload.data(), encoded_bytes(codec, kShape)},
                    {stream, word.as<uint32_t>(), 0}) == Status::kOk,
             "encode");
    };
  }
  Work decoding(Codec codec) {
    return [this, codec](cudaStream_t stream) {
      expect(decode(codec, kShape, {payload.data(), encoded_bytes(codec, kShape)}, pages,
                    {stream, word.as<uint32_t>(), 0}) == Status::kOk,
             "decode");
    };
  }
};

Work plain_copy(std::byte* to, const std::byte* from, uint64_t bytes) {
  return [=](cudaStream_t stream) {
    must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "copy");
  };
}

void on_device(World& world) {
  const Work limit = plain_copy(world.other.data(), world.payload.data(), kRaw);
  row("gather, device to device", kRaw, limit, world.encoding(Codec::kNone), ">= 0.85");
  row("scatter, device to device", kRaw, limit, world.decoding(Codec::kNone), ">= 0.85");
  for (const Codec codec : {Codec::kInt8, Codec::kFp8TokenHead, Codec::kFp8Tensor, Codec::kInt4}) {
    row(std::string("encode ") + codec_name(codec), kRaw, limit, world.encoding(codec), "");
    row(std::string("decode ") + codec_name(codec), kRaw, limit, world.decoding(codec), "");
  }
}

// Fragments between the engine's tensors and pinned memory, by the way that measured best.
Work fragments(World& world, const TransferChoice& choice, Memory& list, std::byte* host,
               uint64_t bytes_each, Direction direction) {
  const uint64_t count = kRaw / bytes_each;
  auto* copies = list.as<DeviceCopy>();
  for (uint64_t i = 0; i < count; ++i) {
    std::byte* device =
        world.tensors.data() + (i * 7 + 3) % (world.tensors.bytes() / bytes_each) * bytes_each;
    std::byte* place = host + i * bytes_each;
    copies[i] = direction == Direction::kToHost ? DeviceCopy{place, device, bytes_each}
                                                : DeviceCopy{device, place, bytes_each};
  }
  const Way way = choice.way(direction, bytes_each);
  return [=](cudaStream_t stream) {
    expect(copy(way, direction, {copies, count}, stream), "copy of fragments");
  };
}

void over_the_link(World& world, const TransferChoice& choice) {
  struct Case {
    uint64_t bytes;
    const char* name;
    const char* asked;
  };
  for (const Case& one : {Case{2 << 20, "block-contiguous, 2 MiB", ">= 0.95"},
                          Case{64 << 10, "64 KiB fragments", ">= 0.90"},
                          Case{16 << 10, "16 KiB fragments", ">= 0.75"}}) {
    for (const Direction direction : {Direction::kToHost, Direction::kToDevice}) {
      const bool down = direction == Direction::kToHost;
      const Work limit = down ? plain_copy(world.pinned_too.data(), world.other.data(), kRaw)
                              : plain_copy(world.other.data(), world.pinned_too.data(), kRaw);
      row(std::string(one.name) + (down ? ", to host, by " : ", to GPU, by ") +
              way_name(choice.way(direction, one.bytes)),
          kRaw, limit,
          fragments(world, choice, world.list, world.pinned.data(), one.bytes, direction),
          one.asked);
    }
  }
  const Work store = [&](cudaStream_t stream) {
    world.encoding(Codec::kInt8)(stream);
    plain_copy(world.pinned.data(), world.payload.data(),
               encoded_bytes(Codec::kInt8, kShape))(stream);
  };
  const Work raw_store = [&](cudaStream_t stream) {
    world.encoding(Codec::kNone)(stream);
    plain_copy(world.pinned.data(), world.payload.data(), kRaw)(stream);
  };
  row("int8 store to host, effective, beside the same uncompressed", kRaw, raw_store, store,
      ">= 1.8");
}

// Both directions at once: a second stream joins and is joined by events.
Work duplex(const Work& down, const Work& up, cudaStream_t second, cudaEvent_t fork,
            cudaEvent_t join) {
  return [=](cudaStream_t stream) {
    must(cudaEventRecord(fork, stream), "event");
    must(cudaStreamWaitEvent(second, fork), "event");
    down(stream);
    up(second);
    must(cudaEventRecord(join, second), "event");
    must(cudaStreamWaitEvent(stream, join), "event");
  };
}

void both_ways(World& world, const TransferChoice& choice) {
  const OwnStream second;
  cudaEvent_t fork, join;
  must(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming), "event");
  must(cudaEventCreateWithFlags(&join, cudaEventDisableTiming), "event");
  const Work limit = duplex(plain_copy(world.pinned.data(), world.payload.data(), kRaw),
                            plain_copy(world.other.data(), world.pinned_too.data(), kRaw),
                            second.stream, fork, join);
  const Work ours = duplex(
      fragments(world, choice, world.list, world.pinned.data(), 64 << 10, Direction::kToHost),
      fragments(world, choice, world.list_too, world.pinned_too.data(), 64 << 10,
                Direction::kToDevice),
      second.stream, fork, join);
  row("both directions at once, 64 KiB fragments", 2 * kRaw, limit, ours, ">= 0.90");
}

// A decode step as far as memory sees it: it reads weights once.
__global__ void read_all(const uint4* from, uint64_t count, uint32_t* sink) {
  uint32_t mixed = 0;
  for (uint64_t i = blockIdx.x * uint64_t{blockDim.x} + threadIdx.x; i < count;
       i += uint64_t{gridDim.x} * blockDim.x) {
    const uint4 four = from[i];
    mixed ^= four.x ^ four.y ^ four.z ^ four.w;
  }
  if (mixed == 0x12345678) *sink = mixed;
}

void disturbance(World& world, const TransferChoice& choice) {
  const OwnStream engine, loads;
  const Timer timer;
  Memory weights(Memory::kDevice, uint64_t{2} << 30);
  const Work step = [&](cudaStream_t stream) {
    read_all<<<1024, 256, 0, stream>>>(weights.as<uint4>(), weights.bytes() / 16,
                                       world.word.as<uint32_t>() + 8);
  };
  const Work load =
      fragments(world, choice, world.list, world.pinned.data(), 64 << 10, Direction::kToDevice);
  const auto p99 = [&](bool beside) {
    std::vector<double> steps;
    for (int i = 0; i < 400; ++i) {
      if (beside) load(loads.stream);
      steps.push_back(timer.milliseconds(engine.stream, step));
      if (i % 8 == 7) loads.wait();
    }
    loads.wait();
    std::sort(steps.begin(), steps.end());
    return steps[steps.size() * 99 / 100];
  };
  (void)p99(false);
  const double alone = p99(false);
  const double beside = p99(true);
  std::printf(
      "| decode-like step beside continuous loads, p99 ms | %.3f | %.3f | %.2f | <= 1.05 |\n",
      beside, alone, beside / alone);
}

}  // namespace
}  // namespace kvtier::kernels::cuda::testing

int main() {
  using namespace kvtier::kernels::cuda::testing;
  using namespace kvtier::kernels::cuda;
  World world;
  TransferChoice choice;
  {
    const OwnStream stream;
    const MeasureMemory memory = {world.tensors.data(), world.pinned.data(),
                                  world.list.as<DeviceCopy>(), uint64_t{16} << 20};
    expect(choice.measure_all(memory, stream.stream), "the choice of transfers");
  }
  std::printf(
      "| what | ours, GB/s | limit, GB/s | ratio | asked |\n| --- | --- | --- | --- | --- |\n");
  on_device(world);
  over_the_link(world, choice);
  both_ways(world, choice);
  disturbance(world, choice);
  return 0;
}
