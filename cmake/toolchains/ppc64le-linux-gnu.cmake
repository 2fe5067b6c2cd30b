# SPDX-License-Identifier: Apache-2.0
# cmake --preset ppc64le: POWER, 64 bits, little-endian
include(${CMAKE_CURRENT_LIST_DIR}/linux-gnu.cmake)
shmrt_cross(ppc64le powerpc64le-linux-gnu qemu-ppc64le)
