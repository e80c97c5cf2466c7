// Runs a fuzz target without libFuzzer: every file of the given folders as it is, then small
// mutations of them (or of the empty input) from a seed that is printed. One thread. It finds no
// new path by itself; it keeps inputs that were once found fixed, under every compiler and
// sanitizer.
//
// Usage: fuzz_<name> [--seed S] [--runs N] [file or folder]...
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes);

namespace {

using Input = std::vector<uint8_t>;

// What one ctest entry may cost: a few seconds, also under a sanitizer.
constexpr uint64_t kRunsDefault = 20'000;
constexpr size_t kInputBytesMax = 64 * 1024;

void run_once(const Input& input) {
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

Input read_input(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  Input bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  bytes.resize(std::min(bytes.size(), kInputBytesMax));
  return bytes;
}

void collect(const std::filesystem::path& path, std::vector<Input>* corpus) {
  if (!std::filesystem::is_directory(path)) {
    corpus->push_back(read_input(path));
    return;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());  // the order of a directory is not the same twice
  for (const auto& file : files) corpus->push_back(read_input(file));
}

// One to eight edits: a bit, a byte, an edge value of 1 to 8 bytes, a cut, a repeated piece.
Input mutate(Input bytes, std::mt19937_64* random) {
  auto below = [random](size_t limit) { return static_cast<size_t>((*random)() % limit); };
  const size_t edits = 1 + below(8);
  for (size_t edit = 0; edit < edits; ++edit) {
    if (bytes.empty()) bytes.resize(1 + below(64));
    const size_t at = below(bytes.size());
    switch (below(5)) {
      case 0:
        bytes[at] = static_cast<uint8_t>(bytes[at] ^ (1U << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(below(256));
        break;
      case 2: {
        static constexpr uint64_t kEdges[] = {
            0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
        const uint64_t value = kEdges[below(std::size(kEdges))];
        const size_t width = std::min<size_t>(size_t{1} << below(4), bytes.size() - at);
        std::memcpy(bytes.data() + at, &value, width);
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      default: {
        const size_t length = std::min<size_t>(1 + below(32), bytes.size() - at);
        const Input piece(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
        if (bytes.size() + length <= kInputBytesMax) {
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        }
      }
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = std::random_device{}();
  uint64_t runs = kRunsDefault;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--seed" && has_value) {
      seed = std::strtoull(argv[++i], nullptr, 0);
    } else if (argument == "--runs" && has_value) {
      runs = std::strtoull(argv[++i], nullptr, 0);
    } else if (std::filesystem::exists(argument)) {
      collect(argument, &corpus);
    } else {
      std::fprintf(stderr, "%s: no such file or option: %s\n", argv[0], argument.c_str());
      return 2;
    }
  }
  std::printf("corpus %zu inputs, %llu mutations; replay with --seed %llu\n", corpus.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  std::fflush(stdout);  // an input that crashes must not take the seed with it
  corpus.emplace_back();
  for (const Input& input : corpus) run_once(input);
  std::mt19937_64 random(seed);
  for (uint64_t run = 0; run < runs; ++run) {
    run_once(mutate(corpus[static_cast<size_t>(random() % corpus.size())], &random));
  }
  return 0;
}
