#include <kvtier/kvtier.hpp>

#include <chrono>
#include <cstdio>
#include <vector>

using namespace kvtier;

int main() {
  auto session = Session::open();  // never waits, even without a daemon
  if (!session || !(*session)->wait_attached(Clock::now() + std::chrono::seconds(5))) return 1;

  SpaceSpec spec;  // one tensor shape; whatever changes the meaning of the bytes belongs in here
  spec.model = "my-model@rev1";
  spec.layout = "my-engine-1";
  spec.tokens_per_chunk = 256;
  spec.chunk_bytes = 1 << 20;
  auto space = (*session)->open_space(spec);
  if (!space) return 1;

  std::vector<uint32_t> prompt(1024, 7);                           // four chunks of 256 tokens
  std::vector<std::byte> kv(4 * spec.chunk_bytes, std::byte{42});  // the engine's KV memory
  auto chain = (*space)->derive({.tokens = prompt});               // keys of the chunks
  if (!chain) return 1;
  for (int turn = 1; turn <= 2; ++turn) {
    auto match = (*space)->match(*chain);  // no message, no system call
    if (!match) return 1;
    std::printf("turn %d: %zu of %zu chunks are cached\n", turn, match->chunks(), chain->size());
    for (size_t i = 0; i < match->chunks(); ++i) {  // load what is there
      const Fragment target = {kv.data() + i * spec.chunk_bytes, spec.chunk_bytes};
      const LoadTarget load = {i, {&target, 1}};
      auto loaded = (*space)->load(*match, {&load, 1});
      if (!loaded || loaded->chunks != 1) break;  // recompute from here on
    }
    for (size_t i = match->chunks(); i < chain->size(); ++i) {  // compute and store the rest
      const ConstFragment source = {kv.data() + i * spec.chunk_bytes, spec.chunk_bytes};
      const StoreSource store = {i, {&source, 1}};
      if (!(*space)->store(*chain, {&store, 1}, Clock::now() + std::chrono::seconds(1))) return 1;
    }
  }
}
