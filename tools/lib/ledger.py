# SPDX-License-Identifier: Apache-2.0
"""The comparison behind tools/compare_ledger and tools/demo.

Files of a million lines must compare in seconds, so lines are read by one regular expression over large
blocks; a line that the expression cannot read is parsed as JSON instead, and a line that is no JSON is an
error. Nothing is skipped.
"""
import json
import re

BLOCK_BYTES = 32 << 20
EXAMPLES_MAX = 10

ENDS = {b"accepted": 0, b"rejected": 1, b"unknown": 2, b"failed": 3, b"expired": 4, b"cancelled": 5,
        b"superseded": 6, b"returned": 7}
END_NAMES = [name.decode() for name in ENDS]

# Searched for: inside a JSON string these quotes would stand behind a backslash, so that they cannot match there.
DEVICE = re.compile(rb'"token":"([0-9a-fA-F]+)"')
OUTCOME = re.compile(rb'"token":"([0-9a-fA-F]+)","outcome":"([a-z]+)"(.*)')
LEDGER = re.compile(rb'\{"token":\s?"([0-9a-fA-F]+)",\s?"accepted":\s?(\d+),\s?"rejected":\s?(\d+)([^\n]*)')
LINE = re.compile(rb'\{"line":\s?(\d+)')
# An outcome of these ends may be followed by another of the same line, when a run was continued.
REPLACEABLE = {ENDS[name] for name in (b"returned", b"failed", b"unknown")}
APNS_ID = re.compile(rb'"apns_id":\s?"([0-9a-fA-F-]{36})"')


def lines(path):
    """The lines of a file, without the trailing newline; empty ones left out."""
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            parts = (rest + block).split(b"\n")
            rest = parts.pop()
            for part in parts:
                if part:
                    yield part
        if rest:
            raise ValueError(f"{path}: the last line has no end; the file is cut off")


def unreadable(path, line, error):
    return ValueError(f"{path}: not a line this tool can read ({error}): {line[:120]!r}")


def parse_json(path, line, wanted):
    try:
        record = json.loads(line)
        return [record[name] for name in wanted], record
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable(path, line, error) from None


class Verdict:
    def __init__(self):
        self.devices = 0
        self.tokens = 0
        self.outcomes = 0
        self.ends = [0] * len(ENDS)
        self.replaced = 0
        self.possibly_doubled = 0
        self.ledger_tokens = 0
        self.ledger_accepted = 0
        self.ledger_rejected = 0
        self.apns_ids_compared = 0
        self.disagreements = 0
        self.examples = []

    @property
    def agree(self):
        return self.disagreements == 0

    def disagree(self, token, text):
        self.disagreements += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{token[:4].hex()}…: {text}")

    def as_dict(self):
        result = {"devices": self.devices, "tokens": self.tokens, "outcomes": self.outcomes}
        result.update(dict(zip(END_NAMES, self.ends)))
        result.update(replaced=self.replaced, possibly_doubled=self.possibly_doubled, ledger_tokens=self.ledger_tokens,
                      ledger_accepted=self.ledger_accepted, ledger_rejected=self.ledger_rejected,
                      apns_ids_compared=self.apns_ids_compared, disagreements=self.disagreements,
                      agree=self.agree, examples=self.examples)
        return result

    def text(self):
        ends = ", ".join(f"{count:,} {name}" for name, count in zip(END_NAMES, self.ends) if count)
        out = [f"outcomes  {self.outcomes:,} of {self.devices:,} devices: {ends or 'none'}",
               f"ledger    {self.ledger_tokens:,} tokens: {self.ledger_accepted:,} accepted, "
               f"{self.ledger_rejected:,} rejected",
               f"verdict   " + (f"all {self.tokens:,} tokens agree, {self.apns_ids_compared:,} apns-ids as well"
                                if self.agree else f"{self.disagreements:,} DISAGREE")]
        out += [f"          {example}" for example in self.examples]
        return "\n".join(out)


# What is kept per token, packed in one int: lines in the fleet, outcomes by kind. 16 bits each.
DEVICE_ONE = 1
SHIFT_ACCEPTED, SHIFT_REJECTED, SHIFT_UNSURE, SHIFT_NEVER = 16, 32, 48, 64
MASK = 0xFFFF
END_SHIFT = [SHIFT_ACCEPTED, SHIFT_REJECTED, SHIFT_UNSURE, SHIFT_NEVER, SHIFT_NEVER, SHIFT_NEVER, SHIFT_NEVER,
             SHIFT_NEVER]


def read_devices(path, verdict):
    counts = {}
    match = DEVICE.search
    unhex = bytes.fromhex
    for line in lines(path):
        found = match(line)
        token = found[1] if found else parse_json(path, line, ["token"])[0][0].encode()
        key = unhex(token.decode())
        counts[key] = counts.get(key, 0) + DEVICE_ONE
        verdict.devices += 1
    verdict.tokens = len(counts)
    return counts


def read_outcomes(path, counts, verdict):
    """Adds the outcomes to counts; answers the apns-id of each token that was accepted.

    Of a line with several outcomes (a run that was continued) the last counts.
    """
    ids = {}
    replaceable = {}  # line of the input -> (what its last outcome added, its kind, possibly doubled)
    find_line = LINE.match
    match = OUTCOME.search
    find_id = APNS_ID.search
    unhex = bytes.fromhex
    for line in lines(path):
        found = match(line)
        if found:
            token, end, rest = found[1], found[2], found[3]
        else:
            (token, end), _ = parse_json(path, line, ["token", "outcome"])
            token, end, rest = token.encode(), end.encode(), line
        key = unhex(token.decode())
        kind = ENDS.get(end)
        if kind is None:
            raise unreadable(path, line, f"unknown outcome {end!r}")
        verdict.outcomes += 1
        verdict.ends[kind] += 1
        number = find_line(line) if replaceable or kind in REPLACEABLE else None
        earlier = replaceable.pop(number[1], None) if number else None
        if earlier is not None and earlier[0] != key:
            verdict.disagree(key, f"line {number[1].decode()} has outcomes of two tokens")
            earlier = None
        count = counts.get(key)
        if count is None:
            verdict.disagree(key, f"has an outcome ({end.decode()}) but was never in the fleet")
            continue
        if earlier is not None:
            count -= earlier[1]
            verdict.outcomes -= 1
            verdict.replaced += 1
            verdict.ends[earlier[2]] -= 1
            verdict.possibly_doubled -= earlier[3]
        doubled = b'"possibly_doubled":true' in rest.replace(b" ", b"") if b"possibly_doubled" in rest else False
        before = count
        if doubled:
            verdict.possibly_doubled += 1
            count += 1 << SHIFT_UNSURE if kind != 2 else 0
        counts[key] = count + (1 << END_SHIFT[kind])
        if number and kind in REPLACEABLE:
            replaceable[number[1]] = (key, counts[key] - before, kind, doubled)
        if kind == 0:
            apns_id = find_id(rest)
            if apns_id:
                ids[key] = unhex(apns_id[1].replace(b"-", b"").decode())
    return ids


def judge(key, count, accepted, rejected, verdict):
    lines_in_fleet = count & MASK
    said_accepted = count >> SHIFT_ACCEPTED & MASK
    said_rejected = count >> SHIFT_REJECTED & MASK
    unsure = count >> SHIFT_UNSURE & MASK
    ended = said_accepted + said_rejected + (count >> SHIFT_NEVER & MASK)
    # A possibly doubled push has its end and stands in `unsure` as well, an unknown one only in `unsure`.
    if not ended <= lines_in_fleet <= ended + unsure:
        verdict.disagree(key, f"{lines_in_fleet} pushes but {ended} certain outcomes and {unsure} unsure ones")
    if accepted < said_accepted:
        verdict.disagree(key, f"{said_accepted} outcomes say accepted, the ledger has {accepted}")
    elif accepted > said_accepted and not unsure:
        verdict.disagree(key, f"the ledger accepted it {accepted} times, outcomes say {said_accepted}")
    if rejected < said_rejected:
        verdict.disagree(key, f"{said_rejected} outcomes say rejected, the ledger has {rejected}")


def read_ledger(path, counts, ids, verdict):
    match = LEDGER.fullmatch
    find_id = APNS_ID.search
    unhex = bytes.fromhex
    for line in lines(path):
        found = match(line)
        if found:
            token, accepted, rejected, rest = found[1], int(found[2]), int(found[3]), found[4]
        else:
            (token, accepted, rejected), _ = parse_json(path, line, ["token", "accepted", "rejected"])
            token, rest = token.encode(), line
        key = unhex(token.decode())
        verdict.ledger_tokens += 1
        verdict.ledger_accepted += accepted
        verdict.ledger_rejected += rejected
        count = counts.pop(key, None)
        if count is None:
            verdict.disagree(key, "is in the ledger (twice, or never in the fleet)")
            continue
        judge(key, count, accepted, rejected, verdict)
        ours = ids.get(key)
        if ours is not None and accepted == 1:
            theirs = find_id(rest)
            if theirs:
                verdict.apns_ids_compared += 1
                if unhex(theirs[1].replace(b"-", b"").decode()) != ours:
                    verdict.disagree(key, "outcome and ledger name different apns-ids")


def compare(devices, outcomes, ledger):
    verdict = Verdict()
    counts = read_devices(devices, verdict)
    ids = read_outcomes(outcomes, counts, verdict)
    read_ledger(ledger, counts, ids, verdict)
    for key, count in counts.items():  # never seen by the ledger: must not claim to have been answered
        judge(key, count, 0, 0, verdict)
    known = sum(verdict.ends)
    if known != verdict.devices:
        verdict.disagree(b"\0\0\0\0", f"{verdict.devices} devices but {known} outcomes in total")
    return verdict
