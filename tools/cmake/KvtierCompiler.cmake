# Language level, baseline, warnings, sanitizers: what every target of kvtier is compiled with.
# Assertions stay on in every build type, so NDEBUG is never defined.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  message(FATAL_ERROR "kvtier is built for Linux on x86_64; this is "
                      "${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
# -g1: line tables for backtraces and profiles, a tenth of the size of full debug information.
if(NOT KVTIER_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
  set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
endif()
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g -D_GLIBCXX_ASSERTIONS")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g")

if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(KVTIER_CCACHE ccache)
  if(KVTIER_CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER ${KVTIER_CCACHE})
    set(CMAKE_CXX_COMPILER_LAUNCHER ${KVTIER_CCACHE})
  endif()
endif()

# Baseline of every file; what is above it is named *_avx2.cpp or *_avx512.cpp and dispatched at run time.
add_compile_options(-march=x86-64-v2)
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Werror)
add_compile_options(-fno-omit-frame-pointer -fstack-protector-strong)
add_link_options(-Wl,--as-needed -Wl,-z,relro -Wl,-z,now)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Its false positives on std::optional and variants of inlined code are many; ASan finds the real ones.
  add_compile_options($<$<CONFIG:Release>:-Wno-maybe-uninitialized>)
endif()

if(KVTIER_SANITIZE STREQUAL "address")
  set(kvtier_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(KVTIER_SANITIZE STREQUAL "thread")
  set(kvtier_sanitizers -fsanitize=thread)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # TSan does not model fences; g++ says so at each one. The model checker covers those orders.
    add_compile_options(-Wno-tsan)
  endif()
elseif(KVTIER_SANITIZE)
  message(FATAL_ERROR "KVTIER_SANITIZE is '${KVTIER_SANITIZE}'; use address, thread or nothing")
endif()
if(KVTIER_SANITIZE)
  add_compile_options(${kvtier_sanitizers})
  add_link_options(${kvtier_sanitizers})
  add_compile_definitions(KVTIER_SANITIZED=1)
endif()

if(KVTIER_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "KVTIER_FUZZ needs clang++: configure with -DCMAKE_CXX_COMPILER=clang++ "
                        "-DCMAKE_C_COMPILER=clang")
  endif()
  # Inputs that an assertion would stop are found by the fuzzer as crashes: nothing is recovered from.
  set(kvtier_fuzz_flags -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  add_compile_options(${kvtier_fuzz_flags})
  add_link_options(${kvtier_fuzz_flags})
  add_compile_definitions(KVTIER_SANITIZED=1)
endif()
