// Metadata in a RocksDB database: write-ahead log on, never synced; memory bounded (write buffers
// count against one small cache); no mmap. All calls into the library are made by one thread of
// ours, which opens the database, too. A database that cannot be read is moved aside by renaming,
// never deleted, and a new one made.
#pragma once

#include <memory>
#include <string>

#include "daemon/io/metadata.hpp"
#include "kvtier/result.hpp"

namespace kvtier::daemon {

struct RocksdbOptions {
  std::string directory;   // made when it does not exist; its parent must
  bool read_only = false;  // only scans; nothing on the disk is changed, nothing moved aside
  int wake_fd = -1;        // an eventfd, written when something was recorded or scanned
  uint64_t cache_bytes = uint64_t{12} << 20;  // blocks and write buffers together
  uint64_t write_buffer_bytes = uint64_t{4} << 20;
};

// Never waits for the database. Errors: unavailable (another process has it), system.
Result<std::unique_ptr<Metadata>> make_rocksdb_metadata(const RocksdbOptions& options);

}  // namespace kvtier::daemon
