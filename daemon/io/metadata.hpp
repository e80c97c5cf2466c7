// Small records by key that outlive the process: what the nvme tier knows of its slots. Two bodies:
// a RocksDB database behind a thread of its own, and a simulated one.
//
// One thread at a time, the core's. Nothing here waits. Records may be lost (a power cut, a damaged
// file), so whoever reads them checks what they describe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvtier::daemon {

struct MetadataRecord {
  std::string key;
  std::string value;
};

enum class MetadataState : uint8_t {
  kOpening,
  kReady,
  kFailed,  // records are neither kept nor found any more; put() and remove() count as recorded
};

class Metadata {
 public:
  virtual ~Metadata() = default;

  virtual MetadataState state() const = 0;
  // What a person should know once (a damaged database was moved aside, why it failed), or "".
  virtual std::string take_message() = 0;
  virtual uint64_t memory_bytes() const = 0;

  // Queued in order; the number of the operation.
  virtual uint64_t put(std::string key, std::string value) = 0;
  virtual uint64_t remove(std::string key) = 0;
  // An operation like these: once it is recorded, all before it outlives a power cut.
  virtual uint64_t sync() = 0;
  // Every operation up to this number outlives this process (not a power cut).
  virtual uint64_t recorded() const = 0;

  // All records whose key begins with `prefix`, as they were when the scan began, by key. One scan
  // at a time; scanning() until the last was handed over.
  virtual void begin_scan(const std::string& prefix) = 0;
  virtual bool scanning() const = 0;
  virtual size_t scanned(std::span<MetadataRecord> out) = 0;
};

}  // namespace kvtier::daemon
