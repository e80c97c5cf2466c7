# The service: units, sysusers, tmpfiles and the default configuration file. Paths depend on the prefix, which
# `cmake --install --prefix` and the packages choose later, so the files are written when they are installed.
set(KVTIER_SERVICE_SOURCES ${PROJECT_SOURCE_DIR}/systemd)

# Below /usr and /usr/local the configuration lies in /etc, as man pages and defaults say.
set(kvtier_service_places [[
  set(KVTIER_BIN ${CMAKE_INSTALL_PREFIX}/bin)
  if(CMAKE_INSTALL_PREFIX MATCHES "^/usr(/local)?/?$")
    set(KVTIER_CONFIG /etc/kvtier/kvtier.toml)
  else()
    set(KVTIER_CONFIG ${CMAKE_INSTALL_PREFIX}/etc/kvtier/kvtier.toml)
  endif()
]])

# `place`: a folder below the prefix.
function(kvtier_install_service_file source place name)
  install(CODE "${kvtier_service_places}
  set(written \"${PROJECT_BINARY_DIR}/generated/installed/${name}\")
  configure_file(\"${KVTIER_SERVICE_SOURCES}/${source}\" \"\${written}\" @ONLY)
  file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${place}\" TYPE FILE FILES \"\${written}\")"
          COMPONENT daemon)
endfunction()

kvtier_install_service_file(kvtierd.service.in lib/systemd/system kvtierd.service)
kvtier_install_service_file(kvtierd.socket.in lib/systemd/system kvtierd.socket)
install(FILES systemd/kvtier.sysusers RENAME kvtier.conf DESTINATION lib/sysusers.d COMPONENT daemon)
install(FILES systemd/kvtier.tmpfiles RENAME kvtier.conf DESTINATION lib/tmpfiles.d COMPONENT daemon)

# The documented default configuration, as the daemon itself writes it. One that is there stays, and
# `make uninstall` leaves it.
if(TARGET kvtierd)
  set(default_config ${PROJECT_BINARY_DIR}/generated/kvtier.toml)
  add_custom_command(OUTPUT ${default_config}
    COMMAND kvtierd --print-default-config > ${default_config} DEPENDS kvtierd VERBATIM)
  add_custom_target(kvtier_default_config ALL DEPENDS ${default_config})
  install(CODE "${kvtier_service_places}
  if(NOT EXISTS \"\$ENV{DESTDIR}\${KVTIER_CONFIG}\")
    configure_file(\"${default_config}\" \"\$ENV{DESTDIR}\${KVTIER_CONFIG}\" COPYONLY)
  endif()" COMPONENT daemon)
endif()
