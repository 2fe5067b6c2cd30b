# SPDX-License-Identifier: Apache-2.0
# shmrt_man_page(NAME FOLDER): builds NAME from NAME.scd with scdoc, and installs it into FOLDER/man1.
# Without scdoc, a program that only building needs, everything else is built all the same.
find_program(SHMRT_SCDOC scdoc)
if(NOT SHMRT_SCDOC)
  message(STATUS "scdoc is not here: the manual pages are left out")
endif()

function(shmrt_man_page name folder)
  if(NOT SHMRT_SCDOC)
    return()
  endif()
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/${name}.scd)
  set(page ${CMAKE_CURRENT_BINARY_DIR}/${name})
  add_custom_command(OUTPUT ${page} COMMAND ${SHMRT_SCDOC} < ${source} > ${page} DEPENDS ${source} VERBATIM)
  add_custom_target(${name}.page ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${folder}/man1 COMPONENT tools)
endfunction()
