# SPDX-License-Identifier: Apache-2.0
"""Programs that send the same pushes: the engine, `tocsin push`, h2load, and clients of other projects where they are installed.

Each is run as a child on the same CPUs and measured by wait4. All send MDM wake-ups with the same certificate, topic,
headers and payload over the same number of connections and streams. Clients of other projects stand behind drivers in
bench/peers, built or installed into build/peers; a driver's last line is JSON with `accepted`, and `cipher` if it knows it.
"""
import json
import os
import re
import shutil
import subprocess
import threading
import time

import demo

ROOT = demo.ROOT
INSTALLED = os.path.join(ROOT, "build", "peers")
PATHS = 10_000  # tokens; those who read them from a file cycle through them
SLOWEST_PER_SECOND = 500


class Load:
    """What is sent, and with what."""

    def __init__(self, tocsin, work, requests, connections, streams, cpus):
        self.tocsin, self.work, self.cpus = tocsin, work, cpus
        self.requests, self.connections, self.streams = requests, connections, streams
        self.repeat_tokens = False  # the engine's tokens from the file, too
        self.engine_args = []
        self.engine_load = os.path.join(os.path.dirname(tocsin), "bench", "engine_load")

    def cert(self, name):
        return os.path.join(self.work, "certs", name)

    def read_fleet(self, fleet):
        """The first PATHS devices' tokens, one of their payloads, their topic; the whole file is for `tocsin push`."""
        self.fleet = fleet
        self.tokens = []
        with open(fleet) as devices:
            for line in devices:
                device = json.loads(line)
                if not self.tokens:
                    payload = json.dumps({"mdm": device["magic"]}, separators=(",", ":"))
                    self.topic = device["topic"]
                self.tokens.append(device["token"])
                if len(self.tokens) == PATHS:
                    break
        self.token_file = self.put("tokens.txt", "".join(token + "\n" for token in self.tokens))
        self.payload_file = self.put("payload.json", payload)

    def put(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w") as out:
            out.write(text)
        return path


class Measured:
    def __init__(self, requests, seconds, used, facts):
        self.requests, self.seconds, self.facts = requests, seconds, facts
        self.cpu_ns = (used.ru_utime + used.ru_stime) * 1e9
        self.rate = requests / seconds
        self.rss_mib = used.ru_maxrss / 1024


def measure(load, name, requests, command, env=None):
    """Runs a child to its end; answers (Measured, its output). One that is slower than any client should be is ended."""
    limit = 60 + requests / SLOWEST_PER_SECOND
    start = time.monotonic()
    with open(os.path.join(load.work, name.replace(" ", "-") + ".log"), "w+", errors="replace") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                 preexec_fn=demo.pinned(load.cpus))
        watch = threading.Timer(limit, child.kill)
        watch.start()
        try:
            _, status, used = os.wait4(child.pid, 0)  # this child's own account, kept by the kernel
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            watch.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        log.seek(0)
        text = log.read()
    if seconds >= limit:
        raise demo.Failure(f"{name} did not send {requests} pushes in {limit:.0f} s:\n{text[-1500:]}")
    if child.returncode != 0:
        raise demo.Failure(f"{name} ended with exit code {child.returncode}:\n{text[-1500:]}")
    return Measured(requests, seconds, used, {}), text


class Engine:
    name = "engine"
    differences = "the library alone: tokens from a counter, each answer matched to its push"

    def absent(self, load):
        return None if os.access(load.engine_load, os.X_OK) else f"no {load.engine_load}: ninja -C build/release"

    def run(self, load, address, requests):
        command = [load.engine_load, "--endpoint", address, "--ca", load.cert("ca.pem"), "--cert", load.cert("push.pem"), "--key",
                   load.cert("push.key"), "--topic", load.topic, "--pushes", str(requests), "--connections",
                   str(load.connections), "--streams", str(load.streams), *load.engine_args]
        if load.repeat_tokens:
            command += ["--token-file", load.token_file]
        measured, text = measure(load, self.name, requests, command)
        measured.facts = last_json(self.name, text)
        return measured


class Push:
    name = "tocsin push"
    differences = "reads and checks a file of as many devices and writes an outcome for each"

    def absent(self, load):
        return None

    def run(self, load, address, requests):
        fleet = load.fleet
        if requests != load.requests:
            with open(load.fleet) as devices:
                fleet = load.put("few.ndjson", "".join(line for _, line in zip(range(requests), devices)))
        command = [load.tocsin, "push", fleet, "--endpoint", address, "--ca", load.cert("ca.pem"), "--cert",
                   load.cert("push.pem"), "--key", load.cert("push.key"), "--connections", str(load.connections), "--streams",
                   str(load.streams), "--out", os.path.join(load.work, "outcomes.ndjson"), "--overwrite", "--json"]
        measured, text = measure(load, self.name, requests, command)
        measured.facts = last_json(self.name, text)
        return measured


class H2load:
    name = "h2load"
    differences = f"cycles through {PATHS:,} prepared paths, sends no apns-id, throws the answers away"

    def __init__(self):
        self.shim = self.paths = None

    def absent(self, load):
        return None if shutil.which("h2load") else "h2load is not installed: tools/setup --test"

    def prepare(self, load, address):
        """h2load has no option for a client certificate: a small preloaded library (bench/h2load_certificate.cc) adds it."""
        if self.shim is None:
            self.shim = os.path.join(load.work, "h2load_certificate.so")
            libs = subprocess.run(["pkg-config", "--libs", "libssl"], check=True, capture_output=True, text=True).stdout.split()
            demo.run(["g++", "-std=c++20", "-O2", "-shared", "-fPIC", "-o", self.shim,
                      os.path.join(ROOT, "bench", "h2load_certificate.cc"), "-ldl", *libs])
        if self.paths is None:
            lines = [f"/3/device/{token}\n" for token in load.tokens]
            lines[0] = f"https://{address}" + lines[0]
            self.paths = load.put("paths.txt", "".join(lines))

    def run(self, load, address, requests):
        self.prepare(load, address)
        env = dict(os.environ, LD_PRELOAD=self.shim, H2LOAD_CERTIFICATE=load.cert("push.pem"), H2LOAD_KEY=load.cert("push.key"))
        command = ["h2load", "-t", "1", "-c", str(load.connections), "-m", str(load.streams), "-n", str(requests), "-i", self.paths,
                   "-d", load.payload_file, "-H", f"apns-topic: {load.topic}", "-H", "apns-push-type: mdm", "-H",
                   "apns-priority: 10"]
        measured, text = measure(load, self.name, requests, command, env)
        good = re.search(r"status codes: (\d+) 2xx", text)
        cipher = re.search(r"Cipher: (\S+)", text)
        measured.facts = {"accepted": int(good[1]) if good else 0, "cipher": cipher[1] if cipher else None}
        return measured


class Driver:
    """A client of another project behind a driver of ours; see bench/peers/README.md."""

    def __init__(self, name, command, needs, differences):
        self.name, self.command, self.needs, self.differences = name, command, needs, differences

    def absent(self, load):
        if not shutil.which(self.command[0]) and not os.access(self.command[0], os.X_OK):
            return f"no {os.path.relpath(self.command[0], ROOT)}: see bench/peers/README.md"
        if not os.path.exists(self.needs):
            return f"not installed ({os.path.relpath(self.needs, ROOT)}): see bench/peers/README.md"
        return None

    def run(self, load, address, requests):
        command = [*self.command, "--endpoint", address, "--ca", load.cert("ca.pem"), "--cert", load.cert("push.pem"), "--key",
                   load.cert("push.key"), "--topic", load.topic, "--tokens", load.token_file, "--payload", load.payload_file,
                   "--requests", str(requests), "--connections", str(load.connections), "--streams", str(load.streams)]
        measured, text = measure(load, self.name, requests, command)
        measured.facts = last_json(self.name, text)
        return measured


def last_json(name, text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                break
    raise demo.Failure(f"{name} printed no line of JSON:\n{text[-1500:]}")


def everyone():
    def at(*parts):
        return os.path.join(INSTALLED, *parts)
    return [
        Engine(), Push(), H2load(),
        Driver("apns2", [at("apns2", "apns2")], at("apns2", "apns2"),
               "Go, one client a connection and one goroutine a stream; sends no apns-id, and a content-type"),
        Driver("pushy", ["java", "-jar", at("pushy", "target", "pushy-driver.jar")], at("pushy", "target", "pushy-driver.jar"),
               "Java, one client with as many connections; the JVM's own threads (compiler, collector) count"),
        Driver("node-apn", ["node", at("node-apn", "main.js")], at("node-apn", "node_modules", "@parse", "node-apn"),
               "JavaScript, one provider a connection; it chooses streams itself, and is given as many at once as the others"),
    ]


class Nghttpd:
    """An independent HTTP/2 server: a static file server with one empty file a token. It is slower than any client, so that only
    CPU is worth comparing."""

    def __init__(self, load, cpus):
        root = os.path.join(load.work, "root")
        os.makedirs(os.path.join(root, "3", "device"), exist_ok=True)
        for token in load.tokens:
            load.put(os.path.join("root", "3", "device", token), "")
        self.log = open(os.path.join(load.work, "nghttpd.log"), "w+")
        port = free_port()
        self.child = subprocess.Popen(
            ["nghttpd", "-a", "127.0.0.1", "-m", str(load.streams), "-n", str(len(cpus) if cpus else 1), "-d", root, str(port),
             load.cert("server.key"), load.cert("server.pem")], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=demo.pinned(cpus))
        self.address = f"127.0.0.1:{port}"
        wait_for(port, self.child)

    def stop(self):
        self.kill()

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


def free_port():
    import socket
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(port, child, seconds=20):
    """Until a TCP connection succeeds; a server that has ended is an error."""
    import socket
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if child.poll() is not None:
            raise demo.Failure(f"the server ended with exit code {child.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.02)  # it does not say when it listens
    raise demo.Failure(f"no server listens on port {port} after {seconds} s")
