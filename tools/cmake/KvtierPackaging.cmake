# Debian packages: `cpack -G DEB` in a build folder writes kvtierd, kvtier, libkvtier0 and libkvtier-dev.
# Maintainer scripts are systemd/debian/; what they promise is tested by tests/service.
set(CPACK_PACKAGE_NAME kvtier)
set(CPACK_PACKAGE_VENDOR "The kvtier project")
set(CPACK_PACKAGE_CONTACT "The kvtier project <kvtier@localhost.invalid>")
set(CPACK_GENERATOR DEB)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL daemon cli library development)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

set(CPACK_DEBIAN_DAEMON_PACKAGE_NAME kvtierd)
set(CPACK_DEBIAN_DAEMON_PACKAGE_SECTION net)
set(CPACK_COMPONENT_DAEMON_DESCRIPTION "The daemon.
 Keeps the KV cache of LLM inference engines outside the engines, in host
 memory and on NVMe, by content, shared by every engine on the host and
 alive when an engine or the daemon restarts.")
# The reload of the unit is the CLI's.
set(CPACK_DEBIAN_DAEMON_PACKAGE_DEPENDS "kvtier, init-system-helpers (>= 1.54), systemd | systemd-standalone-sysusers")

set(CPACK_DEBIAN_CLI_PACKAGE_NAME kvtier)
set(CPACK_DEBIAN_CLI_PACKAGE_SECTION admin)
set(CPACK_COMPONENT_CLI_DESCRIPTION "The command line.
 Shows and operates kvtierd: status, chunks, tiers, doctor, replay of traces
 with real bytes, benchmarks.")
set(CPACK_DEBIAN_CLI_PACKAGE_RECOMMENDS kvtierd)

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libkvtier0)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "The library.
 What an engine links to find, load and store KV chunks that kvtierd keeps.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libkvtier-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libkvtier0")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Development files.
 Headers in C and C++, CMake package and pkg-config file of libkvtier.")

# Scripts, with the places that the packages have.
set(KVTIER_SYSUSERS /usr/lib/sysusers.d/kvtier.conf)
set(KVTIER_TMPFILES /usr/lib/tmpfiles.d/kvtier.conf)
set(debian ${PROJECT_BINARY_DIR}/generated/debian)
foreach(script postinst prerm postrm)
  configure_file(systemd/debian/kvtierd.${script}.in ${debian}/daemon/${script} @ONLY
                 FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                  WORLD_READ WORLD_EXECUTE)
endforeach()
file(WRITE ${debian}/daemon/conffiles "/etc/kvtier/kvtier.toml\n")
file(WRITE ${debian}/library/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${debian}/library/triggers)
set(CPACK_DEBIAN_DAEMON_PACKAGE_CONTROL_EXTRA
    ${debian}/daemon/postinst ${debian}/daemon/prerm ${debian}/daemon/postrm ${debian}/daemon/conffiles)

# Each package's documents.
configure_file(systemd/debian/changelog.in ${debian}/changelog @ONLY)
add_custom_command(OUTPUT ${debian}/changelog.gz ${debian}/changelog.Debian.gz
  COMMAND gzip -9n < ${PROJECT_SOURCE_DIR}/CHANGELOG.md > ${debian}/changelog.gz
  COMMAND gzip -9n < ${debian}/changelog > ${debian}/changelog.Debian.gz
  DEPENDS ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${debian}/changelog VERBATIM)
add_custom_target(kvtier_changelogs ALL DEPENDS ${debian}/changelog.gz ${debian}/changelog.Debian.gz)
foreach(pair daemon=kvtierd cli=kvtier library=libkvtier0 development=libkvtier-dev)
  string(REPLACE "=" ";" pair ${pair})
  list(GET pair 0 component)
  list(GET pair 1 package)
  install(FILES systemd/debian/copyright ${debian}/changelog.gz ${debian}/changelog.Debian.gz
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component})
endforeach()

include(CPack)
