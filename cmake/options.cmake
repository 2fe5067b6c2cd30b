# SPDX-License-Identifier: Apache-2.0
# Compiler settings shared by every target: the interface library shmrt_options.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(shmrt_options INTERFACE)
target_compile_definitions(shmrt_options INTERFACE _GNU_SOURCE)
target_compile_options(shmrt_options INTERFACE
  -Wall -Wextra -Wshadow -Wpointer-arith -Wcast-qual
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wvla>
  # Sums must have the reference's bits: no contraction of a*b+c, no reassociation.
  -ffp-contract=off)
# In ISO mode gcc computes float in double on z, which has instructions for float like any other CPU.
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "s390x")
  target_compile_options(shmrt_options INTERFACE $<$<COMPILE_LANG_AND_ID:C,GNU>:-fexcess-precision=fast>)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/hardening.cmake)
if(SHMRT_SANITIZE)
  target_compile_options(shmrt_options INTERFACE
    -fsanitize=${SHMRT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(shmrt_options INTERFACE -fsanitize=${SHMRT_SANITIZE})
endif()
