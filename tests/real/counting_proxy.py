"""A proxy in front of an S3 server that knows what went over the wire, and can do harm on command.

    with CountingProxy(server) as proxy:
        client = proxy.client()
        ...
        parts = [request for request in proxy.requests() if request.operation == "UploadPart"]
        sent_again = sum(request.received for request in parts) - size

It reads HTTP/1.1 as it passes and changes nothing: bytes go on as they come, each connection of a client has one of its own
to the server, both are kept alive, and `Host` stays what the client has signed.
"""

import collections
import contextlib
import copy
import fcntl
import select
import socket
import struct
import termios
import threading
import time

from landfall import until
from s3_request import Request, headers_of, is_in_chunks

BLOCK = 256 << 10


class CountingProxy:
    """See the module. `server` is a server of `s3_servers`, or the port of any other on 127.0.0.1.

    `script(request)` is asked for each request once its head has come, and before anything is passed on; it may wait, and then
    the request does. It gives one of:
    - None: it is passed on.
    - ("cut", n): the connection ends when n bytes of the body have been passed on, or at the body's end if it is shorter;
      ("cut",) before anything is.
    - ("stall", n): after n bytes of the body nothing more is passed on; the connection stays.
    - ("lose",): it is passed on, and the connection ends when the server answers.
    - ("truncate", n): the connection ends when n bytes of the answer's body have been passed back.
    - ("delay", seconds): the answer is passed back that much later.
    - ("answer", bytes): the server hears nothing of it, the client this; `landfall.answer` makes such bytes.

    `rate` is how many bytes of bodies one connection may pass on in a second.
    """

    def __init__(self, server, script=None, rate=None):
        self.server, self.script, self.rate = server, script, rate
        self.upstream = server if isinstance(server, int) else server.ports[0]
        self.port = 0
        self._changed = threading.Condition()
        self._requests, self._connections, self._count = [], set(), 0
        self.listen()
        #: What clients are told instead of the server's endpoint.
        self.origin = f"http://127.0.0.1:{self.port}"

    def client(self, **options):
        return self.server.client(self.origin, **options)

    def env(self, **options):
        return self.server.env(self.origin, **options)

    # What it has seen.

    def requests(self, since=0, operation=None):
        """Copies of all requests so far, or of those from a number on, in the order in which their heads came."""
        with self._changed:
            return [copy.copy(one) for one in self._requests[since:] if operation in (None, one.operation)]

    def count(self):
        """How many requests there were; what `since` of the others takes."""
        with self._changed:
            return len(self._requests)

    def wait_for(self, test, seconds=60.0, since=0):
        """Waits until a request passes a test, and returns a copy of it. The test is asked again whenever one has moved on."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for request in self._requests[since:]:
                    if test(request):
                        return copy.copy(request)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no such request within {seconds:.0f} s; the last: {self._requests[since:][-3:]}")
                self._changed.wait(min(left, 1.0))

    def quiet(self, seconds=30.0):
        """Waits until no connection is open: whatever a dead client had sent has been seen."""
        until(lambda: not self._connections, "connections end", seconds, 0.002)

    # What it can do to all.

    def cut(self):
        """Ends all connections that are open now."""
        with self._changed:
            pairs = list(self._connections)
        for pair in pairs:
            pair.end()

    def refuse(self):
        """Takes no more connections, as if nobody were there; those that are open go on."""
        with contextlib.suppress(OSError):
            # Closing alone does not wake the thread that waits in `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def listen(self):
        """Takes connections; again, after they were refused."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self):
        self.refuse()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Below.

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.upstream), timeout=10)
        except OSError:
            # Nobody there: what the client would see without a proxy.
            _abort_on_close(client)
            client.close()
            return
        server.settimeout(None)
        with self._changed:
            pair = _Pair(self, client, server, self._count)
            self._count += 1
            self._connections.add(pair)
        try:
            pair.run()
        finally:
            with self._changed:
                self._connections.discard(pair)
                self._changed.notify_all()

    def _began(self, connection, head):
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        with self._changed:
            request = Request(len(self._requests), connection, method, target, headers_of(head), time.monotonic())
            self._requests.append(request)
            self._changed.notify_all()
        return request

    def _saw(self, request, received=0, answered=0, **facts):
        with self._changed:
            request.received += received
            request.answered += answered
            for name, value in facts.items():
                setattr(request, name, value)
            self._changed.notify_all()


class _Ended(Exception):
    """The connection is to end, or has."""


class _Pair:
    """A client's connection, and the one to the server that goes with it: one thread for each direction."""

    def __init__(self, proxy, client, server, number):
        self.proxy, self.client, self.server, self.number = proxy, client, server, number
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.from_client, self.from_server = client.makefile("rb", BLOCK), server.makefile("rb", BLOCK)
        #: Requests whose answers are to come, with their orders.
        self.asked = collections.deque()
        self.is_client_done = False
        self.over = threading.Event()
        self.seen = []

    def run(self):
        back = threading.Thread(target=self._guarded, args=(self._answers, self._server_ended), daemon=True)
        back.start()
        self._guarded(self._requests, self._client_ended)
        back.join()
        for side in (self.from_client, self.from_server, self.client, self.server):
            with contextlib.suppress(OSError):
                side.close()
        for request in self.seen:
            if request.ended is None:
                self.proxy._saw(request, ended=time.monotonic())

    def end(self):
        """Breaks it, as a network does: what is under way is lost, and both sides hear of an error."""
        for side in (self.client, self.server):
            _abort_on_close(side)
        self.over.set()
        self._shut(self.client, self.server)

    def _guarded(self, work, ended):
        with contextlib.suppress(_Ended, OSError, ValueError):
            work()
        ended()

    def _client_ended(self):
        # It is gone, or says no more. The server hears just that; what it still has to say is passed back.
        with self.proxy._changed:
            self.is_client_done = True
            waits = bool(self.asked)
        if waits and not self.over.is_set():
            with contextlib.suppress(OSError):
                self.server.shutdown(socket.SHUT_WR)
        else:
            self._shut(self.server)

    def _server_ended(self):
        self.over.set()
        self._shut(self.client, self.server)

    @staticmethod
    def _shut(*sides):
        for side in sides:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    # From the client.

    def _requests(self):
        while head := _head(self.from_client):
            request = self.proxy._began(self.number, head)
            self.seen.append(request)
            order = (self.proxy.script(request) if self.proxy.script else None) or (None,)
            if order == ("cut",):
                self._cut()
            if order[0] == "answer":
                self._answer(request, order[1])
                continue
            with self.proxy._changed:
                self.asked.append((request, order))
            self.server.sendall(head)
            left = order[1] if order[0] in ("cut", "stall") else None
            for block, payload in self._body(request):
                if left is not None:
                    block = block[:left] if payload else block
                    left -= len(block) if payload else 0
                self.server.sendall(block)
                if left == 0:
                    break
            if order[0] == "cut":
                self._cut()
            if order[0] == "stall":
                self.over.wait()
                raise _Ended

    def _body(self, request):
        """The blocks of a body as they come, and whether each is content or only frames it."""
        if request.length is not None:
            yield from self._content(request, request.length)
        else:
            size = 1
            while size:
                line = _line(self.from_client)
                yield line, False
                if size := int(line.split(b";")[0], 16):
                    yield from self._content(request, size)
                    yield _line(self.from_client), False
            while True:
                trailer = _line(self.from_client)
                yield trailer, False
                if trailer == b"\r\n":
                    break
        self.proxy._saw(request, whole=True)

    def _content(self, request, left):
        while left:
            block = self.from_client.read1(min(left, BLOCK))
            if not block:
                raise _Ended
            left -= len(block)
            self.proxy._saw(request, received=len(block), whole=request.received + len(block) == request.length)
            yield block, True
            if self.proxy.rate:
                self.over.wait(len(block) / self.proxy.rate)

    def _answer(self, request, said):
        if request.headers.get("expect", "").lower() == "100-continue":
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        for _ in self._body(request):
            pass
        self.proxy._saw(request, status=int(said.split(b" ", 2)[1]), answer_headers=headers_of(said.split(b"\r\n\r\n")[0]))
        self.client.sendall(said)
        self._delivered(request)

    def _cut(self):
        self.end()
        raise _Ended

    # From the server.

    def _answers(self):
        # It reads also when nothing was asked: a server that ends an idle connection must not seem to keep it.
        while head := _head(self.from_server):
            if head.split(b" ", 2)[1].startswith(b"1"):
                self.client.sendall(head)
                continue
            with self.proxy._changed:
                if not self.asked:
                    return
                request, order = self.asked[0]
            headers = headers_of(head)
            self.proxy._saw(request, status=int(head.split(b" ", 2)[1]), answer_headers=headers)
            if order[0] == "lose":
                self._cut()
            if order[0] in ("cut", "stall") and (request.whole or request.received >= order[1]):
                # The other direction has come so far that it ends this, or lets it stand.
                self.over.wait()
                return
            if order[0] == "delay":
                self.over.wait(order[1])
            is_last = not request.whole and self._server_hangs_up()
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, is_last)
            self.client.sendall(head)
            self._answer_body(request, headers, order[1] if order[0] == "truncate" else None)
            if is_last:
                self.client.shutdown(socket.SHUT_WR)
            self._delivered(request, is_last)
            with self.proxy._changed:
                self.asked.popleft()
                if self.is_client_done and not self.asked:
                    return
            if headers.get("connection", "").lower() == "close":
                return

    def _server_hangs_up(self):
        """Whether the server refuses a body and ends the connection with its answer, which the answer need not say.

        The client has to hear of both at once, as it does without a proxy: else it may put its next request on this connection.
        """
        poll = select.poll()
        poll.register(self.server, select.POLLRDHUP)
        return bool(poll.poll(20))

    def _answer_body(self, request, headers, most):
        if request.method == "HEAD" or request.status in (204, 304):
            return
        for block in self._answer_blocks(headers):
            if most is not None:
                block = block[:most - request.answered]
            self.client.sendall(block)
            self.proxy._saw(request, answered=len(block))
            if request.answered == most:
                break
        if most is not None:
            self._cut()

    def _answer_blocks(self, headers):
        if is_in_chunks(headers):
            size = 1
            while size:
                line = _line(self.from_server)
                yield line
                # What ends a chunk, and what ends all of them, is an empty line too.
                size = int(line.split(b";")[0], 16)
                yield from _blocks(self.from_server, size + 2)
        elif "content-length" in headers:
            yield from _blocks(self.from_server, int(headers["content-length"]))
        else:
            while block := self.from_server.read1(BLOCK):
                yield block

    def _delivered(self, request, is_last=False):
        if _is_confirmed(self.client, self.over, is_last):
            self.proxy._saw(request, delivered=True, ended=time.monotonic())


def _is_confirmed(side, over, is_last):
    """Waits until the other end has all that was sent to it; `False` if it is gone.

    That a send succeeds says nothing: what is sent to a process that was killed is refused only when it arrives there.
    """
    while True:
        unconfirmed = struct.unpack("i", fcntl.ioctl(side, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        # The state comes second, since a connection that is refused forgets what it had to send.
        state = side.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state not in _STATES_OF_TAKERS:
            # Both ends have said that they are done, or this one was told that nobody is there.
            return is_last and not side.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not unconfirmed:
            return True
        if over.wait(0.0005):
            return False


def _abort_on_close(side):
    with contextlib.suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _head(stream):
    lines = []
    while True:
        line = stream.readline(65536)
        if not line.endswith(b"\n"):
            return b""
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)


def _line(stream):
    line = stream.readline(65536)
    if not line.endswith(b"\r\n"):
        raise _Ended
    return line


def _blocks(stream, left):
    while left:
        block = stream.read1(min(left, BLOCK))
        if not block:
            raise _Ended
        left -= len(block)
        yield block


#: States of a TCP connection whose other end has not refused what it was sent (`enum` in Linux's `tcp_states.h`): established,
#: and on the way to an end that either side may have begun.
_STATES_OF_TAKERS = {1, 4, 5, 8, 9, 11}
