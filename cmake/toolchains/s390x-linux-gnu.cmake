# SPDX-License-Identifier: Apache-2.0
# cmake --preset s390x: IBM Z, big-endian
include(${CMAKE_CURRENT_LIST_DIR}/linux-gnu.cmake)
shmrt_cross(s390x s390x-linux-gnu qemu-s390x)
