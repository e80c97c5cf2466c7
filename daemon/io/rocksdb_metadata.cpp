// The database's thread: opens, writes what was queued in batches, scans in pieces.
#include "daemon/io/rocksdb_metadata.hpp"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdarg>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "daemon/memory/fd.hpp"
#include "daemon/memory/kill_point.hpp"

namespace kvtier::daemon {

#ifdef KVTIER_KILL_POINTS
void add_kill_points(rocksdb::Options& options);  // inside the database (tests/faults)
#endif

namespace {

constexpr size_t kScanQueueMax = 8192;  // records read ahead of the core
constexpr size_t kBatchMax = 4096;      // operations in one write
// How long the first operation waits for others to share its write: a write costs some 20 us of
// CPU, and until one is done only the reuse of a slot waits.
constexpr std::chrono::microseconds kGather(250);
constexpr unsigned kWritesPerMeasure = 64;
constexpr int kOpenFilesMax = 64;

struct Operation {
  std::string key;
  std::string value;
  enum class Kind : uint8_t { kPut, kRemove, kSync } kind = Kind::kPut;
};

// The library's own log file: a reader would make one, too, and where it cannot be written (a full
// or broken file system) the library ends the process at its second line.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::Options database_options(const RocksdbOptions& wanted) {
  rocksdb::Options options;
  options.create_if_missing = !wanted.read_only;
  options.info_log = std::make_shared<NoLog>();
  options.paranoid_checks = true;
  options.compression = rocksdb::kNoCompression;
  options.max_background_jobs = 2;
  options.max_open_files = kOpenFilesMax;
  options.max_file_opening_threads = 1;
  options.write_buffer_size = wanted.write_buffer_bytes;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = 8 * wanted.write_buffer_bytes;
  options.target_file_size_base = 8 << 20;
  options.stats_dump_period_sec = 0;
  options.allow_mmap_reads = options.allow_mmap_writes = false;
  // Records are removed one by one, each reuse of a slot: old ones are to go before they pile up.
  options.level_compaction_dynamic_level_bytes = true;
  const auto cache = rocksdb::NewLRUCache(wanted.cache_bytes, 2);
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(2 * wanted.write_buffer_bytes, cache);
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.block_size = 16 << 10;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
#ifdef KVTIER_KILL_POINTS
  add_kill_points(options);
#endif
  return options;
}

class RocksdbMetadata final : public Metadata {
 public:
  RocksdbMetadata(const RocksdbOptions& options, Fd lock)
      : options_(options), lock_(std::move(lock)) {
    // Signals belong to the main thread; the library's own threads inherit this.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~RocksdbMetadata() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  MetadataState state() const override { return state_.load(std::memory_order_acquire); }

  std::string take_message() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(message_, {});
  }

  uint64_t memory_bytes() const override { return memory_.load(std::memory_order_relaxed); }

  uint64_t put(std::string key, std::string value) override {
    return queue({std::move(key), std::move(value), Operation::Kind::kPut});
  }
  uint64_t remove(std::string key) override {
    return queue({std::move(key), {}, Operation::Kind::kRemove});
  }
  uint64_t sync() override { return queue({{}, {}, Operation::Kind::kSync}); }

  uint64_t recorded() const override { return recorded_.load(std::memory_order_acquire); }

  void begin_scan(const std::string& prefix) override {
    {
      const std::lock_guard lock(mutex_);
      prefix_ = prefix;
      scan_wanted_ = true;
      scan_ended_ = false;
    }
    changed_.notify_all();
  }

  bool scanning() const override {
    if (taken_ < batch_.size()) return true;
    const std::lock_guard lock(mutex_);
    return scan_wanted_ || !scan_ended_ || !found_.empty();
  }

  size_t scanned(std::span<MetadataRecord> out) override {
    if (taken_ == batch_.size()) {
      batch_.clear();
      taken_ = 0;
      const std::lock_guard lock(mutex_);
      if (found_.empty()) return 0;
      batch_.swap(found_.front());
      found_.pop_front();
      found_records_ -= batch_.size();
    }
    changed_.notify_all();
    size_t count = 0;
    while (count < out.size() && taken_ < batch_.size()) out[count++] = std::move(batch_[taken_++]);
    return count;
  }

 private:
  uint64_t queue(Operation operation) {
    uint64_t number = 0;
    bool notify = false;
    {
      const std::lock_guard lock(mutex_);
      number = ++queued_number_;
      if (state_.load(std::memory_order_relaxed) == MetadataState::kFailed) {
        recorded_.store(number, std::memory_order_release);
        return number;
      }
      queue_.push_back(std::move(operation));
      notify = std::exchange(asleep_, false) || queue_.size() == kBatchMax;
    }
    if (notify) changed_.notify_all();
    return number;
  }

  void wake() const {
    const uint64_t one = 1;
    if (options_.wake_fd < 0) return;
    [[maybe_unused]] const auto written = ::write(options_.wake_fd, &one, sizeof one);
  }

  void fail(const std::string& why) {
    const std::lock_guard lock(mutex_);
    message_ = why;
    state_.store(MetadataState::kFailed, std::memory_order_release);
    queue_.clear();
    recorded_.store(queued_number_, std::memory_order_release);
    scan_wanted_ = false;
    scan_ended_ = true;
  }

  void run() {
    open();
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto scan_room = [this] {
        return scan_ != nullptr && found_records_ < kScanQueueMax / 2;
      };
      asleep_ = true;
      changed_.wait(lock,
                    [&] { return stopping_ || !queue_.empty() || scan_wanted_ || scan_room(); });
      asleep_ = false;
      if (database_ == nullptr) {
        if (stopping_) return;
        scan_wanted_ = false;
        scan_ended_ = true;
        lock.unlock();
        wake();
        lock.lock();
        continue;
      }
      if (!queue_.empty()) {
        changed_.wait_for(lock, kGather, [&] { return stopping_ || queue_.size() >= kBatchMax; });
        write_some(lock);
      }
      if (stopping_ && queue_.empty()) break;
      if (scan_wanted_) start_scan();
      if (scan_room()) scan_some(lock);
    }
    lock.unlock();
    scan_.reset();
    database_->Close();
    database_.reset();
  }

  void open() {
    const rocksdb::Options options = database_options(options_);
    rocksdb::DB* database = nullptr;
    rocksdb::Status status =
        options_.read_only ? rocksdb::DB::OpenForReadOnly(options, options_.directory, &database)
                           : rocksdb::DB::Open(options, options_.directory, &database);
    // A version or a damage that this build cannot read, not a full or unreadable file system.
    if (!options_.read_only &&
        (status.IsCorruption() || status.IsInvalidArgument() || status.IsNotSupported())) {
      std::string aside;
      for (int number = 1; number < 1000; ++number) {
        aside = options_.directory + ".damaged-" + std::to_string(number);
        struct stat found = {};
        if (::stat(aside.c_str(), &found) != 0) break;
      }
      const std::string why = status.ToString();
      if (::rename(options_.directory.c_str(), aside.c_str()) == 0) {
        status = rocksdb::DB::Open(options, options_.directory, &database);
        const std::lock_guard lock(mutex_);
        message_ = "the metadata database could not be read (" + why + "); it was moved to " +
                   aside + " and a new one is made from the slabs";
      }
    }
    if (!status.ok()) {
      fail("no metadata database in " + options_.directory + ": " + status.ToString());
    } else {
      database_.reset(database);
      measure();
      state_.store(MetadataState::kReady, std::memory_order_release);
    }
    wake();
  }

  void measure() {
    uint64_t sum = 0;
    for (const auto& property : {rocksdb::DB::Properties::kBlockCacheUsage,
                                 rocksdb::DB::Properties::kEstimateTableReadersMem}) {
      uint64_t value = 0;
      if (database_->GetIntProperty(property, &value)) sum += value;
    }
    memory_.store(sum, std::memory_order_relaxed);
  }

  void write_some(std::unique_lock<std::mutex>& lock) {
    std::vector<Operation> operations;
    operations.swap(queue_);
    uint64_t number = queued_number_ - operations.size();
    lock.unlock();
    rocksdb::Status status;
    bool any_removed = false;
    bool any_sync = false;
    for (size_t first = 0; first < operations.size() && status.ok(); first += kBatchMax) {
      rocksdb::WriteBatch batch;
      const size_t end = std::min(first + kBatchMax, operations.size());
      for (size_t i = first; i < end; ++i) {
        switch (operations[i].kind) {
          case Operation::Kind::kPut:
            batch.Put(operations[i].key, operations[i].value);
            break;
          case Operation::Kind::kRemove:
            batch.Delete(operations[i].key);
            any_removed = true;
            break;
          case Operation::Kind::kSync:
            any_sync = true;
            break;
        }
      }
      kill_point(any_removed ? "checkpoint.batch_with_removals" : "checkpoint.batch_begun");
      status = database_->Write(rocksdb::WriteOptions(), &batch);
      kill_point(any_removed ? "checkpoint.removals_written" : "checkpoint.batch_written");
      if (status.ok() && any_sync) status = database_->SyncWAL();
      number += end - first;
      if (status.ok()) recorded_.store(number, std::memory_order_release);
    }
    if (!status.ok()) {
      fail("metadata cannot be written any more: " + status.ToString() +
           "; chunks on nvme are served until the next restart, which may miss some");
    }
    if (++writes_ % kWritesPerMeasure == 0) measure();
    if (any_removed || any_sync || !status.ok()) wake();  // nobody waits for what was put
    lock.lock();
    if (!status.ok()) {
      scan_.reset();
      database_->Close();
      database_.reset();
    }
  }

  void start_scan() {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = 256 << 10;
    scan_.reset(database_->NewIterator(options));
    scan_->Seek(prefix_);
    scan_wanted_ = false;
    scan_ended_ = false;
  }

  void scan_some(std::unique_lock<std::mutex>& lock) {
    const std::string prefix = prefix_;
    lock.unlock();
    std::vector<MetadataRecord> records;
    while (records.size() < kScanQueueMax / 2 && scan_->Valid() &&
           scan_->key().starts_with(prefix)) {
      records.push_back({scan_->key().ToString(), scan_->value().ToString()});
      scan_->Next();
    }
    const bool ended = !scan_->Valid() || !scan_->key().starts_with(prefix);
    const rocksdb::Status status = scan_->status();
    lock.lock();
    found_records_ += records.size();
    if (!records.empty()) found_.push_back(std::move(records));
    if (ended) {
      scan_.reset();
      scan_ended_ = true;
      if (!status.ok()) message_ = "some metadata could not be read: " + status.ToString();
    }
    lock.unlock();
    wake();
    lock.lock();
  }

  const RocksdbOptions options_;
  const Fd lock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex:
  std::vector<Operation> queue_;
  uint64_t queued_number_ = 0;
  std::string message_;
  std::string prefix_;
  bool scan_wanted_ = false;
  bool scan_ended_ = true;
  // Whole batches change hands: the core never waits while records are moved one by one.
  std::deque<std::vector<MetadataRecord>> found_;
  size_t found_records_ = 0;
  bool stopping_ = false;
  bool asleep_ = false;  // the thread waits for work
  // Across threads:
  std::atomic<MetadataState> state_{MetadataState::kOpening};
  std::atomic<uint64_t> recorded_{0};
  std::atomic<uint64_t> memory_{0};
  // The core's own: the batch that it takes records from.
  std::vector<MetadataRecord> batch_;
  size_t taken_ = 0;
  // The thread's own:
  std::unique_ptr<rocksdb::DB> database_;
  std::unique_ptr<rocksdb::Iterator> scan_;
  unsigned writes_ = 0;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Metadata>> make_rocksdb_metadata(const RocksdbOptions& options) {
  // The library locks its directory too, but that error looks like any other of its errors.
  const std::string path = options.directory + ".lock";
  const int how = options.read_only ? O_RDONLY : O_RDWR | O_CREAT;
  Fd lock(::open(path.c_str(), how | O_CLOEXEC, 0600));
  const bool may_be_missing = options.read_only && errno == ENOENT;
  if (!lock && !may_be_missing) return Error::system(errno, path.c_str());
  struct flock whole = {};
  whole.l_type = options.read_only ? F_RDLCK : F_WRLCK;
  if (lock && ::fcntl(lock.get(), F_OFD_SETLK, &whole) != 0) {
    if (errno != EAGAIN && errno != EACCES) return Error::system(errno, path.c_str());
    return Error::format(Code::kUnavailable,
                         "the metadata in %s is in use by another kvtierd: stop it, or give each "
                         "daemon.state_directory its own",
                         options.directory.c_str());
  }
  return std::unique_ptr<Metadata>(std::make_unique<RocksdbMetadata>(options, std::move(lock)));
}

}  // namespace kvtier::daemon
