// A redis-server of the benchmark's own, on a unix socket in a temporary folder, and the smallest
// client that can ask it. The best case for that peer: requests are encoded before the clock runs.
// One thread; the server is killed with the object.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>
#include <string>

#include "kvtier/result.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::tools {

class RedisPeer {
 public:
  // Null when there is no redis-server on PATH. Errors: unavailable (it did not start), system.
  static Result<std::unique_ptr<RedisPeer>> start();
  ~RedisPeer();
  RedisPeer(const RedisPeer&) = delete;
  RedisPeer& operator=(const RedisPeer&) = delete;

  // Sets each key to an empty value. Errors: unavailable.
  Status load(std::span<const ChunkKey> keys);

  // EXISTS of each key, pipelined in one write: encoded by prepare, then asked. How many there are.
  void prepare(std::span<const ChunkKey> keys);
  Result<uint64_t> ask();

 private:
  RedisPeer() = default;
  Status launch();
  Status connect();
  Status write_all(const std::string& text);
  // Reads `count` one-line replies; how many began with ":1" or "+OK".
  Result<uint64_t> read_replies(size_t count);

  std::string folder_, socket_;
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string request_;
  size_t asked_ = 0;
};

}  // namespace kvtier::tools
