# What a user gets: roundhoused and roundhouse (fully static), the Python module _engine, the C++ SDK.

include(GNUInstallDirs)

add_custom_target(product COMMENT "roundhoused, roundhouse and the Python module")

set(source_dir "${PROJECT_SOURCE_DIR}/src")
set(present_layers "")
foreach(layer bin http daemon keeper cli client worker launch store registry sync rpc wire net shm isolate process base)
  if(TARGET rh_${layer})
    list(APPEND present_layers rh_${layer})
  endif()
endforeach()

# The functions through which glibc would load the name service or another shared object behind a static binary's back.
# src/bin/no_name_service.cpp defines __wrap_<name> for each; tools/check_static.py looks for what they would bring in.
set(wrapped_functions
  getaddrinfo freeaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyname_r gethostbyname2_r gethostbyaddr gethostbyaddr_r
  getservbyname getservbyname_r getservbyport getservbyport_r getprotobyname getprotobyname_r
  getpwuid getpwuid_r getpwnam getpwnam_r getgrgid getgrgid_r getgrnam getgrnam_r getgrouplist initgroups
  dlopen dlmopen dlsym dlvsym dlclose dlerror dladdr __libc_dlopen_mode __libc_dlsym __libc_dlvsym __libc_dlclose)

# rh_static_program(<name> <source>...): a fully static program with no name service in it.
function(rh_static_program name)
  add_executable(${name} ${ARGN} "${source_dir}/bin/no_name_service.cpp")
  target_link_libraries(${name} PRIVATE rh_options ${present_layers})
  target_link_options(${name} PRIVATE -static)
  foreach(function IN LISTS wrapped_functions)
    target_link_options(${name} PRIVATE "LINKER:--wrap=${function}")
  endforeach()
endfunction()

foreach(name roundhoused roundhouse)
  rh_static_program(${name} "${source_dir}/bin/${name}.cpp")
  add_dependencies(product ${name})
  if(DEFINED SKBUILD)
    install(TARGETS ${name} DESTINATION roundhouse/_bin)
  else()
    install(TARGETS ${name} DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT programs)
  endif()
endforeach()
if(TARGET roundhouse AND DEFINED SKBUILD_SCRIPTS_DIR)
  # Again as a command: started from the package by a Python script, it would cost an interpreter each time.
  install(TARGETS roundhouse DESTINATION "${SKBUILD_SCRIPTS_DIR}")
  # And by its short name: a wheel holds no links, and is compressed.
  install(CODE "file(COPY_FILE \"${SKBUILD_SCRIPTS_DIR}/roundhouse\" \"${SKBUILD_SCRIPTS_DIR}/rh\")")
  install(FILES "${PROJECT_SOURCE_DIR}/docs/roundhouse.1" DESTINATION "${SKBUILD_DATA_DIR}/share/man/man1")
endif()

# The binding: one dynamic symbol, so that it never meets another copy of protobuf, OpenSSL or Boost in the same process.
file(GLOB binding_sources CONFIGURE_DEPENDS "${source_dir}/binding/*.cpp")
list(FILTER binding_sources EXCLUDE REGEX "_(test|fuzz)\\.cpp$")
if(ROUNDHOUSE_BINDING AND binding_sources)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
  execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir
    OUTPUT_VARIABLE nanobind_cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE nanobind_missing ERROR_QUIET)
  if(nanobind_missing)
    message(FATAL_ERROR "${Python_EXECUTABLE} has no nanobind: run tools/setup.sh, or configure with -DROUNDHOUSE_BINDING=OFF")
  endif()
  set(nanobind_DIR "${nanobind_cmake_dir}" CACHE PATH "" FORCE)
  find_package(nanobind CONFIG REQUIRED)
  nanobind_add_module(_engine NB_STATIC NOMINSIZE PROTECT_STACK NOSTRIP ${binding_sources})
  target_include_directories(_engine SYSTEM PRIVATE "${NB_DIR}/include" ${Python_INCLUDE_DIRS})
  set(binding_layers "")
  foreach(layer client launch worker registry store base)
    if(TARGET rh_${layer})
      list(APPEND binding_layers rh_${layer})
    endif()
  endforeach()
  target_link_libraries(_engine PRIVATE rh_options ${binding_layers})
  if(TARGET rh_wire)
    # third_party/README.md says why: this object stands before the archive's own arena.o, which is then never taken.
    target_sources(_engine PRIVATE
      "${PROJECT_SOURCE_DIR}/third_party/protobuf/arena.cc" "${PROJECT_SOURCE_DIR}/cmake/engine_stderr.c")
    target_link_options(_engine PRIVATE "LINKER:--wrap=stderr")
    set_source_files_properties("${PROJECT_SOURCE_DIR}/third_party/protobuf/arena.cc" PROPERTIES COMPILE_OPTIONS "-w")
  endif()
  set(version_script "${PROJECT_SOURCE_DIR}/cmake/engine.map")
  target_link_options(_engine PRIVATE "LINKER:--exclude-libs,ALL" "LINKER:--version-script=${version_script}"
    "LINKER:--no-undefined-version")
  set_target_properties(_engine PROPERTIES LINK_DEPENDS "${version_script}")
  add_dependencies(product _engine)
  if(DEFINED SKBUILD)
    install(TARGETS _engine LIBRARY DESTINATION roundhouse)
  endif()
endif()

include(sdk)
