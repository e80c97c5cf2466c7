// Files and small traces for the trace tests. One thread; everything made here is removed again.
#pragma once

#include <unistd.h>
#include <zstd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "tools/trace/trace_source.hpp"

namespace kvtier::tools {

// A file with these bytes, gone at the end of the scope.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view bytes) {
    const char* folder = std::getenv("TMPDIR");
    path_ = std::string(folder == nullptr ? "/tmp" : folder) + "/kvtier_trace_XXXXXX";
    const int file = mkstemp(path_.data());
    EXPECT_GE(file, 0) << path_;
    close(file);
    std::ofstream(path_, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One zstd frame without its content size, as a pipe through `zstd --long` makes it.
inline std::string compress(std::string_view text, int window_log = 0) {
  std::string packed(ZSTD_compressBound(text.size()) + 64, '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  if (window_log != 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  ZSTD_inBuffer source{text.data(), text.size(), 0};
  ZSTD_outBuffer target{packed.data(), packed.size(), 0};
  // Two steps, so that the encoder cannot know the size and keeps the window asked for.
  EXPECT_FALSE(ZSTD_isError(ZSTD_compressStream2(context, &target, &source, ZSTD_e_continue)));
  EXPECT_EQ(ZSTD_compressStream2(context, &target, &source, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  packed.resize(target.pos);
  return packed;
}

// All requests, or the first error's message in `error`.
inline std::vector<TraceRequest> read_all(const std::string& path, std::string* error,
                                          const TraceFileOptions& options = {}) {
  std::vector<TraceRequest> requests;
  Result<std::unique_ptr<TraceSource>> source = open_trace(path, options);
  if (!source.ok()) {
    *error = source.error().message();
    return requests;
  }
  TraceRequest request;
  for (;;) {
    Result<bool> more = (*source)->next(request);
    if (!more.ok()) {
      *error = more.error().message();
      EXPECT_EQ((*source)->next(request).code(), more.code()) << "an error must last";
      return requests;
    }
    if (!*more) return requests;
    requests.push_back(request);
  }
}

// The folder of recorded traces; empty where this machine has none (then say so with GTEST_SKIP).
inline std::string recorded_trace(const char* name) {
  const char* folder = std::getenv("KVTIER_TRACES");
  if (folder == nullptr || *folder == '\0') return {};
  return std::string(folder) + "/" + name;
}

#define SKIP_WITHOUT_TRACE(path, name)                                                          \
  if ((path).empty()) {                                                                         \
    GTEST_SKIP() << "not run: " name " needs KVTIER_TRACES set to a folder of recorded traces"; \
  }                                                                                             \
  if (access((path).c_str(), R_OK) != 0) {                                                      \
    GTEST_SKIP() << "not run: $KVTIER_TRACES has no readable " name;                            \
  }

}  // namespace kvtier::tools
