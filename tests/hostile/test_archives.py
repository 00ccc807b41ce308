"""Files that unpack to far more than their size, where the gateway reads them."""

import gzip
import io
import struct
import threading
import time
import zlib

import pytest
from costs import costs_little
from kit import TRIANGLE, at_once, gltf, until, zipped, zipped_small

GIB = 1 << 30
# The most memory of the server itself while it reads two models of 95 MB, in bytes.
MOST_MEMORY = 300 << 20


def zstandard_bomb(size: int) -> bytes:
    """A Zstandard frame of `size` zeros behind the beginning of a .blend, 4 bytes for each 128 KiB."""
    head = b"BLENDER-v500RENDH"
    block = 1 << 17
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x68"
    frame += (len(head) << 3).to_bytes(3, "little") + head
    repeated = (block << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (block << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    return frame + repeated * (size // block - 1) + last


def gzip_bomb(size: int) -> bytes:
    with io.BytesIO() as gzip_file:
        with gzip.GzipFile(fileobj=gzip_file, mode="wb") as file:
            file.write(b"BLENDER-v279")
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
        return gzip_file.getvalue()


@pytest.mark.parametrize("bomb", [zstandard_bomb, gzip_bomb], ids=["zstandard", "gzip"])
@pytest.mark.parametrize("count", [3, 50])
def test_unpacking_of_many_candidate_models_is_limited(gateway, bomb, count):
    content = bomb(GIB if bomb is zstandard_bomb else GIB // 4)
    model = zipped({f"{number}.blend": content for number in range(count)})
    before = gateway.processor_seconds()
    with gateway.watched() as watch:
        answer = gateway.convert("a.zip", model)
        assert (answer.status, answer.code) == (422, "ambiguous_model"), answer
    spent = gateway.processor_seconds() - before
    # At most one gigabyte is unpacked in total: unpacking 50 of them took more than two minutes.
    assert spent < 45, spent
    print(f"{len(model) >> 10} KiB: {spent:.1f} s, /livez at most {watch.worst * 1000:.0f} ms")


def test_unpacking_stops_when_the_client_disconnects(gateway):
    model = zipped({f"{number}.blend": zstandard_bomb(GIB) for number in range(4)})

    def hang_up() -> None:
        try:
            gateway.convert("a.zip", model, timeout=0.5)
        except OSError:
            return
        raise AssertionError("it was answered at once")

    with gateway.watched():
        for result in at_once(hang_up, hang_up, hang_up):
            assert result is None, result
        time.sleep(1.5)
        before = gateway.processor_seconds()
        time.sleep(2)
        assert gateway.processor_seconds() - before < 1


def test_unpacking_for_one_client_does_not_delay_others(start):
    gateway = start(TRUSTED_PROXIES="127.0.0.1")
    model = zipped({f"{number}.blend": zstandard_bomb(GIB) for number in range(3)})
    ended, over = [], threading.Event()
    flooders, turns = 20, 3

    def flood(number: int) -> None:
        while not over.is_set():
            # Each sends a different model, so that no request is coalesced with another.
            own = model + bytes(number)
            answer = gateway.convert("a.zip", own, X_Forwarded_For="192.0.2.1", Cache_Control="no-cache")
            assert answer.status in (422, 503), answer
            ended.append(number)

    def other() -> int:
        until("the flood is on", lambda: len(ended) > 3)
        before = len(ended)
        for _ in range(turns):
            gateway.convert_triangle(X_Forwarded_For="192.0.2.2")
        over.set()
        return len(ended) - before

    with gateway.watched():
        *_, meanwhile = at_once(*[lambda number=number: flood(number) for number in range(flooders)], other)
    # Served in order of arrival, each of its three requests would wait for the whole flood.
    assert meanwhile < flooders * turns / 2, meanwhile
    print(f"{meanwhile} of the flood were done meanwhile")


def end_of_zip(record_at: int) -> bytes:
    """The end of a zip whose locator points to an end record at this offset (APPNOTE 4.3.15 and 4.3.16)."""
    locator = struct.pack("<IIQI", 0x07064B50, 0, record_at, 1)
    return locator + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def full_of_records() -> bytes:
    """Every four bytes may be the record, unless the reader follows the locator."""
    return b"PK\3\4" + b"PK\6\6" * 24_000_000 + end_of_zip(1)


def one_large_record() -> bytes:
    size = 95_000_000
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, size - 12, 45, 45, 0, 0, 0, 0, 0, 0)
    return b"PK\3\4" + record.ljust(size, b"\0") + end_of_zip(4)


@pytest.mark.parametrize("model", [full_of_records, one_large_record])
def test_a_zip_with_a_misleading_end_record_is_refused(gateway, model):
    costs_little(gateway, model(), "invalid_archive", "a.zip", most_memory=MOST_MEMORY, most_seconds=20)


def test_empty_compressed_blocks_cost_little(gateway):
    """As many empty gzip members and deflate blocks as fit into a request."""
    member = gzip.compress(b"", mtime=0)
    costs_little(
        gateway,
        member * (95_000_000 // len(member)),
        "import_failed",
        "a.blend",
        most_memory=MOST_MEMORY,
        most_seconds=60,
    )
    empty = b"\0\0\0\xff\xff" * (95_000_000 // 5) + b"\3\0"
    costs_little(
        gateway,
        deflated(b"a.obj", empty, TRIANGLE),
        "invalid_archive",
        "a.zip",
        most_memory=MOST_MEMORY,
        most_seconds=60,
    )


def deflated(name: bytes, compressed: bytes, content: bytes) -> bytes:
    """A zip of one entry whose header describes `content`."""
    head = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, zlib.crc32(content), len(compressed), len(content), len(name), 0)
    entry = b"PK\3\4" + head + name + compressed
    directory = b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return entry + directory + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(directory), len(entry), 0)


def test_zstandard_blocks_of_huffman_tables_cost_little(gateway):
    """40 MiB of Zstandard blocks of 15 bytes, each with one byte of content and a Huffman table of 2,048 entries."""
    weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    tree = bytes([127 + 11]) + bytes(high << 4 | low for high, low in zip(weights[::2], weights[1::2], strict=True))
    literals = (2 | 1 << 4 | (len(tree) + 1) << 14).to_bytes(3, "little") + tree + b"\3"
    block = (len(literals + b"\0") << 3 | 2 << 1).to_bytes(3, "little") + literals + b"\0"
    head = b"BLENDER-v500RENDH"
    frame = b"\x28\xb5\x2f\xfd\0\0" + (len(head) << 3).to_bytes(3, "little") + head
    model = {"a.blend": frame + block * ((40 << 20) // len(block)), "b.png": b""}
    costs_little(gateway, zipped_small(model), "import_failed", "a.zip", most_memory=MOST_MEMORY, most_seconds=8)


def test_files_in_many_folders_are_refused(gateway):
    """Each file is below sixty folders of its own, which take longer to create and remove than the files."""
    folders = "/".join(["d"] * 59)
    model = zipped({f"{number}/{folders}/a": b"" for number in range(1_990)} | {"a.gltf": gltf()})
    costs_little(gateway, model, "too_large", most_seconds=20)
