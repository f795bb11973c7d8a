"""One request to an S3 server as a proxy sees it, and the name that the S3 API has for it."""

import dataclasses
import urllib.parse


@dataclasses.dataclass
class Request:
    """One request, as far as the proxy has seen it. Moments are of the monotonic clock, in seconds."""

    #: Its place among all requests, and the number of the connection it came on; both from 0.
    number: int
    connection: int
    method: str
    #: As in the request line, and the headers with names in small letters.
    target: str
    headers: dict
    started: float
    #: Bytes of the body that came from the client; of a body in chunks, without what frames them. And whether all came.
    received: int = 0
    whole: bool = False
    #: Of the answer: its status once its head has come from the server, its headers, and bytes of the body handed on, with
    #: what frames chunks.
    status: int | None = None
    answer_headers: dict = dataclasses.field(default_factory=dict)
    answered: int = 0
    #: The client's system has confirmed the last byte of the answer while the client's socket was open. Whether the client
    #: has read it, nobody can see.
    delivered: bool = False
    #: When it was delivered, or its connection ended.
    ended: float | None = None

    @property
    def path(self):
        return self.target.split("?")[0]

    @property
    def query(self):
        """The query; a name without a value has an empty one."""
        return dict(urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def bucket(self):
        return urllib.parse.unquote(self.path.removeprefix("/").partition("/")[0])

    @property
    def key(self):
        """The object's key, of a request in path style; empty if it is about the bucket."""
        return urllib.parse.unquote(self.path.removeprefix("/").partition("/")[2])

    @property
    def upload_id(self):
        return self.query.get("uploadId")

    @property
    def part_number(self):
        number = self.query.get("partNumber")
        return int(number) if number else None

    @property
    def part(self):
        """(upload id, part number) if it puts a part."""
        return (self.upload_id, self.part_number) if self.operation == "UploadPart" else None

    @property
    def length(self):
        """What the body's length was said to be; `None` if it comes in chunks."""
        return None if is_in_chunks(self.headers) else int(self.headers.get("content-length", 0))

    @property
    def operation(self):
        """The name that the S3 API has for it; for what an upload does not need, the method and the first word of the query."""
        query, copies = self.query, "x-amz-copy-source" in self.headers
        if self.key:
            found = {
                ("PUT", True): "UploadPartCopy" if copies else "UploadPart", ("PUT", False): "CopyObject" if copies else "PutObject",
                ("POST", True): "CompleteMultipartUpload", ("GET", True): "ListParts", ("GET", False): "GetObject",
                ("HEAD", False): "HeadObject", ("DELETE", True): "AbortMultipartUpload", ("DELETE", False): "DeleteObject",
            }.get((self.method, "uploadId" in query))
            if self.method == "POST" and "uploads" in query:
                return "CreateMultipartUpload"
            return found if found and not _SUBRESOURCES & set(query) else self._other()
        if self.method == "GET" and "uploads" in query:
            return "ListMultipartUploads"
        if self.method == "POST" and "delete" in query:
            return "DeleteObjects"
        found = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}.get(self.method)
        return found if found and self.bucket and not _SUBRESOURCES & set(query) else self._other()

    def _other(self):
        return f"{self.method} {next(iter(self.query), '')}".strip()

    def __repr__(self):
        part = f" part {self.part_number}" if self.part_number else ""
        return f"<{self.number} {self.operation} {self.key}{part} {self.received}/{self.length} {self.status} {self.delivered}>"


def headers_of(head):
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def is_in_chunks(headers):
    return headers.get("transfer-encoding", "").lower() == "chunked"


#: What a query names when it is not about the object or the bucket itself.
_SUBRESOURCES = {"acl", "attributes", "cors", "encryption", "lifecycle", "location", "object-lock", "policy", "restore", "retention",
                 "tagging", "versioning", "versions", "website"}
