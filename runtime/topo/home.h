/* SPDX-License-Identifier: Apache-2.0 */
/* home.h - the socket that a thread runs on (L1) */
#ifndef SHMRT_HOME_H
#define SHMRT_HOME_H

/**
 * shmrt_home_socket - the kernel's number of the socket of all CPUs the calling thread may run on
 *
 * From /sys, since a topology costs milliseconds to load. Return: -1 when they are of several, or
 * it is not known.
 */
int shmrt_home_socket(void);

#endif
