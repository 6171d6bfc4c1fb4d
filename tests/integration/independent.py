# SPDX-License-Identifier: Apache-2.0
"""Other people's HTTP/2 on one side: push to nghttpd; curl, nghttp and h2load to the mock."""
import json
import os
import re
import subprocess

import harness
from harness import Case, need, run, token


class Independent(Case):
    def test_push_to_nghttpd(self):
        nghttpd = need("nghttpd")
        mock = self.mock()  # for its certificates
        mock.stop()
        # A static file server: tokens with a file get 200, the others 404.
        root = self.path("root")
        os.makedirs(root + "/3/device")
        fleet = []
        for i in range(600):
            fleet.append(json.dumps({"id": i, "token": token(i), "magic": f"magic {i}", "topic": mock.topic}))
            if i % 3 == 0:
                self.put(f"root/3/device/{token(i)}", "")
        port = harness.free_port()
        server = subprocess.Popen([nghttpd, "-a", "127.0.0.1", "-d", root, str(port), mock.file("server.key"),
                                   mock.file("server.pem")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        out = self.path("out.ndjson")
        # nghttpd takes a moment to listen; the engine dials again until it does.
        ran = self.push(self.put("devices.ndjson", "\n".join(fleet) + "\n"), "--endpoint", f"127.0.0.1:{port}", "--ca",
                        mock.file("ca.pem"), "--cert", mock.file("push.pem"), "--key", mock.file("push.key"), "--out", out)
        self.assertEqual(ran.code, 5, ran)
        outcomes = self.lines(out)
        self.assertEqual(sorted(o["id"] for o in outcomes), list(range(600)))
        for one in outcomes:
            expected = ("accepted", 200) if one["id"] % 3 == 0 else ("rejected", 404)
            self.assertEqual((one["outcome"], one["status"]), expected, one)
            self.assertEqual(one["attempts"], 1, one)

    def headers(self, mock, option, identifier):
        texts = [f"apns-topic: {mock.topic}", "apns-push-type: mdm", "apns-priority: 10", f"apns-id: {identifier}"]
        return [word for text in texts for word in (option, text)]

    def test_curl(self):
        curl = need("curl")
        mock = self.mock("--dead", self.put("dead.txt", token(2) + ",1700000000000\n"))
        common = [curl, "-sS", "-m", "20", "--http2", "--cacert", mock.file("ca.pem"), "--cert", mock.file("push.pem"), "--key",
                  mock.file("push.key"), "-w", "\n%{http_version} %{http_code}\n", "-D", "-"]
        identifier = "11111111-2222-4333-8444-555555555555"
        url = f"https://{mock.address}/3/device/"

        def ask(number, *more):
            ran = run([*common, *self.headers(mock, "-H", identifier), *more, url + token(number)])
            self.assertEqual(ran.code, 0, ran)
            return ran.out

        good = ask(1, "-d", '{"mdm":"magic"}')
        self.assertTrue(good.rstrip().endswith("2 200"), good)
        self.assertIn(f"apns-id: {identifier}", good.lower())
        self.assertEqual(mock.get("/ledger/" + token(1))[1]["apns_id"], identifier)
        dead = ask(2, "-d", '{"mdm":"magic"}')
        self.assertTrue(dead.rstrip().endswith("2 410"), dead)
        self.assertIn('"reason":"Unregistered"', dead)
        self.assertIn("1700000000000", dead)
        self.assertIn("BadTopic" if "BadTopic" in (wrong := ask(3, "-d", '{"mdm":"m"}', "-H", "apns-topic: com.example.other"))
                      else "DuplicateHeaders", wrong)
        self.assertIn('"reason":"PayloadEmpty"', ask(4, "-X", "POST"))
        self.assertIn('"reason":"MethodNotAllowed"', ask(5, "-X", "GET"))
        self.assertIn('"reason":"PayloadTooLarge"', ask(6, "-d", json.dumps({"mdm": "x" * 5000})))
        anonymous = run([curl, "-sS", "-m", "20", "--http2", "--cacert", mock.file("ca.pem"), "-d", '{"mdm":"m"}',
                         *self.headers(mock, "-H", identifier), url + token(7)])
        self.assertIn("MissingProviderToken", anonymous.out)
        totals = mock.stop()
        self.assertEqual((totals["requests"], totals["accepted"], totals["rejected"]), (7, 1, 6))

    def test_nghttp(self):
        nghttp = need("nghttp")
        mock = self.mock()
        body = self.put("body", '{"mdm":"magic"}')
        urls = [f"https://{mock.address}/3/device/{token(i)}" for i in range(20)]
        identifier = "11111111-2222-4333-8444-555555555555"
        ran = run([nghttp, "-nv", "-y", "--cert", mock.file("push.pem"), "--key", mock.file("push.key"), "-d", body, "-t", "20s",
                   *self.headers(mock, "-H", identifier), *urls])
        text = re.sub(r"\x1b\[[0-9;]*m", "", ran.out)
        self.assertEqual(len(re.findall(r":status: 200", text)), 20, text[-2000:])
        self.assertRegex(text, r"SETTINGS_MAX_CONCURRENT_STREAMS\(0x03\):1000")
        self.assertRegex(text, r"SETTINGS_INITIAL_WINDOW_SIZE\(0x04\):65535")
        totals = mock.stop()
        self.assertEqual((totals["requests"], totals["accepted"], totals["tokens_accepted"]), (20, 20, 20))

    def test_h2load(self):
        h2load = need("h2load")
        count = 5_000 if harness.SMALL else 50_000
        mock = self.mock()
        # h2load has no client certificate: each request is judged, booked and refused, none may be lost. One stream at a
        # time, which is all that a connection without a certificate gets before its first good provider token.
        paths = self.put("uris", "".join(f"https://{mock.address}/3/device/{token(i)}\n" for i in range(500)))
        ran = run([h2load, "-n", str(count), "-c", "16", "-m", "1", "-i", paths, "-d", self.put("body", '{"mdm":"magic"}'),
                   *self.headers(mock, "-H", "11111111-2222-4333-8444-555555555555")])
        self.assertEqual(ran.code, 0, ran)
        self.assertRegex(ran.out, rf"{count} total, {count} started, {count} done")
        self.assertRegex(ran.out, rf"{count} 4xx")
        totals = mock.stop()
        self.assertEqual((totals["requests"], totals["accepted"]), (count, 0))
        self.assertEqual(totals["by_reason"], {"MissingProviderToken": count})


if __name__ == "__main__":
    harness.main()
