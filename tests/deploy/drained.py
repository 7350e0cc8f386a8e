"""What the tests drain: dies at once when it is told to stop, and says how many requests it has in flight."""

import http.server
import os
import sys
import threading
import time

GAUGE = os.environ.get("GAUGE", "true")  # or stuck, or silent
in_flight = 0
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/metrics":
            if GAUGE == "silent":
                self.wfile.write(b"bu")
                time.sleep(1000)
            self.wfile.write(f"busy {1 if GAUGE == 'stuck' else in_flight}\n".encode())
        elif self.path == "/stream":
            self.stream()
        else:
            self.wfile.write(f'{{"version": "{os.environ["VERSION"]}", "pid": {os.getpid()}}}'.encode())

    def stream(self):
        global in_flight
        with lock:
            in_flight += 1
        for number in range(30):
            self.wfile.write(f"{number} ".encode())
            time.sleep(0.1)
        with lock:
            in_flight -= 1
        self.wfile.write(b"end")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
