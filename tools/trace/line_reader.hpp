// Lines of a file, plain or zstd-compressed, one at a time in bounded memory.
// Owned by the thread that reads; never looks into a line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kvtier/result.hpp"

struct ZSTD_DCtx_s;

namespace kvtier::tools {

// A path as messages show it: at most the last 72 bytes, so that an Error has room for the rest.
std::string shown_path(const std::string& path);

class LineReader {
 public:
  struct Options {
    uint64_t line_bytes_max;
    int window_log_max;
  };

  // Errors: not_found, system, unsupported (compressed in another way).
  static Result<LineReader> open(const std::string& path, const Options& options);

  // Sets `line` to the next line without its end and returns true, or returns false at the end.
  // The line is valid until the next call. Errors: invalid_argument (line too long), corrupt (zstd
  // stream cut or damaged; says at which byte), system. Not to be called again after an error.
  Result<bool> next(std::string_view& line);

  // Of the line returned last, counted from 1.
  uint64_t line_number() const { return line_number_; }
  // False for a last line without a newline: perhaps the file was cut there.
  bool line_ended() const { return line_ended_; }
  // Whether the file had any byte at all.
  bool had_bytes() const { return bytes_read_ != 0; }
  // Share of the file's bytes read, negative if it has no size.
  double progress() const;

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  struct FreeContext {
    void operator()(ZSTD_DCtx_s* context) const;
  };

  LineReader() = default;
  Status start();                // reads the first bytes and tells plain from zstd
  Result<bool> fill();           // more bytes into lines_; false at the end of the file
  Result<bool> fill_unpacked();  // the same through zstd
  Result<size_t> read_some(char* target, size_t bytes);
  Error cut_here() const;

  std::string name_;
  Options options_{};
  std::unique_ptr<std::FILE, CloseFile> file_;
  std::unique_ptr<ZSTD_DCtx_s, FreeContext> unpacker_;  // null for a plain file
  std::vector<char> packed_;  // zstd input: bytes [packed_begin_, packed_end_) are not used yet
  size_t packed_begin_ = 0;
  size_t packed_end_ = 0;
  bool inside_frame_ = false;  // the zstd frame read last is not complete
  std::vector<char> lines_;    // bytes [begin_, end_) are not returned yet
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t line_number_ = 0;
  uint64_t bytes_read_ = 0;  // from the file
  uint64_t file_bytes_ = 0;  // 0: not a regular file
  bool line_ended_ = true;
};

}  // namespace kvtier::tools
