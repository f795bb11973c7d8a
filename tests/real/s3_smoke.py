"""The harness itself: each S3 server starts, answers as its `Traits` say, survives kills and leaves nothing behind; the proxy
counts what really went over the wire and does the harm it is told to.

LANDFALL_ONLY names the servers to take; otherwise all that can be had here are. Nothing of Landfall is needed.
"""

import base64
import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import s3_keeper
import s3_packages
import s3_servers
from counting_proxy import CountingProxy
from landfall import MIB, answer, check, equal, figure, results, scenario, until

PART = 5 * MIB
noise = random.Random("smoke").randbytes


def one(name):
    """A server, through the proxy, as others will use it"""
    with s3_servers.start(name) as server:
        figure(f"{name}: started in {server.took:.1f} s")
        with CountingProxy(server) as proxy:
            for function in (objects, parts, uploads, traits_of_parts, conditions, checksums, presigned, keys, clients, harm,
                             killed_client, kills):
                function(name, server, proxy)
        folder, group = server.folder, server._keeper.pid
    check(not os.path.exists(folder) and not s3_keeper.living(group), f"{name}: nothing is left when its block ends")


def status(function, **arguments):
    """The status that an operation of boto3 is answered with."""
    from botocore.exceptions import ClientError
    try:
        return function(**arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def fails(function, **arguments):
    """Whether an operation gets no answer."""
    from botocore.exceptions import ClientError
    try:
        function(**arguments)
    except ClientError:
        return False
    except Exception:  # of botocore or of urllib3, as the moment will have it
        return True
    return False


def at(server, key, **more):
    return {"Bucket": server.bucket, "Key": key, **more}


def etags(*sent):
    return {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in sent]}


def put_part(client, place, upload, number, body):
    return number, client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)["ETag"]


def objects(name, server, proxy):
    """Objects are put, listed, read and deleted, over one connection."""
    client, body, key = proxy.client(), noise(300_000), "a folder/ü + 1.bin"
    before = proxy.count()
    client.put_object(**at(server, key), Body=body)
    equal(client.get_object(**at(server, key))["Body"].read(), body, f"{name}: an object comes back")
    equal([entry["Key"] for entry in client.list_objects_v2(Bucket=server.bucket, Prefix="a folder/")["Contents"]], [key],
          f"{name}: an object is listed")
    equal(client.head_object(**at(server, key))["ContentLength"], len(body), f"{name}: an object has its length")
    client.delete_object(**at(server, key))
    equal(server.keys_of(), [], f"{name}: an object is deleted")
    seen = proxy.requests(before)
    equal([request.operation for request in seen], ["PutObject", "GetObject", "ListObjects", "HeadObject", "DeleteObject"],
          f"{name}: the proxy has seen each request")
    put, get = seen[:2]
    equal((put.key, put.received, put.whole, put.status), (key, len(body), True, 200), f"{name}: the proxy has counted a body")
    equal(get.answered, len(body), f"{name}: the proxy has counted an answer")
    check(all(request.delivered for request in seen), f"{name}: every answer is seen to arrive", seen)
    equal({request.headers["host"] for request in seen}, {proxy.origin.removeprefix("http://")},
          f"{name}: the server takes signatures for the proxy's host")
    equal(len({request.connection for request in seen}), 1, f"{name}: connections are kept alive")


def parts(name, server, proxy):
    """An object goes in parts, which are listed, and counted."""
    client, place, body = proxy.client(), at(server, "parts"), noise(2 * PART + 1000)
    before = proxy.count()
    upload = client.create_multipart_upload(**place)["UploadId"]
    sent = [put_part(client, place, upload, number + 1, body[number * PART:(number + 1) * PART]) for number in range(3)]
    listed = client.list_parts(**place, UploadId=upload)["Parts"]
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in listed],
          [(number, size, etag) for (number, etag), size in zip(sent, (PART, PART, 1000))], f"{name}: parts are listed")
    done = client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=etags(*sent))
    equal(bool(done.get("ETag", "").strip('"')), server.traits.complete_has_etag, f"{name}: whether a Complete says the ETag")
    check(client.head_object(**place)["ETag"].strip('"').endswith("-3"), f"{name}: the object's ETag counts its parts")
    equal(client.get_object(**place)["Body"].read(), body, f"{name}: an object of parts comes back")
    equal(status(client.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=etags(*sent)),
          server.traits.complete_again, f"{name}: the status of a second Complete")
    seen = [request for request in proxy.requests(before) if request.part]
    equal([request.part for request in seen], [(upload, number) for number in (1, 2, 3)], f"{name}: the proxy knows the parts")
    equal(sum(request.received for request in seen), len(body), f"{name}: the proxy has counted their bytes")


def uploads(name, server, proxy):
    """An upload that is given up is gone."""
    client, place = proxy.client(), at(server, "given up")
    upload = client.create_multipart_upload(**place)["UploadId"]
    put_part(client, place, upload, 1, b"x")
    equal([entry["UploadId"] for entry in client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", ())], [upload],
          f"{name}: an open upload is listed")
    equal(status(client.abort_multipart_upload, **place, UploadId=upload), 204, f"{name}: an upload is given up")
    equal(status(client.abort_multipart_upload, **place, UploadId=upload), server.traits.abort_again,
          f"{name}: the status of a second Abort")
    equal(client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", []), [], f"{name}: it is listed no more")
    equal(status(client.upload_part, **place, UploadId=upload, PartNumber=1, Body=b"x"), 404, f"{name}: it takes no part")
    equal(status(client.head_object, **place), 404, f"{name}: it leaves no object")


def traits_of_parts(name, server, proxy):
    """What a server makes of parts that are sent twice, too small or out of order."""
    client, place, traits = proxy.client(), at(server, "odd parts"), server.traits
    upload = client.create_multipart_upload(**place)["UploadId"]
    put_part(client, place, upload, 1, noise(PART))
    again = put_part(client, place, upload, 1, noise(PART))
    equal(len(client.list_parts(**place, UploadId=upload)["Parts"]) == 1, traits.lists_part_once,
          f"{name}: whether a part that was sent twice is listed once")
    second = put_part(client, place, upload, 2, noise(PART))
    complete = {"function": client.complete_multipart_upload, **place, "UploadId": upload}
    equal(status(**complete, MultipartUpload=etags(second, again)), traits.wrong_order, f"{name}: the status of a wrong order")
    status(client.abort_multipart_upload, **place, UploadId=upload)
    upload = client.create_multipart_upload(**place)["UploadId"]
    small = [put_part(client, place, upload, number, b"small") for number in (1, 2)]
    equal(status(client.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=etags(*small)), traits.small_part,
          f"{name}: the status of parts that are too small")
    status(client.abort_multipart_upload, **place, UploadId=upload)


def conditions(name, server, proxy):
    """What a server makes of `If-None-Match: *`."""
    client, place = proxy.client(), at(server, "there already")
    equal(status(client.put_object, **place, Body=b"old", IfNoneMatch="*"), 200, f"{name}: what is not there yet may be put")
    found = status(client.put_object, **place, Body=b"new", IfNoneMatch="*")
    equal(found, server.traits.put_if_none_match, f"{name}: the status of a PUT that must not overwrite")
    equal(client.get_object(**place)["Body"].read(), b"old" if found == 412 else b"new", f"{name}: and what it does")
    upload = client.create_multipart_upload(**place)["UploadId"]
    part = put_part(client, place, upload, 1, b"parts")
    equal(status(client.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=etags(part), IfNoneMatch="*"),
          server.traits.complete_if_none_match, f"{name}: the status of a Complete that must not overwrite")
    status(client.abort_multipart_upload, **place, UploadId=upload)


def checksums(name, server, proxy):
    """What a server makes of checksums that are wrong."""
    client, place, wrong = proxy.client(), at(server, "checked"), 400 if server.traits.checks_checksums else 200
    values = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
    found = {kind: status(client.put_object, **place, Body=b"body", **{f"Checksum{kind}": zeros(length)})
             for kind, length in values.items()}
    equal(found, dict.fromkeys(values, wrong), f"{name}: the status of wrong checksums of each kind")
    equal(status(client.put_object, **place, Body=b"body", ContentMD5=zeros(16)), 400, f"{name}: a wrong MD5 is refused")
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32C")["UploadId"]
    equal(status(client.upload_part, **place, UploadId=upload, PartNumber=1, Body=b"body", ChecksumCRC32C=zeros(4)), wrong,
          f"{name}: the status of a part with a wrong checksum")
    status(client.abort_multipart_upload, **place, UploadId=upload)
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")["UploadId"]
    part = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"body", ChecksumAlgorithm="CRC64NVME")
    equal("ChecksumCRC64NVME" in client.list_parts(**place, UploadId=upload)["Parts"][0], server.traits.lists_checksums,
          f"{name}: whether checksums of parts are listed")
    whole = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    equal(status(client.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=whole, ChecksumCRC64NVME=zeros(8),
                 ChecksumType="FULL_OBJECT"), wrong, f"{name}: the status of a Complete with a wrong checksum")
    status(client.abort_multipart_upload, **place, UploadId=upload)


def zeros(length):
    return base64.b64encode(bytes(length)).decode()


def presigned(name, server, proxy):
    """Links do what they were signed for, and nothing else."""
    client, place = proxy.client(), at(server, "signed")
    put, get = (client.generate_presigned_url(operation, place, 300) for operation in ("put_object", "get_object"))
    equal(fetch("PUT", put, b"signed"), (200, b""), f"{name}: a signed link takes an object")
    equal(fetch("GET", get), (200, b"signed"), f"{name}: a signed link gives it")
    equal(fetch("PUT", get, b"other")[0], 403, f"{name}: a link to read is none to write")
    equal(fetch("GET", get.replace("Signature=", "Signature=0"))[0], 403, f"{name}: a wrong signature is refused")


def fetch(method, url, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": ""} if body else {}, method=method)) as said:
            return said.status, said.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def keys(name, server, proxy):
    """The reader reads, and writes nothing."""
    client, place = proxy.client(keys=server.reader), at(server, "signed")
    equal(client.get_object(**place)["Body"].read(), b"signed", f"{name}: the reader reads")
    equal(status(client.list_objects_v2, Bucket=server.bucket), 200, f"{name}: the reader lists")
    refused = {"a PUT": status(client.put_object, **place, Body=b""), "an upload": status(client.create_multipart_upload, **place),
               "a DELETE": status(client.delete_object, **place)}
    equal(refused, dict.fromkeys(refused, 403), f"{name}: the reader is refused")
    nobody = proxy.client(keys=s3_servers.Keys(*server.new_keys()))
    equal(status(nobody.list_objects_v2, Bucket=server.bucket), 403, f"{name}: unknown keys are refused")


def clients(name, server, proxy):
    """What others use works with no more than `env`, and through the proxy."""
    path, body = server.path("clients.bin"), noise(8 * MIB)
    with open(path, "wb") as file:
        file.write(body)
    to = f"{server.bucket}/by-"
    commands = {
        "s5cmd": [s3_packages.command("s5cmd"), "cp", path, f"s3://{to}s5cmd"],
        "rclone": [s3_packages.command("rclone"), "--config", os.devnull, "--retries", "1", "copyto", path,
                   f":s3,provider=Other,env_auth,endpoint='{proxy.origin}',region={server.region},force_path_style,"
                   f"no_check_bucket:{to}rclone"],
        "awscli": [s3_packages.command("aws"), "s3", "cp", "--only-show-errors", path, f"s3://{to}awscli"],
    }
    for who, command in commands.items():
        before = proxy.count()
        ended = subprocess.run(command, env={**os.environ, **proxy.env()}, capture_output=True)
        equal((ended.returncode, ended.stderr), (0, b""), f"{name}: {who} puts a file")
        equal(server.client().get_object(**at(server, f"by-{who}"))["Body"].read(), body, f"{name}: as it was")
        bodies = [request for request in proxy.requests(before) if request.operation in ("PutObject", "UploadPart")]
        # Chunks may be signed on the way, which adds to them.
        sent = sum(int(request.headers.get("x-amz-decoded-content-length", request.received)) for request in bodies)
        equal(sent, len(body), f"{name}: and the proxy has counted it")
    os.unlink(path)


def harm(name, server, proxy):
    """The proxy does what its script says, and says what became of it."""
    client, place, body = proxy.client(), at(server, "harmed"), noise(PART)
    upload = client.create_multipart_upload(**place)["UploadId"]

    def under(order, number=1):
        """What the proxy knows of a part that goes under an order, and whether the client got no answer."""
        before = proxy.count()
        proxy.script = lambda request: order if request.part else None
        failed = fails(client.upload_part, **place, UploadId=upload, PartNumber=number, Body=body)
        proxy.script = None
        return proxy.wait_for(lambda request: request.part and request.ended, since=before), failed

    def listed():
        return [part["PartNumber"] for part in server.client().list_parts(**place, UploadId=upload).get("Parts", ())]

    seen, failed = under(("cut",))
    check(failed and (seen.received, seen.status) == (0, None), f"{name}: a request is cut before it is passed on", seen)
    seen, failed = under(("cut", 1_000_000))
    check(failed and 1_000_000 <= seen.received < PART and not seen.whole and not seen.delivered,
          f"{name}: a request is cut after a million bytes", seen)
    equal(listed(), [], f"{name}: the server has no part of that")
    seen, failed = under(("lose",))
    check(failed and (seen.received, seen.status, seen.delivered) == (PART, 200, False), f"{name}: an answer is lost", seen)
    equal(listed(), [1], f"{name}: the server has that part")
    seen, failed = under(("cut", PART), number=2)
    check(failed and seen.whole and not seen.delivered, f"{name}: a request is cut at its end", seen)
    seen, failed = under(("delay", 0.3))
    check(not failed and seen.delivered and seen.ended - seen.started >= 0.3, f"{name}: an answer is late", seen)
    seen, failed = under(("answer", answer(503, "Slow Down")))
    check(not failed and (seen.received, seen.status, seen.delivered) == (PART, 503, True),
          f"{name}: the proxy answers itself, when it has all", seen)
    proxy.script, before = lambda request: ("truncate", 20), proxy.count()
    with contextlib.suppress(Exception):  # half an answer of 200 is a kind of its own in boto3
        client.list_parts(**place, UploadId=upload)
    seen = proxy.wait_for(lambda request: request.ended, since=before)
    check((seen.status, seen.answered, seen.delivered) == (200, 20, False), f"{name}: an answer is truncated", seen)
    proxy.script = lambda request: ("stall", 100_000)
    before, worker = proxy.count(), threading.Thread(target=fails, args=(client.upload_part,), kwargs={
        **place, "UploadId": upload, "PartNumber": 3, "Body": body})
    worker.start()
    stalled = proxy.wait_for(lambda request: request.received >= 100_000, since=before)
    check(not stalled.ended, f"{name}: a request stands still")
    proxy.cut()
    worker.join()
    proxy.script = None
    proxy.refuse()
    check(fails(server.client(proxy.origin).list_objects_v2, Bucket=server.bucket), f"{name}: connections are refused")
    proxy.listen()
    equal(status(client.list_objects_v2, Bucket=server.bucket), 200, f"{name}: and are taken again")
    equal(3 in listed(), False, f"{name}: the server has nothing of what stood still")
    status(client.abort_multipart_upload, **place, UploadId=upload)


def killed_client(name, server, proxy):
    """A client is killed in the middle of a part, and while it waits for the answer."""
    code = ("import os, sys; sys.path.insert(0, sys.argv[1]); import s3_packages; s3_packages.python_packages()\n"
            "import boto3; boto3.client('s3').put_object(Bucket=sys.argv[2], Key='killed', Body=open(sys.argv[3], 'rb'))")
    path = server.path("killed.bin")
    with open(path, "wb") as file:
        file.truncate(PART)

    def run(test, rate=None, script=None):
        proxy.rate, proxy.script, before = rate, script, proxy.count()
        process = subprocess.Popen([sys.executable, "-c", code, os.path.dirname(os.path.abspath(__file__)), server.bucket, path],
                                   env={**os.environ, **proxy.env()}, stderr=subprocess.DEVNULL)
        proxy.wait_for(lambda request: request.operation == "PutObject" and test(request), since=before)
        process.kill()
        process.wait()
        proxy.rate = None
        yield
        proxy.script = None
        proxy.quiet()
        yield proxy.requests(before)[0]

    steps = run(lambda request: request.received > 0, rate=4_000_000)
    next(steps)
    seen = next(steps)
    check(0 < seen.received < PART and not seen.whole and not seen.delivered, f"{name}: a client is killed in a body", seen)
    equal(status(server.client().head_object, **at(server, "killed")), 404, f"{name}: the server has nothing of that")
    steps = run(lambda request: request.status, script=lambda request: ("delay", 0.3))
    next(steps)
    seen = next(steps)
    check((seen.whole, seen.status, seen.delivered) == (True, 200, False), f"{name}: an answer to a dead client is none", seen)


def kills(name, server, proxy):
    """The server is killed and comes back with all that it has answered for."""
    client, place, bodies = proxy.client(), at(server, "through a kill"), [noise(1000) for _ in range(20)]
    for number, body in enumerate(bodies):
        client.put_object(**at(server, f"kept {number}"), Body=body)
    upload = client.create_multipart_upload(**place)["UploadId"]
    first = put_part(client, place, upload, 1, noise(PART))
    endpoint, start = server.endpoint, time.monotonic()
    server.stop()
    check(fails(client.head_object, **at(server, "kept 0")), f"{name}: nobody answers while it is down")
    server.restart()
    figure(f"{name}: back {time.monotonic() - start:.1f} s after a kill")
    equal(server.endpoint, endpoint, f"{name}: it comes back where it was")
    found = [client.get_object(**at(server, f"kept {number}"))["Body"].read() for number in range(20)]
    check(found == bodies, f"{name}: every object is there after a kill")
    last = put_part(client, place, upload, 2, b"the end")
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=etags(first, last))
    equal(client.head_object(**place)["ContentLength"], PART + 7, f"{name}: an upload goes on after a kill")


def killed_test(name):
    """A test that is killed leaves nothing behind."""
    code = ("import sys, time; sys.path.insert(0, sys.argv[1]); import s3_servers\n"
            "server = s3_servers.start(sys.argv[2]); print(server.folder, server._keeper.pid, *server._strays(), flush=True)\n"
            "time.sleep(600)")
    test = subprocess.Popen([sys.executable, "-c", code, os.path.dirname(os.path.abspath(__file__)), name], stdout=subprocess.PIPE)
    said = test.stdout.readline().decode().split()
    folder, group, strays = said[0], int(said[1]), said[2:]
    check(s3_keeper.living(group), f"{name}: a test runs")
    test.send_signal(signal.SIGKILL)
    test.wait()
    until(lambda: not s3_keeper.living(group), f"{name}: its server ends", 20)
    until(lambda: not any(os.path.exists(path) for path in [folder, *strays]), f"{name}: what it leaves is removed", 20)
    check(True, f"{name}: and when it is killed, its server ends and its folder is removed")


def proxy_alone():
    """The proxy holds nothing back: bytes go on as they come, in both directions"""
    upstream = socket.create_server(("127.0.0.1", 0))
    with CountingProxy(upstream.getsockname()[1]) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        client.sendall(b"PUT /b/k?partNumber=7&uploadId=u HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        server, _ = upstream.accept()
        server.settimeout(10)
        check(comes(server, b"Host: h\r\nContent-Length: 10\r\n\r\n12345"), "proxy: the first half of a body goes on before the second")
        client.sendall(b"67890")
        check(comes(server, b"67890"), "proxy: then the second")
        server.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        check(comes(client, b"\r\n5\r\nabcde\r\n"), "proxy: half an answer goes back before the rest")
        check(not proxy.requests()[0].delivered, "proxy: which is no answer yet")
        server.sendall(b"0\r\n\r\n")
        check(comes(client, b"0\r\n\r\n"), "proxy: then the rest")
        seen = proxy.wait_for(lambda request: request.delivered)
        equal((seen.part, seen.received, seen.whole), (("u", 7), 10, True), "proxy: both are counted")
        body = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nA: b\r\n\r\n"
        client.sendall(b"POST /b/k?uploads HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        check(comes(server, body), "proxy: a body in chunks goes on as it is")
        equal(proxy.wait_for(lambda request: request.number == 1 and request.whole).received, 7, "proxy: its content is counted")
        said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        server.sendall(said)
        check(comes(client, said), "proxy: what comes before an answer goes back")
        equal(proxy.wait_for(lambda request: request.number == 1 and request.delivered).status, 204, "proxy: and is none")
        # A client that has an idle connection must see that the server ends it before it sends more.
        server.close()
        equal(client.recv(1), b"", "proxy: a connection that the server ends is ended")
        proxy.quiet()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    try:
        connection.request("GET", "/")
        check(False, "proxy: a closed one takes nothing")
    except ConnectionRefusedError:
        check(True, "proxy: a closed one takes nothing")
    upstream.close()


def comes(side, wanted):
    """Whether what comes ends so, once that much has come."""
    found = b""
    while not found.endswith(wanted):
        try:
            block = side.recv(4096)
        except TimeoutError:
            block = b""
        if not block:
            return False
        found += block
    return True


if __name__ == "__main__":
    started = time.monotonic()
    s3_packages.python_packages()
    names = s3_servers.available()
    figure(f"installed, or found to be, in {time.monotonic() - started:.1f} s: {', '.join(names)}")
    check("seaweedfs" in names, "at least SeaweedFS can be had")
    scenario(proxy_alone)
    names = os.environ.get("LANDFALL_ONLY", "").split() or names
    # It mostly waits; besides, the servers of two tests must not disturb each other.
    killed = threading.Thread(target=lambda: [scenario(killed_test, name) for name in names])
    killed.start()
    for name in names:
        scenario(one, name)
    killed.join()
    results.close()
