# Flags of everything that is ours, carried by the interface target `rh_options`.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# The binaries stand in one folder, as they do when installed: a program finds its siblings the same way in both.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# NDEBUG is never defined: a broken invariant stops the daemon, and the keeper starts it again.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")

# Paths are hashed relative to the checkout, so that the wheel's build finds what the working tree's has compiled.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER
        "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${CCACHE_PROGRAM}")
    endif()
  endforeach()
endif()

# Neither binaries nor assertion messages carry the path of the machine that built them.
add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=")

if(ROUNDHOUSE_SANITIZE)
  add_compile_options(-fsanitize=${ROUNDHOUSE_SANITIZE} -fno-omit-frame-pointer -O1)
  add_link_options(-fsanitize=${ROUNDHOUSE_SANITIZE})
  if(ROUNDHOUSE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
elseif(ROUNDHOUSE_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "ROUNDHOUSE_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang-16 -DCMAKE_CXX_COMPILER=clang++-16")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address)
else()
  add_compile_options(-fstack-protector-strong)
  add_link_options(-static-libstdc++ -static-libgcc -Wl,-z,relro,-z,now)
endif()

find_package(Threads REQUIRED)

add_library(rh_options INTERFACE)
target_compile_options(rh_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Woverloaded-virtual -Wvla -Wundef>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # What is off reports code of the standard library and Boost inlined into ours, and Asio's coroutine frames (g++ 12).
  target_compile_options(rh_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow
    -Wno-stringop-overread -Wno-mismatched-new-delete>)
  if(NOT ROUNDHOUSE_SANITIZE)
    # Instrumented code makes g++ guess more; the ordinary build is the judge.
    target_compile_options(rh_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endif()
if(ROUNDHOUSE_SANITIZE MATCHES "thread")
  # g++ warns that it does not instrument fences; Asio has two, beside atomics that it does instrument.
  target_compile_options(rh_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-tsan>)
endif()
target_compile_definitions(rh_options INTERFACE
  ROUNDHOUSE_VERSION="${PROJECT_VERSION}"
  BOOST_ASIO_NO_DEPRECATED
  FMT_HEADER_ONLY=1
  SPDLOG_FMT_EXTERNAL=)
target_include_directories(rh_options INTERFACE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(rh_options INTERFACE Threads::Threads)
