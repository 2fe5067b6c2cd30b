# SPDX-License-Identifier: Apache-2.0
# SHMRT_BUNDLE: what a Python wheel has to carry, since the machine it is installed on may not have it. hwloc,
# libyaml and jansson are linked statically into the programs, with their licenses beside them; libshmrt.so does
# without hwloc, which only reading machines takes, and nothing takes libnuma.
if(DEFINED SKBUILD)
  set(bundle_default ON)
else()
  set(bundle_default OFF)
endif()
option(SHMRT_BUNDLE "Need neither libhwloc, libnuma, libyaml nor libjansson at run time, as a wheel" ${bundle_default})

# shmrt_find_library(PREFIX MODULE NAME): the target PkgConfig::PREFIX for pkg-config's MODULE; with
# SHMRT_BUNDLE it stands for libNAME.a, and the license goes into the wheel as NAME.txt.
function(shmrt_find_library prefix module name)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${module})
  if(NOT SHMRT_BUNDLE)
    return()
  endif()
  find_library(SHMRT_${prefix}_ARCHIVE lib${name}.a HINTS ${${prefix}_LIBDIR} ${${prefix}_LIBRARY_DIRS})
  find_file(SHMRT_${prefix}_LICENSE NAMES copyright COPYING LICENSE NO_CACHE
    PATHS /usr/share/doc/lib${name}-dev /usr/share/doc/${name} /usr/share/licenses/${name} NO_DEFAULT_PATH)
  if(NOT SHMRT_${prefix}_ARCHIVE OR NOT SHMRT_${prefix}_LICENSE)
    message(WARNING "lib${name}.a or its license is not here, so lib${name}.so is linked instead: "
      "what is built runs only where that is installed too")
    return()
  endif()
  set_target_properties(PkgConfig::${prefix} PROPERTIES INTERFACE_LINK_LIBRARIES ${SHMRT_${prefix}_ARCHIVE})
  install(FILES ${SHMRT_${prefix}_LICENSE} DESTINATION shmrt/licenses RENAME ${name}.txt COMPONENT python
    EXCLUDE_FROM_ALL)
endfunction()
