// Result<T>: a value or an Error, the only way a kvtier function reports failure between modules.
// Any thread; no allocation for the error, so that running out of memory can be reported too.
// A cache miss is a value, never an Error.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace kvtier {

// What went wrong, as the caller must act on it. Every code of the client library means
// "recompute and go on"; the numbers are part of the C ABI and never change their meaning.
enum class Code : int32_t {
  kOk = 0,
  kUnavailable = 1,      // no daemon: absent, restarting, or the session was ended
  kDeadline = 2,         // the call's deadline passed
  kInvalidArgument = 3,  // the caller's fault; the message says what was found
  kIncompatible = 4,     // protocol or layout versions do not overlap
  kPermission = 5,       // the socket or the memory may not be used by this uid
  kTooManyLeases = 6,    // the session's lease cells are used up
  kFull = 7,             // a bounded queue, table or tier has no room
  kCorrupt = 8,          // bytes or headers failed a check; the chunk is a miss
  kRevoked = 9,       // a lease or the epoch ended before the load did: the bytes may not be used
  kOutOfMemory = 10,  // this process could not allocate
  kForked = 11,       // the session belongs to the parent process
  kSystem = 12,       // a system call failed; the message has errno
  kNotFound = 13,     // a named thing (space, session, file) does not exist
  kUnsupported = 14,  // this build or machine cannot do it
};

// The name of a code as it stands in messages and metrics, e.g. "deadline". Never null.
constexpr const char* code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadline:
      return "deadline";
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kIncompatible:
      return "incompatible";
    case Code::kPermission:
      return "permission";
    case Code::kTooManyLeases:
      return "too_many_leases";
    case Code::kFull:
      return "full";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kRevoked:
      return "revoked";
    case Code::kOutOfMemory:
      return "out_of_memory";
    case Code::kForked:
      return "forked";
    case Code::kSystem:
      return "system";
    case Code::kNotFound:
      return "not_found";
    case Code::kUnsupported:
      return "unsupported";
  }
  return "unknown";
}

// A code and one line for a person: what was found, where, and what to do. Longer text is cut.
class Error {
 public:
  static constexpr size_t kMessageBytesMax = 244;

  Error(Code code, const char* message) : code_(code) {
    std::snprintf(message_, sizeof message_, "%s", message);
  }

  // printf-style; the result is cut at kMessageBytesMax.
  [[gnu::format(printf, 2, 3)]] static Error format(Code code, const char* format, ...) {
    Error error(code, "");
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error.message_, sizeof error.message_, format, arguments);
    va_end(arguments);
    return error;
  }

  // For a failed system call: appends the text of `number` (an errno value).
  static Error system(int number, const char* what) {
    char text[96] = "";
    const char* shown = describe(strerror_r(number, text, sizeof text), text);
    return format(Code::kSystem, "%s: %s (errno %d)", what, shown, number);
  }

  Code code() const { return code_; }
  const char* message() const { return message_; }

 private:
  static const char* describe(const char* gnu, const char*) { return gnu; }
  static const char* describe(int, const char* posix) { return posix; }

  Code code_;
  char message_[kMessageBytesMax];
};

// Holds a T or an Error. Reading the one that is not there ends the process (assertion that stays
// on).
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : ok_(true) { new (&storage_.value) T(std::move(value)); }
  Result(Error error) : ok_(false) { new (&storage_.error) Error(error); }
  Result(Result&& other) noexcept : ok_(other.ok_) { take(std::move(other)); }
  Result& operator=(Result&& other) noexcept {
    if (this != &other) {
      destroy();
      ok_ = other.ok_;
      take(std::move(other));
    }
    return *this;
  }
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;
  ~Result() { destroy(); }

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  Code code() const { return ok_ ? Code::kOk : storage_.error.code(); }

  T& value() & { return require(ok_), storage_.value; }
  const T& value() const& { return require(ok_), storage_.value; }
  T&& value() && { return require(ok_), std::move(storage_.value); }
  const Error& error() const { return require(!ok_), storage_.error; }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  static void require(bool holds) {
    if (!holds) std::abort();
  }
  void take(Result&& other) {
    if (ok_) {
      new (&storage_.value) T(std::move(other.storage_.value));
    } else {
      new (&storage_.error) Error(other.storage_.error);
    }
  }
  void destroy() {
    if (ok_) storage_.value.~T();
  }

  bool ok_;
  union Storage {
    Storage() {}
    ~Storage() {}
    T value;
    Error error;
  } storage_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() : error_(Code::kOk, "") {}
  Result(Error error) : error_(error) {}

  bool ok() const { return error_.code() == Code::kOk; }
  explicit operator bool() const { return ok(); }
  Code code() const { return error_.code(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

using Status = Result<void>;

}  // namespace kvtier
