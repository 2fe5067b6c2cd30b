# SPDX-License-Identifier: Apache-2.0
# cmake --preset riscv64: RISC-V, 64 bits, little-endian
include(${CMAKE_CURRENT_LIST_DIR}/linux-gnu.cmake)
shmrt_cross(riscv64 riscv64-linux-gnu qemu-riscv64)
