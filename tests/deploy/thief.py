"""Another account's server on a port that a service left: writes down what it is asked, and agrees to everything."""

import http.server
import pathlib
import sys

OUT = pathlib.Path(sys.argv[3])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with OUT.open("a", encoding="utf-8") as stream:
            stream.write(f"{self.path} {self.headers.get('Authorization')}\n")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"busy 0\n")

    def log_message(self, *_):
        pass


sys.stderr.close()  # who is found out loses its connection, and nobody has to read of that
http.server.ThreadingHTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
OUT.touch()
server.serve_forever()
