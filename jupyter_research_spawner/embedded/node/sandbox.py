"""The init process of one container, which the node starts with `python -I -S`.  It needs only the standard library.

Usage: sandbox.py SPEC_FD STATUS_FD.  SPEC_FD is a file with a `Spec` as JSON.  The `Spec` is not in argv, where other
processes could read the tokens of the container's environment.
If the container cannot start, this program writes the reason to STATUS_FD.  Otherwise STATUS_FD is closed when the
container's program starts.

With `isolate` the container has its own mount, PID, IPC and UTS namespaces (namespaces(7)).  Its root directory
contains the host's software, read-only, and the pod's volumes.  Without `isolate` it is an ordinary child process.
In both cases this program forwards SIGTERM, reaps orphans as tini does, and kills all processes on SIGUSR1.  It exits
with the exit code of the container's process, or with 128 plus the number of the signal that killed the process.
"""

# Not pathlib, because each import makes the start of a container slower.
# ruff: noqa: PTH101, PTH102, PTH106, PTH110, PTH112, PTH114, PTH115, PTH116, PTH120, PTH211
# ruff: noqa: S103, S108, S606, SIM105, PERF203

import ctypes
import errno
import fcntl
import json
import os
import signal
import sys
import termios
from pathlib import Path
from typing import Any

Spec = dict[str, Any]

# Constants from linux/sched.h, sys/mount.h and linux/prctl.h.
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 23, 24, 36, 38

# The host's directories with software and its settings.  Others, such as /home, /root and /mnt, contain user data.
HOST_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "var", "sys", "nix")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
OLD_ROOT = "/.host"
START_FAILED = 128

libc = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):
    """The container's process could not be started.  The message is that of runc, if runc has one."""


def call(name: str, *args: Any) -> None:
    converted = [os.fsencode(arg) if isinstance(arg, str) else arg for arg in args]
    if getattr(libc, name)(*converted) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", *[arg for arg in args if isinstance(arg, str)][:1])


def mount(source: str, target: str, filesystem: str | None = None, flags: int = 0, options: str | None = None) -> None:
    call("mount", source, target, filesystem, ctypes.c_ulong(flags), options)


def bind(source: str, target: str, *, read_only: bool, recursive: bool = True) -> None:
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        make_read_only(target)


def make_read_only(target: str) -> None:
    # The kernel refuses a remount that clears existing flags (mount_namespaces(7), locked mounts).
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def main() -> int:
    spec_fd, status_fd = int(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(spec_fd) as file:
        spec: Spec = json.load(file)
    os.set_inheritable(status_fd, False)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    if os.getppid() != spec["node_pid"]:  # the node died before PR_SET_PDEATHSIG took effect
        return START_FAILED
    if not spec["isolate"]:
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return run(spec, status_fd, kill_descendants)
    if spec["enter"]:
        return run_inside(spec, status_fd)
    try:
        call("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
    except OSError as reason:
        report(status_fd, f"cannot make namespaces: {reason}")
        return START_FAILED
    init = os.fork()
    if init == 0:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        return run(spec, status_fd, lambda: os._exit(128 + signal.SIGKILL))
    # A PID namespace's init is reaped only after the kernel has ended all of its processes.
    return wait_for(init, status_fd)


def run_inside(spec: Spec, status_fd: int) -> int:
    """Run a further command in the namespaces of a container, and wait for its end."""
    try:
        namespaces = [os.open(f"/proc/{spec['enter']}/ns/{name}", os.O_RDONLY) for name in ("ipc", "uts", "pid", "mnt")]
        for namespace in namespaces:
            call("setns", namespace, 0)
    except OSError as reason:
        report(status_fd, f"cannot enter the container: {reason}")
        return START_FAILED
    child = os.fork()
    if child == 0:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        start(spec, status_fd)
    return wait_for(child, status_fd)


def wait_for(child: int, status_fd: int) -> int:
    """Pass on signals to a child until it ends, and return its exit code."""
    os.close(status_fd)
    relay(signal.SIGTERM, child, signal.SIGTERM)
    relay(signal.SIGUSR1, child, signal.SIGKILL)
    return exit_code(os.waitpid(child, 0)[1])


def run(spec: Spec, status_fd: int, kill_rest: Any) -> int:
    """Start the container's process as a child and wait for its end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        if spec["isolate"]:
            build_root(spec)
            call("sethostname", spec["hostname"], len(spec["hostname"].encode()))
    except OSError as reason:
        report(status_fd, f"error mounting: {reason}")
        return START_FAILED
    child = os.fork()
    if child == 0:
        start(spec, status_fd)
    os.close(status_fd)
    relay(signal.SIGTERM, child, signal.SIGTERM)
    signal.signal(signal.SIGUSR1, lambda *_: kill_rest())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:  # kill_rest, which a signal handler calls, has killed and reaped the child
            return 128 + signal.SIGKILL
        if pid == child:
            kill_rest_quietly(kill_rest, spec)
            return exit_code(status)


def kill_rest_quietly(kill_rest: Any, spec: Spec) -> None:
    if not spec["isolate"]:  # in a PID namespace, the kernel kills the processes when init ends
        kill_rest()


def relay(received: int, pid: int, sent: int) -> None:
    def handler(*_: Any) -> None:
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            pass

    signal.signal(received, handler)


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def report(status_fd: int, sentence: str) -> None:
    os.write(status_fd, sentence.encode(errors="replace")[:4000])


def kill_descendants() -> None:
    """Kill all descendants, including orphans, of which this process is the subreaper."""
    while found := descendants(os.getpid()):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, 0)[0]:
                pass
        except ChildProcessError:
            pass


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text(errors="replace")
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found: list[int] = []
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found += frontier
    return found


def start(spec: Spec, status_fd: int) -> None:
    """Prepare this child process and execute the container's program.  This function does not return."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})
        os.setsid()
        if spec["is_terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.umask(0o022)
        if spec["isolate"]:
            drop_privileges(spec)
        home = spec["env"].get("HOME", "/")
        enter(spec["cwd"] or (home if os.access(home, os.X_OK) else "/"))
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        execute(spec["argv"], spec["env"])
    except (CannotStart, OSError) as reason:
        report(status_fd, str(reason))
    os._exit(START_FAILED)


def drop_privileges(spec: Spec) -> None:
    """Set the uid, gid and supplementary groups of the spec, and drop all capabilities, even for uid 0."""
    capability = 0
    while libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    os.setgroups(spec["groups"])
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])


def enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as reason:
        why = (reason.strerror or "").lower()
        raise CannotStart(f'chdir to cwd ("{directory}") set in config.json failed: {why}') from None


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Execute the program.  If it does not exist, raises CannotStart with runc's message."""
    program = argv[0]
    try:
        os.execvpe(program, argv, env)
    except FileNotFoundError:
        where = "stat {}: no such file or directory" if "/" in program else "executable file not found in $PATH"
        raise CannotStart(f'exec: "{program}": {where.format(program)}') from None
    except PermissionError:
        raise CannotStart(f'exec: "{program}": permission denied') from None


def build_root(spec: Spec) -> None:
    """Create the container's root directory on a tmpfs, make it the root, and mount the volumes.

    Volumes are mounted inside the new root, so that no symbolic link in a mountPath can lead to the host.
    """
    root = spec["root"]
    make_root_private(root)
    mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=755")
    for name in HOST_DIRECTORIES:
        take_from_host(f"/{name}", f"{root}/{name}")
    os.mkdir(root + OLD_ROOT)
    call("pivot_root", root, root + OLD_ROOT)
    os.chdir("/")
    make_private_directories()
    tree = Tree()
    for path in spec["exposed"]:
        tree.expose(path)
    for path in spec["hidden"]:
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for path in spec["directories"]:  # such as the home directory, which an image would contain
        tree.directory(path["path"], path["uid"], path["gid"])
    for volume in sorted(spec["mounts"], key=lambda volume: volume["target"].count("/")):
        tree.mount_volume(volume)
    if spec["cwd"]:
        make_working_directory(spec["cwd"], tree)
    call("umount2", OLD_ROOT, MNT_DETACH)
    os.rmdir(OLD_ROOT)


def make_root_private(free: str) -> None:
    """Prevent mounts from propagating to the host.  `free` is a directory on which a mount is tested."""
    try:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    except OSError as reason:
        if reason.errno != errno.EINVAL:
            raise
        # pivot_root needs a mount point, and / is not one in a chroot: bind it on itself and enter the new mount.
        if is_shared(free):
            raise OSError(errno.EINVAL, "mounts in this chroot would be visible on the host") from None
        mount("/", "/", None, MS_BIND | MS_REC)
        os.chdir("/..")
        os.chroot(".")
        mount("none", "/", None, MS_REC | MS_PRIVATE)


def is_shared(directory: str) -> bool:
    """Return whether a mount here would appear in other mount namespaces (proc_pid_mountinfo(5), optional fields)."""
    mount(directory, directory, None, MS_BIND)
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(fields[4] == directory and "shared:" in " ".join(fields[6:]) for fields in map(str.split, lines))
    finally:
        call("umount2", directory, MNT_DETACH)


def take_from_host(source: str, target: str) -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.mkdir(target)
        # Without its submounts: those of /sys contain the host's cgroups.
        bind(source, target, read_only=True, recursive=source != "/sys")


def make_private_directories() -> None:
    """Create the container's own /proc, /dev, /tmp, /run and similar directories."""
    for path, mode in (
        ("/proc", 0o555),
        ("/dev", 0o755),
        ("/tmp", 0o1777),
        ("/run", 0o755),
        ("/home", 0o755),
        ("/root", 0o755),
    ):
        os.mkdir(path)
        os.chmod(path, mode)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    if os.path.isdir("/var/tmp"):
        mount("tmpfs", "/var/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for device in DEVICES:
        Path("/dev", device).touch()
        mount(f"{OLD_ROOT}/dev/{device}", f"/dev/{device}", None, MS_BIND)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.mkdir("/dev/shm")
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


class Tree:
    """The container's root directory while it is built.  Mount points are created without writing to the host."""

    def __init__(self) -> None:
        self.volumes: list[str] = []
        self.own_devices = {os.stat("/").st_dev, os.stat("/tmp").st_dev}

    def expose(self, path: str) -> None:
        """Mount a directory or file of the host read-only at the same path.  All users can enter its parents."""
        if os.path.lexists(path) and os.stat(path).st_dev not in self.own_devices:
            return  # a directory of the host that contains it is mounted already
        source = OLD_ROOT + path
        self.mount_point(path, directory=os.path.isdir(source))
        bind(source, path, read_only=True)

    def directory(self, path: str, uid: int, gid: int) -> None:
        if not os.path.lexists(path):
            self.mount_point(path, directory=True)
            os.chown(path, uid, gid)

    def mount_volume(self, volume: dict[str, Any]) -> None:
        source, target = OLD_ROOT + volume["source"], os.path.normpath(volume["target"])
        self.mount_point(target, directory=os.path.isdir(source))
        bind(source, target, read_only=volume["read_only"])
        self.volumes.append(target)

    def mount_point(self, path: str, *, directory: bool) -> None:
        if os.path.exists(path):
            return
        parent = os.path.dirname(path)
        self.mount_point(parent, directory=True)
        if not self.is_in_volume(path) and os.stat(parent).st_dev not in self.own_devices:
            self.shadow(parent)
        if directory:
            os.mkdir(path)
            os.chmod(path, 0o755)
        else:
            Path(path).touch(0o644)

    def is_in_volume(self, path: str) -> bool:
        # Like runc, create the mount point in the volume itself.
        return any(path.startswith(volume.rstrip("/") + "/") for volume in self.volumes)

    def shadow(self, directory: str) -> None:
        """Replace a mounted host directory by a tmpfs with the same entries, so that entries can be added."""
        former = "/.shadow"
        os.mkdir(former)
        mount(directory, former, None, MS_BIND | MS_REC)
        mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        self.own_devices.add(os.stat(directory).st_dev)
        for entry in os.scandir(former):
            target = f"{directory}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
                continue
            if entry.is_dir():
                os.mkdir(target)
            else:
                Path(target).touch()
            # Not a symbolic link, because a Python in /usr/local/bin finds its libraries by the program's path.
            mount(entry.path, target, None, MS_BIND | MS_REC)
        call("umount2", former, MNT_DETACH)
        os.rmdir(former)


def make_working_directory(path: str, tree: Tree) -> None:
    """Create a missing working directory as root, even on a volume, as runc does (containerd 2.2)."""
    tree.mount_point(path, directory=True)


if __name__ == "__main__":
    sys.exit(main())
