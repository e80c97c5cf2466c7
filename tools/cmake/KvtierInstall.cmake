# What is installed where, by component: daemon (with its units), cli, library, development.
# Places follow GNUInstallDirs. Nothing here needs root or touches a running system.
include(CMakePackageConfigHelpers)

set(kvtier_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kvtier)

# Programs side by side: the CLI starts the daemon that lies beside it.
if(TARGET kvtierd)
  install(TARGETS kvtierd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT daemon)
endif()
if(TARGET kvtier_cli)
  install(TARGETS kvtier_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT cli)
endif()

get_target_property(kvtier_type kvtier TYPE)
if(kvtier_type STREQUAL "SHARED_LIBRARY")
  install(TARGETS kvtier EXPORT kvtierTargets
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
          NAMELINK_COMPONENT development)
  install(EXPORT kvtierTargets NAMESPACE kvtier:: DESTINATION ${kvtier_package_dir}
          COMPONENT development)
  configure_package_config_file(tools/cmake/kvtierConfig.cmake.in
    ${PROJECT_BINARY_DIR}/generated/kvtierConfig.cmake INSTALL_DESTINATION ${kvtier_package_dir})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/kvtierConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  file(RELATIVE_PATH KVTIER_PC_PREFIX /root/${CMAKE_INSTALL_LIBDIR}/pkgconfig /root)
  string(REGEX REPLACE "/$" "" KVTIER_PC_PREFIX ${KVTIER_PC_PREFIX})
  configure_file(tools/cmake/kvtier.pc.in ${PROJECT_BINARY_DIR}/generated/kvtier.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/generated/kvtierConfig.cmake
                ${PROJECT_BINARY_DIR}/generated/kvtierConfigVersion.cmake
          DESTINATION ${kvtier_package_dir} COMPONENT development)
  install(FILES ${PROJECT_BINARY_DIR}/generated/kvtier.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endif()

# Every header directly in include/kvtier is public; of the wire structures only what those include.
file(GLOB kvtier_public_headers CONFIGURE_DEPENDS include/kvtier/*.hpp include/kvtier/*.h)
install(FILES ${kvtier_public_headers} ${PROJECT_BINARY_DIR}/generated/kvtier/version.hpp
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvtier COMPONENT development)
install(FILES include/kvtier/wire/types.hpp include/kvtier/wire/plan_types.hpp
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kvtier/wire COMPONENT development)

# Man pages: docs/man/<name>.<section>.scd, where scdoc is on the machine.
file(GLOB kvtier_man_sources CONFIGURE_DEPENDS docs/man/*.scd)
find_program(KVTIER_SCDOC scdoc)
if(KVTIER_SCDOC AND kvtier_man_sources)
  set(kvtier_man_pages)
  foreach(source ${kvtier_man_sources})
    get_filename_component(page ${source} NAME_WLE)
    string(REGEX MATCH "[0-9]$" section ${page})
    set(built ${PROJECT_BINARY_DIR}/man/${page})
    add_custom_command(OUTPUT ${built}.gz
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
      COMMAND ${KVTIER_SCDOC} < ${source} > ${built}
      COMMAND gzip -9nf ${built}
      DEPENDS ${source} VERBATIM)
    list(APPEND kvtier_man_pages ${built}.gz)
    set(component daemon)
    if(section EQUAL 1)
      set(component cli)
    elseif(section EQUAL 3)
      set(component development)
    endif()
    install(FILES ${built}.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
            COMPONENT ${component})
  endforeach()
  add_custom_target(kvtier_man ALL DEPENDS ${kvtier_man_pages})
elseif(kvtier_man_sources)
  message(STATUS "no scdoc: man pages are left out (make deps installs it)")
endif()

# Shell completions, as the CLI itself writes them from its table of commands.
if(TARGET kvtier_cli)
  set(completions ${PROJECT_BINARY_DIR}/completions)
  foreach(shell bash zsh fish)
    add_custom_command(OUTPUT ${completions}/kvtier.${shell}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${completions}
      COMMAND kvtier_cli completion ${shell} > ${completions}/kvtier.${shell}
      DEPENDS kvtier_cli VERBATIM)
  endforeach()
  # In the default build only: `make demo` builds the programs and nothing else.
  add_custom_target(kvtier_completions ALL
    DEPENDS ${completions}/kvtier.bash ${completions}/kvtier.zsh ${completions}/kvtier.fish)
  install(FILES ${completions}/kvtier.bash RENAME kvtier COMPONENT cli
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${completions}/kvtier.zsh RENAME _kvtier COMPONENT cli
          DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${completions}/kvtier.fish COMPONENT cli
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

include(KvtierService)

include(KvtierPackaging)
