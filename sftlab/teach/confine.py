"""What the process of a submission gives up before it sees any code of a learner.

Limits of memory, CPU time and open files (where the platform has them); and on Linux, by a seccomp filter of the
kernel: no new processes, no network, no signals to others, no debugging of others, no file opened for writing, deleted,
renamed or made. The filter holds in bubblewrap and without it, and cannot be taken off again.
"""

import ctypes
import platform
import struct
import sys

# What is refused: number on x86_64 and on aarch64 (None: does not exist there).
REFUSED = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "unshare": (272, 97),
    "setns": (308, 268), "socket": (41, 198), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_by_handle_at": (304, 265), "io_uring_setup": (425, 425),
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "creat": (85, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "rmdir": (84, None), "mkdir": (83, None), "mkdirat": (258, 34), "truncate": (76, 45),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88),
    "futimesat": (261, None), "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "reboot": (169, 142), "swapon": (167, 224), "sethostname": (170, 161),
}  # fmt: skip
_ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_OPEN = {"open": (2, None, 1), "openat": (257, 56, 2)}  # the two numbers, and which argument holds the flags
_CLONE, _CLONE3, _OPENAT2, _PRLIMIT = (56, 220), (435, 435), (437, 437), (302, 261)
_SECCOMP, _CLONE_THREAD = (317, 277), 0x10000
_WRITING = 0o3 | 0o100 | 0o1000  # O_WRONLY | O_RDWR, O_CREAT, O_TRUNC
_EPERM, _ENOSYS, _EACCES = 1, 38, 13
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def confine(memory: int, seconds: float) -> bool:
    """Give up rights for the rest of this process; true if the kernel's filter is in place.

    Args:
        memory: bytes that may be used on top of what is in use now.
        seconds: of CPU time from now on; a safety net under the grader's clock.
    """
    try:
        import resource
    except ImportError:  # Windows
        return False
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime + 4 * seconds) + 5
    limits = {"RLIMIT_CORE": 0, "RLIMIT_CPU": cpu, "RLIMIT_NOFILE": 256, "RLIMIT_AS": _address_space() + memory}
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):  # macOS does not keep all of them
            pass
    return _filter() if sys.platform == "linux" and platform.machine() in _ARCH else False


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * 4096
    except OSError:
        return 4 * 2**30


def _filter() -> bool:
    program = _program(*_ARCH[platform.machine()])
    code = ctypes.create_string_buffer(program)
    # struct sock_fprog: number of instructions, pointer.
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges = libc.prctl(38, 1, 0, 0, 0) == 0
    number = _SECCOMP[_ARCH[platform.machine()][0]]
    # SECCOMP_SET_MODE_FILTER with TSYNC: all threads of this process, those of torch too.
    return no_new_privileges and libc.syscall(number, 1, 1, ctypes.create_string_buffer(fprog)) == 0


def _program(which: int, arch: int) -> bytes:
    """Classic BPF over struct seccomp_data: number at 0, architecture at 4, arguments from 16 on, 8 bytes each."""

    def load(offset):
        return struct.pack("HBBI", 0x20, 0, 0, offset)

    def jump(kind, value, if_true, if_false):
        return struct.pack("HBBI", {"==": 0x15, ">=": 0x35, "&": 0x45}[kind], if_true, if_false, value)

    def give(value):
        return struct.pack("HBBI", 0x06, 0, 0, value)

    def refuse(error):
        return give(_ERRNO | error)

    code = [load(4), jump("==", arch, 1, 0), give(_KILL), load(0)]
    code += [jump(">=", 0x40000000, 0, 1), refuse(_EPERM)]  # the x32 numbers of x86_64
    for numbers in (_CLONE3, _OPENAT2):  # their flags stand in memory, where a filter cannot look: libc falls back
        code += [jump("==", numbers[which], 0, 1), refuse(_ENOSYS)]
    for numbers in REFUSED.values():
        if numbers[which] is not None:
            code += [jump("==", numbers[which], 0, 1), refuse(_EPERM)]
    for *numbers, argument in _OPEN.values():
        if numbers[which] is not None:
            look = [load(16 + 8 * argument), jump("&", _WRITING, 0, 1), refuse(_EACCES), give(_ALLOW)]
            code += [jump("==", numbers[which], 0, len(look)), *look]
    threads = [load(16), jump("&", _CLONE_THREAD, 1, 0), refuse(_EPERM), give(_ALLOW)]
    code += [jump("==", _CLONE[which], 0, len(threads)), *threads]
    own = [load(16), jump("==", 0, 1, 0), refuse(_EPERM), give(_ALLOW)]  # limits of another process
    code += [jump("==", _PRLIMIT[which], 0, len(own)), *own]
    return b"".join([*code, give(_ALLOW)])
