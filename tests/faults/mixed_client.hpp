// One client process of the mixed load: two spaces, a working set larger than its share, every byte
// of every hit compared. One thread.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kvtier/kvtier.hpp"
#include "tests/faults/mixed_record.hpp"

namespace kvtier::faults {

struct MixedClientOptions {
  std::string socket;
  size_t number = 0;         // which client
  uint64_t seed = 0;         // another one at each start
  double working_set = 1.5;  // times the share
  uint64_t share_bytes = 0;
  bool promotes = false;  // has what lies below brought up before it matches
};

class MixedClient {
 public:
  MixedClient(const MixedClientOptions& options, MixedRecord* record);
  // Until the record says stop. The process's exit status.
  int run();

 private:
  struct Shape {
    std::shared_ptr<Space> space;
    uint64_t chunk_bytes;
    size_t chunks;     // of a prompt
    uint64_t prompts;  // of the working set
    Act match, load, store;
  };
  template <typename Call>
  auto timed(Act act, uint64_t divisor, Call&& call);
  void open_shape(uint64_t chunk_bytes, size_t chunks, Act match, Act load, Act store);
  void request(const Shape& shape);
  void bring(const Shape& shape, const KeyChain& chain);
  size_t load(const Shape& shape, const KeyChain& chain, uint64_t prompt);
  void store(const Shape& shape, const KeyChain& chain, uint64_t prompt, size_t first);
  void rest(const Shape& shape, const KeyChain& chain, size_t hit);
  void fail(const char* what, const char* why);

  MixedClientOptions options_;
  MixedRecord& all_;
  ClientRecord& record_;
  std::unique_ptr<Session> session_;
  std::vector<Shape> shapes_;
  std::mt19937_64 random_;
  std::vector<uint32_t> tokens_;
  std::vector<std::byte> target_, source_;
};

}  // namespace kvtier::faults
