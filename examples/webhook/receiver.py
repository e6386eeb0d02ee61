#!/usr/bin/python3
"""Prints each event of bailiff's webhook once. PORT and the secret's file are its arguments."""
import hashlib, hmac, http.server, json, sys, time

secret = open(sys.argv[2], "rb").read().strip()
seen = {}  # by stream: the last number; keep it on a disk if nothing may come twice over your restarts

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        at = self.headers.get("Bailiff-Timestamp", "0")
        want = "v1=" + hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(want, self.headers.get("Bailiff-Signature", "")) or abs(time.time() - int(at)) > 300:
            return self.send_error(403)
        batch = json.loads(body)
        for e in batch["events"]:
            if e.get("n", batch["last"]) > seen.get(batch["stream"], 0):
                print(batch["host"], e.get("n", ""), e["kind"], e.get("jail", ""), e.get("ip", ""), e.get("why", ""), flush=True)
        seen[batch["stream"]] = max(batch["last"], seen.get(batch["stream"], 0))
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
