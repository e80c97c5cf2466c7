// What the machine lets this process have. Reads /proc and the control groups; before serving only.
#pragma once

#include <cstdint>
#include <string>

namespace kvtier::daemon {

// Memory that could be taken without swapping: MemAvailable, or what the process's control groups
// (both versions) leave of it. 0 if nothing can be read.
uint64_t available_memory_bytes();

// The same from another root than "/", for tests.
uint64_t available_memory_bytes(const std::string& root);

// Raises the limit of open files to what is allowed; returns it.
uint64_t raise_open_files_limit();

}  // namespace kvtier::daemon
