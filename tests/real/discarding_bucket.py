"""A bucket that keeps nothing: it answers as S3 does, counts what it is sent, and throws it away.

    with DiscardingBucket() as bucket:
        world.run("destination", "add", "s3", "media", "--bucket", bucket.name, "--endpoint", bucket.endpoint, ...)
        ...
        bucket.facts()["sent"]

It takes whatever an upload is as fast as it comes, and needs no disk, so that a test of the one who sends may be large. It is a
process of its own, with a thread for each connection. Signatures are not looked at, and checksums are given back as they came,
but for those of canaries, which are compared. What lies below `.landfall/` is kept, since that is read again.
"""

import base64
import collections
import contextlib
import email.utils
import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
from xml.sax.saxutils import escape

from s3_request import Request, headers_of, is_in_chunks

BLOCK, HEAD = 1 << 20, 4 << 10
CHECKSUM, METADATA = "x-amz-checksum-crc64nvme", "x-amz-meta-"


class DiscardingBucket:
    """Starts one; it ends with its block, or with the test."""

    name, region = "media", "us-east-1"

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-B", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.endpoint = f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"
        return self

    def facts(self):
        """How many requests there were of each kind, and how many were refused; how many bytes of objects and parts came, and
        how many connections there were at once; and of the objects that are there, those below `.landfall/` left out, how many
        they are, how long in all, and whether all have a tag and a checksum."""
        self._process.stdin.write(b"facts\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


# --- the process -----------------------------------------------------------------------------------------------------

def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    store = Store()
    threading.Thread(target=accept, args=(listener, store), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    # The input ends with whoever started this.
    for _ in sys.stdin:
        print(json.dumps(store.facts()), flush=True)


def accept(listener, store):
    for number in itertools.count():
        side, _ = listener.accept()
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(store, side, number).run, daemon=True).start()


class Answer:
    def __init__(self, status, body=b"", **headers):
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def refused(status, code):
    return Answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())


def document(name, *elements):
    body = "".join(f"<{tag}>{text if tag in NESTING else escape(str(text))}</{tag}>" for tag, text in elements if text is not None)
    return Answer(200, f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}>{body}</{name}>'.encode(), content_type="application/xml")


class Connection:
    """One connection, which is kept alive. All that comes passes through one buffer."""

    def __init__(self, store, side, number):
        self.store, self.side, self.number = store, side, number
        self.view = memoryview(bytearray(BLOCK))
        #: Where in the buffer begins what has not been taken yet, and where it ends.
        self.begin = self.end = 0

    def run(self):
        self.store.connected(1)
        with self.side, contextlib.suppress(OSError, EOFError):
            while head := self.head():
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                request = Request(0, self.number, method, target, headers_of(head), 0.0)
                if is_in_chunks(request.headers):
                    self.answer(request, refused(501, "NotImplemented"))
                    break
                if "expect" in request.headers:
                    self.side.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = self.body(request.length) if self.store.keeps(request) else self.discard(request.length)
                self.answer(request, self.store.answer(request, body))
        self.store.connected(-1)

    def head(self):
        """The head of the next request; `None` when there is none."""
        if self.begin:
            # What follows the last body is short, if there is anything.
            left = bytes(self.view[self.begin:self.end])
            self.view[:len(left)] = left
            self.begin, self.end = 0, len(left)
        while True:
            found = bytes(self.view[:self.end])
            if (at := found.find(b"\r\n\r\n")) >= 0:
                self.begin = at + 4
                return found[:at]
            # Little at a time, since a body that came along would be copied.
            if not (count := self.side.recv_into(self.view[self.end:], HEAD)):
                return None
            self.end += count

    def body(self, length):
        kept = bytearray()
        self.blocks(length, kept.extend)
        return bytes(kept)

    def discard(self, length):
        self.blocks(length, lambda _: None)

    def blocks(self, length, take):
        early = min(length, self.end - self.begin)
        take(self.view[self.begin:self.begin + early])
        self.begin += early
        left = length - early
        while left:
            if not (count := self.side.recv_into(self.view, min(left, BLOCK))):
                raise EOFError
            take(self.view[:count])
            left -= count
            self.begin = self.end = 0

    def answer(self, request, answer):
        headers = {"Date": email.utils.formatdate(usegmt=True), "x-amz-request-id": "0", "content-length": str(len(answer.body)),
                   **answer.headers}
        head = "".join([f"HTTP/1.1 {answer.status} -\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"])
        self.side.sendall(head.encode("latin-1") + (b"" if request.method == "HEAD" else answer.body))


class Object:
    """What is said of an object when it is put, or when its upload is opened."""

    def __init__(self, headers):
        self.headers = {name: value for name, value in headers.items() if name.startswith(METADATA) or name == "content-type"}
        self.size, self.body = 0, None


class Upload(Object):
    def __init__(self, key, headers):
        super().__init__(headers)
        self.key, self.parts = key, {}


class Store:
    """What is remembered of what was sent; one request at a time, once its body has come."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects, self.uploads, self.numbers = {}, {}, itertools.count(1)
        self.asked, self.refusals = collections.Counter(), collections.Counter()
        self.sent = self.connections = self.connections_most = 0

    def facts(self):
        with self.lock:
            stored = [one for key, one in self.objects.items() if not is_ours(key)]
            return {
                "asked": self.asked, "refused": self.refusals, "sent": self.sent, "connections": self.connections_most,
                "uploads": len(self.uploads), "objects": len(stored), "bytes": sum(one.size for one in stored),
                "all_known": all({CHECKSUM, METADATA + "landfall-id"} <= one.headers.keys() for one in stored),
            }

    def connected(self, change):
        with self.lock:
            self.connections += change
            self.connections_most = max(self.connections_most, self.connections)

    def keeps(self, request):
        """Whether a body is looked at, or given back."""
        return request.method == "POST" or is_ours(request.key)

    def answer(self, request, body):
        operation = request.operation
        with self.lock:
            function = getattr(self, operation, None) if operation in OPERATIONS else None
            answer = function(request, body) if function else refused(501, "NotImplemented")
            self.asked[operation] += 1
            if answer.status >= 400 and operation != "HeadObject":
                self.refusals[f"{operation} {answer.status}"] += 1
            if operation in ("PutObject", "UploadPart") and not is_ours(request.key):
                self.sent += request.length
        return answer

    # What can be asked, by the names of S3.

    def HeadBucket(self, request, _):
        return Answer(200, x_amz_bucket_region=DiscardingBucket.region)

    def HeadObject(self, request, _):
        if not (found := self.objects.get(request.key)):
            return Answer(404)
        answer = Answer(200, last_modified=email.utils.formatdate(usegmt=True))
        answer.headers |= {**found.headers, "content-length": str(found.size)}
        return answer

    def GetObject(self, request, _):
        if not (found := self.objects.get(request.key)) or found.body is None:
            return refused(404, "NoSuchKey")
        answer = Answer(200, found.body)
        answer.headers |= found.headers
        return answer

    def PutObject(self, request, body):
        if self.is_taken(request):
            return refused(412, "PreconditionFailed")
        checksum = request.headers.get(CHECKSUM)
        if ".landfall/canary" in request.key and checksum and checksum != crc64nvme(body):
            return refused(400, "BadDigest")
        stored = Object(request.headers)
        stored.size, stored.body = request.length, body
        return self.store(request.key, stored, checksum)

    def CreateMultipartUpload(self, request, _):
        identity = f"upload-{next(self.numbers)}"
        self.uploads[identity] = Upload(request.key, request.headers)
        return document("InitiateMultipartUploadResult", ("Key", request.key), ("UploadId", identity))

    def UploadPart(self, request, _):
        if not (upload := self.uploads.get(request.upload_id)):
            return refused(404, "NoSuchUpload")
        checksum, etag = request.headers.get(CHECKSUM), f'"part-{next(self.numbers)}"'
        upload.parts[request.part_number] = (request.length, etag, checksum)
        return with_checksum(Answer(200, etag=etag), checksum)

    def ListParts(self, request, _):
        if not (upload := self.uploads.get(request.upload_id)):
            return refused(404, "NoSuchUpload")
        after = int(request.query.get("part-number-marker") or 0)
        numbers = sorted(number for number in upload.parts if number > after)
        shown = numbers[:PAGE]
        parts = [("Part", elements(("PartNumber", number), ("ETag", etag), ("Size", size), ("ChecksumCRC64NVME", checksum)))
                 for number in shown for size, etag, checksum in [upload.parts[number]]]
        return document("ListPartsResult", ("Key", upload.key), ("UploadId", request.upload_id), ("PartNumberMarker", after),
                        ("IsTruncated", "true" if numbers[PAGE:] else "false"),
                        ("NextPartNumberMarker", shown[-1] if shown else None), *parts)

    def CompleteMultipartUpload(self, request, body):
        if not (upload := self.uploads.get(request.upload_id)):
            return refused(404, "NoSuchUpload")
        if self.is_taken(request):
            return refused(412, "PreconditionFailed")
        named = [(int(number), etag) for etag, number in PART.findall(body.decode().replace("&quot;", '"'))]
        if named != [(number, etag) for number, (_, etag, _) in sorted(upload.parts.items())]:
            return refused(400, "InvalidPart")
        upload.size = sum(size for size, _, _ in upload.parts.values())
        if int(request.headers.get("x-amz-mp-object-size", upload.size)) != upload.size:
            return refused(400, "InvalidRequest")
        del self.uploads[request.upload_id]
        upload.parts, checksum = {}, request.headers.get(CHECKSUM)
        answer = self.store(request.key, upload, checksum)
        return document("CompleteMultipartUploadResult", ("Key", request.key), ("ETag", answer.headers["etag"]),
                        ("ChecksumCRC64NVME", checksum))

    def AbortMultipartUpload(self, request, _):
        return Answer(204) if self.uploads.pop(request.upload_id, None) else refused(404, "NoSuchUpload")

    def DeleteObject(self, request, _):
        self.objects.pop(request.key, None)
        return Answer(204)

    def ListObjects(self, request, _):
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        shown, is_encoded = keys[:PAGE], request.query.get("encoding-type") == "url"
        contents = [("Contents", elements(("Key", urllib.parse.quote(key) if is_encoded else key), ("Size", self.objects[key].size),
                                          ("ETag", self.objects[key].headers["etag"]))) for key in shown]
        return document("ListBucketResult", ("EncodingType", "url" if is_encoded else None),
                        ("IsTruncated", "true" if keys[PAGE:] else "false"),
                        ("NextContinuationToken", shown[-1] if keys[PAGE:] else None), *contents)

    def ListMultipartUploads(self, request, _):
        open_now = [("Upload", elements(("Key", upload.key), ("UploadId", identity))) for identity, upload in self.uploads.items()
                    if upload.key.startswith(request.query.get("prefix", ""))]
        return document("ListMultipartUploadsResult", ("IsTruncated", "false"), *open_now)

    # Below.

    def is_taken(self, request):
        return request.headers.get("if-none-match") == "*" and request.key in self.objects

    def store(self, key, stored, checksum):
        stored.headers["etag"] = f'"object-{next(self.numbers)}"'
        if checksum:
            stored.headers |= {CHECKSUM: checksum, "x-amz-checksum-type": "FULL_OBJECT"}
        self.objects[key] = stored
        return with_checksum(Answer(200, etag=stored.headers["etag"]), checksum)


def is_ours(key):
    """Whether it is no content, but something about the bucket."""
    return ".landfall/" in key


def with_checksum(answer, checksum):
    if checksum:
        answer.headers[CHECKSUM] = checksum
    return answer


def elements(*pairs):
    return "".join(f"<{tag}>{escape(str(text))}</{tag}>" for tag, text in pairs if text is not None)


def crc64nvme(content):
    """As it is sent; bit by bit, since only canaries are summed."""
    rest = (1 << 64) - 1
    for byte in content:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x9A6C9329AC4BC9B5 if rest & 1 else 0)
    return base64.b64encode((rest ^ (1 << 64) - 1).to_bytes(8, "big")).decode()


#: Elements whose text is made of elements.
NESTING = {"Part", "Contents", "Upload"}
OPERATIONS = {name for name in vars(Store) if name[0].isupper()}
PART = re.compile(r"<Part><ETag>([^<]*)</ETag>(?:<Checksum\w+>[^<]*</Checksum\w+>)?<PartNumber>(\d+)</PartNumber>")
#: How many entries a page of a listing has at most.
PAGE = 1000


if __name__ == "__main__":
    main()
