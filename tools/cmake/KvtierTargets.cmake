# Helpers with which each folder declares its targets from the sources it holds.

# kvtier_library(NAME name [SHARED] SOURCES files LIBS libraries)
# A static library, or an interface library while the folder holds no source file.
function(kvtier_library)
  cmake_parse_arguments(ARG "SHARED" "NAME" "SOURCES;LIBS" ${ARGN})
  if(NOT ARG_SOURCES)
    add_library(${ARG_NAME} INTERFACE)
    target_link_libraries(${ARG_NAME} INTERFACE ${ARG_LIBS})
    return()
  endif()
  if(ARG_SHARED)
    add_library(${ARG_NAME} SHARED ${ARG_SOURCES})
  else()
    add_library(${ARG_NAME} STATIC ${ARG_SOURCES})
  endif()
  target_link_libraries(${ARG_NAME} PUBLIC ${ARG_LIBS})
  kvtier_instruction_sets(${ARG_SOURCES})
endfunction()

# kvtier_program(NAME target OUTPUT file-name SOURCES files LIBS libraries)
# An executable in the root of the build directory; nothing while its main file does not exist.
function(kvtier_program)
  cmake_parse_arguments(ARG "" "NAME;OUTPUT" "SOURCES;LIBS" ${ARGN})
  if(NOT ARG_SOURCES)
    return()
  endif()
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_LIBS})
  set_target_properties(${ARG_NAME} PROPERTIES OUTPUT_NAME ${ARG_OUTPUT}
                        RUNTIME_OUTPUT_DIRECTORY ${KVTIER_PROGRAM_DIR})
endfunction()

# Files above the baseline say so in their name and get the flags for it. Nothing inline that other
# files share may be compiled here: the linker could keep this copy (tests/kernels looks for it).
function(kvtier_instruction_sets)
  foreach(file ${ARGN})
    if(file MATCHES "_avx512bf16\\.cpp$")
      set(flags -march=x86-64-v4 -mavx512bf16 -mavx512vbmi)
    elseif(file MATCHES "_avx512(_test)?\\.cpp$")
      set(flags "-march=x86-64-v4")
    elseif(file MATCHES "_avx2(_test)?\\.cpp$")
      set(flags "-march=x86-64-v3")
    else()
      continue()
    endif()
    set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
endfunction()
