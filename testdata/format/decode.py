#!/usr/bin/env python3
"""A second decoder of the formats of ledger and keystore, made from docs/format/ alone, with Python's standard library.

    decode.py DIR         checks every vector in DIR: what is described must be read so, what is refused must be refused
    decode.py wal FILE    lists the frames of a WAL segment
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

ENTRY_MAX = 65535
PAYLOAD_MAX = 1 << 20
DEPTH_MAX = 32
NAN = bytes.fromhex("7ff8000000000000")
TYPES = {1: "bool", 2: "u64", 3: "i64", 4: "f64", 5: "text", 6: "name", 7: "bytes", 8: "list", 9: "map"}


class Refused(Exception):
    """The bytes break a rule of the format."""


def must(holds, why):
    if not holds:
        raise Refused(why)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        must(self.at + n <= len(self.data), "ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def end(self):
        must(self.at == len(self.data), "trailing bytes")


# --- values ---------------------------------------------------------------------------------------------------------


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None


def float_text(data):
    value = struct.unpack(">d", data)[0]
    must(value == value or data == NAN, "another NaN")
    return data.hex()


def value(kind, data, public):
    """Describes a value: {"type": ..., "value": ...}; numbers as text, floats as the hexadecimal of their bits."""
    name = TYPES.get(kind)
    must(name and name not in (("list", "map") if public else ("name",)), "unknown type")
    if name == "bool":
        must(data in (b"\0", b"\1"), "bool")
        shown = data == b"\1"
    elif name in ("u64", "i64", "f64"):
        must(len(data) == 8, "length of a number")
        shown = float_text(data) if name == "f64" else str(int.from_bytes(data, "big", signed=name == "i64"))
    elif name == "name":
        must(len(data) == 4, "length of a name")
        shown = str(int.from_bytes(data, "big"))
    elif name == "text":
        shown = utf8(data)
    elif name == "bytes":
        shown = data.hex()
    else:
        shown = cbor(data)
        must((name == "list") == isinstance(shown, list), "list or map")
        must(isinstance(shown, list) or "map" in shown, "list or map")
    return {"type": name, "value": shown}


# --- deterministic CBOR ---------------------------------------------------------------------------------------------


def cbor(data):
    reader = Reader(data)
    shown = cbor_item(reader, DEPTH_MAX)
    reader.end()
    return shown


def cbor_head(reader, initial):
    info = initial & 31
    if info < 24:
        return info
    must(info < 28, "reserved or indefinite")
    size = 1 << (info - 24)
    number = reader.number(size)
    must(number >= (24 if size == 1 else 1 << (4 * size)), "longer than needed")
    return number


def cbor_item(reader, depth):
    initial = reader.number(1)
    major = initial >> 5
    if major == 7:
        return cbor_simple(reader, initial & 31)
    n = cbor_head(reader, initial)
    if major == 0:
        return {"int": str(n)}
    if major == 1:
        must(n < 1 << 63, "below 64 bits")
        return {"int": str(-1 - n)}
    if major == 2:
        return {"bytes": reader.take(n).hex()}
    if major == 3:
        return utf8(reader.take(n))
    must(major < 6, "tag")
    must(depth > 0, "too deep")
    if major == 4:
        return [cbor_item(reader, depth - 1) for _ in range(n)]
    shown, last = {}, None
    for _ in range(n):
        start = reader.at
        initial = reader.number(1)
        must(initial >> 5 == 3, "key that is not text")
        key = utf8(reader.take(cbor_head(reader, initial)))
        encoded = reader.data[start : reader.at]
        must(last is None or encoded > last, "order of keys")
        last = encoded
        shown[key] = cbor_item(reader, depth - 1)
    return {"map": shown}


def cbor_simple(reader, info):
    if info in (20, 21, 22):
        return (False, True, None)[info - 20]
    must(info in (25, 26, 27), "simple value")
    data = reader.take(1 << (info - 24))
    number = struct.unpack({25: ">e", 26: ">f", 27: ">d"}[info], data)[0]
    if number != number:
        must(data == b"\x7e\0", "NaN")
        return {"f64": NAN.hex()}
    bits = struct.pack(">d", number)
    for shorter in ([">e"] if info == 26 else [">e", ">f"] if info == 27 else []):
        try:
            same = struct.pack(">d", struct.unpack(shorter, struct.pack(shorter, number))[0]) == bits
        except OverflowError:
            same = False
        must(not same, "float longer than needed")
    return {"f64": bits.hex()}


# --- entry, commitment, payload --------------------------------------------------------------------------------------


def ascending(fields):
    must(all(a < b for a, b in zip(fields, fields[1:])), "order of fields")


def entry(data):
    must(len(data) <= ENTRY_MAX, "too long")
    reader = Reader(data)
    must(reader.take(4) == b"dhy1", "magic")
    inner = reader.number(1)
    must(inner in (0, 1), "inner")
    shown = {
        "inner": inner == 1,
        "kind": reader.number(2),
        "schema": reader.number(4),
        "t_admit_ms": str(reader.number(8)),
        "source": reader.take(16).hex(),
        "seq": str(reader.number(8)),
        "uuid": reader.take(16).hex(),
        "public": [],
        "commitments": [],
    }
    for _ in range(reader.number(2)):
        field, kind, size = reader.number(2), reader.number(1), reader.number(2)
        shown["public"].append({"field": field, **value(kind, reader.take(size), True)})
    for _ in range(reader.number(2)):
        shown["commitments"].append({"field": reader.number(2), "c": reader.take(32).hex()})
    reader.end()
    public = [one["field"] for one in shown["public"]]
    committed = [one["field"] for one in shown["commitments"]]
    ascending(public)
    ascending(committed)
    must(not set(public) & set(committed), "a field in both lists")
    return shown


def salt(seed, uuid, field):
    return hmac.new(seed, uuid[12:] + struct.pack(">H", field), hashlib.sha256).digest()


def commitment(uuid, field, r, kind, data):
    message = b"dihya/commit/1" + uuid + struct.pack(">H", field) + r + struct.pack(">BI", kind, len(data)) + data
    return hashlib.sha256(message).digest()


def payload(data, uuid, seed):
    """Describes a payload and recomputes the commitment of each of its values."""
    reader = Reader(data)
    form = reader.number(1)
    must(form in (0, 1), "form of salts")
    must(len(data) <= PAYLOAD_MAX * (form + 1), "too long")
    values = []
    for _ in range(reader.number(2)):
        field, kind, size = reader.number(2), reader.number(1), reader.number(4)
        raw = reader.take(size)
        r = reader.take(32) if form == 1 else salt(seed, uuid, field)
        c = commitment(uuid, field, r, kind, raw)
        values.append({"field": field, **value(kind, raw, False), "c": c.hex()})
    reader.end()
    ascending([one["field"] for one in values])
    return {"explicit": form == 1, "values": values}


# --- tree -----------------------------------------------------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root(leaves[:half]), root(leaves[half:]))


def root_from_path(leaf, index, size, path):
    """The root that an inclusion proof leads to, by RFC 9162 section 2.1.3.2."""
    must(index < size, "index beyond the tree")
    fn, sn, r = index, size - 1, leaf
    for sibling in path:
        must(sn > 0, "path too long")
        if fn & 1 or fn == sn:
            r = node_hash(sibling, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, sibling)
        fn, sn = fn >> 1, sn >> 1
    must(sn == 0, "path too short")
    return r


def tile_path(level, index, width):
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < 256 else "")


def bundle(data):
    reader, entries = Reader(data), []
    while reader.at < len(data):
        entries.append(reader.take(reader.number(2)))
    return entries


def log(files, vault):
    """Walks a log: entries against tiles and root, then the vault's records against leaves, batches and commitments."""
    signed = note(files["checkpoint"].decode())
    size = int(signed["size"])
    entries = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        entries += bundle(files[tile_path("entries", index, width)])
        hashes = b"".join(map(leaf_hash, entries[index * 256 :]))
        must(hashes == files[tile_path(0, index, width)], "tile")
    leaves = [leaf_hash(one) for one in entries]
    must(len(leaves) == size and root(leaves).hex() == signed["root"], "root")
    rotations = rotated(files, entries, leaves)
    next_leaf, waiting, opened = 0, [], 0
    for record in vault:
        raw = unhex(record["entry"])
        shown = entry(raw)
        if record["payload"] is not None:
            values = payload(unhex(record["payload"]), unhex(shown["uuid"]), unhex(record["seed"]))["values"]
            must([(one["field"], one["c"]) for one in values] == [(one["field"], one["c"]) for one in shown["commitments"]], "commitment")
            opened += len(values)
        if shown["inner"]:
            waiting.append(leaf_hash(raw))
            continue
        must(leaf_hash(raw) == leaves[next_leaf], "leaf")
        next_leaf += 1
        if shown["kind"] == 3:
            batch = {one["field"]: one["value"] for one in shown["public"]}
            must(batch[3] == str(len(waiting)) and batch[2] == root(waiting).hex(), "root of a batch")
            waiting = []
    shown = {"origin": signed["origin"], "size": signed["size"], "root": signed["root"], "opened": opened}
    return {**shown, "rotations": rotations} if rotations else shown


def keys(files, suffix):
    vkey = files["vkey" + suffix].decode().removesuffix("\n")
    return vkey, files["mldsa.pub" + suffix]


def keys_digest(pair):
    return hashlib.sha256(b"dihya/keys/1" + pair[0].encode() + b"\n" + pair[1]).hexdigest()


def rotated(files, entries, leaves):
    """Goes through the rotations of the keys: leaf, retired and new keys, the checkpoint that bears lines of all four."""
    announced = [(index, shown) for index, shown in enumerate(map(entry, entries)) if shown["kind"] == 6]
    last = sum(name.startswith("rotation/") for name in files)
    must(len(announced) == last, "a rotation without a leaf, or a leaf without its checkpoint")
    for number, (index, shown) in enumerate(announced, 1):
        old, new = keys(files, f".{number}"), keys(files, f".{number + 1}" if number < last else "")
        fields = {one["field"]: one["value"] for one in shown["public"]}
        must(fields[3] == str(number) and fields[4] == keys_digest(old), "retired keys")
        must((fields[1], fields[2]) == (new[0], new[1].hex()), "new keys")
        link = note(files[f"rotation/{number}"].decode())
        size = int(link["size"])
        must(index < size and root(leaves[:size]).hex() == link["root"], "checkpoint of a rotation")
        wanted = {key_id(link["origin"], kind, raw).hex() for vkey, ml_dsa in (old, new)
                  for kind, raw in ((1, base64.b64decode(vkey.split("+", 2)[2])[1:]), (6, ml_dsa))}
        must({one["key_id"] for one in link["signatures"]} == wanted, "signature lines of a rotation")
    return last


# --- checkpoint, proof ----------------------------------------------------------------------------------------------


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def note(text):
    """Takes a signed note apart; signatures are for cryptographic libraries to verify."""
    body, _, lines = text.rpartition("\n\n")
    origin, size, digest = body.split("\n")
    signatures = []
    for line in lines.removesuffix("\n").split("\n"):
        dash, name, signature = line.split(" ")
        must(dash == "\u2014", "signature line")
        raw = base64.b64decode(signature, validate=True)
        signatures.append({"name": name, "key_id": raw[:4].hex(), "bytes": len(raw) - 4})
    return {"origin": origin, "size": size, "root": base64.b64decode(digest).hex(), "signatures": signatures}


def cosigned_message(name, timestamp, checkpoint):
    origin = checkpoint["origin"].encode()
    return (
        b"subtree/v1\n\0" + bytes([len(name)]) + name.encode() + struct.pack(">Q", timestamp)
        + bytes([len(origin)]) + origin + struct.pack(">QQ", 0, int(checkpoint["size"])) + bytes.fromhex(checkpoint["root"])
    )


def proof(text, record):
    """Walks from a record to the root of the checkpoint and returns the steps; signatures are not verified here."""
    head, _, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    must(lines.pop(0) == "c2sp.org/tlog-proof@v1", "first line")
    extra = base64.b64decode(lines.pop(0)[6:]) if lines[0].startswith("extra ") else None
    index = int(lines.pop(0).removeprefix("index "))
    path = [base64.b64decode(line, validate=True) for line in lines]
    leaf, shown = leaf_hash(record), {"index": str(index)}
    if entry(record)["inner"]:
        reader = Reader(extra)
        must(reader.take(4) == b"dhp1", "magic of the inner proof")
        inner_index = reader.number(2)
        inner_path = [reader.take(32) for _ in range(reader.number(1))]
        batch_entry = reader.data[reader.at :]
        batch = {one["field"]: one["value"] for one in entry(batch_entry)["public"]}
        must(root_from_path(leaf, inner_index, int(batch[3]), inner_path).hex() == batch[2], "root of the batch")
        leaf = leaf_hash(batch_entry)
        shown["inner_index"] = inner_index
    signed = note(checkpoint)
    must(root_from_path(leaf, index, int(signed["size"]), path).hex() == signed["root"], "root")
    return {**shown, "origin": signed["origin"], "size": signed["size"]}


# --- WAL ------------------------------------------------------------------------------------------------------------

FRAMES = {1: "header", 2: "origin", 3: "group", 4: "close"}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frames(data, segment):
    """Describes the frames of a segment up to the zeros that end them."""
    shown, at, tag_of_all = [], 0, None
    while at + 48 <= len(data) and any(data[at : at + 48]):
        magic, crc, size, kind, stripped, origin, tag, synced, position, count, number = struct.unpack_from("<4sIIBBHQQQII", data, at)
        must(magic == b"DhF1" and number == segment, "no frame of this segment")
        must(tag_of_all in (None, tag), "tag of another segment")
        tag_of_all = tag
        must(at + 48 + size <= len(data), "cut off")
        must(crc32c(data[at + 8 : at + 48 + size]) == crc, "checksum")
        must(kind in FRAMES, "kind of frame")
        frame = {"kind": FRAMES[kind], "stripped": stripped == 1, "origin": origin, "synced": str(synced),
                 "position": str(position), "count": count}
        body = data[at + 48 : at + 48 + size]
        frame.update({"header": wal_header, "origin": wal_origin, "group": wal_group, "close": wal_close}[FRAMES[kind]](body, count))
        shown.append(frame)
        at = (at + 48 + size + 7) // 8 * 8
    return shown


def wal_header(body, _):
    previous_end, own_end, opened_ms = struct.unpack_from("<QQQ", body)
    at, origins = 24, []
    while at < len(body):
        position, leaves, size = struct.unpack_from("<QQH", body, at)
        origins.append({"origin": utf8(body[at + 18 : at + 18 + size]), "position": str(position), "leaves": str(leaves)})
        at += 18 + size
    return {"previous_end": str(previous_end), "own_end": str(own_end), "opened_ms": str(opened_ms), "origins": origins}


def wal_origin(body, _):
    return {"text": utf8(body)}


def wal_close(body, _):
    must(body == b"", "body of a close frame")
    return {}


def wal_group(body, count):
    at, records = 32 + 10 * count, []
    must(at <= len(body), "table of a group")
    for row in range(count):
        sizes = struct.unpack_from("<HII", body, 32 + 10 * row)
        parts = []
        for size in sizes:
            must(at + size <= len(body), "rows of a group")
            parts.append(body[at : at + size])
            at += size
        records.append(dict(zip(("entry", "payload", "boxes"), (part.hex() for part in parts))))
        entry(parts[0])
    must(at == len(body), "rows of a group")
    return {"seed": body[:32].hex(), "records": records}


# --- keystore, pseudonyms, boxes ---------------------------------------------------------------------------------------


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def hkdf(salt, ikm, info):
    return mac(mac(salt, ikm), info, b"\1")


def quarter(x, a, b, c, d):
    for one, two, three, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[one] = (x[one] + x[two]) & 0xFFFFFFFF
        x[three] = ((x[three] ^ x[one]) << left | (x[three] ^ x[one]) >> (32 - left)) & 0xFFFFFFFF


def rounds(key, rest):
    start = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key)) + list(struct.unpack("<4I", rest))
    x = list(start)
    for _ in range(10):
        for places in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                       (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(x, *places)
    return start, x


def stream(key, nonce, count):
    start, x = rounds(key, struct.pack("<I", count) + nonce)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(start, x)))


def unseal(key, nonce, ad, sealed):
    """XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03)."""
    must(len(sealed) >= 16, "cut off")
    x = rounds(key, nonce[:16])[1]
    key, nonce = struct.pack("<8I", *x[:4], *x[12:]), bytes(4) + nonce[16:]
    text, tag = sealed[:-16], sealed[-16:]
    once = stream(key, nonce, 0)
    r, s = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, int.from_bytes(once[16:32], "little")
    pad = lambda data: data + bytes(-len(data) % 16)
    acc = 0
    message = pad(ad) + pad(text) + struct.pack("<QQ", len(ad), len(text))
    for at in range(0, len(message), 16):
        acc = (acc + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    must(((acc + s) & ((1 << 128) - 1)).to_bytes(16, "little") == tag, "does not open")
    blocks = b"".join(stream(key, nonce, 1 + at // 64) for at in range(0, len(text), 64))
    return bytes(a ^ b for a, b in zip(text, blocks))


def pseudonym(key, kind, identifier):
    return mac(hkdf(b"", key, b"dihya/pseud/1"), kind.encode(), identifier.encode())[:16]


def pseudonym_text(data):
    return "P" + base64.b32encode(data).decode().rstrip("=").lower()


def keystore(case):
    """Describes a file of keys that opens under the given master key, and tags and pseudonyms made with them."""
    data, emk, tenant = unhex(case["hex"]), unhex(case["emk"]), case["tenant"].encode()
    must(data[:8] == b"DhKeys1\n" and hashlib.sha256(data[:40]).digest()[:8] == data[40:48], "header")
    epoch, whole = struct.unpack_from("<Q", data, 8)[0], struct.unpack_from("<Q", data, 32)[0]
    context = b"dihya/keys/1" + bytes([len(tenant)]) + tenant + data[8:32]
    at, frames, lookup, kids = 48, [], None, set()
    while at < len(data):
        magic, size, ordinal = struct.unpack_from("<4sIQ", data, at)
        must(magic == b"DhK1" and ordinal == len(frames) and at + 40 + size <= len(data), "frame")
        text = unseal(emk, data[at + 16 : at + 40], context + struct.pack("<Q", ordinal), data[at + 40 : at + 40 + size])
        reader, records = Reader(text), []
        synced = int.from_bytes(reader.take(8), "little")
        while reader.at < len(text):
            kind = reader.number(1)
            must(kind in (1, 2, 3, 4, 5), "record")
            if kind == 1:
                kid = reader.take(16)
                must(kid not in kids, "kid twice")
                kids.add(kid)
                records.append({"kid": kid.hex(), "class": reader.number(1),
                                "minted": int.from_bytes(reader.take(4), "little"), "key": reader.take(32).hex()})
            elif kind == 2:
                records.append({"tag": reader.take(32).hex(), "kid": reader.take(16).hex()})
            elif kind == 3:
                records.append({"link": [reader.take(16).hex(), reader.take(16).hex()]})
            elif kind == 5:
                records.append({"kid": reader.take(16).hex(), "used": int.from_bytes(reader.take(4), "little")})
            else:
                lookup = reader.take(32)
                records.append({"lookup": lookup.hex()})
            must(all(bytes.fromhex(one) in kids for one in [records[-1].get("kid")] + records[-1].get("link", []) if one), "unknown kid")
        frames.append({"synced": str(synced), "records": records})
        at += 40 + size
    must(lookup is not None and whole <= at, "lookup key")
    names = []
    for name in case["names"]:
        tag = mac(lookup, name["type"].encode(), b"\0", name["identifier"].encode())
        names.append({"tag": tag.hex(), "pseudonym": pseudonym_text(pseudonym(unhex(name["key"]), name["type"], name["identifier"]))})
    shown = {"epoch": str(epoch), "whole": str(whole), "frames": frames, "names": names}
    if "buckets" in case:
        shown["buckets"] = [mac(lookup, b"dihya/bucket\0", one["stream"].encode(), b"\0", struct.pack("<Q", int(one["hour"]))).hex()
                            for one in case["buckets"]]
    return shown


def boxes(case):
    """Opens the boxes of a record and recomputes what the entry must commit to."""
    origin, uuid, schema = case["origin"].encode(), unhex(case["uuid"]), struct.pack(">I", case["schema"])
    keys = {pseudonym(unhex(one["key"]), "dihya/owner", ""): (unhex(one["kid"]), unhex(one["key"])) for one in case["keys"]}
    reader, shown, seen = Reader(unhex(case["hex"])), [], set()
    while reader.at < len(reader.data):
        number, owners = reader.number(1), reader.number(1)
        must(number == len(shown) and 0 < owners <= 16, "number or owners of a box")
        owned = [reader.take(16) for _ in range(owners)]
        count = reader.number(2)
        fields = [reader.number(2) for _ in range(count)]
        must(count > 0 and fields == sorted(set(fields)) and fields[0] >= 0x8000 and not seen & set(fields), "fields")
        seen |= set(fields)
        nonce, sealed = reader.take(24), None
        sealed = reader.take(reader.number(4))
        must(all(owner in keys for owner in owned), "owner")
        pairs = sorted(keys[owner] for owner in owned)
        kids = b"".join(kid for kid, _ in pairs)
        key = hkdf(hashlib.sha256(origin).digest(), b"".join(one for _, one in pairs), b"dihya/box/1" + uuid + bytes([number]) + kids)
        parts = (origin, uuid, kids, b"".join(struct.pack(">H", field) for field in fields), schema)
        text = unseal(key, nonce, b"".join(struct.pack(">I", len(part)) + part for part in parts), sealed)
        must(text[:5] == b"\xa2\x61r\x58\x20" and text[37:39] == b"\x61v", "contents")
        r_box, inner = text[5:37], Reader(text[39:])
        must(inner.number(1) >> 5 == 4, "values")
        inner.at = 0
        head = inner.number(1)
        must(cbor_head(inner, head) == count, "values")
        values = []
        for field in fields:
            start = inner.at
            pair = cbor_item(inner, DEPTH_MAX)
            must(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str), "path and value")
            encoded = inner.data[start : inner.at]
            r = mac(r_box, b"dihya/r/1", struct.pack(">H", field))
            c = hashlib.sha256(b"dihya/commit/1" + uuid + struct.pack(">H", field) + r + b"\x08" + struct.pack(">I", len(encoded)) + encoded)
            values.append({"field": field, "path": pair[0], "value": pair[1], "r": r.hex(), "c": c.hexdigest()})
        inner.end()
        shown.append({"owners": [owner.hex() for owner in owned], "values": values})
    return shown


# --- vectors --------------------------------------------------------------------------------------------------------


def unhex(text):
    return bytes.fromhex(text)


READERS = {
    "entry": lambda case: entry(unhex(case["hex"])),
    "cbor": lambda case: cbor(unhex(case["hex"])),
    "payload": lambda case: payload(unhex(case["hex"]), unhex(case["uuid"]), unhex(case["seed"])),
    "tree": lambda case: {
        "root": root([leaf_hash(unhex(one)) for one in case["entries"]]).hex(),
        "from_path": root_from_path(
            leaf_hash(unhex(case["entries"][case["index"]])), case["index"], len(case["entries"]), [unhex(one) for one in case["path"]]
        ).hex(),
    },
    "tile-path": lambda case: tile_path(case["level"], int(case["index"]), case["width"]),
    "note": lambda case: {
        **note(case["text"]),
        "ed25519_key_id": key_id(case["name"], 1, unhex(case["ed25519"])).hex(),
        "ml_dsa_44_key_id": key_id(case["name"], 6, unhex(case["ml_dsa_44"])).hex(),
        "cosigned_sha256": hashlib.sha256(cosigned_message(case["name"], case["timestamp"], note(case["text"]))).hexdigest(),
    },
    "proof": lambda case: proof(case["text"], unhex(case["record"])),
    "log": lambda case: log({path: unhex(data) for path, data in case["files"].items()}, case["vault"]),
    "keystore": keystore,
    "box": boxes,
    "wal": lambda case: frames(unhex(case["hex"]), case.get("segment", 3)),
}


def check(path):
    vectors = json.loads(path.read_text(encoding="utf-8"))
    read = READERS[vectors["format"]]
    for number, case in enumerate(vectors["cases"]):
        shown = read(case)
        if shown != case["shown"]:
            sys.exit(f"{path} case {number}: read as\n{json.dumps(shown)}\ninstead of\n{json.dumps(case['shown'])}")
    for number, case in enumerate(vectors.get("refused", [])):
        try:
            read(case)
        except (Refused, ValueError, struct.error):
            continue
        sys.exit(f"{path} refused case {number} ({case['why']}) was read")
    return len(vectors["cases"]), len(vectors.get("refused", []))


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "wal":
        path = pathlib.Path(sys.argv[2])
        for frame in frames(path.read_bytes(), int(path.stem)):
            print(json.dumps(frame))
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    if not paths:
        sys.exit(f"no vectors in {sys.argv[1]}")
    totals = [check(path) for path in paths]
    read, refused = (sum(column) for column in zip(*totals))
    print(f"{len(paths)} files: {read} cases read, {refused} refused, as described")


if __name__ == "__main__":
    main()
