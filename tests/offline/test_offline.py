"""The tests reach no network, in this process or in a Python child; loopback works."""

import asyncio
import socket
import subprocess
import sys

import pytest

ADDRESS = ("192.0.2.1", 80)  # TEST-NET-1 of RFC 5737: nobody's
BLOCKED = "network is blocked in the tests"


def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", ADDRESS)


def tcp(method):
    with socket.socket() as s:
        getattr(s, method)(ADDRESS)


def urlopen():
    from urllib.request import urlopen

    urlopen("http://sftlab.invalid/", timeout=5)


WAYS = {
    "connect": lambda: tcp("connect"),
    "connect_ex": lambda: tcp("connect_ex"),
    "create_connection": lambda: socket.create_connection(ADDRESS, timeout=5),
    "getaddrinfo": lambda: socket.getaddrinfo("sftlab.invalid", 443),
    "gethostbyname": lambda: socket.gethostbyname("sftlab.invalid"),
    "name that begins like loopback": lambda: socket.getaddrinfo("127.sftlab.invalid", 443),
    "sendto": udp,
    "asyncio": lambda: asyncio.run(asyncio.wait_for(asyncio.open_connection(*ADDRESS), 5)),
    "urlopen": urlopen,
}


@pytest.mark.parametrize("way", WAYS)
def test_blocked_in_this_process(way):
    """Every way out of the test process raises our error, not one of the real network."""
    with pytest.raises(OSError, match=BLOCKED):
        WAYS[way]()


def test_blocked_in_a_python_child():
    """A child that knows nothing of the tests is blocked too, and so is its own child."""
    inner = f"import socket; socket.create_connection({ADDRESS!r}, timeout=5)"
    outer = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
    for code in (inner, outer):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode != 0 and f"OSError: {BLOCKED}" in done.stderr


def test_loopback_works():
    """Kernels and local servers need loopback, by name and by number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            try:
                socket.create_connection((host, server.getsockname()[1]), timeout=5).close()
            except ConnectionRefusedError:  # "localhost" is ::1 alone on this machine: looked up, not blocked
                assert host == "localhost"
    left, right = socket.socketpair()
    left.sendall(b"hello")
    assert right.recv(5) == b"hello"
    left.close(), right.close()
