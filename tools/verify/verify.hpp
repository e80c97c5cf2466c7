// Checks the slabs and the metadata of a stopped daemon, byte by byte: superblocks, segment
// descriptors, and for every record the slot it names, header and payload. Reads the formats with
// the daemon's own code. Waits for disks; one thread. Never writes to a slab.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kvtier/result.hpp"

namespace kvtier::tools {

struct VerifyOptions {
  std::string path;      // a directory with the file `slab`, or a block device
  std::string metadata;  // the database's directory
  // Writes records for whole chunks that have none, and removes records of chunks that are not
  // whole.
  bool repair = false;
};

struct VerifyReport {
  std::string path;
  uint64_t segments = 0;  // assigned
  uint64_t slots = 0;     // of these
  uint64_t records = 0;
  uint64_t chunks = 0;         // recorded and whole
  uint64_t damaged = 0;        // recorded, but the slot does not hold that chunk, whole
  uint64_t unrecorded = 0;     // whole, without a record: given up before, or its record was lost
  uint64_t stale_records = 0;  // of earlier uses of a segment, or not readable; harmless
  uint64_t repaired = 0;       // records written or removed
  uint64_t bytes_read = 0;
  std::vector<std::string> findings;  // in words, at most kFindingsMax

  static constexpr size_t kFindingsMax = 20;
  bool good() const { return damaged == 0 && findings.empty(); }
};

// Errors: unavailable (a kvtierd is using it), not_found, corrupt (no superblock to go by),
// incompatible (written by a newer version), system.
Result<VerifyReport> verify_slab(const VerifyOptions& options);

}  // namespace kvtier::tools
