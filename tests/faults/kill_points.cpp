// The kill points of the tests' own build of kvtierd: KVTIER_KILL_AT=name#passing names the one at
// which it ends, and the how manyth time. Any thread of the daemon. Links with the files of the
// daemon that have kill points, compiled once more with KVTIER_KILL_POINTS.
#include "daemon/memory/kill_point.hpp"

#include <rocksdb/listener.h>
#include <rocksdb/options.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>

namespace kvtier::daemon {
namespace {

struct Aim {
  std::string name;
  uint64_t passing = 0;
  std::atomic<uint64_t> passed{0};

  Aim() {
    const char* text = std::getenv("KVTIER_KILL_AT");
    if (text == nullptr) return;
    name = text;
    const size_t at = name.find('#');
    if (at == std::string::npos) return;
    passing = std::strtoull(name.c_str() + at + 1, nullptr, 10);
    name.resize(at);
  }
};

// What the database does by itself: memory tables to files, files into larger ones.
class Steps final : public rocksdb::EventListener {
 public:
  void OnMemTableSealed(const rocksdb::MemTableInfo&) override { kill_point("checkpoint.sealed"); }
  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    kill_point("checkpoint.flush_begun");
  }
  void OnTableFileCreated(const rocksdb::TableFileCreationInfo&) override {
    kill_point("checkpoint.file_written");
  }
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    kill_point("checkpoint.flush_recorded");
  }
  void OnCompactionBegin(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    kill_point("checkpoint.compaction_begun");
  }
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    kill_point("checkpoint.compaction_recorded");
  }
};

}  // namespace

void kill_point(const char* name) {
  static Aim aim;
  if (aim.name != name || ++aim.passed != aim.passing) return;
  ::raise(SIGKILL);
}

void add_kill_points(rocksdb::Options& options);
void add_kill_points(rocksdb::Options& options) {
  options.listeners.push_back(std::make_shared<Steps>());
  // So that some hundred chunks get there.
  options.write_buffer_size = 64 << 10;
  options.level0_file_num_compaction_trigger = 2;
}

}  // namespace kvtier::daemon
