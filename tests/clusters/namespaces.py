"""What runs inside the namespaces of `machines.py`: the switch that connects the machines, and each machine.

Run as a file, with nothing but the standard library, so that a machine is there in a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
LINKS = ("machine0", "machine1")


def do(*words: str) -> None:
    subprocess.run(words, check=True)


def switch(root: str) -> None:
    """Start both machines, and lay a cable between them."""
    apart = ("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
    machines = [
        subprocess.Popen([*apart, sys.executable, __file__, "init", root, str(number)])
        for number in range(len(LINKS))
    ]
    do("ip", "link", "add", "name", LINKS[0], "type", "veth", "peer", "name", LINKS[1])
    for link, machine in zip(LINKS, machines, strict=True):
        do("ip", "link", "set", link, "netns", str(child_of(machine.pid)))
    sys.stdin.buffer.read()  # until whoever has started this is gone; everything goes with this process


def child_of(pid: int) -> int:
    """The process that `unshare` has started, which is in the new namespaces."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while not (children := path.read_text().split()):
        time.sleep(0.01)
    return int(children[0])


def init(root: str, number: str) -> None:
    """Be the first process of a machine: `ray stop` waits for processes whose end nobody takes note of."""
    first = subprocess.Popen([sys.executable, __file__, "machine", root, number])
    while os.wait()[0] != first.pid:
        pass


def machine(root: str, number: int) -> None:
    """Take an address and a folder of one's own, then commands, each on a thread."""
    link = LINKS[number]
    while link not in (name for _, name in socket.if_nameindex()):
        time.sleep(0.01)
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{ADDRESSES[number]}/24", "dev", link)
    do("ip", "link", "set", link, "up")
    do("mount", "-t", "tmpfs", "tmpfs", f"{root}/t")
    hosts = Path(f"{root}/hosts-{number}")
    hosts.write_text(f"127.0.0.1 localhost\n{ADDRESSES[0]} head\n{ADDRESSES[1]} worker\n")
    do("mount", "--bind", str(hosts), "/etc/hosts")
    do("hostname", ("head", "worker")[number])
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f"{root}/machine-{number}")
    server.listen()
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def serve(client: socket.socket) -> None:
    message, (out,), _, _ = socket.recv_fds(client, 1 << 20, 1)
    order = json.loads(message)
    process = subprocess.Popen(
        order["words"], env=order["env"], cwd=order["cwd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        start_new_session=True,
    )  # fmt: skip
    os.close(out)
    threading.Thread(target=end_when_closed, args=(client, process), daemon=True).start()
    status = process.wait()
    with client, contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        client.send(str(status if status >= 0 else 128 - status).encode())


def end_when_closed(client: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Whoever has asked says no more, so the end of what it says is that it went."""
    try:
        client.recv(1)
    except OSError:
        return
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    if role == "switch":
        switch(*words)
    elif role == "init":
        init(*words)
    else:
        machine(words[0], int(words[1]))
