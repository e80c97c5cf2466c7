#include <kvtier/kvtier.hpp>

#include <cstdio>
#include <vector>

using namespace kvtier;

int main() {
  auto session = Session::open();  // never waits, even without a daemon
  if (!session || !(*session)->wait_attached(Clock::now() + std::chrono::seconds(5))) return 1;
  SpaceSpec spec;                // one tensor shape; what changes the bytes' meaning belongs here
  spec.model = "my-model@rev1";  // and in layout, dtype, isa, ...
  spec.tokens_per_chunk = 256;
  spec.chunk_bytes = 1 << 20;
  auto space = (*session)->open_space(spec);
  std::vector<uint32_t> prompt(1024, 7);                           // four chunks
  std::vector<std::byte> kv(4 * spec.chunk_bytes, std::byte{42});  // the engine's KV memory
  auto chain = (*space)->derive({.tokens = prompt});               // keys of the chunks
  for (int turn = 1; turn <= 2; ++turn) {
    auto match = (*space)->match(*chain);  // no message, no system call
    std::printf("turn %d: %zu of %zu chunks are cached\n", turn, match->chunks(), chain->size());
    for (size_t i = 0; i < chain->size(); ++i) {
      const Fragment to = {kv.data() + i * spec.chunk_bytes, spec.chunk_bytes};
      const LoadTarget load = {i, {&to, 1}};
      if (i < match->chunks() && (*space)->load(*match, {&load, 1})->chunks == 1) continue;
      const ConstFragment from = {to.data, to.bytes};  // what the engine computed instead
      const StoreSource store = {i, {&from, 1}};
      if (!(*space)->store(*chain, {&store, 1}, Clock::now() + std::chrono::seconds(1))) return 1;
    }
  }
}
