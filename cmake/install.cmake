# SPDX-License-Identifier: MIT
# What is installed, for CMake and for pkg-config, and the packages made of it. No installed file
# holds an absolute path: the folder can be moved.
include(GNUInstallDirs)
set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/strait)

install(TARGETS strait strait_extra strait_gearman EXPORT strait-targets
        RUNTIME COMPONENT runtime
        LIBRARY COMPONENT runtime NAMELINK_COMPONENT dev
        ARCHIVE COMPONENT dev)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
        FILES_MATCHING PATTERN "*.h")
install(EXPORT strait-targets NAMESPACE strait:: DESTINATION ${cmake_dir} COMPONENT dev)

# The printers for gdb, which loads them by itself with the library that has their path below an
# auto-load folder of gdb's: below /usr/share/gdb/auto-load, if nobody has named others.
if(BUILD_SHARED_LIBS)
  install(FILES src/strait-gdb.py COMPONENT dev
          DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load${CMAKE_INSTALL_FULL_LIBDIR}
          RENAME $<TARGET_FILE_NAME:strait>-gdb.py)
else()
  install(FILES src/strait-gdb.py DESTINATION ${CMAKE_INSTALL_DATADIR}/strait COMPONENT dev)
endif()

# Concurrency Kit's headers are the consumer's own, wherever they lie there.
file(CONFIGURE OUTPUT strait-config.cmake @ONLY CONTENT [[
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
find_path(STRAIT_CK_INCLUDE_DIR ck_pr.h)
mark_as_advanced(STRAIT_CK_INCLUDE_DIR)
if(NOT STRAIT_CK_INCLUDE_DIR)
  set(strait_FOUND FALSE)
  set(strait_NOT_FOUND_MESSAGE "strait's headers need those of Concurrency Kit (ck_pr.h)")
  return()
endif()
include("${CMAKE_CURRENT_LIST_DIR}/strait-targets.cmake")
target_include_directories(strait::strait SYSTEM INTERFACE "${STRAIT_CK_INCLUDE_DIR}")
]])

# Before 1.0 each minor version is an interface of its own; who asks for 0 takes any.
file(CONFIGURE OUTPUT strait-config-version.cmake @ONLY CONTENT [[
set(PACKAGE_VERSION @PROJECT_VERSION@)
set(same @PROJECT_VERSION_MAJOR@)
if(PACKAGE_FIND_VERSION_COUNT GREATER 1)
  set(same @PROJECT_VERSION_MAJOR@.@PROJECT_VERSION_MINOR@)
endif()
set(asked ${PACKAGE_FIND_VERSION_MAJOR}.${PACKAGE_FIND_VERSION_MINOR})
string(FIND "${asked}." "${same}." at)
if(at EQUAL 0 AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION
   AND CMAKE_SIZEOF_VOID_P STREQUAL "@CMAKE_SIZEOF_VOID_P@")
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
endif()
]])
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/strait-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/strait-config-version.cmake
        DESTINATION ${cmake_dir} COMPONENT dev)

# strait_pc(NAME DESCRIPTION [LINE...]): NAME.pc, whose prefix is found from where it lies
file(RELATIVE_PATH from_pc /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
function(strait_pc name description)
  list(JOIN ARGN "\n" lines)
  file(CONFIGURE OUTPUT ${name}.pc @ONLY CONTENT [[
prefix=${pcfiledir}/@from_pc@
Name: @name@
Description: @description@
Version: @PROJECT_VERSION@
Cflags: -I${prefix}/@CMAKE_INSTALL_INCLUDEDIR@
Libs: -L${prefix}/@CMAKE_INSTALL_LIBDIR@ -l@name@
@lines@
]])
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endfunction()
strait_pc(strait "${PROJECT_DESCRIPTION}" "Requires.private: ck" "Libs.private: -pthread")
strait_pc(strait_extra "What a program with strait may leave out" "Requires: strait")
strait_pc(strait_gearman "Tasks for strait's pools on other machines" "Requires: strait")

# Debian packages: cpack -G DEB. The runtime's is of a build with BUILD_SHARED_LIBS.
set(CPACK_PACKAGE_CONTACT "the strait authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL dev)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libstrait-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS libck-dev)
if(BUILD_SHARED_LIBS)
  list(APPEND CPACK_COMPONENTS_ALL runtime)
  set(runtime libstrait${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${runtime})
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_GENERATE_SHLIBS ON)
  set(CPACK_DEBIAN_RUNTIME_DEBUGINFO_PACKAGE ON) # -dbgsym, if it is compiled with -g
  string(APPEND CPACK_DEBIAN_DEV_PACKAGE_DEPENDS ", ${runtime} (= ${PROJECT_VERSION})")
endif()
include(CPack)
