#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed inputs of the fuzz targets: one meaningful example of each thing a target reads.

    make_corpus.py [FOLDER]     default: the folder corpus beside this file

Inputs that are there already and have other names (found by fuzzing) stay. What needs keys comes from openssl.
"""
import gzip
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ID = "00000000-1111-2222-3333-444444444444"


def literal(name, value):
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def brief(kind, flags, stream, payload=b""):
    """A frame in the short form of h2_wire.h."""
    return bytes([kind, flags, stream]) + struct.pack(">H", len(payload)) + payload


def whole(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def words(*values):
    return b"".join(struct.pack(">I", value) for value in values)


def settings(*entries):
    return b"".join(struct.pack(">HI", key, value) for key, value in entries)


def cuts(*choices):
    return bytes([len(choices), *choices])


DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32


def h2_client():
    """options, first id, cuts, frames."""
    accepted = b"\x88" + literal("apns-id", ID)
    gone = literal(":status", "410") + literal("apns-id", ID)
    body = b'{"reason":"Unregistered","timestamp":1700000000000}'
    talks = {
        "accepted": [(HEADERS, END_HEADERS | END_STREAM, 1, accepted), (HEADERS, END_HEADERS | END_STREAM, 3, accepted)],
        "rejected": [(HEADERS, END_HEADERS, 1, gone), (DATA, END_STREAM, 1, body)],
        "interim": [(HEADERS, END_HEADERS, 1, literal(":status", "100")), (HEADERS, END_HEADERS | END_STREAM, 1, accepted)],
        "trailers": [(HEADERS, END_HEADERS, 3, accepted), (HEADERS, END_HEADERS | END_STREAM, 3, literal("x", "y"))],
        "no_status": [(HEADERS, END_HEADERS | END_STREAM, 1, literal("apns-id", ID))],
        "two_statuses": [(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x8d")],
        "data_first": [(DATA, END_STREAM, 1, b"early"), (HEADERS, END_HEADERS | END_STREAM, 1, accepted)],
        "continuation": [(HEADERS, END_STREAM, 1, accepted[:9]), (CONTINUATION, 0, 1, accepted[9:20]),
                         (CONTINUATION, END_HEADERS, 1, accepted[20:])],
        "padded": [(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, b"\x03" + words(0) + b"\x10" + accepted + b"\0\0\0"),
                   (DATA, PADDED | END_STREAM, 1, b"\x02ab\0\0")],
        "reset": [(RST, 0, 1, words(7)), (RST, 0, 3, words(0)), (RST, 0, 5, words(8))],
        "goaway": [(GOAWAY, 0, 0, words(3, 0) + b'{"reason":"Shutdown"}'), (HEADERS, END_HEADERS | END_STREAM, 1, accepted)],
        "goaway_twice": [(GOAWAY, 0, 0, words(0x7fffffff, 0)), (GOAWAY, 0, 0, words(1, 0))],
        "windows": [(WINDOW, 0, 0, words(100_000)), (WINDOW, 0, 1, words(70_000)), (WINDOW, 0, 0, words(0x7fffffff))],
        "limits": [(SETTINGS, 0, 0, settings((3, 1), (4, 0), (1, 0))), (SETTINGS, 0, 0, settings((4, 65_535), (5, 16_384)))],
        "ping": [(PING, 0, 0, b"12345678"), (PING, ACK, 0, b"\0\0\0\0\0\0\0\1")],
        "push": [(PUSH, END_HEADERS, 1, words(2) + b"\x82\x87\x84\x81")],
        "unknown": [(0x42, 7, 1, b"what?"), (HEADERS, END_HEADERS | END_STREAM, 1, accepted)],
        "table": [(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88\x40\x01x\x01y"), (HEADERS, END_HEADERS | END_STREAM, 3, b"\x88\xbe")],
    }
    for name, frames in talks.items():
        yield name + "_brief", bytes([1, 0]) + cuts() + b"".join(brief(*frame) for frame in frames)
    for name in ("accepted", "rejected", "goaway", "limits"):
        text = b"".join(whole(*frame) for frame in talks[name])
        yield name, bytes([0, 0]) + cuts() + text
        yield name + "_cut", bytes([14, 0]) + cuts(1, 2, 3, 0x24, 0x45, 0x61, 0x87, 9, 0xc3) + text
    yield "deeds", bytes([1, 3]) + cuts(0x20, 0x40, 0x60, 0x80, 0x20, 0xa0, 0xc0) + b"".join(brief(*f) for f in talks["rejected"])
    yield "no_settings", bytes([33, 0]) + cuts(0x20) + brief(SETTINGS, 0, 0, settings((3, 2), (6, 50)))


def h2_client_diff():
    """As h2_client_bytes, and what the two codecs might see differently."""
    yield from h2_client()
    accepted = b"\x88" + literal("apns-id", ID)
    coded = b"\x40\x07apns-id\x84" + bytes([0x1f, 0x1f, 0x1f, 0xff])
    added = b"\x88\x40\x07apns-id\x24" + ID.encode()
    talks = {
        "added": [(HEADERS, END_HEADERS | END_STREAM, 1, added), (HEADERS, END_HEADERS | END_STREAM, 3, b"\x88\xbe"),
                  (HEADERS, END_HEADERS | END_STREAM, 5, b"\x88\x7e\x01x")],
        "sizes": [(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\x45" + added), (HEADERS, END_HEADERS, 3, b"\x20\x3f\x45\x88" + coded),
                  (DATA, END_STREAM, 3, b"{}"), (HEADERS, END_HEADERS | END_STREAM, 5, b"\x88\xbe")],
        "tables": [(SETTINGS, 0, 0, settings((1, 64))), (HEADERS, END_HEADERS | END_STREAM, 1, accepted),
                   (SETTINGS, 0, 0, settings((1, 0), (1, 4096))), (HEADERS, END_HEADERS | END_STREAM, 3, accepted),
                   (SETTINGS, 0, 0, settings((1, 200), (3, 7))), (HEADERS, END_HEADERS | END_STREAM, 5, accepted)],
        "overflow": [(WINDOW, 0, 1, words(0x7fffffff)), (RST, 0, 1, words(8)), (SETTINGS, 0, 0, settings((4, 0x7fffffff)))],
        "ended_early": [(HEADERS, END_HEADERS | END_STREAM, 7, b"\x8c"), (DATA, END_STREAM, 7, b"x"), (HEADERS, END_HEADERS, 7, b"\x88")],
        "windows_used": [(HEADERS, END_HEADERS, 1, accepted)] + [(DATA, 0, 1, b"d" * 90)] * 4 + [(DATA, END_STREAM | PADDED, 1, b"\x09" + b"e" * 20)],
        "length": [(HEADERS, END_HEADERS, 1, accepted + literal("content-length", "4")), (DATA, 0, 1, b"bo"), (DATA, END_STREAM, 1, b"dy"),
                   (HEADERS, END_HEADERS, 3, accepted + literal("content-length", "4")), (DATA, END_STREAM, 3, b"bo")],
        "after_goaway": [(GOAWAY, 0, 0, words(0, 0)), (PING, 0, 0, b"12345678"), (GOAWAY, 0, 0, words(1, 0))],
    }
    deeds = (0xff, 0x5f, 0x3f, 0x9f, 0x7f, 0xdf, 0x5f, 0x3f, 0xff, 0xff)
    for name, frames in talks.items():
        text = b"".join(brief(*frame) for frame in frames)
        for number, options in enumerate((1, 1 | 2 | 4, 1 | 16, 1 | 64, 1 | 8 | 16 | 64)):
            yield f"{name}_{number}", bytes([options, 0]) + cuts(*(deeds if number % 2 else ())) + text
        yield f"{name}_cut", bytes([1, 0]) + cuts(*(1 + 7 * i % 16 | (i % 8) << 5 for i in range(60))) + text
    # Small bodies of every shape in runs, and windows that end in one of them.
    grants = [(WINDOW, 0, 0, words(20)), (HEADERS, END_HEADERS | END_STREAM, 1, accepted), (SETTINGS, 0, 0, settings((4, 46), (1, 0))),
              (WINDOW, 0, 0, words(46)), (SETTINGS, 0, 0, settings((4, 45), (1, 4096))), (WINDOW, 0, 0, words(100_000)),
              (SETTINGS, 0, 0, settings((4, 70_000), (1, 100))), (PING, 0, 0, b"12345678")]
    text = b"".join(brief(*frame) for frame in grants)
    for shape in range(1, 6):
        steps = [deed << 5 | size for deed, size in zip((1, 2, 7, 6, 1, 7, 1, 2, 1, 7, 3, 1) * 3, (9, 15, 15, 15, 5, 9, 0, 15) * 5)]
        yield f"shapes_{shape}", bytes([1, shape << 3 | 1]) + cuts(*steps) + text
        yield f"shapes_{shape}_whole", bytes([1 | 64, shape << 3 | 2]) + cuts(0x20, 0x40, 0x20, 0xe0, 0x3f, 0x3f) + text


def h2_mock():
    """options, cuts, frames behind the preface."""
    def request(stream, *more, path="/3/device/" + "ab" * 32, flags=END_HEADERS):
        block = b"\x83\x87" + literal(":path", path) + literal(":authority", "api.push.apple.com")
        return brief(HEADERS, flags, stream, block + b"".join(literal(*pair) for pair in more))
    mdm = [("apns-topic", "com.apple.mgmt.External.1"), ("apns-push-type", "mdm")]
    magic = b'{"mdm":"B5C7C9A0"}'
    hello = brief(SETTINGS, 0, 0, settings((2, 0), (4, 1 << 20))) + brief(SETTINGS, ACK, 0)
    talks = {
        "mdm": hello + request(1, *mdm) + brief(DATA, END_STREAM, 1, magic),
        "alert": hello + request(1, ("apns-topic", "com.example.app"), ("apns-push-type", "alert"), ("apns-priority", "10"))
        + brief(DATA, END_STREAM, 1, b'{"aps":{"alert":"hello"}}'),
        "two": hello + request(1, *mdm) + request(3, *mdm) + brief(DATA, END_STREAM, 3, magic) + brief(DATA, END_STREAM, 1, magic),
        "no_body": hello + request(1, *mdm, flags=END_HEADERS | END_STREAM),
        "bad_path": hello + request(1, *mdm, path="/3/devices/zz", flags=END_HEADERS | END_STREAM),
        "bad_json": hello + request(1, *mdm) + brief(DATA, END_STREAM, 1, b'{"mdm":'),
        "ids": hello + request(1, *mdm, ("apns-id", ID), ("apns-expiration", "1800000000"), ("apns-collapse-id", "c"))
        + brief(DATA, END_STREAM, 1, magic),
        "reset": hello + request(1, *mdm) + brief(RST, 0, 1, words(8)) + request(3, *mdm) + brief(DATA, END_STREAM, 3, magic),
        "goaway": hello + request(1, *mdm) + brief(GOAWAY, 0, 0, words(0, 0)) + brief(DATA, END_STREAM, 1, magic),
        "trailers": hello + request(1, *mdm) + brief(DATA, 0, 1, magic) + brief(HEADERS, END_HEADERS | END_STREAM, 1, literal("x", "y")),
        "ping": hello + brief(PING, 0, 0, b"12345678") + brief(WINDOW, 0, 0, words(5)),
        "dead": hello + request(1, *mdm, path="/3/device/00") + brief(DATA, END_STREAM, 1, magic),
    }
    for name, frames in talks.items():
        yield name + "_gateway", bytes([1 | 4]) + cuts() + frames
        if name in ("mdm", "two", "reset", "trailers"):
            yield name + "_session", bytes([1]) + cuts(19, 20, 0x25, 0x45, 0x67, 0x89, 0xab, 0xcd) + frames
            yield name + "_delayed", bytes([1 | 4 | 16]) + cuts(20, 0x91, 0xb2, 0xd3) + frames
    yield "small", bytes([1 | 8]) + cuts(19, 0x33, 0xf5) + talks["mdm"]
    yield "no_certificate", bytes([1 | 4 | 32]) + cuts() + talks["mdm"]
    yield "no_preface", bytes([2]) + cuts() + b"GET / HTTP/1.1\r\n\r\n"
    yield "whole_frames", bytes([4]) + cuts(3, 9) + whole(SETTINGS, 0, 0) + whole(PING, 0, 0, b"12345678")


def h2_flood():
    """options, where to take over (in 4 bytes) or how many to validate, cuts, frames behind the preface."""
    def request(stream, flags=END_HEADERS):
        return brief(HEADERS, flags, stream, b"\x83\x87" + literal(":path", "/3/device/" + "ab" * 32) + literal(":authority", "a")
                     + literal("apns-topic", "com.apple.mgmt.External.1") + literal("apns-push-type", "mdm"))
    magic = b'{"mdm":"B5C7C9A0"}'
    hello = brief(SETTINGS, 0, 0, settings((2, 0), (4, 1 << 20))) + brief(SETTINGS, ACK, 0)
    talks = {
        "one": hello + request(1) + brief(DATA, END_STREAM, 1, magic),
        "many": hello + b"".join(request(i) + brief(DATA, END_STREAM, i, magic) for i in range(1, 17, 2)),
        "interleaved": hello + request(1) + request(3) + request(5, END_HEADERS | END_STREAM) + brief(DATA, 0, 3, magic)
        + brief(DATA, END_STREAM, 1, magic) + brief(DATA, END_STREAM, 3, magic),
        "reset": hello + request(1) + brief(RST, 0, 1, words(8)) + request(3) + brief(DATA, END_STREAM, 3, magic) + brief(RST, 0, 3, words(8)),
        "trailers": hello + request(1) + brief(DATA, 0, 1, magic) + brief(HEADERS, END_HEADERS | END_STREAM, 1, literal("x", "y")),
        "control": hello + brief(PING, 0, 0, b"12345678") + brief(WINDOW, 0, 0, words(5)) + brief(SETTINGS, 0, 0, settings((1, 0)))
        + request(1, END_HEADERS | END_STREAM) + brief(GOAWAY, 0, 0, words(0, 0)),
        "table": hello + request(1) + brief(SETTINGS, 0, 0, settings((1, 0), (4, 1))) + request(3, END_HEADERS | END_STREAM)
        + brief(DATA, END_STREAM, 1, magic) + brief(WINDOW, 0, 1, words(50)),
        "idle": hello + request(1) + brief(DATA, END_STREAM, 3, magic),
        "closed": hello + request(1, END_HEADERS | END_STREAM) + brief(DATA, END_STREAM, 1, magic),
    }
    for name, frames in talks.items():
        yield name, bytes([1, 0]) + cuts(19, 20, 0x45, 0xa7, 0x69) + frames
        for place in (18, 60, 110):
            yield f"{name}_over{place}", bytes([1 | 32, place // 4]) + cuts(19, 0x25, 0x65, 0xa7) + frames
        yield name + "_service", bytes([1 | 4, 1]) + cuts(20, 25, 31) + frames
        yield name + "_ids", bytes([1 | 64 | (32 if len(name) > 5 else 0), 15]) + cuts(19, 0x25, 0x65, 0xa7) + frames
        yield name + "_service_ids", bytes([1 | 4 | 64, 1]) + cuts(20, 25, 31) + frames
    yield "delays", bytes([1 | 4 | 16, 2]) + cuts(20, 0x91, 0xb2, 0xd3) + talks["many"]
    yield "small", bytes([1 | 8, 0]) + cuts(19, 0x33, 0xf5) + talks["many"]
    yield "no_preface", bytes([2, 0]) + cuts() + b"GET / HTTP/1.1\r\n\r\n"
    yield "whole_frames", bytes([0, 0]) + cuts(3, 9) + whole(SETTINGS, 0, 0) + whole(PING, 0, 0, b"12345678")


def apns_answer():
    """status (2 bytes), length of the apns-id, apns-id, body."""
    def one(status, body, apns_id=ID):
        return struct.pack(">HB", status, len(apns_id)) + apns_id.encode() + body
    yield "accepted", one(200, b"")
    for status, reason in ((400, "BadDeviceToken"), (403, "InvalidProviderToken"), (429, "TooManyRequests"),
                           (500, "InternalServerError"), (503, "Shutdown"), (400, "NeverHeardOf")):
        yield f"{status}_{reason}", one(status, b'{"reason":"%s"}' % reason.encode())
    yield "gone", one(410, b'{"reason":"Unregistered","timestamp":1700000000000}')
    yield "gone_other_order", one(410, b'{ "timestamp" : 1.7e12, "reason" : "ExpiredToken", "x": [1, {"y": null}] }')
    yield "escapes", one(400, b'{"reason":"Bad\\u0044evice\\u0000\\ud83d\\ude00"}', "")
    yield "no_json", one(502, b"<html>\x1b[31mBad gateway</html>", "no-uuid")
    yield "cut", one(400, b'{"reason":"BadDev')
    yield "long", one(400, b'{"reason":"' + b"x" * 300 + b'\xc3\xa9"}')


def input_ndjson():
    """buffer, first line, file."""
    token = "ab" * 32
    lines = [
        '{"token":"%s","magic":"B5C7C9A0-1111-2222-3333-444444444444","topic":"com.apple.mgmt.External.1","id":"dev-1"}' % token,
        '{"token":"%s","payload":{"aps":{"alert":"}{\\"","sound":"x"}},"push_type":"alert","topic":"com.example.app"}' % token,
        '{"id": 17, "token":"%s", "payload":"{\\"aps\\":{}}","priority":5,"expiration":"1800000000","collapse_id":"c"}' % token,
        '{"token":"%s","magic":"M\\u002d1","apns_id":"%s","topic":null,"site":"north"}' % (token, ID),
        '', '[1]', '{"token":17}', '{"token":"ab","token":"cd"}', '{"token":"ab","id":{}}', '{"token":"a\\', 'not json',
    ]
    text = "\n".join(lines).encode()
    yield "lines", b"\xff\0" + text
    yield "small_buffer", b"\x02\3" + text.replace(b"\n", b"\r\n")
    yield "bom", b"\x10\0\xef\xbb\xbf" + text[:300]
    yield "gzip", b"\x20\0" + gzip.compress(text, mtime=0)
    yield "gzip_twice", b"\x20\1" + gzip.compress(text[:200], mtime=0) + gzip.compress(text[200:], mtime=0) + b"\0\0\0"
    for number, line in enumerate(lines):
        if line:
            yield f"line{number}", b"\x40\0" + line.encode() + b"\n"


def input_csv():
    token = "ab" * 32
    ours = f"token,magic,topic,id\n{token},M-1,com.apple.mgmt.External.1,1\n{token},M-2,,2\n"
    nano = f"id,push_magic,token_hex,topic\nUDID-1,M-1,{token},com.apple.mgmt.External.1\n"
    yield "ours", b"\xff\0" + ours.encode()
    yield "nano", b"\xff\0" + nano.encode()
    yield "quotes", b"\x03\0" + f'token,payload,push_type\r\n{token},"{{""aps"":{{""alert"":""a,b""}}}}",alert\r\n'.encode()
    yield "over_lines", b"\x05\2" + f'id,token,magic\n"a\nb",{token},"M\r\n1"\n"",{token},\n'.encode()
    yield "open_quote", b"\x09\0" + f'token,magic\n"{token},x\n'.encode()
    yield "unknown_column", b"\x09\0" + f"token,site,magic\n{token},north,M\n".encode()
    yield "no_token", b"\x09\0name,site\nx,y\n"
    yield "ragged", b"\x01\1" + f"token,magic\n{token}\n{token},M,too,much\n,\n\n".encode()
    yield "gzip", b"\x20\0" + gzip.compress(ours.encode(), mtime=0)


def http1_request():
    """head_max / 32, cuts, bytes."""
    plain = b"GET /metrics HTTP/1.1\r\nHost: localhost:9090\r\nUser-Agent: x\r\n\r\n"
    yield "get", b"\xff" + cuts() + plain
    yield "cut", b"\xff" + cuts(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) + plain
    yield "ahead", b"\xff" + cuts() + plain + b"HEAD /health?x=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    yield "old", b"\xff" + cuts() + b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    yield "post", b"\xff" + cuts() + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    yield "body", b"\xff" + cuts() + b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield "no_host", b"\xff" + cuts() + b"GET / HTTP/1.1\r\n\r\n"
    yield "absolute", b"\xff" + cuts() + b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "too_large", b"\x00" + cuts(20) + b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 200 + b"\r\n\r\n"
    yield "h2", b"\xff" + cuts() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def proxy_answer():
    """cuts, bytes."""
    yield "open", cuts() + b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n\x16\x03\x01"
    yield "cut", cuts(1, 3, 5, 7, 9, 2) + b"HTTP/1.0 200\n\nrest"
    yield "interim", cuts() + b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n"
    for status in (101, 302, 403, 405, 407, 502):
        yield f"status{status}", cuts() + b"HTTP/1.1 %d x\r\nProxy-Authenticate: Basic\r\n\r\nno" % status
    yield "not_http", cuts() + b"\x15\x03\x01\x00\x02\x02\x46"
    yield "ssh", cuts() + b"SSH-2.0-OpenSSH_9.2\r\n"
    yield "bad_status", cuts() + b"HTTP/1.1 2x0 OK\r\n\r\n"


def tls_records():
    """mode, then cuts and records, or deeds: flight, place, deed."""
    alert = b"\x15\x03\x03\x00\x02\x02\x2a"
    close = b"\x15\x03\x03\x00\x02\x01\x00"
    yield "client_alert", b"\x00" + cuts() + alert
    yield "client_close", b"\x01" + cuts(1, 1, 3) + close
    yield "client_http", b"\x00" + cuts() + b"HTTP/1.1 400 Bad Request\r\n\r\n"
    server_hello = b"\x02\x00\x00\x2c\x03\x03" + bytes(32) + b"\x00\x13\x01\x00\x00\x04\x00\x2b\x00\x00"
    yield "client_server_hello", b"\x00" + cuts() + b"\x16\x03\x03" + struct.pack(">H", len(server_hello)) + server_hello
    hello = b"\x03\x03" + bytes(range(32)) + b"\x00\x00\x04\x13\x01\xc0\x2f\x01\x00\x00\x21" + \
        b"\x00\x2b\x00\x03\x02\x03\x04" + b"\x00\x0a\x00\x04\x00\x02\x00\x17" + b"\x00\x0d\x00\x04\x00\x02\x04\x03" + \
        b"\x00\x10\x00\x02\x00\x00"
    hello = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
    record = b"\x16\x03\x01" + struct.pack(">H", len(hello)) + hello
    yield "server_hello", b"\x02" + cuts() + record
    yield "server_hello_cut", b"\x02" + cuts(1, 2, 3, 4, 5, 6, 7) + record
    yield "server_twice", b"\x02" + cuts() + record + record
    yield "server_http", b"\x02" + cuts() + b"GET / HTTP/1.1\r\n\r\n"
    yield "server_change_cipher", b"\x02" + cuts() + b"\x14\x03\x03\x00\x01\x01" + record
    yield "together", b"\x04"
    yield "together_tls12", b"\x05"
    for turn in range(0, 12, 1):
        yield f"flip{turn:02}", bytes([4 + turn % 2, turn, 30 + turn, 1])
    yield "said_twice", bytes([4, 8, 0, 0x60])
    yield "dropped", bytes([4, 9, 0, 0x80])
    yield "rotated", bytes([5, 10, 40, 0xc0])
    yield "inserted", bytes([4, 11, 6, 0x45])
    yield "first_records_gone", bytes([4, 7, 0, 0x3f, 7, 0, 0x3f])


def openssl(*args, data=b""):
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


def identity_bytes():
    """which reader, bytes. The keys are made for these files and for nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert, p12, config = (os.path.join(folder, name) for name in ("key", "cert", "p12", "config"))
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        with open(config, "w", encoding="ascii") as file:
            file.write("[req]\ndistinguished_name=n\nx509_extensions=e\nprompt=no\n[n]\nCN=APSP:1\nUID=com.apple.mgmt.External.1\n"
                       "C=US\n[e]\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\nextendedKeyUsage=clientAuth\n"
                       "1.2.840.113635.100.6.3.6=ASN1:SEQUENCE:t\n[t]\na=UTF8String:com.example.app\nb=SEQUENCE:u\n[u]\n"
                       "c=UTF8String:app\n")
        openssl("req", "-x509", "-new", "-key", key, "-config", config, "-days", "7000", "-out", cert)
        openssl("pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:tocsin", "-iter", "16", "-maciter", "-out", p12)
        texts = {}
        for name, path in (("key", key), ("cert", cert), ("p12", p12)):
            with open(path, "rb") as file:
                texts[name] = file.read()
        der = openssl("x509", "-outform", "DER", data=texts["cert"])
        locked = openssl("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "16", "-passout", "pass:tocsin", data=texts["key"])
    yield "pem_both", b"\0" + texts["cert"] + texts["key"]
    yield "pem_chain", b"\0" + b"text before\r\n" + texts["cert"] + texts["cert"] + texts["key"]
    yield "pem_locked", b"\0" + texts["cert"] + locked
    yield "pem_certificate", b"\0" + texts["cert"]
    yield "pem_damaged", b"\0" + texts["cert"].replace(b"MII", b"M!I") + texts["key"]
    yield "pem_open", b"\0-----BEGIN CERTIFICATE-----\nMIIB\n"
    yield "der", b"\1" + der
    yield "der_cut", b"\1" + der[:150]
    yield "p12", b"\2" + texts["p12"]


def provider_token():
    """which reader, bytes."""
    key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    yield "no_signature", b"\0eyJhbGciOiJFUzI1NiIsImtpZCI6IkFCQ0RFMTIzNDUifQ.eyJpc3MiOiJURUFNMTIzNDU2IiwiaWF0IjoxNzQ5OTk5NjAwfQ."
    yield "shape", b"\0eyJhbGciOiJFUzI1NiIsImtpZCI6IkFCQ0RFMTIzNDUifQ.eyJpc3MiOiJURUFNMTIzNDU2IiwiaWF0IjoxNzQ5OTk5NjAwfQ." + b"A" * 86
    yield "no_algorithm", b"\0eyJhbGciOiJub25lIn0.eyJpYXQiOjF9."
    yield "unchanged", b"\1"
    yield "changed_head", b"\1\x05\x01"
    yield "changed_claims", b"\1\x40\x03"
    yield "changed_signature", b"\1\x80\x01\x90\x02"
    yield "key", b"\2" + key
    yield "key_crlf", b"\2Key:\r\n" + key.replace(b"\n", b"\r\n")
    yield "public", b"\2" + openssl("pkey", "-pubout", data=key)
    yield "other_curve", b"\2" + openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
    yield "base64url", b"\3AAECAw"
    yield "base64url_loose", b"\3AB=="


def outcome_file():
    """which file, ..."""
    key = "0123456789abcdef0123456789abcdef"
    journal = (
        '{"tocsin_run":1,"key":"%s","input":"fleet.ndjson","input_bytes":4711,"input_hash":"00112233445566778899aabbccddeeff",'
        '"from_line":1,"rejects_from":0,"settings":{"topic":"com.apple.mgmt.External.1","policy":"at-least-once"}}\n'
        '{"session":1,"outcomes_from":0,"retry_failed":false}\n'
        '{"mark":1024,"line":1,"hash":"0123456789abcdef"}\n{"synced":81920}\n{"mark":2048,"line":900,"hash":"fedcba9876543210"}\n'
        '{"ended":"stopped","limit":0,"admitted":981,"outcomes":90112}\n'
        '{"session":2,"outcomes_from":90112,"retry_failed":true}\n{"mark":4096,"line":982,"hash":"0000000000000001"}\n{"admitted":1300}\n'
        '{"ended":"done","limit":5,"admitted":1200,"outcomes":99000}\n' % key).encode()
    yield "journal", b"\0" + journal
    yield "journal_torn", b"\0" + journal[:500]
    yield "journal_zeros", b"\0" + journal[:400] + bytes(100)
    yield "journal_later", b"\0" + journal.replace(b'_run":1', b'_run":3', 1)
    yield "journal_rested", b"\0" + journal.replace(b'_run":1', b'_run":2', 1) + b'{"session":3,"outcomes_from":99000,"retry_failed":false}\n' \
        b'{"mark":5000,"line":1201,"hash":"00000000000000aa"}\n{"admitted":1250}\n{"mark":1300,"line":1251,"hash":"00000000000000ab"}\n'

    def outcome(line, rest):
        return b'{"line":%d,"id":%d,"token":"%s","outcome":%s,"at":"2026-11-24T06:08:09.123Z"}\n' % (line, line, b"ab" * 4, rest)
    text = outcome(1, b'"accepted","status":200,"apns_id":"' + ID.encode() + b'","attempts":1,"latency_us":900')
    text += outcome(2, b'"rejected","status":410,"reason":"Unregistered","unregistered_at_ms":1700000000000,"attempts":1')
    text += outcome(3, b'"failed","reason":"CannotConnect","cause":"no \\"route\\"","attempts":0')
    text += outcome(4, b'"unknown","reason":"ConnectionLost","attempts":2,"possibly_doubled":true,"resumed":true')
    text += outcome(9, b'"returned","attempts":0')
    yield "outcomes", b"\1\0\x10" + cuts() + text
    yield "outcomes_cut", b"\1\3\x10\x20\x20" + cuts(7, 20, 30, 31, 1, 2, 3) + text + text
    yield "outcomes_beyond", b"\1\0\0" + cuts() + text
    yield "outcomes_torn", b"\1\1\x20\x40\x10" + cuts(25) + text[:-20]
    yield "outcomes_zeros", b"\1\0\x10" + cuts() + text[:200] + bytes(60) + b"\n" + text
    yield "outcomes_id", b"\1\0\x10" + cuts() + text.replace(b'"id":1', b'"id":"a,\\"b\\\\"')
    reject = b'{"line":7,"field":"token","error":"token is not hex","input":"{\\"token\\":\\"zz\\"}"}\n'
    yield "rejects", b"\2" + reject + reject.replace(b":7", b":9") + reject[:20]
    yield "rejects_foreign", b"\2" + reject + b"hello\n"
    yield "written", b"\3\0\x64" + bytes(30)
    yield "written_failed", b"\3\6\0\x0e\1\1" + bytes(8) + b"\x08no route\0\0\0\1\x05id\"\\\n"


def mock_script():
    """seed, how many deeds, deeds, script. The scripts that come with the mock, and one of each kind of error."""
    folder = os.path.join(HERE, "..", "..", "src", "mock", "faults")
    deeds = bytes([0, 0, 1, 7, 1, 255, 2, 5, 3, 9, 0, 0, 1, 40, 2, 1, 2, 1, 1, 8])
    for name in sorted(os.listdir(folder)):
        if name.endswith(".faults"):
            with open(os.path.join(folder, name), "rb") as file:
                yield name[:-7], bytes([7, len(deeds) // 2]) + deeds + file.read()
    for number, line in enumerate((b"when", b"when request 3", b"when request 3 ->", b"when request 3 -> fly",
                                   b"when connection 1 -> tls", b"when time 5s..1s -> stall", b"when ratio 2 -> reset",
                                   b"\xff\xfe", b"# nothing\n\n")):
        yield f"wrong{number}", b"\0\0" + line + b"\n"


def shard_choices():
    """the draw (2 bytes), choices."""
    for seed in range(12):
        yield f"seed{seed:02}", bytes([seed * 19, seed]) + bytes((seed * 31 + i * i) % 256 for i in range(seed * 8))


def text_values():
    """which reader, text."""
    for which, texts in enumerate((
            ["00aAfF", ID, "abc", "zz", ID.upper().replace("0", "A")],
            ["250ms", "10s", "5m", "2h", "1d", "366d", "0", "1.5M", "10k", "1_000_000", "20000/s", "600/m", "0,2,4-7", "+1d",
             "1800000000", "1e9", "99999999999999999999"],
            ["api.push.apple.com:443", "127.0.0.1:2197", "[::1]:2197", "[::1]", "host", "a:0", "::1", "user@host"],
            ["plain", 'a"b\\c\n\x01', "\u00e9\u20ac\U0001f600"])):
        for number, text in enumerate(texts):
            yield f"{which}_{number:02}", bytes([which]) + text.encode()
    yield "3_bad", b"\3\xff\xc3(\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80"
    yield "4_times", b"\4" + struct.pack(">qqq", 1_750_000_000_123_456_789, -5, 0x7fffffffffffffff) + struct.pack(">q", 253402300799)


TARGETS = {
    "h2_client_bytes": h2_client, "h2_client_diff": h2_client_diff, "h2_mock_bytes": h2_mock, "h2_flood_bytes": h2_flood,
    "apns_answer": apns_answer, "input_ndjson": input_ndjson,
    "input_csv": input_csv, "http1_request": http1_request, "proxy_answer": proxy_answer, "tls_records": tls_records,
    "identity_bytes": identity_bytes, "provider_token": provider_token, "outcome_file": outcome_file, "text_values": text_values,
    "mock_script": mock_script, "shard_choices": shard_choices,
}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")
    for target, inputs in TARGETS.items():
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, content in inputs():
            with open(os.path.join(folder, target, name), "wb") as file:
                file.write(content)


if __name__ == "__main__":
    main()
