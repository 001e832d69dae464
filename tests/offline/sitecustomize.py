"""No socket leaves this machine: Python runs this file by itself at start-up when its folder is on PYTHONPATH.

Loopback and unix sockets (notebook kernels, local servers) work as ever; everything else, name look-ups included,
raises an OSError. conftest.py switches it on for the test process and puts the folder on PYTHONPATH for children.
"""

import socket

MESSAGE = "network is blocked in the tests"


def local(host) -> bool:
    """True for this machine itself, by loopback address or as "any"."""
    host = host.decode() if isinstance(host, bytes | bytearray) else host
    if host in (None, "", "localhost", "::1", "::", "0.0.0.0"):
        return True
    return str(host).startswith("127.") and str(host).replace(".", "").isdigit()


def guarded_lookup(original):
    def lookup(host, *args, **kwargs):
        if not local(host):
            raise OSError(MESSAGE)
        return original(host, *args, **kwargs)

    return lookup


def guarded_send(original):
    def send(self, *args):
        address = args[-1] if args and isinstance(args[-1], tuple) else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and address and not local(address[0]):
            raise OSError(MESSAGE)
        return original(self, *args)

    return send


def block() -> None:
    """Guard every way out; a second call changes nothing."""
    if getattr(socket, "sftlab_tests_offline", False):
        return
    socket.sftlab_tests_offline = True
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        setattr(socket, name, guarded_lookup(getattr(socket, name)))
    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        if hasattr(socket.socket, name):  # Windows has no sendmsg
            setattr(socket.socket, name, guarded_send(getattr(socket.socket, name)))


block()
