# SPDX-License-Identifier: Apache-2.0
# What makes a mistake in memory harder to use, for all that is shipped; tests/security looks for it
# in the files. docs/security.md says what it costs.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

# Of the protection of control flow, each CPU knows its own, or none. clang takes arm's for any CPU, and warns at each file.
set(hardening_flags -fstack-protector-strong -fstack-clash-protection -fcf-protection=full)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)")
  list(APPEND hardening_flags -mbranch-protection=standard)
endif()
foreach(flag IN LISTS hardening_flags)
  string(MAKE_C_IDENTIFIER "SHMRT_CC_HAS${flag}" has_flag)
  check_c_compiler_flag(${flag} ${has_flag})
  if(${has_flag})
    target_compile_options(shmrt_options INTERFACE ${flag})
  endif()
endforeach()

# Level 3 needs gcc 12 or clang 9, and glibc 2.34, which warns where the compiler is too old for it.
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_c_source_compiles("
    #include <string.h>
    #include <features.h>
    #if !__GLIBC_PREREQ(2, 34)
    #error
    #endif
    int main(void) { return 0; }" SHMRT_CC_FORTIFIES_3)
  unset(CMAKE_REQUIRED_FLAGS)
  target_compile_options(shmrt_options INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$<IF:$<BOOL:${SHMRT_CC_FORTIFIES_3}>,3,2>)
endif()

# riscv64's linker leaves an empty relocation behind and takes it for one of text (binutils 2.40).
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^riscv")
  target_link_options(shmrt_options INTERFACE -Wl,-z,text)
endif()
target_link_options(shmrt_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
