# SPDX-License-Identifier: Apache-2.0
# cmake --preset aarch64: Arm, 64 bits
include(${CMAKE_CURRENT_LIST_DIR}/linux-gnu.cmake)
shmrt_cross(aarch64 aarch64-linux-gnu qemu-aarch64)
