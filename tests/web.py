"""A server of files on loopback, that can break off, refuse, change a file, or know nothing of ranges."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Web:
    """Files by path; what is asked for stands in ``log`` as (path, Range header or None)."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, str | None]] = []
        self.breaks: list[int] = []  # after how many bytes the next answers end; empty: never
        self.status: list[int] = []  # of the next answers, instead of the file
        self.ranges = True
        self.headers: dict[str, dict[str, str]] = {}  # beginning of a path -> of its answers
        self.address = ""

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


@contextmanager
def serve():
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path, wanted = unquote(self.path.lstrip("/").partition("?")[0]), self.headers.get("Range")
            if self.command == "GET":
                web.log.append((path, wanted))
            status = web.status.pop(0) if web.status else 200 if path in web.files else 404
            if status != 200:
                return self.send_error(status)
            content = web.files[path]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            start = 0
            if wanted and web.ranges and self.headers.get("If-Range", etag) == etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(content) - start))
            for beginning, more in web.headers.items():
                for name, value in more.items() if path.startswith(beginning) else ():
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return None
            rest = content[start:]
            if web.breaks and len(content) > 100_000:
                self.wfile.write(rest[: web.breaks.pop(0)])
                self.wfile.flush()
                self.connection.close()
                return None
            self.wfile.write(rest)
            return None

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # connections that the test broke
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
