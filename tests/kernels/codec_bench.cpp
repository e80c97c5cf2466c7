// codec_bench: encode and decode between cold paged memory (32 KiB fragments, as vLLM's blocks of
// Llama-3-8B) and cold payloads, one thread, each beside its limit: the source read once and the
// result written once. Not a test: prints medians over interleaved pairs and their ratios.
// Usage: codec_bench [repeats] [bf16|f16] [codec]
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/codec.hpp"
#include "kernels/codec_math.hpp"
#include "kernels/cpu.hpp"
#include "kernels/limits.hpp"
#include "kernels/lossless.hpp"

namespace kvtier::kernels {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

double seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::byte* map_buffer(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  return static_cast<std::byte*>(memory);
}

// A pool of vLLM's layout with K and V split, four layers of Llama-3-8B, chunks of 256 tokens (4
// MiB), blocks of 16 in an order of their own; and payloads for as many chunks. All far beyond the
// caches.
struct World {
  static constexpr uint32_t kChunks = 128;

  ChunkShape shape = {.layers = 4, .planes = 2, .heads = 8, .dim = 128, .tokens = 256};
  std::vector<std::byte*> tensors, bases;
  std::vector<uint32_t> blocks;
  PagedLayout layout;
  std::byte* payloads = map_buffer(kChunks * 4 * kMiB);
  std::byte* flat = map_buffer(kChunks * 4 * kMiB);
  uint32_t turn = 0;

  explicit World(Element element) {
    shape.element = element;
    const Pool pool = {.blocks_total = kChunks * 16, .block_tokens = 16};
    for (uint32_t i = 0; i < shape.layers; ++i) tensors.push_back(map_buffer(kChunks * kMiB));
    bases.resize(shape.layers * 2);
    if (!vllm_split(shape, pool, tensors, bases, &layout)) std::abort();
    for (uint32_t i = 0; i < pool.blocks_total; ++i) blocks.push_back(i);
    std::mt19937_64 random(1);
    std::shuffle(blocks.begin(), blocks.end(), random);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> some(1 << 20);
    for (uint16_t& one : some) {
      const float value = normal(random);
      one = static_cast<uint16_t>(element == Element::kBf16 ? math::to_bf16(value)
                                                            : math::to_f16(value));
    }
    for (std::byte* tensor : tensors) {
      for (uint64_t at = 0; at < kChunks * kMiB; at += some.size() * 2) {
        std::memcpy(tensor + at, some.data(), some.size() * 2);
      }
    }
    std::memset(flat, 1, kChunks * 4 * kMiB);
  }
  // The next chunk's memory; each is cold when its turn comes.
  uint32_t next() {
    turn = (turn + 37) % kChunks;
    layout.blocks = blocks.data() + turn * 16;
    return turn;
  }
};

struct Subject {
  std::string name;
  std::function<void(uint32_t)> run;
  std::vector<double> rates = {};
  double median() {
    std::sort(rates.begin(), rates.end());
    return rates[rates.size() / 2];
  }
};

void expect(Status status) {
  if (status == Status::kOk) return;
  std::fprintf(stderr, "codec_bench: %s\n", status_name(status));
  std::exit(1);
}

// Ours and its limits, in turn; GB/s of raw bytes. The first subject is the limit of the others.
void measure(World& world, const std::string& title, std::vector<Subject> all, int repeats) {
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Subject& subject : all) {
      double spent = 0;
      for (int i = 0; i < 4; ++i) {
        const uint32_t chunk = world.next();
        const double start = seconds();
        subject.run(chunk);
        spent += seconds() - start;
      }
      subject.rates.push_back(4 * static_cast<double>(world.shape.raw_bytes()) / spent / 1e9);
    }
  }
  const double limit = all[0].median();
  std::printf("%-12s", title.c_str());
  for (Subject& subject : all) {
    std::printf("  %s %.2f (%.2f)", subject.name.c_str(), subject.median(),
                subject.median() / limit);
  }
  std::printf("\n");
}

void bench_codec(World& world, Codec codec, int repeats) {
  const uint64_t raw = world.shape.raw_bytes();
  const uint64_t bytes = encoded_bytes(codec, world.shape);
  const auto payload = [&](uint32_t chunk) { return world.payloads + chunk * 4 * kMiB; };
  uint64_t root = 0;
  const std::string name = codec_name(codec);
  const auto flat = [&](uint32_t chunk) { return world.flat + chunk * 4 * kMiB; };
  std::vector<Subject> ways = {
      {"limit", [&](uint32_t c) { read_write_limit(payload(c), bytes, flat(c), raw); }},
      {"encode",
       [&](uint32_t c) {
         expect(encode(codec, world.shape, world.layout, {payload(c), bytes}));
       }},
      {"with checksum", [&](uint32_t c) {
         expect(encode(codec, world.shape, world.layout, {payload(c), bytes}, &root));
       }}};
  if (codec == Codec::kNone) {
    ways.push_back({"memcpy", [&](uint32_t c) {
                      copy_block_limit(CopyLimit::kMemcpy, payload(c), flat(c), raw);
                    }});
  }
  measure(world, name + " encode", ways, repeats);
  for (uint32_t i = 0; i < World::kChunks; ++i) {
    world.layout.blocks = world.blocks.data() + i * 16;
    expect(encode(codec, world.shape, world.layout, {payload(i), bytes}));
  }
  ways[0].run = [&](uint32_t c) { read_write_limit(flat(c), raw, payload(c), bytes); };
  ways[1] = {"decode", [&](uint32_t c) {
               expect(decode(codec, world.shape, {payload(c), bytes}, world.layout));
             }};
  ways[2].run = [&](uint32_t c) {
    expect(decode(codec, world.shape, {payload(c), bytes}, world.layout, &root));
  };
  if (codec == Codec::kNone) {
    ways[3].run = [&](uint32_t c) {
      copy_block_limit(CopyLimit::kMemcpy, flat(c), payload(c), raw);
    };
  }
  measure(world, name + " decode", ways, repeats);
}

void bench_lossless(World& world, int repeats) {
  const uint64_t raw = world.shape.raw_bytes();
  const auto context = LosslessContext::create();
  if (!context) std::exit(1);
  const auto flat = [&](uint32_t chunk) { return world.flat + chunk * 4 * kMiB; };
  const auto payload = [&](uint32_t chunk) { return world.payloads + chunk * 4 * kMiB; };
  for (uint32_t i = 0; i < World::kChunks; ++i) {
    world.layout.blocks = world.blocks.data() + i * 16;
    expect(encode(Codec::kNone, world.shape, world.layout, {flat(i), raw}));
  }
  const ConstFragment source = {flat(0), raw};
  const auto some = context->encode(std::span(&source, 1));
  const std::vector<std::byte> encoded(some.begin(), some.end());
  std::printf("lossless on normal numbers: ratio %.2f\n",
              static_cast<double>(raw) / static_cast<double>(encoded.size()));
  const uint64_t bytes = encoded.size();
  uint64_t root = 0;
  measure(world, "lossless encode",
          {{"limit", [&](uint32_t c) { read_write_limit(payload(c), bytes, flat(c), raw); }},
           {"encode",
            [&](uint32_t c) {
              const ConstFragment from = {flat(c), raw};
              if (context->encode(std::span(&from, 1)).empty()) std::exit(1);
            }}},
          std::min(repeats, 5));
  for (uint32_t i = 0; i < World::kChunks; ++i) {
    std::memcpy(payload(i), encoded.data(), encoded.size());
  }
  const auto decoding = [&](uint64_t* with_root) {
    return [&, with_root](uint32_t c) {
      const Fragment to = {flat(c), raw};
      expect(context->decode({payload(c), bytes}, std::span(&to, 1), raw, with_root));
    };
  };
  measure(world, "lossless decode",
          {{"limit", [&](uint32_t c) { read_write_limit(flat(c), raw, payload(c), bytes); }},
           {"decode", decoding(nullptr)},
           {"with checksum", decoding(&root)}},
          repeats);
}

}  // namespace
}  // namespace kvtier::kernels

int main(int argc, char** argv) {
  using namespace kvtier::kernels;
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 31;
  const bool f16 = argc > 2 && std::strcmp(argv[2], "f16") == 0;
  const char* only = argc > 3 ? argv[3] : nullptr;
  if (repeats < 1 || (argc > 2 && !f16 && std::strcmp(argv[2], "bf16") != 0)) {
    std::fprintf(stderr, "usage: codec_bench [repeats] [bf16|f16] [codec]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("instruction set: %s; %s; GB/s of raw bytes a core, median (ratio to the limit)\n",
              isa_name(isa_active()), f16 ? "f16" : "bf16");
  World world(f16 ? Element::kF16 : Element::kBf16);
  for (const Codec codec :
       {Codec::kNone, Codec::kInt8, Codec::kFp8TokenHead, Codec::kFp8Tensor, Codec::kInt4}) {
    if (only == nullptr || std::strcmp(only, codec_name(codec)) == 0) {
      bench_codec(world, codec, repeats);
    }
  }
  if (only != nullptr && std::strcmp(only, "lossless") != 0) return 0;
  World again(f16 ? Element::kF16 : Element::kBf16);
  bench_lossless(again, repeats);
  return 0;
}
