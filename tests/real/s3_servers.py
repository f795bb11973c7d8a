"""Real S3 servers for tests: each installed if need be, started in a throw-away folder, and gone when its block ends.

    with s3_servers.start("seaweedfs") as server:
        server.client().put_object(Bucket=server.bucket, Key="a", Body=b"b")
        subprocess.run([...], env={**os.environ, **server.env()})

A server listens on 127.0.0.1, on ports that no other test has, and is there when an object has been put and read back
with its keys: an open port says nothing yet. It has a bucket, an owner, and a reader who may not write. It keeps its port
and its objects when it is restarted. It ends with the test, also when the test is killed.

The servers differ from AWS and from each other; `Traits` says how, and `s3_smoke.py` proves it.
"""

import atexit
import contextlib
import dataclasses
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid

import s3_packages
from s3_packages import Unavailable

#: How long a server may take to its first answer. Ceph needs 15 seconds on an idle machine, and these may be busy.
READY_WITHIN = 180.0
NAMES = ("seaweedfs", "garage", "ceph")


def start(name, **options):
    """Starts a server by its name; raises `Unavailable` with a remedy if it cannot be had here."""
    return {"seaweedfs": SeaweedFS, "garage": Garage, "ceph": Ceph}[name](**options)


def available():
    """The names of the servers that can be had here; installs what they need."""
    names = []
    for name, need in zip(NAMES, (s3_packages.python_packages, s3_packages.garage, s3_packages.ceph)):
        with contextlib.suppress(Unavailable):
            need()
            names.append(name)
    return names


@dataclasses.dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str


@dataclasses.dataclass(frozen=True)
class Traits:
    """How a server answers where servers differ. The defaults are what AWS does."""

    #: A wrong `x-amz-checksum-*` or a wrong composite checksum of a Complete is refused; else it is not looked at.
    checks_checksums: bool = True
    #: ListParts shows the checksums that parts were sent with.
    lists_checksums: bool = True
    #: The status of a PUT, and of a Complete, with `If-None-Match: *` on an object that exists.
    put_if_none_match: int = 412
    complete_if_none_match: int = 412
    #: The same with `If-Match` on an object with another ETag.
    put_if_match: int = 412
    complete_if_match: int = 412
    #: The answer of a Complete carries the object's ETag.
    complete_has_etag: bool = True
    #: The status of a Complete that is sent again.
    complete_again: int = 200
    #: The status of a Complete with a part below 5 MiB that is not the last, and of one with parts out of order.
    small_part: int = 400
    wrong_order: int = 400
    #: The status of an Abort that is sent again.
    abort_again: int = 404
    #: ListParts shows a part that was sent twice once.
    lists_part_once: bool = True
    #: What `restart(kill=True)` kills keeps all its objects on disk; else something behind it lives on.
    kills_everything: bool = True


class Server:
    """A server that answers, and what a client needs to know of it."""

    name, region, traits, ports_needed = "", "us-east-1", Traits(), 1

    def __init__(self, bucket="media"):
        began = time.monotonic()
        self.bucket = bucket
        self.owner = Keys(*self.new_keys())
        #: May list and read the bucket, and nothing else.
        self.reader = Keys(*self.new_keys())
        self._prepare()
        base = os.environ.get("LANDFALL_TEST_DIR") or None
        self.folder = tempfile.mkdtemp(prefix=f"landfall-s3-{self.name}-", dir=base)
        for made in ("log", "tmp"):
            os.mkdir(self.path(made))
        self.ports, self._ports_lock = _ports(self.ports_needed)
        self.endpoint = f"http://127.0.0.1:{self.ports[0]}"
        keeper = os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3_keeper.py")
        self._keeper = subprocess.Popen([sys.executable, "-IS", keeper, self.folder, *self._strays()], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, process_group=0)
        atexit.register(self.close)
        self._processes = {}
        try:
            self._start()
            self._ready()
        except BaseException as error:
            if isinstance(error, Exception):
                error.add_note(self.log())
            self.close()
            raise
        #: Seconds from nothing to the first object.
        self.took = time.monotonic() - began

    # What a client needs.

    access_key = property(lambda self: self.owner.access_key)
    secret_key = property(lambda self: self.owner.secret_key)

    def client(self, origin=None, keys=None, **config):
        """A boto3 client that never tries again by itself; through a proxy if its `origin` is given."""
        s3_packages.python_packages()
        import boto3
        from botocore.config import Config
        keys = keys or self.owner
        settings = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}, "connect_timeout": 5, "read_timeout": 60,
                    "retries": {"total_max_attempts": 1, "mode": "standard"}, "max_pool_connections": 32}
        # A session of its own: sessions are not to be shared by threads.
        return boto3.session.Session().client(
            "s3", endpoint_url=origin or self.endpoint, region_name=self.region, aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key, config=Config(**{**settings, **config}))

    def env(self, origin=None, keys=None):
        """What clients of the command line read: awscli, s5cmd and, with `env_auth`, rclone. No file of the user's counts."""
        keys, origin, nothing = keys or self.owner, origin or self.endpoint, self.path("tmp", "no such file")
        return {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key, "AWS_REGION": self.region,
                "AWS_DEFAULT_REGION": self.region, "AWS_ENDPOINT_URL": origin, "S3_ENDPOINT_URL": origin,
                "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": nothing, "AWS_SHARED_CREDENTIALS_FILE": nothing}

    def new_bucket(self, name):
        """One more bucket, which its owner can write and the reader cannot see."""
        self.client().create_bucket(Bucket=name)
        return name

    # Its life.

    def restart(self, kill=True):
        """Kills it, or asks it to end, and starts it again with its port and its objects; returns once it answers.

        Of Ceph that is the gateway; its objects live in the memory of a process behind it.
        """
        self.stop(kill)
        self._serve()
        self._ready()

    def stop(self, kill=True):
        """Kills it, or asks it to end. Nobody answers until it is restarted."""
        process = self._processes.pop("server", None)
        if process:
            process.kill() if kill else process.terminate()
            process.wait(60)

    def pause(self):
        """Has it stand still: connections are taken, and nothing comes back."""
        self._processes["server"].send_signal(signal.SIGSTOP)

    def resume(self):
        self._processes["server"].send_signal(signal.SIGCONT)

    def close(self):
        """Kills all its processes and removes its folder. Does nothing the second time."""
        if self._keeper.stdin.closed:
            return
        atexit.unregister(self.close)
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._keeper.stdin.close()
        # Its end means that the folder is gone too.
        self._keeper.stdout.read()
        self._keeper.stdout.close()
        self._keeper.wait()
        self._ports_lock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def log(self, most=2000):
        """The ends of what its processes have said."""
        said = []
        for name in sorted(os.listdir(self.path("log"))):
            with open(self.path("log", name), errors="replace") as file:
                said.append(f"{name}: {file.read()[-most:]}")
        return "\n".join(said)

    # For the kinds of servers.

    @staticmethod
    def new_keys():
        return "LF" + secrets.token_hex(9).upper(), secrets.token_hex(20)

    def _prepare(self):
        """Installs what it needs."""

    def _strays(self):
        """What it leaves outside its folder."""
        return []

    def _start(self):
        """Makes what it needs, starts it, and has its bucket and its reader."""
        raise NotImplementedError

    def _serve(self):
        """Starts the process named `server`, of which `restart` starts another."""
        raise NotImplementedError

    def _spawn(self, name, *command, env=None):
        with open(self.path("log", f"{name}.log"), "ab") as log:
            self._processes[name] = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, "TMPDIR": self.path("tmp"), **(env or {})}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, process_group=self._keeper.pid)

    def _run(self, *command, env=None, given=None):
        ended = subprocess.run(command, cwd=self.folder, env={**os.environ, "TMPDIR": self.path("tmp"), **(env or {})},
                               input=given, stdin=None if given is not None else subprocess.DEVNULL, capture_output=True,
                               process_group=self._keeper.pid, timeout=READY_WITHIN)
        if ended.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {ended.returncode}: {ended.stderr.decode(errors='replace')[-1000:]}")
        return ended.stdout.decode()

    def _write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(textwrap.dedent(text))
        return self.path(name)

    def _until(self, attempt, what):
        """Tries until nothing is raised, as long as all processes live."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                return attempt()
            except Exception as error:  # every kind: a server that starts says many things
                ended = [name for name, process in self._processes.items() if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    why = f"{' and '.join(ended)} ended" if ended else f"not within {READY_WITHIN:.0f} s"
                    raise RuntimeError(f"{self.name}: {what}: {why}; last: {error}") from error
            time.sleep(0.05)

    def _ready(self):
        """Waits until it answers for what it held, and for something new."""
        client = self.client(connect_timeout=1, read_timeout=2)
        old, new = getattr(self, "_canary", None), f".ready-{secrets.token_hex(4)}"

        def answers():
            for key in (old, new) if old else (new,):
                if key == new:
                    client.put_object(Bucket=self.bucket, Key=key, Body=key.encode())
                if client.get_object(Bucket=self.bucket, Key=key)["Body"].read() != key.encode():
                    raise RuntimeError("something else came back than was put")

        self._until(answers, "an object is put and read back")
        if old:
            client.delete_object(Bucket=self.bucket, Key=old)
        self._canary = new

    def keys_of(self, bucket=None):
        """The keys of all objects that a test has put into a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket or self.bucket)
        found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return [key for key in found if key != self._canary]


class SeaweedFS(Server):
    """Master, volumes, filer and gateway in one process, on disk."""

    # The second half of the ports is for its processes' own conversations.
    name, ports_needed = "seaweedfs", 8
    traits = Traits(lists_checksums=False, lists_part_once=False, abort_again=204)

    def _prepare(self):
        self.weed = s3_packages.command("weed")

    def _start(self):
        os.mkdir(self.path("data"))
        identities = [
            {"name": "owner", "actions": ["Admin", "Read", "List", "Tagging", "Write"], "credentials": [self._pair(self.owner)]},
            {"name": "reader", "actions": [f"Read:{self.bucket}", f"List:{self.bucket}"], "credentials": [self._pair(self.reader)]},
        ]
        self._write("s3.json", json.dumps({"identities": identities}))
        self._serve()
        client = self.client(connect_timeout=1, read_timeout=2)
        self._until(lambda: self._create(client), "a bucket is made")

    def _create(self, client):
        with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=self.bucket)

    def _strays(self):
        # Whatever the folder for temporary files is.
        kinds = ("master", "volume", "filer", "s3", "master-grpc", "volume-grpc", "filer-grpc", "s3-grpc")
        return [f"/tmp/seaweedfs-{kind}-{port}.sock" for kind, port in zip(kinds, self._flags().values())]

    @staticmethod
    def _pair(keys):
        return {"accessKey": keys.access_key, "secretKey": keys.secret_key}

    def _serve(self):
        flags = [f"-{flag}={port}" for flag, port in self._flags().items()]
        # A master that takes 10 seconds to elect itself makes each restart take 20.
        self._spawn("server", self.weed, "server", f"-dir={self.path('data')}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
                    f"-s3.config={self.path('s3.json')}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=200",
                    "-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s", "-master.telemetry=false",
                    "-volume.preStopSeconds=0", *flags)

    def _flags(self):
        kinds = ("master", "volume", "filer", "s3")
        # The first port is the one that clients talk to.
        first, *others = self.ports
        plain = dict(zip([f"{kind}.port" for kind in kinds], [*others[:3], first]))
        return {**plain, **dict(zip([f"{kind}.port.grpc" for kind in kinds], others[3:]))}


class Garage(Server):
    """One node with SQLite, on disk."""

    name, region, ports_needed = "garage", "garage", 3
    # Of two objects the one that was begun later stays, so that a Complete replaces nothing that came after its Create.
    traits = Traits(put_if_none_match=200, complete_if_none_match=200, put_if_match=200, complete_again=404, small_part=200)

    @staticmethod
    def new_keys():
        return "GK" + secrets.token_hex(12), secrets.token_hex(32)

    def _prepare(self):
        self.binary = s3_packages.garage()

    def _start(self):
        s3, rpc, admin = self.ports
        self._write("garage.toml", f"""
            metadata_dir = "{self.path('meta')}"
            data_dir = "{self.path('data')}"
            db_engine = "sqlite"
            replication_factor = 1
            rpc_bind_addr = "127.0.0.1:{rpc}"
            rpc_public_addr = "127.0.0.1:{rpc}"
            rpc_secret = "{secrets.token_hex(32)}"
            [s3_api]
            s3_region = "{self.region}"
            api_bind_addr = "127.0.0.1:{s3}"
            root_domain = ".s3.garage.localhost"
            [admin]
            api_bind_addr = "127.0.0.1:{admin}"
        """)
        self._serve()
        self._ready()
        asked = (self.binary, "-c", self.path("garage.toml"))
        self._run(*asked, "key", "import", "--yes", "-n", "reader", self.reader.access_key, self.reader.secret_key)
        self._run(*asked, "bucket", "allow", "--read", "--key", self.reader.access_key, self.bucket)
        self._run(*asked, "key", "allow", "--create-bucket", self.owner.access_key)

    def _serve(self):
        keys = {"GARAGE_DEFAULT_ACCESS_KEY": self.owner.access_key, "GARAGE_DEFAULT_SECRET_KEY": self.owner.secret_key,
                "GARAGE_DEFAULT_BUCKET": self.bucket}
        self._spawn("server", self.binary, "-c", self.path("garage.toml"), "server", "--single-node", "--default-bucket", env=keys)


class Ceph(Server):
    """A monitor, an OSD in memory, and the RADOS gateway; needs root."""

    name, region, ports_needed = "ceph", "default", 16
    traits = Traits(checks_checksums=False, lists_checksums=False, complete_if_none_match=200, complete_if_match=200, complete_has_etag=False,
                    wrong_order=200, kills_everything=False)

    #: What the OSD may hold. It takes memory only for what it does hold.
    MEMORY = 6 << 30

    def _prepare(self):
        s3_packages.ceph()

    def _start(self):
        gateway, first, second, *internal = self.ports
        monitor, fsid, osd = f"[v2:127.0.0.1:{first},v1:127.0.0.1:{second}]", uuid.uuid4(), str(uuid.uuid4())
        for made in ("mon", "osd", "run"):
            os.mkdir(self.path(made))
        # Nothing of a Ceph that may be installed besides is touched: folders, sockets and logs are all in here.
        self.conf = self._write("ceph.conf", f"""
            [global]
            fsid = {fsid}
            mon_host = {monitor}
            public_network = 127.0.0.0/8
            keyring = {self.path('keyring')}
            run_dir = {self.path('run')}
            admin_socket =
            crash_dir = {self.path('run')}
            log_file = {self.path('log')}/$name.log
            mon_cluster_log_file = {self.path('log')}/cluster.log
            osd_pool_default_size = 1
            osd_pool_default_min_size = 1
            mon_allow_pool_size_one = true
            osd_pool_default_pg_num = 8
            osd_pool_default_pgp_num = 8
            osd_pool_default_pg_autoscale_mode = off
            mon_max_pg_per_osd = 1000
            osd_crush_chooseleaf_type = 0
            osd_objectstore = memstore
            memstore_device_bytes = {self.MEMORY}
            ms_bind_port_min = {internal[0]}
            ms_bind_port_max = {internal[-1]}
            paxos_propose_interval = 0.05
            paxos_min_wait = 0.01
            [mon.a]
            mon_data = {self.path('mon')}
            [osd.0]
            osd_data = {self.path('osd')}
            [client]
            rgw_frontends = beast endpoint=127.0.0.1:{gateway}
        """)
        self._make_monitor(monitor, str(fsid))
        self._spawn("monitor", "ceph-mon", "-c", self.conf, "-i", "a", "-f")
        self._ceph("osd", "new", osd, "0")
        self._ceph("auth", "add", "osd.0", "-i", self.path("keyring"))
        self._run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("osd", "ceph-osd", "-c", self.conf, "-i", "0", "-f")
        # A pool that is made before the OSD is up fails for good.
        self._until(self._osd_is_up, "its OSD is up")
        for name, keys in (("owner", self.owner), ("reader", self.reader)):
            self._run("radosgw-admin", "-c", self.conf, "user", "create", f"--uid={name}", f"--display-name={name}",
                      f"--access-key={keys.access_key}", f"--secret-key={keys.secret_key}")
        self._serve()
        client = self.client(connect_timeout=1, read_timeout=30)
        self._until(lambda: client.create_bucket(Bucket=self.bucket), "a bucket is made")
        resources = [f"arn:aws:s3:::{self.bucket}", f"arn:aws:s3:::{self.bucket}/*"]
        policy = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
            "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": resources}]}
        client.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))

    def _serve(self):
        self._spawn("server", "radosgw", "-c", self.conf, "-n", "client.admin", "-f", f"--rgw_data={self.path('run')}")

    def _make_monitor(self, monitor, fsid):
        keys, all_ = self.path("keyring"), "allow *"
        caps = {"mon.": ("mon",), "client.admin": ("mon", "osd", "mgr"), "osd.0": ("mon", "osd")}
        for number, (name, allowed) in enumerate(caps.items()):
            more = [word for one in allowed for word in ("--cap", one, all_)]
            self._run("ceph-authtool", keys, *(["--create-keyring"] if number == 0 else []), "-n", name, "--gen-key", *more)
        map_ = self.path("monmap")
        self._run("monmaptool", "--create", "--addv", "a", monitor, "--fsid", fsid, map_)
        self._run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", map_, "--keyring", keys)

    def _ceph(self, *command):
        return self._run("ceph", "-c", self.conf, "--connect-timeout", "60", *command)

    def _osd_is_up(self):
        if json.loads(self._ceph("osd", "stat", "--format=json"))["num_up_osds"] != 1:
            raise RuntimeError("not yet")


def _ports(count):
    """Ports that nobody has, and the lock that keeps other tests from taking them, also between two lives of a server.

    They are below those that the system gives to clients, so that no connection takes one while its server is away.
    """
    folder, block = os.path.join(s3_packages.cache(), "ports"), 16
    os.makedirs(folder, exist_ok=True)
    for first in random.sample(range(16384, 32768, block), 256):
        lock = open(os.path.join(folder, str(first)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ports = list(range(first, first + count))
            for port in ports:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return ports, lock
        except OSError:
            lock.close()
    raise Unavailable("256 blocks of ports are all taken; end what listens on 127.0.0.1")
