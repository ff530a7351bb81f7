"""A script that the notebook's kernel and the job both run.  It prints its own identity and mounts as JSON."""

import grp
import json
import os
import pwd
import subprocess
from pathlib import Path

ROOTS = ("/home", "/project", "/data")


def mounts() -> list[str]:
    """Return the mount points of shared storage from the kernel's mount table (proc_pid_mountinfo(5))."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4].startswith(ROOTS):
            found.add(f"{fields[4]} ({fields[5].split(',')[0]})")
    return sorted(found)


def name_of_group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


try:
    user = pwd.getpwuid(os.getuid()).pw_name
except KeyError:
    user = str(os.getuid())
print(
    json.dumps(
        {
            "id": subprocess.run(["id"], capture_output=True, text=True, check=False).stdout.strip(),  # noqa: S607 - the image's own
            "user": user,
            "uid": str(os.getuid()),
            "gid": str(os.getgid()),
            "groups": ", ".join(sorted(name_of_group(gid) for gid in {os.getgid(), *os.getgroups()})),
            "home": os.environ["HOME"],
            "mounts": ", ".join(mounts()),
        }
    )
)
