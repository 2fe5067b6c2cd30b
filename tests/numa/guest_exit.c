/* SPDX-License-Identifier: Apache-2.0 */
/* guest_exit.c - ends the guest with an exit code, through QEMU's isa-debug-exit. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

/* QEMU makes 2 * value + 1 of it: with an offset that differs from all that QEMU itself ends with.
 */
enum { PORT = 0xf4, OFFSET = 16 };

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: guest_exit CODE\n");
        return 2;
    }
    tcdrain(STDOUT_FILENO); /* or the last lines stay in the serial port */
    if (iopl(3) != 0) {
        perror("guest_exit: iopl");
        return 1;
    }
    outl((unsigned)(atoi(argv[1]) & 63) + OFFSET, PORT);
    for (;;)
        pause();
}
