"""A redis client that moves many commands at once and compares replies byte for byte."""
import socket


def command(*words):
    out = [b"*%d\r\n" % len(words)]
    for w in words:
        out.append(b"$%d\r\n%b\r\n" % (len(w), w))
    return b"".join(out)


def bulk(value):
    """The reply to a GET of that value."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb", buffering=1 << 20)

    def close(self):
        self.file.close()
        self.socket.close()

    def exchange(self, request, expected, what):
        """Sends a batch and demands exactly that answer."""
        self.socket.sendall(request)
        answer = self.file.read(len(expected))
        if answer != expected:
            at = next((i for i, (a, b) in enumerate(zip(answer, expected)) if a != b), min(len(answer), len(expected)))
            raise AssertionError("%s: byte %d of the answer is wrong: %r, not %r" %
                                 (what, at, answer[at:at + 60], expected[at:at + 60]))

    def ask(self, *words):
        """One command with a simple, integer, error or bulk reply."""
        self.socket.sendall(command(*words))
        line = self.file.readline().rstrip(b"\r\n")
        if line[:1] == b"$":
            n = int(line[1:])
            return None if n < 0 else self.file.read(n + 2)[:-2]
        if line[:1] == b"-":
            raise RuntimeError(line.decode())
        return line[1:]
