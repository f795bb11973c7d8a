"""The secret of a destination in GNOME's key store: kept there, used from there, forgotten with the destination.

The store runs in a session bus of its own, with a home of its own; nobody's real keys are touched.
"""

import json
import os
import subprocess
import sys
import tempfile

import s3_servers
from bucket_world import BucketWorld
from landfall import check, equal, results, scenario

#: What `dbus-run-session` runs: this script again, once the store is open.
INSIDE = "LANDFALL_TEST_INSIDE_SESSION"


def kept(world):
    """The secrets of Landfall's that the store has, by the name of a home and a destination."""
    found = subprocess.run(["secret-tool", "search", "--all", "service", "landfall"], capture_output=True, text=True)
    lines = (found.stdout + found.stderr).splitlines()
    names = [line.partition(" = ")[2] for line in lines if line.startswith("attribute.username")]
    secrets = [line.partition(" = ")[2] for line in lines if line.startswith("secret")]
    return {name: secret for name, secret in zip(names, secrets) if name.startswith(world.home)}


def in_the_home(world, text):
    """The files of the home that hold a text."""
    found = []
    for folder, _, names in os.walk(world.home):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                if text.encode() in file.read():
                    found.append(name)
    return found


class KeyringWorld(BucketWorld):
    """Its secrets go where those of a desktop go."""

    def run(self, *arguments, **options):
        self.env.pop("LANDFALL_KEYRING", None)
        self.env.update({name: os.environ[name] for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_DATA_HOME")})
        return super().run(*arguments, **options)


def kept_and_forgotten(server):
    """A secret is kept in the key store, used from there by every command, and forgotten with its destination"""
    world = KeyringWorld(server, "keyring")
    check(world.env.get("LANDFALL_KEYRING") is None, "the key store is asked")
    equal([json.loads(text)["secret"] for text in kept(world).values()], [server.secret_key], "the key store has the secret")
    equal(in_the_home(world, server.secret_key), [], "the home does not have it")
    path = world.file(100_000)
    world.put(path).expect(0)
    got = server.client().get_object(Bucket=server.bucket, Key=world.prefix + os.path.basename(path))["Body"].read()
    with open(path, "rb") as file:
        check(got == file.read(), "what is put with it arrives")
    world.run("destination", "rm", "media").expect(0)
    equal(kept(world), {}, "the key store has forgotten it")


def locked(server):
    """Where nobody opens the key store, the secret lies in a file that only its owner can read, and it is said"""
    world = BucketWorld(server, "without")
    equal(in_the_home(world, server.secret_key), ["credentials.json"], "it lies in its file")
    mode = os.stat(os.path.join(world.home, "credentials.json")).st_mode & 0o777
    equal(mode, 0o600, "that is its owner's alone")


def session():
    """Runs this script in a session with a key store."""
    with tempfile.TemporaryDirectory(prefix="landfall-keyring-") as folder:
        env = {**os.environ, INSIDE: "1", "XDG_RUNTIME_DIR": f"{folder}/run", "XDG_DATA_HOME": f"{folder}/data"}
        for name in ("run", "data"):
            os.mkdir(f"{folder}/{name}", 0o700)
        open_it = "printf 'a password' | gnome-keyring-daemon --unlock --components=secrets >/dev/null"
        command = f'{open_it} && exec "{sys.executable}" "{os.path.abspath(__file__)}"'
        return subprocess.run(["dbus-run-session", "--", "sh", "-c", command], env=env).returncode


if __name__ == "__main__":
    if INSIDE not in os.environ:
        sys.exit(session())
    with s3_servers.start("seaweedfs") as seaweed:
        for one in (kept_and_forgotten, locked):
            scenario(one, seaweed)
    results.close()
