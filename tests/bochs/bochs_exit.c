/* SPDX-License-Identifier: Apache-2.0 */
/* bochs_exit.c - ends the guest: Bochs stops when this word is written to a port of its own. */
#include <stdio.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

enum { PORT = 0x8900 };

int main(void)
{
    tcdrain(STDOUT_FILENO); /* or the last lines stay in the serial port */
    if (iopl(3) != 0) {
        perror("bochs_exit: iopl");
        return 1;
    }
    for (const char *word = "Shutdown"; *word; word++)
        outb((unsigned char)*word, PORT);
    for (;;)
        pause();
}
