# SPDX-License-Identifier: Apache-2.0
# The common part of the toolchain files: gcc for another CPU as Debian and its relatives package it, and
# QEMU's user mode to run what it makes. Libraries for the target beside libc are looked for below
# CMAKE_PREFIX_PATH, and nothing of this machine's own is ever found.

# shmrt_cross(processor triplet emulator) - set the variables of a toolchain file
macro(shmrt_cross processor triplet emulator)
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR ${processor})
  set(CMAKE_C_COMPILER ${triplet}-gcc)
  set(CMAKE_CXX_COMPILER ${triplet}-g++)
  set(CMAKE_LIBRARY_ARCHITECTURE ${triplet})
  # Statically linked QEMUs bear that in their names on some systems.
  find_program(SHMRT_EMULATOR NAMES ${emulator}-static ${emulator})
  if(SHMRT_EMULATOR)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${SHMRT_EMULATOR};-L;/usr/${triplet}")
  endif()

  # A try_compile starts anew and is told these only.
  list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CMAKE_PREFIX_PATH)
  set(CMAKE_FIND_ROOT_PATH /usr/${triplet} ${CMAKE_PREFIX_PATH})
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
  set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/${triplet}/pkgconfig)
  foreach(prefix ${CMAKE_PREFIX_PATH}) # CMake itself looks below their lib/ only
    set(ENV{PKG_CONFIG_LIBDIR} "$ENV{PKG_CONFIG_LIBDIR}:${prefix}/lib/${triplet}/pkgconfig")
  endforeach()
endmacro()
