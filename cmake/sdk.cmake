# The C++ SDK: one archive and the public headers, for the build tree and, with `cmake --install`, for any other project
# (find_package(roundhouse), or pkg-config). It saves no names, and so needs no SQLite.

set(sdk_objects "")
foreach(layer sdk client worker launch rpc sync shm process wire net base third_party)
  if(TARGET rh_${layer})
    get_target_property(type rh_${layer} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
      list(APPEND sdk_objects $<TARGET_OBJECTS:rh_${layer}>)
    endif()
  endif()
endforeach()
if(NOT TARGET rh_sdk)
  return()
endif()

# What the archive needs besides: static libraries by their names, in the order of linking. One line for all: the build, the
# package's configuration and pkg-config follow it.
set(sdk_static_libraries protobuf-lite ssl crypto zstd)

add_library(roundhouse_cpp STATIC ${sdk_objects})
if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(roundhouse_cpp PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
add_library(roundhouse::roundhouse ALIAS roundhouse_cpp)
set_target_properties(roundhouse_cpp PROPERTIES LINKER_LANGUAGE CXX OUTPUT_NAME roundhouse EXPORT_NAME roundhouse)
target_compile_features(roundhouse_cpp INTERFACE cxx_std_20)
target_include_directories(roundhouse_cpp INTERFACE
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
set(sdk_pc_libraries "")
foreach(name IN LISTS sdk_static_libraries)
  string(MAKE_C_IDENTIFIER "sdk_${name}" found)
  rh_static_library(${found} ${name})
  target_link_libraries(roundhouse_cpp INTERFACE "$<BUILD_INTERFACE:${${found}}>" "$<INSTALL_INTERFACE:roundhouse::${name}>")
  string(APPEND sdk_pc_libraries " -l:lib${name}.a")
endforeach()
target_link_libraries(roundhouse_cpp INTERFACE Threads::Threads ${CMAKE_DL_LIBS})

if(DEFINED SKBUILD OR NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
include(CMakePackageConfigHelpers)
set(sdk_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/roundhouse")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/roundhouseConfig.cmake.in" "${PROJECT_BINARY_DIR}/roundhouseConfig.cmake"
  INSTALL_DESTINATION "${sdk_cmake_dir}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/roundhouseConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
configure_file("${PROJECT_SOURCE_DIR}/cmake/roundhouse.pc.in" "${PROJECT_BINARY_DIR}/roundhouse.pc" @ONLY)

install(TARGETS roundhouse_cpp EXPORT roundhouseTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT cpp)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/roundhouse" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT cpp)
install(EXPORT roundhouseTargets NAMESPACE roundhouse:: DESTINATION "${sdk_cmake_dir}" COMPONENT cpp)
install(FILES "${PROJECT_BINARY_DIR}/roundhouseConfig.cmake" "${PROJECT_BINARY_DIR}/roundhouseConfigVersion.cmake"
  DESTINATION "${sdk_cmake_dir}" COMPONENT cpp)
install(FILES "${PROJECT_BINARY_DIR}/roundhouse.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT cpp)
