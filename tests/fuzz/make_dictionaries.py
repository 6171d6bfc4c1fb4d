#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the dictionaries of the fuzz targets: words that a fuzzer would take long to come upon by itself.

    make_dictionaries.py [FOLDER]     default: the folder dictionaries beside this file
"""
import os
import struct
import sys

from make_corpus import ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, HERE, ID, PADDED, PING, PRIORITY, \
    PUSH, RST, SETTINGS, WINDOW, brief, literal, settings, whole, words

TOKEN = "ab" * 32
JSON = ('{"', '":', '":"', '","', '"}', '\\"', "\\u0000", "\\ud83d\\ude00", "true", "false", "null", "1e9", "-1",
        "9223372036854775807", "18446744073709551616", "\xef\xbb\xbf")
FRAME_TYPES = (DATA, HEADERS, 2, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION, 0x42)


def http2():
    """Heads of frames in both forms, SETTINGS entries and header fields (RFC 9113 section 6, RFC 7541 section 6)."""
    for kind in FRAME_TYPES:
        for flags in (0, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM):
            yield bytes([kind, flags, 1])
        yield whole(kind, END_HEADERS, 1, b"")
    yield bytes([HEADERS, END_HEADERS | PADDED | PRIORITY, 3])
    yield brief(SETTINGS, ACK, 0)
    yield whole(SETTINGS, ACK, 0)
    yield whole(PING, ACK, 0, b"\0\0\0\0\0\0\0\1")
    for key in range(1, 10):
        for value in (0, 1, 65_535, 0x7fffffff, 0x80000000):
            yield settings((key, value))
    for code in range(14):  # RFC 9113 section 7
        yield words(code)
        yield brief(RST, 0, 1, words(code))
    yield words(0x7fffffff, 0)
    yield from (b"\x88", b"\x8c", b"\x8d", b"\x8e", b"\x20", b"\x3f\xe1\x1f", b"\xbe", b"\x40\x01x\x01y", b"\x00\x81\xf3\x01y")


def h2_client_diff():
    yield from h2_client_bytes()


def h2_client_bytes():
    yield from http2()
    for status in ("100", "103", "200", "400", "403", "410", "429", "500", "503", "1000", "2x0"):
        yield literal(":status", status)
    yield from (literal("apns-id", ID), literal("apns-unique-id", ID), literal("retry-after", "5"), literal("x", "y"))
    yield from (b'{"reason":"', b'","timestamp":1700000000000}', b"Unregistered", b"BadDeviceToken", b"TooManyRequests")


def h2_mock_bytes():
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield from http2()
    yield from (b"\x83\x87", b"\x82\x86\x84", literal(":path", "/3/device/abab"), literal(":path", "/3/device/"),
                literal(":authority", "api.push.apple.com"), literal(":method", "POST"), literal(":method", "CONNECT"),
                literal(":scheme", "https"))
    for name, values in (("apns-topic", ("com.apple.mgmt.External.1", "com.example.app")),
                         ("apns-push-type", ("mdm", "alert", "background", "voip", "complication", "controls")),
                         ("apns-priority", ("10", "5", "1", "0")), ("apns-expiration", ("0", "1800000000", "-1")),
                         ("apns-id", (ID, "x")), ("apns-collapse-id", ("c",)), ("authorization", ("bearer x.y.z",)),
                         ("content-length", ("0", "18", "4097")), ("te", ("trailers",)), ("connection", ("close",))):
        for value in values:
            yield literal(name, value)
    yield from (b'{"mdm":"B5C7C9A0"}', b'{"aps":{"alert":"', b'"content-available":1')


def h2_flood_bytes():
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield from http2()
    yield from (b"\x83\x87", literal(":path", "/3/device/abab"), literal(":authority", "api.push.apple.com"),
                literal("apns-topic", "com.apple.mgmt.External.1"), literal("apns-push-type", "mdm"), b'{"mdm":"B5C7C9A0"}')


def apns_answer():
    for status in (200, 400, 403, 404, 405, 410, 413, 429, 500, 503):
        yield struct.pack(">HB", status, 0)
    yield ID
    yield from JSON
    yield from ('"reason"', '"timestamp"', '"Unregistered"', '"ExpiredToken"', '"BadDeviceToken"', '"TooManyRequests"',
                '"ExpiredProviderToken"', '"TopicDisallowed"', '"PayloadTooLarge"', "1700000000000", "1.7e12")


def fields():
    return ("token", "magic", "topic", "id", "payload", "push_type", "priority", "expiration", "collapse_id", "apns_id",
            "deadline", "registered_at", "priority_class")


def input_ndjson():
    yield from JSON
    yield from (f'"{name}":' for name in fields())
    yield from ('"token":"abab"', '"magic":"M"', '{"aps":{"alert":"x"}}', '"mdm"', '"alert"', '"background"', '"urgent"',
                '"bulk"', '"2026-11-24T06:08:09Z"', "1800000000", "com.apple.mgmt.External.1", ID, "\r\n", "\n", b"\x1f\x8b\x08\0")


def input_csv():
    yield from fields()
    yield from ("token_hex", "push_magic", TOKEN, ",", ",,", '"', '""', '","', "\r\n", "\n", "token,magic\n", "\xef\xbb\xbf",
                '"{""aps"":{}}"', "com.apple.mgmt.External.1", "2026-11-24T06:08:09Z", "1800000000", "alert", "mdm", ID,
                b"\x1f\x8b\x08\0")


def http1_request():
    yield from ("GET ", "HEAD ", "POST ", "/metrics", "/health", "?", "%00", "%2e%2e", "http://a/", " HTTP/1.1\r\n", " HTTP/1.0\r\n",
                "\r\n", "\r\n\r\n", "\n\n", "Host: a\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n",
                "Content-Length: 0\r\n", "Content-Length: 3\r\n", "Content-Length: 18446744073709551616\r\n",
                "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n", "\r\n folded")


def proxy_answer():
    yield from ("HTTP/1.1 ", "HTTP/1.0 ", "HTTP/2 ", "200 ", "100 ", "101 ", "204 ", "302 ", "407 ", "502 ", " OK\r\n", "\r\n",
                "\r\n\r\n", "\n\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
                'Proxy-Authenticate: Basic realm="x"\r\n', "Proxy-Authenticate: Negotiate\r\n", "Location: http://a/\r\n", b"\x16\x03\x01")


def identity_bytes():
    for what in ("CERTIFICATE", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "X509 CRL"):
        yield f"-----BEGIN {what}-----\n"
        yield f"-----END {what}-----\n"
    yield from ("Proc-Type: 4,ENCRYPTED\n", "DEK-Info: AES-256-CBC,", "MII", "\r\n", "==\n")
    # DER heads; UID, CN, Apple's topics extension, subjectAltName, PBES2, PKCS#12's safe contents.
    yield from (b"\x30\x80", b"\x30\x82\x01\x00", b"\x30\x84\xff\xff\xff\xff", b"\x02\x01\x00", b"\x17\x0d", b"\x18\x0f", b"\xa0\x03", b"\xa3",
                b"\x06\x0a\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01", b"\x06\x03\x55\x04\x03",
                b"\x06\x0a\x2a\x86\x48\x86\xf7\x63\x64\x06\x03\x06", b"\x06\x03\x55\x1d\x11",
                b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01",
                b"20260101000000Z", b"260101000000Z")


def provider_token():
    yield from ("eyJhbGciOiJFUzI1NiIs", "eyJhbGciOiJub25lIn0", '{"alg":"ES256","kid":"', '{"iss":"', '","iat":', ".", "..", "=",
                "ImtpZCI6", "ABCDE12345", "TEAM123456", "-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n",
                "-----BEGIN PUBLIC KEY-----\n", "-----END PUBLIC KEY-----\n", "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH")


def outcome_file():
    yield from ('{"tocsin_run":2,"key":"', '"input":"', '"input_bytes":', '"input_hash":"', '"from_line":', '"rejects_from":',
                '"settings":{', '{"session":1,"outcomes_from":', '"retry_failed":true}', '{"mark":', '"line":', '"hash":"0123456789abcdef"}',
                '{"admitted":', '{"synced":', '{"ended":"done","limit":0,"admitted":', '{"ended":"stopped"', '"outcomes":', "}\n", "\n", b"\0\0\0\0\0\0\0\0",
                '{"line":1,"id":1,"token":"abab","outcome":"', '{"line":', ',"id":"', ',"token":"', ',"outcome":"')
    yield from (f'"{end}"' for end in ("accepted", "rejected", "expired", "cancelled", "superseded", "failed", "unknown", "returned"))
    yield from ('"status":410,', '"reason":"CannotConnect"', '"reason":"CredentialStopped"', '"reason":"RunInterrupted"', '"cause":"',
                '"attempts":1', '"possibly_doubled":true', '"resumed":true', '"at":"2026-11-24T06:08:09.123Z"}', '{"line":7,"field":"token",',
                '"error":"', '"input":"')


def text_values():
    yield from ("ms", "us", "min", "s", "m", "h", "d", "k", "M", "/s", "/m", "/h", "+1d", "1_000", "1.5", "1e3", "nan", "inf", "0x10", "-", "-0",
                "99999999999999999999", "366d", "1800000000", ",", "0-3", ":443", "[::1]", "[", "]:", "127.0.0.1", "host:65536", "%25eth0",
                ID, "\xff", "\xed\xa0\x80")


def mock_script():
    yield from ("when ", " and ", " -> ", ", ", "# ", '"', "always", "request 3", " to 9", "every 5", "ratio 0.5", "ratio 50%", "token ab",
                "topic com.example.app", "connection 1", "connection every 2", "on connect", "between 1s and 5s", "after 2s", "for 2s every 10s",
                "times 3", "answer 503 ServiceUnavailable", "answer 410 Unregistered timestamp -5m", "answer 429 TooManyRequests hold 2s",
                "delay 30ms", "no-answer", "no-answer-but-accept", "reset REFUSED_STREAM", "reset CANCEL after headers",
                "reset INTERNAL_ERROR accepted", "reset 8", "broken-body 500", "oversized-body 70000", "goaway", " last all", " last none",
                " last -2", " code ENHANCE_YOUR_CALM", " reason Shutdown", ' text "calm down"', " twice", "streams 1", "window 0",
                "no-window-updates", "ping-silence", "split-headers 3", "slow 7/1ms", "settings HEADER_TABLE_SIZE 0", "settings 9 1",
                "unknown-frame", "garbage", "vanish", "close", "half-close", "tcp-reset", "tls alert", "tls hang", "tls expired",
                "tls wrong-name", "tls no-alpn", "tls refuse-certificate", "refuse", "accept-and-hang", "stall", "probe", "throttle 5", "200us",
                "1h", "1d", "99999999999999999999")


WORD_BYTES_MAX = 64  # libFuzzer leaves longer ones out
DICTIONARIES = (h2_client_bytes, h2_client_diff, h2_mock_bytes, h2_flood_bytes, apns_answer, input_ndjson, input_csv, http1_request,
                proxy_answer, identity_bytes, provider_token, outcome_file, text_values, mock_script)


def quoted(word):
    """As libFuzzer reads it."""
    if isinstance(word, str):
        word = word.encode("latin-1")
    assert len(word) <= WORD_BYTES_MAX, word
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word) + '"'


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "dictionaries")
    os.makedirs(folder, exist_ok=True)
    for dictionary in DICTIONARIES:
        seen = dict.fromkeys(quoted(word) for word in dictionary())
        with open(os.path.join(folder, dictionary.__name__ + ".dict"), "w", encoding="ascii") as file:
            file.write("# Written by tests/fuzz/make_dictionaries.py.\n" + "".join(word + "\n" for word in seen))


if __name__ == "__main__":
    main()
