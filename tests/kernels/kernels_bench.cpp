// kernels_bench: copies and checksums of cold blocks beside what the machine can do at best.
// One thread. Not a test: prints medians over interleaved repeats and their ratios to the faster of
// memcpy and the non-temporal copy of the same run. Usage: kernels_bench [repeats] [block KiB]...
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/copy.hpp"
#include "kernels/cpu.hpp"
#include "kernels/hash.hpp"
#include "kernels/limits.hpp"

namespace kvtier::kernels {
namespace {

constexpr size_t kKiB = 1024;
constexpr size_t kBufferBytes = size_t{1} << 30;  // far beyond any last-level cache
constexpr size_t kRepeatBytes = size_t{16}
                                << 20;  // short, so that all subjects meet the same noise

// Of this thread on a processor: what others run meanwhile does not count, unless it takes memory
// bandwidth away.
double seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::byte* map_buffer() {
  void* memory = mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    std::exit(1);
  }
  std::memset(memory, 0x5A, kBufferBytes);
  return static_cast<std::byte*>(memory);
}

// The buffers of all measurements, and where they go on: an odd stride through the blocks, so that
// a block is cold whenever its turn comes.
struct Arena {
  std::byte* source = map_buffer();
  std::byte* target = map_buffer();
  size_t position = 0;

  size_t next_block(size_t blocks) {
    position = (position + (blocks / 2 | 1)) % blocks;
    return position;
  }
};

volatile uint64_t sink;

constexpr CopyOptions kStream{.store = StoreKind::kStreaming};
constexpr CopyOptions kThroughCache{.store = StoreKind::kTemporal};

struct Subject {
  const char* name;
  std::function<void(std::byte*, const std::byte*, size_t)> run;
  std::vector<double> rates = {};
  double median() {
    std::sort(rates.begin(), rates.end());
    return rates[rates.size() / 2];
  }
};

// Fragments of the block, in an order that no prefetcher guesses, each the odd one of a pair of
// places when there is room: as an engine's blocks lie in its pool.
template <typename Item, typename Pointer>
std::vector<Item> fragments_of(Pointer block, size_t bytes, size_t fragment) {
  std::vector<Item> items;
  const size_t count = bytes / fragment;
  for (size_t i = 0; i < count; ++i) {
    const size_t place = (i * 5 + 3) % count;  // 5 and powers of two have no common factor
    items.push_back({block + place * fragment, fragment});
  }
  return items;
}

std::vector<Subject> subjects(size_t fragment) {
  static std::string names[8];
  const std::string size = std::to_string(fragment / kKiB) + "K";
  names[0] = "gather " + size;
  names[1] = "gather " + size + " temporal";
  names[2] = "gather+hash " + size;
  names[3] = "scatter " + size;
  names[4] = "scatter " + size + " temporal";
  names[5] = "scatter+verify " + size;
  names[6] = "scatter+verify " + size + " temporal";
  const auto gathering = [fragment](CopyOptions options, bool hash) {
    return [=](std::byte* target, const std::byte* source, size_t bytes) {
      const auto items = fragments_of<ConstFragment>(source, bytes, fragment);
      uint64_t root = 0;
      if (!(hash ? gather_and_hash(target, bytes, items, &root, options)
                 : gather(target, bytes, items, options))) {
        std::abort();
      }
      sink = root;
    };
  };
  const auto scattering = [fragment](CopyOptions options, bool hash) {
    return [=](std::byte* target, const std::byte* source, size_t bytes) {
      const auto items = fragments_of<Fragment>(target, bytes, fragment);
      uint64_t root = 0;
      if (!(hash ? scatter_and_hash(items, source, bytes, &root, options)
                 : scatter(items, source, bytes, options))) {
        std::abort();
      }
      sink = root;
    };
  };
  return {
      {"memcpy", [](std::byte* t, const std::byte* s,
                    size_t n) { copy_block_limit(CopyLimit::kMemcpy, t, s, n); }},
      {"non-temporal copy", [](std::byte* t, const std::byte* s,
                               size_t n) { copy_block_limit(CopyLimit::kNonTemporal, t, s, n); }},
      {"hash only", [](std::byte*, const std::byte* s, size_t n) { sink = hash_only(s, n); }},
      {"copy+hash",
       [](std::byte* t, const std::byte* s, size_t n) { sink = copy_and_hash(t, s, n, kStream); }},
      {"copy+hash temporal", [](std::byte* t, const std::byte* s,
                                size_t n) { sink = copy_and_hash(t, s, n, kThroughCache); }},
      {"copy+hash unaligned", [](std::byte* t, const std::byte* s,
                                 size_t n) { sink = copy_and_hash(t + 8, s, n - 64, kStream); }},
      {names[0].c_str(), gathering(kStream, false)},
      {names[1].c_str(), gathering(kThroughCache, false)},
      {names[2].c_str(), gathering(kStream, true)},
      {names[3].c_str(), scattering(kStream, false)},
      {names[4].c_str(), scattering(kThroughCache, false)},
      {names[5].c_str(), scattering(kStream, true)},
      {names[6].c_str(), scattering(kThroughCache, true)},
  };
}

void bench_cold(Arena& arena, size_t block, size_t fragment, int repeats) {
  std::vector<Subject> all = subjects(fragment);
  const size_t blocks = kBufferBytes / block;
  const size_t per_repeat = kRepeatBytes / block;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Subject& subject : all) {
      const double start = seconds();
      for (size_t i = 0; i < per_repeat; ++i) {
        const size_t at = arena.next_block(blocks) * block;
        subject.run(arena.target + at, arena.source + at, block);
      }
      subject.rates.push_back(static_cast<double>(per_repeat * block) / (seconds() - start) / 1e9);
    }
  }
  const double best = std::max(all[0].median(), all[1].median());
  std::printf("%zu KiB, cold, GB/s (min median max), ratio to the faster limit, to memcpy\n",
              block / kKiB);
  for (Subject& subject : all) {
    const double median = subject.median();
    std::printf("  %-28s %6.2f %6.2f %6.2f   %.2f  %.2f\n", subject.name, subject.rates.front(),
                median, subject.rates.back(), median / best, median / all[0].median());
  }
}

// What a load costs with the engine's read of the target after it: the reason for
// CopyOptions::temporal_bytes_max.
void bench_read_after(Arena& arena, size_t block, int repeats) {
  const auto then_read = [](StoreKind store) {
    return [store](std::byte* t, const std::byte* s, size_t n) {
      copy(t, s, n, {.store = store});
      sink = hash_only(t, n);
    };
  };
  Subject all[] = {{"temporal", then_read(StoreKind::kTemporal)},
                   {"streaming", then_read(StoreKind::kStreaming)}};
  const size_t blocks = kBufferBytes / block;
  const size_t per_repeat = std::max<size_t>(1, kRepeatBytes / block / 2);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Subject& subject : all) {
      const double start = seconds();
      for (size_t i = 0; i < per_repeat; ++i) {
        // The target is the same memory again and again, as a staging buffer is.
        subject.run(arena.target, arena.source + arena.next_block(blocks) * block, block);
      }
      subject.rates.push_back(static_cast<double>(per_repeat * block) / (seconds() - start) / 1e9);
    }
  }
  std::printf("  %6zu KiB   temporal %6.2f   streaming %6.2f GB/s\n", block / kKiB, all[0].median(),
              all[1].median());
}

void bench_keys(int repeats) {
  constexpr size_t kInput = 1040;  // a parent key and 256 tokens
  constexpr size_t kCount = 256;
  std::vector<char> input(kInput * kCount, 7);
  std::vector<char> secret(kSecretBytes);
  for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<char>(i * 37 + 11);
  Hash128 out[kCount];
  std::vector<double> one, batch;
  for (int repeat = 0; repeat < repeats * 4; ++repeat) {
    double start = seconds();
    for (size_t i = 0; i < kCount; ++i) {
      out[i] = hash128_with_secret(input.data() + i * kInput, kInput, secret.data(), kSecretBytes);
    }
    one.push_back((seconds() - start) * 1e9 / kCount);
    sink = out[0].low;
    start = seconds();
    hash128_batch({input.data(), kInput, kInput, kCount}, secret.data(), kSecretBytes, out);
    batch.push_back((seconds() - start) * 1e9 / kCount);
    sink = out[0].low;
  }
  std::sort(one.begin(), one.end());
  std::sort(batch.begin(), batch.end());
  std::printf("hash128 of 1040 bytes: %.1f ns each alone, %.1f ns in a batch of %zu\n",
              one[one.size() / 2], batch[batch.size() / 2], kCount);
}

}  // namespace
}  // namespace kvtier::kernels

int main(int argc, char** argv) {
  using namespace kvtier::kernels;
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 41;
  std::vector<size_t> blocks;
  for (int i = 2; i < argc; ++i) blocks.push_back(std::strtoull(argv[i], nullptr, 10) * kKiB);
  if (blocks.empty()) blocks = {64 * kKiB, 256 * kKiB, 1024 * kKiB, 2048 * kKiB, 16384 * kKiB};
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (repeats < 1 || std::any_of(blocks.begin(), blocks.end(), [](size_t block) {
        return block < 64 * kKiB || kRepeatBytes % block != 0;
      })) {
    std::fprintf(stderr,
                 "usage: kernels_bench [repeats] [block KiB, a power of two, 64..65536]...\n");
    return 2;
  }
  std::printf("instruction set: %s (KVTIER_ISA chooses another)\n", isa_name(isa_active()));
  bench_keys(repeats);
  Arena arena;
  for (size_t block : blocks) bench_cold(arena, block, 32 * kKiB, repeats);
  for (size_t fragment : {16 * kKiB, 8 * kKiB, 4 * kKiB, 1 * kKiB}) {
    bench_cold(arena, 2048 * kKiB, fragment, repeats);
  }
  std::printf("copy from cold, then read the target once:\n");
  for (size_t block : {16 * kKiB, 64 * kKiB, 128 * kKiB, 256 * kKiB, 512 * kKiB, 1024 * kKiB,
                       2048 * kKiB, 8192 * kKiB}) {
    bench_read_after(arena, block, repeats);
  }
  return 0;
}
