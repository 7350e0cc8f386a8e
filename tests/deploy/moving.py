"""A server that leaves 127.0.0.1 to others at SIGUSR1, and goes on at 127.0.0.5, on the same port."""

import http.server
import os
import signal
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Bearer " + os.environ["API_KEY"]
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b"busy 0\n")

    def log_message(self, *_):
        pass


def serve(address):
    server = http.server.ThreadingHTTPServer((address, int(sys.argv[1])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


http.server.ThreadingHTTPServer.allow_reuse_address = True
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
first = serve("127.0.0.1")
signal.sigwait([signal.SIGUSR1])
first.shutdown()
first.server_close()
serve("127.0.0.5")
signal.pause()
