// See verify.hpp.
#include "tools/verify/verify.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <map>
#include <thread>
#include <utility>

#include "daemon/io/rocksdb_metadata.hpp"
#include "daemon/memory/fd.hpp"
#include "daemon/tiers/nvme_format.hpp"
#include "kernels/checksum.hpp"

namespace kvtier::tools {
namespace {

using namespace daemon::nvme;  // NOLINT: this file is about that format
using daemon::Fd;
using daemon::Metadata;
using daemon::MetadataState;
using daemon::TierChunk;
using SlotNumber = std::pair<uint32_t, uint32_t>;  // segment, slot

constexpr std::chrono::seconds kMetadataPatience{60};

bool is_folder(const std::string& path) {
  struct stat found = {};
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

class Verifier {
 public:
  explicit Verifier(const VerifyOptions& options) : options_(options) {
    report_.path = is_folder(options.path) ? options.path + "/slab" : options.path;
  }

  Result<VerifyReport> run() {
    if (Status s = open_slab(); !s) return s.error();
    if (Status s = read_superblock(); !s) return s.error();
    if (Status s = read_records(); !s) return s.error();
    for (uint32_t i = 0; i < superblock_.segments; ++i) {
      if (Status s = verify_segment(i); !s) return s.error();
    }
    // Records that no assigned segment has a slot for.
    report_.stale_records += records_.size();
    record_device();
    if (Status s = wait_recorded(); !s) return s.error();
    return std::move(report_);
  }

 private:
  void find(const std::string& what) {
    if (report_.findings.size() < VerifyReport::kFindingsMax) report_.findings.push_back(what);
  }

  Status open_slab() {
    file_ = Fd(::open(report_.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_ && errno == ENOENT) {
      return Error::format(
          Code::kNotFound,
          "there is no %.200s; name the paths of nvme.paths if slabs lie elsewhere",
          report_.path.c_str());
    }
    if (!file_) return Error::system(errno, report_.path.c_str());
    struct flock whole = {};
    whole.l_type = F_RDLCK;
    whole.l_whence = SEEK_SET;
    if (::fcntl(file_.get(), F_OFD_SETLK, &whole) != 0) {
      return Error::format(Code::kUnavailable, "a kvtierd is using %.200s: stop it first",
                           report_.path.c_str());
    }
    return {};
  }

  // False: not all of it could be read.
  bool read(uint64_t offset, std::span<std::byte> target) {
    size_t done = 0;
    while (done < target.size()) {
      const ssize_t got = ::pread(file_.get(), target.data() + done, target.size() - done,
                                  static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      done += static_cast<size_t>(got);
    }
    report_.bytes_read += done;
    return true;
  }

  Status read_superblock() {
    bool found = false, newer = false;
    for (uint64_t copy = 0; copy < kSuperblocks; ++copy) {
      Page page = {};
      Superblock candidate;
      const PageState state =
          read(copy * kPage, page) ? decode(page, candidate) : PageState::kDamaged;
      newer = newer || state == PageState::kNewer;
      if (state != PageState::kValid) {
        find("superblock " + std::to_string(copy) + " cannot be used");
      } else if (!found || candidate.sequence > superblock_.sequence) {
        superblock_ = candidate;
        found = true;
      }
    }
    if (newer) {
      return Error::format(Code::kIncompatible, "%.200s was written by a newer version",
                           report_.path.c_str());
    }
    if (found) return {};
    return Error::format(Code::kCorrupt,
                         "%.200s has no superblock of kvtier: it is another file, "
                         "or both copies are damaged",
                         report_.path.c_str());
  }

  Status read_records() {
    // Asking the database would make one.
    if (!is_folder(options_.metadata) && !options_.repair) {
      find("there is no metadata at " + options_.metadata);
      return {};
    }
    auto made = daemon::make_rocksdb_metadata(
        {.directory = options_.metadata, .read_only = !options_.repair});
    if (!made.ok()) return made.error();
    metadata_ = std::move(made).value();
    const auto late = std::chrono::steady_clock::now() + kMetadataPatience;
    while (metadata_->state() == MetadataState::kOpening) {
      if (std::chrono::steady_clock::now() > late) {
        return Error(Code::kDeadline, "the metadata database does not open");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (const std::string message = metadata_->take_message(); !message.empty()) find(message);
    if (metadata_->state() != MetadataState::kReady) {
      return Error(Code::kCorrupt, "the metadata database cannot be used");
    }
    const std::string device = device_record_key(superblock_.uuid);
    scan(device, [&](const daemon::MetadataRecord& record) {
      has_device_record_ = has_device_record_ || record.key == device;
    });
    scan(record_prefix(superblock_.uuid),
         [&](const daemon::MetadataRecord& record) { take(record); });
    return {};
  }

  template <typename Take>
  void scan(const std::string& prefix, const Take& take_one) {
    metadata_->begin_scan(prefix);
    std::vector<daemon::MetadataRecord> batch(256);
    for (;;) {
      const bool more = metadata_->scanning();
      const size_t got = metadata_->scanned(batch);
      for (size_t i = 0; i < got; ++i) take_one(batch[i]);
      if (got == 0 && !more) return;
      if (got == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  // Without it the daemon takes the database for one that never saw this slab, and goes by the
  // headers: what was removed here would come back. What was written today is not known any more.
  void record_device() {
    if (!options_.repair || has_device_record_) return;
    DeviceRecord record;
    record.wall_seconds = static_cast<uint64_t>(std::time(nullptr));
    queued_ = metadata_->put(device_record_key(superblock_.uuid), encode(record, superblock_.uuid));
  }

  void take(const daemon::MetadataRecord& record) {
    ChunkRecord chunk;
    ++report_.records;
    if (decode(record.key, record.value, superblock_.uuid, chunk)) {
      records_[{chunk.segment, chunk.slot}] = chunk;
    } else {
      ++report_.stale_records;
    }
  }

  Status verify_segment(uint32_t number) {
    Page page = {};
    SegmentDescriptor descriptor;
    const PageState state = read(superblock_.descriptor_offset(number), page)
                                ? decode(page, superblock_, number, descriptor)
                                : PageState::kDamaged;
    if (state == PageState::kBlank) return {};
    if (state != PageState::kValid) {
      find("the descriptor of segment " + std::to_string(number) + " cannot be used");
      return {};
    }
    if (descriptor.slot_bytes == 0) return {};
    ++report_.segments;
    const auto slots = static_cast<uint32_t>(superblock_.segment_bytes / descriptor.slot_bytes);
    for (uint32_t slot = 0; slot < slots; ++slot) verify_slot(descriptor, slot);
    report_.slots += slots;
    return {};
  }

  void verify_slot(const SegmentDescriptor& segment, uint32_t slot) {
    TierChunk chunk;
    const bool whole = read_chunk(segment, slot, chunk);
    const auto found = records_.find({segment.segment, slot});
    if (found != records_.end() && found->second.sequence != segment.sequence) {
      ++report_.stale_records;
      records_.erase(found);
    } else if (found != records_.end()) {
      const bool good = whole && found->second.chunk == chunk;
      records_.erase(found);
      ++(good ? report_.chunks : report_.damaged);
      if (!good) damaged(segment, slot);
      return;
    }
    // After another tenant's use of the segment a header proves nothing.
    if (!whole || segment.mixed) return;
    ++report_.unrecorded;
    if (!options_.repair) return;
    const ChunkRecord record{segment.segment, slot, segment.sequence, chunk};
    queued_ = metadata_->put(record_key(superblock_.uuid, segment.segment, slot),
                             encode(record, superblock_.uuid));
    ++report_.repaired;
  }

  void damaged(const SegmentDescriptor& segment, uint32_t slot) {
    find("slot " + std::to_string(slot) + " of segment " + std::to_string(segment.segment) +
         " does not hold the chunk that is recorded");
    if (!options_.repair) return;
    queued_ = metadata_->remove(record_key(superblock_.uuid, segment.segment, slot));
    ++report_.repaired;
  }

  // True: header and payload are there and fit together.
  bool read_chunk(const SegmentDescriptor& segment, uint32_t slot, TierChunk& chunk) {
    const uint64_t offset =
        superblock_.segment_offset(segment.segment) + uint64_t{slot} * segment.slot_bytes;
    bytes_.resize(kPage);
    if (!read(offset, bytes_)) return false;
    const uint64_t header = header_needs(bytes_);
    if (header == 0 || header > segment.slot_bytes) return false;
    bytes_.resize(header);
    if (header > kPage && !read(offset + kPage, std::span(bytes_).subspan(kPage))) return false;
    if (!decode_header(bytes_, chunk) || chunk.bytes() > segment.slot_bytes) return false;
    bytes_.resize(chunk.payload_bytes);
    if (!read(offset + chunk.header_bytes, bytes_)) return false;
    return kernels::hash_only(bytes_.data(), bytes_.size()) == chunk.checksum;
  }

  Status wait_recorded() {
    const auto late = std::chrono::steady_clock::now() + kMetadataPatience;
    while (queued_ != 0 && metadata_->recorded() < queued_) {
      if (std::chrono::steady_clock::now() > late) {
        return Error(Code::kDeadline, "the metadata database does not take what was repaired");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {};
  }

  const VerifyOptions options_;
  VerifyReport report_;
  Fd file_;
  Superblock superblock_;
  std::unique_ptr<Metadata> metadata_;
  std::map<SlotNumber, ChunkRecord> records_;
  bool has_device_record_ = false;
  std::vector<std::byte> bytes_;
  uint64_t queued_ = 0;  // the last change of the metadata
};

}  // namespace

Result<VerifyReport> verify_slab(const VerifyOptions& options) {
  return Verifier(options).run();
}

}  // namespace kvtier::tools
