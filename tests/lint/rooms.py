# SPDX-License-Identifier: Apache-2.0
"""The rooms of docs/architecture.md as data: who may include whom, and which third-party headers.

Every room may include its own headers, the vocabulary <tocsin/...> and the standard library; a pure room
may not include what PURE_STD_FORBIDDEN names. `any` means no limit.
"""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Room:
    kind: str                      # vocabulary, pure, world, composition, programs
    rooms: frozenset = frozenset()  # other rooms under src/
    third: tuple = ()              # prefixes of third-party headers in <>
    any: bool = False


def room(kind, rooms="", third=(), any=False):
    return Room(kind, frozenset(rooms.split()), tuple(third), any)


WOLFSSL = ("wolfssl/",)
# Of the compiler, not of a library: every room may include it.
TOOLCHAIN = ("sanitizer/", "emmintrin.h", "immintrin.h", "arm_neon.h", "cpuid.h")
LINUX = ("sys/", "netinet/", "arpa/", "linux/", "unistd.h", "fcntl.h", "netdb.h", "poll.h", "pthread.h", "sched.h",
         "signal.h", "dirent.h")

ROOMS = {
    "include": room("vocabulary"),
    "base": room("vocabulary"),
    "obs": room("vocabulary", "base"),
    "log": room("world", "base", ("spdlog/", "fmt/", *LINUX)),
    "io": room("world", "base obs", ("liburing.h", *LINUX)),
    # arpa/inet.h: inet_pton only, a function of its argument.
    "tls": room("pure", "base", (*WOLFSSL, "intel-ipsec-mb.h", "arpa/inet.h")),
    "h2": room("pure", "base", ("nghttp2/",)),
    "apns": room("pure", "base", (*WOLFSSL, "simdjson.h")),
    "dispatch": room("pure", "base obs apns h2 tls"),
    "mock": room("pure", "base h2 tls apns", ("simdjson.h",)),
    "mockd": room("composition", "base obs log io tls h2 mock http apns portal", ("nlohmann/", *LINUX)),
    "portal": room("composition", "base certs", ("openssl/", *LINUX)),
    "engine": room("composition", "base obs log io tls h2 apns dispatch", ("concurrentqueue/", *LINUX)),
    "http": room("composition", "base obs log io h2 tls", ("boost/", *LINUX)),
    "cli": room("programs", any=True),
}

# Rooms of the plan that have no code yet: docs/architecture.md names them, src/ does not hold them.
ROOMS_TO_COME = {"plist", "store", "certs", "mdm"}

# (header, why it may stand in a header file of ours). Third-party headers elsewhere in .h files are refused:
# they would leak into every room that includes the header.
THIRD_PARTY_IN_HEADERS = {
    "src/cli/": "programs: nobody includes them",
    "src/io/ring.h": "the room's own: the ring is a liburing structure",
    "src/io/driver_impl.h": "the room's own: the driver's inside",
    "src/io/shims.h": "the room's own: what newer liburing has",
    "src/io/sockets.h": "the room's own: socket addresses are the kernel's structures",
    "src/mockd/": "composition: its headers are used by the program and the tests only",
    "src/http/": "composition: its headers are used by programs and the tests only",
    "src/tls/": "the room's own internals: checked below to be included by the room alone",
    "src/h2/": "the room's own internals: checked below to be included by the room alone",
    "src/apns/": "the room's own internals: checked below to be included by the room alone",
    "src/mock/": "the room's own internals: checked below to be included by the room alone",
    "src/engine/": "the room's own internals: checked below to be included by the room alone",
    "src/log/": "the room's own internals: checked below to be included by the room alone",
    "src/portal/": "the room's own internals: checked below to be included by the room alone",
}

# What a pure room must not say, as regular expressions over code without comments and strings.
FORBIDDEN_IN_PURE = [
    (r"\bclock_gettime\b|\bgettimeofday\b|\btimespec_get\b", "a clock"),
    (r"\b(?:steady|system|high_resolution|utc)_clock\b", "a clock"),
    (r"(?<![\w.>:])(?:std::|::)?time\s*\(\s*(?:nullptr|NULL|0|&)", "a clock"),
    (r"\b(?:monotonic|wall|unix)_now(?:_ns)?\s*\(|\bbase::now\w*\s*\(", "a clock"),
    (r"\b(?:std::)?random_device\b|(?<![\w.>])(?:s?rand|arc4random|getrandom|getentropy)\s*\(", "randomness"),
    (r"\bstd::(?:j?thread|mutex|recursive_mutex|shared_mutex|timed_mutex|condition_variable\w*|future|promise|async|"
     r"atomic\w*|call_once|once_flag|this_thread|counting_semaphore|latch|barrier)\b", "threads"),
    (r"\bpthread_\w+", "threads"),
    (r"\bthread_local\b", "global mutable state"),
    # Names that members share (connect, open, poll) count only with a leading `::`; the headers that declare
    # the bare ones are refused by PURE_STD_FORBIDDEN.
    (r"(?<![\w.>:])(?:std::|::)?(?:socket|recvmsg|sendmsg|epoll_\w+|eventfd|openat|fopen|mmap|pipe2|fork|getenv|"
     r"secure_getenv|setenv|usleep|nanosleep)\s*\(|(?<![\w>])::(?:connect|accept4?|bind|listen|poll|open|pipe|system|"
     r"sleep|read|write|close)\s*\(", "the world"),
    (r"\bstd::(?:[io]?fstream|filesystem|cout|cerr|clog|cin)\b", "the world"),
    (r"(?<![\w.>])(?:std::)?(?:printf|fprintf|puts|fputs|putchar|vprintf|vfprintf|perror)\s*\(", "printing"),
    (r"\bio_uring\w*|\bliburing\b", "the kernel"),
]
PURE_STD_FORBIDDEN = {"thread", "mutex", "atomic", "condition_variable", "future", "chrono", "random", "iostream",
                      "fstream", "filesystem", "ctime", "shared_mutex", "semaphore", "latch", "barrier",
                      "stop_token", "pthread.h", "unistd.h", "fcntl.h", "sys/socket.h", "sys/random.h", "time.h"}

# Exceptions to the two lists above: file -> {what: reason}. `what` is the word the lint prints.
ALLOWED_IN_PURE = {
    "src/tls/crypto.cc": {
        "atomic": "wolfSSL's crypto device is process-wide: its registration and its call counter are too",
        "threads": "wolfSSL's crypto device is process-wide: its registration and its call counter are too",
        "global mutable state": "each thread picks its own place among the call counters, once"},
    "src/tls/gcm_ipsec_mb.cc": {
        "global mutable state": "expanded keys are cached per thread: wolfSSL never frees a device context"},
    "src/tls/library_memory.cc": {
        "global mutable state": "wolfSSL's allocators are process-wide: what they keep is each thread's own, so that none waits"},
    "src/tls/seal_place.cc": {
        "global mutable state": "wolfSSL tells its crypto callback nothing of the channel: it finds it by its thread"},
    "src/base/assertion.cc": {"printing": "the last words of a broken invariant, before the process ends"},
}
