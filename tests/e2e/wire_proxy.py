"""A wire between programs and a farmemd that tests can break: cut, refuse, slow down, flip bytes."""
import os
import socket
import struct
import threading
import time
import uuid

import farproto as fp


class Pipe(threading.Thread):
    """One direction of one connection."""

    def __init__(self, proxy, source, sink, upward):
        super().__init__(daemon=True)
        self.proxy, self.source, self.sink, self.upward = proxy, source, sink, upward
        self.held = b""

    def whole_frames(self, data):
        """What can go on: whole frames, so that a byte of a payload can be told from one of a header."""
        self.held += data
        out = []
        while len(self.held) >= fp.HDR.size:
            length = struct.unpack_from("<I", self.held, 8)[0]
            if len(self.held) < fp.HDR.size + length:
                break
            frame, self.held = self.held[:fp.HDR.size + length], self.held[fp.HDR.size + length:]
            out.append(self.proxy.touch(bytearray(frame), self.upward))
        return b"".join(out)

    def run(self):
        try:
            while data := self.source.recv(1 << 16):
                data = self.whole_frames(data)
                while data:
                    piece = data[:self.proxy.piece]
                    data = data[len(piece):]
                    if self.proxy.delay:
                        time.sleep(self.proxy.delay)
                    self.sink.sendall(piece)
        except OSError:
            pass
        for end in (self.source, self.sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Proxy:
    """proxy.url stands in front of node.url.

    flip_data: how many payloads, of `direction` "up" (to the node) or "down", get a wrong byte; flip_head: headers.
    delay: seconds before each piece of at most `piece` bytes; read_delay: before each answer to a READ.
    """

    def __init__(self, node_url, kind):
        self.node_url = node_url
        self.flip_data = self.flip_head = self.flipped = 0
        self.direction = "down"
        self.delay = self.read_delay = 0
        self.piece = 1 << 20
        self.lock = threading.Lock()
        self.ends = []
        self.refusing = False
        if kind == "tcp":
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            name = f"@far-proxy-{uuid.uuid4()}"
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind("\0" + name[1:])
            self.listener.listen(64)
            self.url = "unix:" + name
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            try:
                far = fp.connect(self.node_url)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self.lock:
                self.ends += [near, far]
            Pipe(self, near, far, True).start()
            Pipe(self, far, near, False).start()

    def touch(self, frame, upward):
        if self.read_delay and not upward and frame[5] == fp.OP_READ:
            time.sleep(self.read_delay)
        if upward != (self.direction == "up"):
            return bytes(frame)
        count = struct.unpack_from("<I", frame, 32)[0]
        data = frame[5] in (fp.OP_READ, fp.OP_WRITE) and len(frame) > fp.HDR.size + 32 * count
        with self.lock:
            if self.flip_data and data:
                self.flip_data -= 1
                frame[-1 - os.urandom(1)[0]] ^= 1 << os.urandom(1)[0] % 8
            elif self.flip_head and data:
                self.flip_head -= 1
                frame[16] ^= 4
            else:
                return bytes(frame)
            self.flipped += 1
        return bytes(frame)

    def cut(self):
        """Ends every connection, with a reset where there is such a thing."""
        with self.lock:
            ends, self.ends = self.ends, []
        for end in ends:
            try:
                if end.family == socket.AF_INET:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def close(self):
        self.listener.close()
        self.cut()


class Impostor:
    """Something that is no farmemd: answers every connection by what `behave(socket)` does."""

    def __init__(self, behave):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.behave = behave
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        with conn:
            try:
                self.behave(conn)
            except OSError:
                pass

    def close(self):
        self.listener.close()
