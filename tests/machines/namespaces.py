# SPDX-License-Identifier: Apache-2.0
"""Several "machines" on this one: network, mount, UTS and IPC namespaces, joined by a switch, with a /dev/shm each.

No root is needed where users may make namespaces. A machine is known to libshmrt by its network namespace, so these
count as several, as containers of one host with networks of their own do. Everything ends with the processes that hold
the namespaces, and these with their standard input, so also when the test run is killed.
"""

import subprocess
from pathlib import Path

ADDRESS = "10.77.0.{}"
CABLE = "cable"


class NotAllowed(Exception):
    """Such namespaces can't be made here; the text says why."""


class Cluster:
    """`count` machines, from 0; machine m has the address 10.77.0.(m+1) on its end of a cable to the switch."""

    def __init__(self, count: int) -> None:
        self.holders: list[subprocess.Popen] = []
        try:
            self.switch = self._hold(["unshare", "--user", "--map-root-user", "--net", "--mount"])
            self._run(self.switch, "ip link set lo up; ip link add bridge type bridge; ip link set bridge up")
            self.machines = [self._machine(number) for number in range(count)]
        except NotAllowed:
            self.close()
            raise

    def enter(self, machine: int) -> list[str]:
        """The words to put in front of a command that is to run on that machine."""
        return self._enter(self.machines[machine])

    def run(self, machine: int, script: str) -> str:
        return self._run(self.machines[machine], script)

    def limit(self, mbit: int | None) -> None:
        """Let each machine send that many Mbit/s at most, or as fast as it goes."""
        for machine in range(len(self.machines)):
            self.run(machine, f"tc qdisc del dev {CABLE} root 2>/dev/null || true")
            if mbit:
                self.run(machine, f"tc qdisc add dev {CABLE} root tbf rate {mbit}mbit burst 64kb latency 200ms")

    def sent(self) -> list[int]:
        """Bytes that each machine has sent over its cable so far, headers included."""
        counter = f"cat /sys/class/net/{CABLE}/statistics/tx_bytes"
        return [int(self.run(machine, counter)) for machine in range(len(self.machines))]

    def cut(self, machine: int) -> None:
        self.run(machine, f"ip link set {CABLE} down")

    def mend(self, machine: int) -> None:
        self.run(machine, f"ip link set {CABLE} up")

    def close(self) -> None:
        for holder in self.holders:
            holder.stdin.close()
        for holder in self.holders:
            try:
                holder.wait(5)
            except subprocess.TimeoutExpired:
                holder.kill()
                holder.wait()
            holder.stdout.close()

    def _machine(self, number: int) -> int:
        pid = self._hold([*self._enter(self.switch), "unshare", "--net", "--mount", "--uts", "--ipc"])
        self._run(self.switch, f"ip link add to{number} type veth peer name {CABLE} netns {pid}")
        self._run(self.switch, f"ip link set to{number} master bridge up")
        self._run(
            pid,
            f"hostname machine{number}; mount -t tmpfs shm /dev/shm; mount -t sysfs sysfs /sys; ip link set lo up;"
            f"ip addr add {ADDRESS.format(number + 1)}/24 dev {CABLE}; ip link set {CABLE} up",
        )
        return pid

    def _hold(self, words: list[str]) -> int:
        """Start a process in new namespaces that does nothing; its number."""
        holder = subprocess.Popen(
            [*words, "sh", "-c", "echo $$; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.holders.append(holder)
        line = holder.stdout.readline()
        if not line.strip():
            raise NotAllowed(f"{' '.join(words[:2])}: {holder.stderr.read().strip()}")
        return int(line)

    def _enter(self, pid: int) -> list[str]:
        spaces = ["--net", "--mount"]
        if pid != self.holders[0].pid:
            spaces += ["--uts", "--ipc"]
        return ["nsenter", "-t", str(pid), "--user", "--preserve-credentials", *spaces]

    def _run(self, pid: int, script: str) -> str:
        done = subprocess.run(
            [*self._enter(pid), "sh", "-ec", script], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise NotAllowed(f"{script}: {done.stderr.strip()}")
        return done.stdout


def why_not() -> str | None:
    """Why there can be no machines here, or None."""
    for tool in ("unshare", "nsenter", "ip", "tc"):
        if not any((Path(folder) / tool).exists() for folder in ("/usr/bin", "/bin", "/usr/sbin", "/sbin")):
            return f"{tool} is not installed"
    try:
        Cluster(1).close()
    except NotAllowed as error:
        return f"no namespaces here: {error}"
    return None
