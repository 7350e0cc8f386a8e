"""Asks for services on demand, for the tests: /start/worker runs `deploy-ctl start worker` as its own account."""

import http.server
import json
import os
import subprocess
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = self.path.strip("/").split("/")
        if words == ["health"]:
            answer = {}
        else:
            command = words if words[0] == "sudo" else [os.environ["DEPLOY_CTL"], *words]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            answer = {"status": done.returncode, "said": (done.stdout + done.stderr).strip(), "uid": os.getuid()}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
