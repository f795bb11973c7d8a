"""A home with a destination at an S3 server, for tests of uploads to buckets.

Every world has a prefix of its own in the server's bucket, and a proxy of its own before the server. What its commands say
is kept, so that whatever they must never say can be looked for.
"""

import contextlib
import os
import random
import sqlite3

import landfall
from counting_proxy import CountingProxy
from landfall import MIB, World

#: The shortest part that S3 takes, so that small files have several.
PART = 5 * MIB


class BucketWorld(World):
    """A home, its destination `media` below a prefix, and the proxy it goes through.

    `rate` is how many bytes of bodies a connection may pass on in a second, `script` what the proxy does to requests.
    """

    #: Every one that there was.
    all = []

    def __init__(self, server, name, rate=None, script=None):
        super().__init__(f"{server.name}-{name}")
        self.all.append(self)
        self.server, self.prefix, self.started = server, f"{name}/", []
        self.proxy = CountingProxy(server, script, rate)
        self.env.update(LANDFALL_KEYRING="off", RUST_LOG="trace")
        self.add()

    # What it does.

    def run(self, *arguments, json=True, **options):
        """As `World.run`, in its most talkative way."""
        outcome = super().run(*arguments, *(["--json"] if json else []), "-v", **options)
        self.number += 1
        for kind, text in (("out", outcome.out), ("err", outcome.err)):
            with open(self.path("log", f"{self.number}.{kind}"), "wb") as file:
                file.write(text)
        return outcome

    def start(self, *arguments, **options):
        self.started.append(super().start(*arguments, "--json-lines", "-v", **options))
        return self.started[-1]

    def add(self, name="media", *more, secret=None, **changes):
        """Adds a destination with the right settings, but for the changes; `None` leaves a setting out."""
        settings = {"bucket": self.server.bucket, "region": self.server.region, "endpoint": self.proxy.origin,
                    "prefix": self.prefix, "access_key": self.server.access_key, "part_size": "5M", **changes}
        given = [word for option, value in settings.items() if value is not None
                 for word in (f"--{option.replace('_', '-')}", value)]
        self.run("destination", "add", "s3", name, *given, "--secret-file", self.secret_file(secret), "--path-style",
                 *more).expect(0)
        return name

    def secret_file(self, secret=None):
        """A file outside the home with a secret: the owner's, if none is named."""
        path = self.path("secret")
        with open(path, "w") as file:
            file.write((secret or self.server.secret_key) + "\n")
        return path

    def put(self, path, *more, to="media", **options):
        return self.run("put", path, "--to", to, *more, **options)

    def start_put(self, path, *more, **options):
        return self.start("put", path, "--to", "media", *more, **options)

    def file(self, size, name="file.bin", seed=0):
        """A file of noise that was written long ago; the same noise for the same name, length and seed."""
        return landfall.put(os.path.join(self.source, name), noise(size, f"{name} {seed}"))

    # How it stands with it.

    def counts(self):
        return self.run("status").expect(0).json["counts"]

    def items(self):
        """The items that are not over."""
        return self.run("status").expect(0).json["items"]

    def journal(self, query, *arguments):
        """What the journal says, out of a copy: whoever opens it after a kill mends it, and that is for Landfall to do."""
        copy = self.path("copy.db")
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(copy + ending)
        for ending in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError), open(os.path.join(self.home, f"journal.db{ending}"), "rb") as file:
                content = file.read()
                with open(copy + ending, "wb") as to:
                    to.write(content)
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return connection.execute(query, arguments).fetchall()

    # What the bucket says.

    def at(self, key, **more):
        return {"Bucket": self.server.bucket, "Key": self.prefix + key, **more}

    def object(self, key):
        """The bytes of an object; `None` if it is not there."""
        client = self.server.client()
        try:
            return client.get_object(**self.at(key))["Body"].read()
        except client.exceptions.NoSuchKey:
            return None

    def head(self, key):
        return self.server.client().head_object(**self.at(key, ChecksumMode="ENABLED"))

    def keys(self):
        """All keys below the prefix, without it."""
        return sorted(key.removeprefix(self.prefix) for key in self.server.keys_of() if key.startswith(self.prefix))

    def uploads(self):
        """The incomplete uploads below the prefix: keys without it, and ids."""
        pages = self.server.client().get_paginator("list_multipart_uploads").paginate(Bucket=self.server.bucket)
        found = [(upload["Key"], upload["UploadId"]) for page in pages for upload in page.get("Uploads", ())]
        return [(key.removeprefix(self.prefix), id) for key, id in found if key.startswith(self.prefix)]

    # Checks that name the server.

    def check(self, held, what, detail=""):
        return landfall.check(held, f"{self.server.name}: {what}", detail)

    def equal(self, found, wanted, what):
        return landfall.equal(found, wanted, f"{self.server.name}: {what}")

    def figure(self, text):
        landfall.figure(f"{self.server.name}: {text}")

    def check_holds(self, objects, what):
        """The bucket has these objects below the prefix, nothing else, and no incomplete upload."""
        found = {key: self.object(key) for key in self.keys()}
        wrong = [key for key, content in found.items() if objects.get(key) != content]
        missing = sorted(set(objects) - set(found))
        self.check(not wrong and not missing, f"{what}: the bucket has the object, whole, and no other",
                   f"missing {missing}, wrong or stray {wrong}")
        self.equal(self.uploads(), [], f"{what}: no incomplete upload is left")


def noise(size, seed):
    return random.Random(f"bucket {seed}").randbytes(size)


def read(path):
    with open(path, "rb") as file:
        return file.read()
