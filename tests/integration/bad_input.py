# SPDX-License-Identifier: Apache-2.0
"""Wrong certificates, endpoints and lines: each gets its sentence and its exit code, and nothing is sent in vain."""
import json
import os
import time

import harness
from harness import Case, need, run, token


class Certificates(Case):
    """All before any connection: the endpoint is a port where a connection would be noticed."""

    def setUp(self):
        super().setUp()
        self.openssl = need("openssl")
        mock = self.mock()
        mock.stop()
        self.kit = mock
        self.seen = []
        self.peer = harness.Peer(lambda connection: self.seen.append(1))
        self.addCleanup(self.peer.close)
        self.devices = self.put("devices.ndjson", json.dumps({"token": token(1), "magic": "m", "topic": mock.topic}) + "\n")

    def ssl(self, *args):
        ran = run([self.openssl, *args])
        self.assertEqual(ran.code, 0, ran)

    def refused(self, *options, says, code=3, env=None):
        ran = self.push(self.devices, "--endpoint", self.peer.address, "--ca", self.kit.file("ca.pem"), *options, env=env)
        self.assertSays(ran, code, *says)
        self.assertNotIn("tocsin-secret", ran.out + ran.err)
        with open(self.kit.file("push.key")) as key:
            for line in key.read().splitlines()[1:-1]:
                self.assertNotIn(line, ran.out + ran.err)
        self.assertEqual(self.seen, [], "a connection was made")
        return ran

    def test_key_of_another_certificate(self):
        self.ssl("genrsa", "-out", self.path("other.key"), "2048")
        self.refused("--cert", self.kit.file("push.pem"), "--key", self.path("other.key"), says=["push.pem", "does not belong"])

    def test_expired(self):
        self.put("ca.cnf", f"[ca]\ndefault_ca=a\n[a]\nnew_certs_dir={self.dir}\ndatabase={self.path('index')}\n"
                 f"serial={self.path('serial')}\ndefault_md=sha256\npolicy=p\n[p]\nUID=optional\ncommonName=supplied\n")
        self.put("index", "")
        self.put("serial", "01\n")
        self.ssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/UID={self.kit.topic}/CN=old", "-keyout",
                 self.path("old.key"), "-out", self.path("old.csr"))
        self.ssl("ca", "-batch", "-selfsign", "-config", self.path("ca.cnf"), "-in", self.path("old.csr"), "-keyfile",
                 self.path("old.key"), "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-notext", "-out",
                 self.path("old.pem"))
        self.refused("--cert", self.path("old.pem"), "--key", self.path("old.key"), says=["old.pem", "expired", "2021-01-01"])

    def test_no_uid(self):
        self.ssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nothing", "-days", "90", "-keyout",
                 self.path("n.key"), "-out", self.path("n.pem"))
        self.refused("--cert", self.path("n.pem"), "--key", self.path("n.key"), says=["no UID", "--topic"])
        dry = self.push(self.devices, "--endpoint", self.peer.address, "--cert", self.path("n.pem"), "--key",
                        self.path("n.key"), "--topic", self.kit.topic, "--dry-run")
        self.assertEqual(dry.code, 0, dry)

    def p12(self, name, password, *more):
        self.ssl("pkcs12", "-export", "-in", self.kit.file("push.pem"), "-inkey", self.kit.file("push.key"), "-out",
                 self.path(name), "-passout", "pass:" + password, *more)
        return self.path(name)

    def test_p12_password(self):
        p12 = self.p12("push.p12", "tocsin-secret-right")
        wrong = self.put("wrong", "tocsin-secret-wrong\n")
        self.refused("--p12", p12, "--p12-password-file", wrong, says=["push.p12", "password"])
        self.refused("--p12", p12, says=["push.p12", "password", "TOCSIN_P12_PASSWORD"])
        self.refused("--p12", p12, env={"TOCSIN_P12_PASSWORD": "tocsin-secret-wrong"}, says=["password"])
        right = self.put("right", "tocsin-secret-right\n")
        dry = self.push(self.devices, "--endpoint", self.peer.address, "--p12", p12, "--p12-password-file", right, "--dry-run")
        self.assertEqual(dry.code, 0, dry)

    def test_p12_in_the_rc2_form(self):
        if run([self.openssl, "list", "-providers", "-provider", "legacy"]).code != 0:
            self.skipTest("this openssl has no legacy provider")
        p12 = self.p12("old.p12", "tocsin-secret", "-legacy", "-certpbe", "PBE-SHA1-RC2-40")
        self.refused("--p12", p12, env={"TOCSIN_P12_PASSWORD": "tocsin-secret"},
                     says=["old.p12", "RC2", "openssl pkcs12 -legacy"])

    def test_topic_of_another_certificate(self):
        self.refused("--cert", self.kit.file("push.pem"), "--key", self.kit.file("push.key"), "--topic", "com.example.other",
                     says=["com.example.other", self.kit.topic])

    def test_files_that_are_none(self):
        self.refused("--cert", self.path("absent.pem"), "--key", self.kit.file("push.key"), says=["absent.pem"])
        garbage = self.put("garbage.pem", "not a certificate\n")
        self.refused("--cert", garbage, "--key", self.kit.file("push.key"), says=["garbage.pem"])
        self.refused("--cert", self.kit.file("push.pem"), "--key", garbage, says=["garbage.pem", "key"])


class Endpoints(Case):
    def setUp(self):
        super().setUp()
        self.server = self.mock()
        self.devices = self.fleet(50, self.server.topic)

    def unreachable(self, address, *options, says):
        out = self.path("out.ndjson")
        begun = time.monotonic()
        ran = self.push(self.devices, "--endpoint", address, "--cert", self.server.file("push.pem"), "--key",
                        self.server.file("push.key"), "--give-up", "2s", "--connect-timeout", "1s", "--out", out,
                        *(options or ("--ca", self.server.file("ca.pem"))))
        self.assertSays(ran, 4, *says)
        self.assertLess(time.monotonic() - begun, 30, "a retry policy that ends")
        for one in self.lines(out):
            self.assertIn(one["outcome"], ("failed", "returned"), one)
            self.assertNotIn("status", one)
        self.assertEqual(self.server.totals()["requests"], 0)

    def test_refuses(self):
        self.unreachable(f"127.0.0.1:{harness.free_port()}", says=["Connection refused"])

    def test_no_such_name(self):
        self.unreachable("no-such-host.invalid:443", says=["no-such-host.invalid"])

    def test_is_not_tls(self):
        peer = harness.Peer(harness.plain_http)
        self.addCleanup(peer.close)
        self.unreachable(peer.address, says=["does not speak TLS"])

    def test_wrong_name(self):
        self.unreachable(self.server.address, "--ca", self.server.file("ca.pem"), "--tls-name", "push.example.com",
                         says=["not for push.example.com"])

    def test_other_authority(self):
        os.mkdir(self.path("other"))
        other = harness.Mock(self.path("other"))
        self.addCleanup(other.kill)
        self.unreachable(self.server.address, "--ca", other.file("ca.pem"), says=["not trusted"])

    def test_no_alpn(self):
        peer = harness.Peer(harness.tls_without_alpn(self.server.file("server.pem"), self.server.file("server.key")))
        self.addCleanup(peer.close)
        self.unreachable(peer.address, says=["ALPN h2"])

    def test_says_nothing(self):
        peer = harness.Peer(lambda connection: connection.recv(1) and time.sleep(1.5))
        self.addCleanup(peer.close)
        self.unreachable(peer.address, says=["handshake"])


class Lines(Case):
    def setUp(self):
        super().setUp()
        self.server = self.mock()
        good = {"magic": "m", "topic": self.server.topic}
        long_line = json.dumps({**good, "token": token(9), "magic": "x" * 20_000})
        # (line, field named)
        self.bad = [("{\"token\":", "line"),
                    (json.dumps({**good, "token": "zz" * 32}), "token"),
                    (json.dumps({**good, "token": "abc"}), "token"),
                    (json.dumps({**good, "token": "ab" * 101}), "token"),
                    (json.dumps(good), "token"),
                    (json.dumps({**good, "token": token(8), "topic": "com.example.other"}), "topic"),
                    (json.dumps({"token": token(8), "topic": self.server.topic, "payload": {"x": "y" * 5000},
                                 "push_type": "mdm"}), "payload"),
                    (json.dumps({"token": token(8), "topic": self.server.topic, "payload": "{not json", "push_type": "mdm"}),
                     "payload"),
                    (json.dumps({**good, "token": token(8), "push_type": "carrier-pigeon"}), "push_type"),
                    (long_line, "line")]
        lines = []
        for i, (line, _) in enumerate(self.bad):
            lines += [json.dumps({**good, "token": token(100 + i)}), line]
        self.devices = self.put("devices.ndjson", "\n".join(lines) + "\n")

    def check_rejects(self):
        rejects = self.lines(self.path("rejects.ndjson"))
        self.assertEqual([r["line"] for r in rejects], [2 * i + 2 for i in range(len(self.bad))])
        for reject, (line, field) in zip(rejects, self.bad):
            self.assertEqual(reject["field"], field, reject)
            self.assertTrue(line.startswith(reject["input"][:400]), reject)
            self.assertLessEqual(len(reject["input"]), 512)

    def test_the_rest_goes_on(self):
        out = self.path("out.ndjson")
        ran = self.push(self.devices, "--out", out, mock=self.server)
        self.assertSays(ran, 5, "devices.ndjson:2: line:", "devices.ndjson:4: token:", "rejects.ndjson")
        self.check_rejects()
        self.assertEqual(ran.json["input_rejects"], len(self.bad))
        self.assertEqual(ran.json["accepted"], len(self.bad))
        self.assertEqual(self.server.totals()["accepted"], len(self.bad))

    def test_strict_sends_nothing(self):
        ran = self.push(self.devices, "--strict", mock=self.server)
        self.assertEqual(ran.code, 3, ran)
        self.assertEqual(self.server.totals()["requests"], 0)
        self.check_rejects()
        good = self.put("good.ndjson", json.dumps({"token": token(1), "magic": "m", "topic": self.server.topic}) + "\n")
        ran = self.push(good, "--strict", mock=self.server)
        self.assertEqual(ran.code, 0, ran)
        self.assertEqual(self.server.totals()["accepted"], 1)

    def test_dry_run_sends_nothing(self):
        ran = self.push(self.devices, "--dry-run", mock=self.server)
        self.assertEqual(ran.code, 3, ran)
        self.check_rejects()
        good = self.fleet(1000, self.server.topic)
        ran = self.push(good, "--dry-run", mock=self.server)
        self.assertEqual(ran.code, 0, ran)
        self.assertIn("1000", ran.out.replace(",", ""))
        text = run([harness.TOCSIN, "push", good, *self.server.push_options(), "--dry-run"])
        self.assertSays(text, 0, self.server.topic, "days")
        self.assertEqual(self.server.totals()["requests"], 0)

    def test_only_bad_lines_and_no_file(self):
        only = self.put("only.ndjson", "{}\nnothing\n")
        self.assertEqual(self.push(only, mock=self.server).code, 3)
        self.assertSays(self.push(self.path("absent.ndjson"), mock=self.server), 3, "absent.ndjson")
        self.assertEqual(self.server.totals()["requests"], 0)

    def test_usage(self):
        for words in (["push"], ["push", self.devices, "--no-such-option"], ["push", self.devices, "--connections", "0"],
                      ["push", self.devices], ["no-such-command"], ["mock"]):
            self.assertEqual(run([harness.TOCSIN, *words]).code, 2, words)
        self.assertSays(self.push(self.devices, "--connections", "3", "--connections-min", "4", mock=self.server), 2,
                        "--connections-min 4 is more than --connections 3")


if __name__ == "__main__":
    harness.main()
