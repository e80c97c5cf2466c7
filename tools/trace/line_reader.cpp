// Lines of a file, plain or zstd-compressed, one at a time in bounded memory.
// Owned by the thread that reads; never looks into a line.
#include "tools/trace/line_reader.hpp"

#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

namespace kvtier::tools {
namespace {

constexpr size_t kReadBytes = 256u << 10;
constexpr size_t kShownPathBytes = 72;
constexpr unsigned char kZstdMagic[] = {0x28, 0xb5, 0x2f, 0xfd};  // RFC 8878, 3.1.1
constexpr unsigned char kGzipMagic[] = {0x1f, 0x8b};              // RFC 1952, 2.3.1
constexpr unsigned char kXzMagic[] = {0xfd, '7', 'z', 'X', 'Z', 0x00};

template <size_t kBytes>
bool starts_with(const char* data, size_t bytes, const unsigned char (&magic)[kBytes]) {
  return bytes >= kBytes && std::memcmp(data, magic, kBytes) == 0;
}

}  // namespace

std::string shown_path(const std::string& path) {
  if (path.size() <= kShownPathBytes) return path;
  return "..." + path.substr(path.size() - (kShownPathBytes - 3));
}

void LineReader::FreeContext::operator()(ZSTD_DCtx_s* context) const {
  ZSTD_freeDCtx(context);
}

Result<LineReader> LineReader::open(const std::string& path, const Options& options) {
  LineReader reader;
  reader.name_ = shown_path(path);
  reader.options_ = options;
  reader.file_.reset(std::fopen(path.c_str(), "rbe"));
  if (!reader.file_) {
    const int number = errno;
    if (number == ENOENT) {
      return Error::format(Code::kNotFound, "%s: no such file; give the path of a trace",
                           reader.name_.c_str());
    }
    return Error::system(number, reader.name_.c_str());
  }
  std::setvbuf(reader.file_.get(), nullptr, _IONBF, 0);  // reads are large already
  struct stat status {};
  if (fstat(fileno(reader.file_.get()), &status) == 0 && S_ISREG(status.st_mode)) {
    reader.file_bytes_ = static_cast<uint64_t>(status.st_size);
  }
  reader.packed_.resize(kReadBytes);
  if (Status status_of_start = reader.start(); !status_of_start.ok()) {
    return status_of_start.error();
  }
  return reader;
}

Status LineReader::start() {
  Result<size_t> bytes = read_some(packed_.data(), packed_.size());
  if (!bytes.ok()) return bytes.error();
  const char* data = packed_.data();
  if (starts_with(data, *bytes, kGzipMagic) || starts_with(data, *bytes, kXzMagic)) {
    return Error::format(Code::kUnsupported,
                         "%s: compressed with gzip or xz; unpack it, or compress it with zstd",
                         name_.c_str());
  }
  if (!starts_with(data, *bytes, kZstdMagic)) {
    lines_.assign(data, data + *bytes);
    end_ = *bytes;
    packed_.clear();
    return {};
  }
  packed_end_ = *bytes;
  inside_frame_ = true;
  unpacker_.reset(ZSTD_createDCtx());
  if (!unpacker_) return Error(Code::kOutOfMemory, "no memory for a zstd context");
  const ZSTD_bounds bounds = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax);
  const int window_log = std::clamp(options_.window_log_max, bounds.lowerBound, bounds.upperBound);
  ZSTD_DCtx_setParameter(unpacker_.get(), ZSTD_d_windowLogMax, window_log);
  return {};
}

Result<bool> LineReader::next(std::string_view& line) {
  size_t searched = 0;  // of [begin_, end_): has no newline
  for (;;) {
    const size_t bytes = end_ - begin_;
    const char* from = lines_.data() + begin_;
    const void* newline =
        bytes == searched ? nullptr : std::memchr(from + searched, '\n', bytes - searched);
    const size_t found =
        newline == nullptr ? bytes : static_cast<size_t>(static_cast<const char*>(newline) - from);
    if (found > options_.line_bytes_max) {
      return Error::format(Code::kInvalidArgument,
                           "%s:%" PRIu64 ": the line is longer than %" PRIu64
                           " bytes; is this a trace with one JSON object a line?",
                           name_.c_str(), line_number_ + 1, options_.line_bytes_max);
    }
    if (newline != nullptr) {
      line = std::string_view(from, found);
      begin_ += found + 1;
      ++line_number_;
      return true;
    }
    searched = bytes;
    Result<bool> more = fill();
    if (!more.ok()) return more.error();
    if (*more) continue;
    if (bytes == 0) return false;
    line = std::string_view(lines_.data() + begin_, bytes);
    begin_ = end_;
    ++line_number_;
    line_ended_ = false;
    return true;
  }
}

Result<bool> LineReader::fill() {
  if (begin_ != 0) {
    if (end_ != begin_) std::memmove(lines_.data(), lines_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (lines_.size() - end_ < kReadBytes) lines_.resize(std::max(end_ * 2, end_ + kReadBytes));
  if (unpacker_) return fill_unpacked();
  Result<size_t> bytes = read_some(lines_.data() + end_, kReadBytes);
  if (!bytes.ok()) return bytes.error();
  end_ += *bytes;
  return *bytes != 0;
}

Result<bool> LineReader::fill_unpacked() {
  for (;;) {
    ZSTD_outBuffer target{lines_.data() + end_, kReadBytes, 0};
    // Also without input: the context may hold output that did not fit the last time.
    ZSTD_inBuffer source{packed_.data() + packed_begin_, packed_end_ - packed_begin_, 0};
    if (inside_frame_ || source.size != 0) {
      const size_t left = ZSTD_decompressStream(unpacker_.get(), &target, &source);
      if (ZSTD_isError(left)) {
        return Error::format(Code::kCorrupt,
                             "%s: zstd: %s near compressed byte %" PRIu64 ", after line %" PRIu64
                             "; the file is damaged, copy it again",
                             name_.c_str(), ZSTD_getErrorName(left),
                             bytes_read_ - source.size + source.pos, line_number_);
      }
      packed_begin_ += source.pos;
      inside_frame_ = left != 0;
      end_ += target.pos;
      if (target.pos != 0) return true;
    }
    if (packed_begin_ != packed_end_) continue;
    Result<size_t> bytes = read_some(packed_.data(), packed_.size());
    if (!bytes.ok()) return bytes.error();
    packed_begin_ = 0;
    packed_end_ = *bytes;
    if (*bytes != 0) continue;
    if (inside_frame_) return cut_here();
    return false;
  }
}

Error LineReader::cut_here() const {
  return Error::format(Code::kCorrupt,
                       "%s: truncated: the zstd stream ends inside a frame at compressed byte "
                       "%" PRIu64 ", after line %" PRIu64 "; copy the file again",
                       name_.c_str(), bytes_read_, line_number_);
}

Result<size_t> LineReader::read_some(char* target, size_t bytes) {
  const size_t got = std::fread(target, 1, bytes, file_.get());
  if (got == 0 && std::ferror(file_.get())) return Error::system(errno, name_.c_str());
  bytes_read_ += got;
  return got;
}

double LineReader::progress() const {
  if (file_bytes_ == 0) return -1;
  const uint64_t waiting = unpacker_ ? packed_end_ - packed_begin_ : end_ - begin_;
  return static_cast<double>(bytes_read_ - waiting) / static_cast<double>(file_bytes_);
}

}  // namespace kvtier::tools
