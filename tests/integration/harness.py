# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: the real binaries as child processes, certificates, fleets, the comparison.

A test file is a unittest module that ends with `harness.main()`; it is run as

    python3 tests/integration/NAME.py --tocsin build/release/tocsin [--small]

`--small` is for sanitized builds: fewer devices, longer time limits. Exit 77 (skipped) if every test was
skipped for want of a tool.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lib"))
import ledger as comparison  # noqa: E402

TOCSIN = ""
SMALL = False
SECONDS = 60  # for one command


def main():
    global TOCSIN, SMALL, SECONDS
    parser = argparse.ArgumentParser()
    parser.add_argument("--tocsin", required=True)
    parser.add_argument("--small", action="store_true")
    args, rest = parser.parse_known_args()
    TOCSIN, SMALL = os.path.abspath(args.tocsin), args.small
    SECONDS = 240 if SMALL else 60
    program = unittest.main(argv=[sys.argv[0], *rest], exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful() or result.testsRun == 0:
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)


def need(tool):
    """The path of an external program; the test is skipped where it is not installed."""
    path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    if path is None:
        raise unittest.SkipTest(f"{tool} is not installed")
    return path


class Ran:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __str__(self):
        return f"exit {self.code}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])


def run(command, stdin=None, env=None, seconds=None):
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds or SECONDS,
                          stdin=subprocess.DEVNULL if stdin is None else None, env={**os.environ, **(env or {})})
    return Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


class Mock:
    """`tocsin mock` as a child; its certificates lie in DIR/certs."""

    def __init__(self, directory, *more, listen="127.0.0.1:0"):
        self.certs = os.path.join(directory, "certs")
        self.ledger_file = os.path.join(directory, "ledger.ndjson")
        self.log = open(os.path.join(directory, "mock.log"), "w+b")
        self.child = subprocess.Popen(
            [TOCSIN, "mock", "--listen", listen, "--admin", "127.0.0.1:0", "--certs", self.certs, "--ledger",
             self.ledger_file, "--json", *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        alarm = threading.Timer(SECONDS, self.child.kill)
        alarm.start()
        line = self.child.stdout.readline()
        alarm.cancel()
        if not line:
            raise AssertionError(f"the mock did not start: {self.tail()}")
        ready = json.loads(line)
        self.address, self.admin, self.topic = ready["listen"], ready["admin"], ready["topic"]
        self.totals_at_end = None

    def file(self, name):
        return os.path.join(self.certs, name)

    def push_options(self):
        return ["--endpoint", self.address, "--ca", self.file("ca.pem"), "--cert", self.file("push.pem"), "--key",
                self.file("push.key")]

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError as error:
            raise AssertionError(f"the mock's admin address does not answer ({error}); the mock: exit code "
                                 f"{self.child.poll()}, {self.tail()}") from None

    def totals(self):
        return self.get("/ledger")[1]

    def stop(self):
        """Ends it by SIGTERM; afterwards the ledger file is there. Answers the totals that it printed."""
        if self.totals_at_end is None:
            self.child.send_signal(signal.SIGTERM)
            out, _ = self.child.communicate(timeout=SECONDS)
            if self.child.returncode != 0:
                raise AssertionError(f"the mock ended with exit code {self.child.returncode}: {self.tail()}")
            self.totals_at_end = json.loads(out.splitlines()[-1])
        return self.totals_at_end

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        self.log.close()

    def tail(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()[-2000:].decode(errors="replace")


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tocsin-integration-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def put(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def mock(self, *more, listen="127.0.0.1:0"):
        mock = Mock(self.dir, *more, listen=listen)
        self.addCleanup(mock.kill)
        return mock

    def push(self, fleet, *more, mock=None, stdin=None, env=None):
        """`tocsin push --json`, with the mock's address and certificates if there is one."""
        options = mock.push_options() if mock else []
        return run([TOCSIN, "push", fleet, *options, "--json", "--no-progress", "--rejects", self.path("rejects.ndjson"),
                    *more], stdin=stdin, env=env)

    def start(self, server, fleet, *more):
        """`tocsin push --json` as a child, to be watched and signalled."""
        child = subprocess.Popen([TOCSIN, "push", fleet, *server.push_options(), "--json", "--no-progress", *more],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def fleet(self, devices, topic, seed=1, *more):
        path = self.path("fleet.ndjson")
        done = run([TOCSIN, "fleet", "generate", "--devices", str(devices), "--topic", topic, "--seed", str(seed), "-o",
                    path, *more])
        self.assertEqual(done.code, 0, done)
        return path

    def lines(self, path):
        with open(path, "rb") as file:
            return [json.loads(line) for line in file]

    def agree(self, fleet, outcomes, ledger):
        verdict = comparison.compare(fleet, outcomes, ledger)
        self.assertTrue(verdict.agree, verdict.text())
        return verdict

    def assertSays(self, ran, code, *texts):
        self.assertEqual(ran.code, code, ran)
        for text in texts:
            self.assertIn(text.lower(), (ran.out + ran.err).lower(), ran)


def token(number):
    return random.Random(f"token {number}").getrandbits(256).to_bytes(32, "big").hex()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Peer:
    """A server that is no push service: `act(connection)` for each one that comes, on a thread."""

    def __init__(self, act):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.ended = False
        self.act = act
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.ended:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                continue
            with connection:
                connection.settimeout(2)
                try:
                    self.act(connection)
                except OSError:  # the client went away, as it should
                    pass

    def close(self):
        self.ended = True
        self.thread.join()
        self.listener.close()


def tls_without_alpn(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def act(connection):
        with context.wrap_socket(connection, server_side=True) as channel:
            channel.recv(100)
    return act


def plain_http(connection):
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def wait_until(condition, seconds=None):
    end = time.monotonic() + (seconds or SECONDS)
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
