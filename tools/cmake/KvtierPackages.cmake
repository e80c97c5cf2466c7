# Third-party packages, all from Debian 12. One list, so that an absent one is reported with its remedy.
# Their headers lie in /usr/include or are imported targets: compilers treat both as system headers.
find_package(Threads REQUIRED)
find_package(PkgConfig QUIET)

macro(kvtier_need package debian)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${package}_FOUND)
    list(APPEND kvtier_missing ${debian})
  endif()
endmacro()

set(kvtier_missing)
kvtier_need(Boost libboost-dev 1.74)
kvtier_need(spdlog libspdlog-dev)
kvtier_need(tomlplusplus libtomlplusplus-dev)
kvtier_need(nlohmann_json nlohmann-json3-dev)
kvtier_need(CLI11 libcli11-dev)
if(KVTIER_BUILD_TESTS)
  kvtier_need(GTest libgtest-dev)
endif()

if(NOT PkgConfig_FOUND)
  list(APPEND kvtier_missing pkg-config)
else()
  foreach(pair "libxxhash=libxxhash-dev" "libzstd=libzstd-dev" "rocksdb=librocksdb-dev"
               "liburing=liburing-dev")
    string(REPLACE "=" ";" pair ${pair})
    list(GET pair 0 module)
    list(GET pair 1 debian)
    pkg_check_modules(${module} QUIET IMPORTED_TARGET ${module})
    if(NOT ${module}_FOUND)
      list(APPEND kvtier_missing ${debian})
    endif()
  endforeach()
endif()

if(kvtier_missing)
  list(JOIN kvtier_missing " " kvtier_missing)
  message(FATAL_ERROR "missing packages: ${kvtier_missing}\n"
                      "Run `make deps`, or: apt-get install ${kvtier_missing}")
endif()
