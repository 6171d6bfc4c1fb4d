# SPDX-License-Identifier: Apache-2.0
"""tocsin push when APNs, the way to it, or a credential is at fault: no push is lost, and the operator is told."""
import base64
import json
import os
import socket
import threading
import time
import urllib.request

import harness
from harness import Case, run, token

SANDBOX_TOKENS = "when always -> answer 400 BadDeviceToken\n"


def text_of(path):
    with open(path) as file:
        return file.read()


class Proxy:
    """An HTTP proxy that knows CONNECT alone; with `credentials` ("user:password") it answers 407 to all others."""

    def __init__(self, credentials=None):
        self.wanted = credentials and "Basic " + base64.b64encode(credentials.encode()).decode()
        self.tunnels = self.refused = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.tunnel, args=(client,), daemon=True).start()

    def tunnel(self, client):
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(4096)
                if not more:
                    return
                head += more
            lines = head.decode().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            given = next((value for name, value in fields.items() if name.lower() == "proxy-authorization"), None)
            if self.wanted and given != self.wanted:
                self.refused += 1
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            host, port = lines[0].split(" ")[1].rsplit(":", 1)
            with socket.create_connection((host.strip("[]"), int(port))) as server:
                self.tunnels += 1
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
                back.start()
                self.copy(client, server)
                back.join()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # the other side went away
            pass

    def close(self):
        self.listener.close()


class Scripts(Case):
    def survives(self, script, devices, *more):
        """A run through a fault script: every device has its outcome, and outcomes and ledger agree."""
        server = self.mock("--script", script, "--streams-max", "100")
        fleet = self.fleet(devices, server.topic, 21)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, "--retry-backoff", "100ms", *more, mock=server)
        summary = ran.json
        ends = {end: summary[end] for end in ("accepted", "rejected", "failed", "unknown", "expired", "returned")}
        self.assertEqual(summary["submitted"], devices, ran)
        self.assertEqual(sum(ends.values()), devices, ran)
        self.assertEqual((ends["unknown"], ends["returned"], ends["expired"]), (0, 0, 0), ran)
        self.assertEqual(ran.code, 0 if ends["accepted"] == devices else 5, ran)
        self.assertEqual(sorted(o["token"] for o in self.lines(out)), sorted(d["token"] for d in self.lines(fleet)))
        server.stop()
        self.agree(fleet, out, server.ledger_file)
        return summary

    def test_goaway_storm(self):
        summary = self.survives("goaway-storm", 6000)
        self.assertEqual(summary["accepted"], 6000)
        self.assertGreater(summary["goaways"], 0)

    def test_stream_limit_drop(self):
        self.assertEqual(self.survives("stream-limit-drop", 6000)["accepted"], 6000)

    def test_throttle(self):
        summary = self.survives("throttle", 3000, "--bad-token-brake", "off")
        self.assertEqual(set(summary["rejected_by_reason"]) - {"TooManyRequests"}, {"BadDeviceToken"})

    def test_reset_storm(self):
        summary = self.survives("reset-storm", 6000)
        self.assertGreater(summary["accepted"], 5000)

    def test_maintenance(self):
        summary = self.survives("maintenance", 6000, "--rate", "3000/s")
        self.assertEqual(summary["accepted"], 6000)


class Credentials(Case):
    def test_a_refused_certificate_stops_the_run_and_the_rest_can_be_resumed(self):
        server = self.mock("--script", self.put("bad.faults", "when always -> answer 403 BadCertificate\n"))
        fleet = self.fleet(5000, server.topic, 3)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, mock=server)
        self.assertSays(ran, 3, "APNs refuses the credential", "BadCertificate", "--resume")
        self.assertEqual(ran.err.count("refuses the credential"), 1, ran)
        self.assertEqual(ran.json["accepted"], 0)
        self.assertIn("BadCertificate", ran.json["refused"])
        address = server.address
        server.stop()
        self.assertLess(server.totals_at_end["requests"], 5000, "it was not sent on")
        healthy = self.mock(listen=address)
        again = self.push(fleet, "--out", out, "--resume", mock=healthy)
        rejected = ran.json["rejected"]  # answered by APNs: final
        self.assertEqual(again.json["accepted"], 5000 - rejected, again)
        self.assertEqual(again.code, 0, again)

    def test_tokens_of_the_other_environment_are_braked(self):
        server = self.mock("--script", self.put("sandbox.faults", SANDBOX_TOKENS))
        fleet = self.fleet(20_000, server.topic, 3)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, mock=server)
        self.assertSays(ran, 8, "BadDeviceToken", "--bad-token-brake off")
        self.assertEqual(ran.err.count("the run is stopped"), 1, ran)
        self.assertGreater(ran.json["rejected"], 199)
        self.assertLess(server.totals()["requests"], 20_000)
        self.assertIsNotNone(ran.json["resume_line"])
        done = self.push(fleet, "--out", out, "--resume", "--bad-token-brake", "off", mock=server)
        self.assertEqual(done.code, 5, done)
        self.assertEqual(ran.json["rejected"] + done.json["rejected"], 20_000)

    def test_provider_key(self):
        server = self.mock("--topic", "com.example.app")
        key_id, team_id, _ = text_of(server.file("provider-keys.txt")).split()[:3]
        lines = self.put("app.ndjson", "".join(json.dumps({"token": token(i), "payload": {"aps": {"alert": "x"}}}) + "\n"
                                               for i in range(500)))
        options = ["--endpoint", server.address, "--ca", server.file("ca.pem"), "--p8", server.file("provider.p8"),
                   "--key-id", key_id, "--team-id", team_id, "--json", "--no-progress"]
        ran = run([harness.TOCSIN, "push", lines, *options, "--topic", "com.example.app"])
        self.assertEqual(ran.code, 0, ran)
        self.assertEqual(ran.json["accepted"], 500)
        no_topic = run([harness.TOCSIN, "push", lines, *options, "--rejects", self.path("r.ndjson")])
        self.assertSays(no_topic, 3, "topic: is missing")
        mdm = self.fleet(1, "com.apple.mgmt.External.0f3b2c1d-5e4f-4a6b-8c7d-9e0f1a2b3c4d")
        self.assertSays(run([harness.TOCSIN, "push", mdm, *options, "--rejects", self.path("r.ndjson")]), 3, "MDM")
        self.assertSays(run([harness.TOCSIN, "push", mdm, *options, "--push-type", "mdm"]), 2, "not with a provider key")

    def test_a_file_of_two_certificates(self):
        first = self.mock()
        os.mkdir(self.path("second"))
        second = harness.Mock(self.path("second"))
        self.addCleanup(second.kill)
        # One of the two is not trusted by --ca of the other, so both CAs stand in one file.
        ca = self.put("ca.pem", text_of(first.file("ca.pem")) + text_of(second.file("ca.pem")))
        listed = [{"name": "acme", "cert": first.file("push.pem"), "key": first.file("push.key"), "endpoint": first.address},
                  {"name": "borea", "p12": "second/certs/push.p12", "p12_password_file": "pw", "endpoint": second.address}]
        self.put("pw", "tocsin\n")
        credentials = self.put("credentials.json", json.dumps(listed))
        devices = [{"token": token(i), "magic": "M", "topic": (first, second)[i % 3 == 0].topic} for i in range(900)]
        devices.append({"token": token(900), "magic": "M", "topic": "com.apple.mgmt.External.nobody"})
        fleet = self.put("mixed.ndjson", "".join(json.dumps(each) + "\n" for each in devices))
        options = ["--credentials", credentials, "--ca", ca, "--rejects", self.path("r.ndjson"), "--no-progress"]
        dry = run([harness.TOCSIN, "push", fleet, *options, "--dry-run"])
        self.assertSays(dry, 3, "acme: " + first.topic, "borea: " + second.topic, "belongs to no credential")
        ran = run([harness.TOCSIN, "push", fleet, *options, "--json"])
        self.assertEqual(ran.code, 5, ran)
        self.assertEqual((ran.json["accepted"], ran.json["input_rejects"]), (900, 1))
        self.assertEqual([(each["name"], each["accepted"]) for each in ran.json["credentials"]],
                         [("acme", 600), ("borea", 300)])
        self.assertEqual((first.totals()["accepted"], second.totals()["accepted"]), (600, 300))
        self.assertEqual(self.lines(self.path("r.ndjson"))[-1]["field"], "topic")

    def test_dead_tokens_of_an_earlier_run_are_not_sent_to(self):
        server = self.mock("--dead", "0.2")
        fleet = self.fleet(1000, server.topic, 5)
        out = self.path("out.ndjson")
        gone = self.push(fleet, "--out", out, mock=server).json["rejected"]
        self.assertGreater(gone, 100)
        before = server.totals()["requests"]
        ran = self.push(fleet, "--dead-tokens", out, mock=server)
        self.assertEqual(ran.code, 5, ran)
        self.assertEqual(ran.json["failed_by_reason"], {"TokenKnownDead": gone})
        self.assertEqual(server.totals()["requests"] - before, 1000 - gone)


class Ways(Case):
    def test_through_a_proxy(self):
        server = self.mock()
        fleet = self.fleet(500, server.topic, 5)
        proxy = Proxy("user:p@ss")
        self.addCleanup(proxy.close)
        ran = self.push(fleet, "--proxy", f"http://user:p%40ss@{proxy.address}", mock=server)
        self.assertEqual((ran.code, ran.json["accepted"]), (0, 500), ran)
        self.assertGreater(proxy.tunnels, 0)
        self.assertEqual(server.totals()["accepted"], 500)
        wrong = self.push(fleet, "--give-up", "2s", mock=server, env={"TOCSIN_PROXY": f"http://user:secret9@{proxy.address}"})
        self.assertSays(wrong, 4, "407")
        self.assertNotIn("secret9", wrong.out + wrong.err)
        self.assertGreater(proxy.refused, 0)

    def test_an_outage_is_waited_for_and_said(self):
        server = self.mock()
        fleet = self.fleet(4000, server.topic, 5)
        out, port = self.path("out.ndjson"), harness.free_port()
        child = self.start(server, fleet, "--out", out, "--rate", "1000/s", "--give-up", "0", "--metrics", f"127.0.0.1:{port}")

        def unreachable_since():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            return [float(line.split()[-1]) for line in lines if line.startswith("tocsin_unreachable_since_seconds{")][0]
        said = []
        heard = threading.Event()

        def listen():
            for line in child.stderr:
                said.append(line.decode())
                if "APNs unreachable since" in said[-1]:
                    heard.set()
        reader = threading.Thread(target=listen, daemon=True)
        self.assertTrue(harness.wait_until(lambda: server.totals()["accepted"] > 300))
        reader.start()
        address = server.address
        server.kill()
        self.assertTrue(heard.wait(harness.SECONDS), said)
        self.assertGreater(unreachable_since(), time.time() - 600)
        again = self.mock(listen=address)
        text = child.stdout.read()
        self.assertEqual(child.wait(harness.SECONDS), 0, said)
        reader.join()
        summary = json.loads(text.splitlines()[-1])
        self.assertEqual(summary["accepted"], 4000)
        self.assertEqual(sum("APNs unreachable since" in line and "pushes wait" in line for line in said), 1, said)
        self.assertEqual(sum("APNs reachable again" in line for line in said), 1, said)
        self.assertGreater(again.totals()["accepted"], 0)

    def test_what_waits_too_long_expires(self):
        peer = harness.Peer(lambda connection: connection.recv(1))
        self.addCleanup(peer.close)
        server = self.mock()
        fleet = self.fleet(100, server.topic, 5)
        ran = run([harness.TOCSIN, "push", fleet, "--endpoint", peer.address, "--ca", server.file("ca.pem"), "--cert",
                   server.file("push.pem"), "--key", server.file("push.key"), "--deadline", "700ms", "--json",
                   "--no-progress"])
        self.assertEqual((ran.code, ran.json["expired"]), (5, 100), ran)

    def test_of_two_wake_ups_that_wait_one_is_sent(self):
        server = self.mock()
        line = json.dumps({"token": token(1), "magic": "M"}) + "\n"
        fleet = self.put("twice.ndjson", line * 2)
        out = self.path("out.ndjson")
        ran = self.push(fleet, "--out", out, mock=server)
        self.assertEqual((ran.code, ran.json["accepted"], ran.json["superseded"]), (0, 1, 1), ran)
        older = next(o for o in self.lines(out) if o["outcome"] == "superseded")
        self.assertEqual((older["line"], older["superseded_by_line"]), (1, 2))
        ran = self.push(fleet, "--no-coalesce", mock=server)
        self.assertEqual((ran.json["accepted"], ran.json["superseded"]), (2, 0), ran)


if __name__ == "__main__":
    harness.main()
