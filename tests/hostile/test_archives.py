"""Files that unpack to far more than they are, where the gateway looks into them."""

import gzip
import io
import threading
import time
import zipfile

import pytest
from kit import at_once, until

GIB = 1 << 30


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
    with io.BytesIO() as packed:
        with gzip.GzipFile(fileobj=packed, mode="wb") as file:
            file.write(b"BLENDER-v279")
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
        return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return packed.getvalue()


@pytest.mark.parametrize("bomb", [zstandard_bomb, gzip_bomb], ids=["zstandard", "gzip"])
@pytest.mark.parametrize("count", [3, 50])
def test_candidates_that_unpack_to_gigabytes(gateway, bomb, count):
    content = bomb(GIB if bomb is zstandard_bomb else GIB // 4)
    model = zipped({f"{number}.blend": content for number in range(count)})
    before = gateway.processor_seconds()
    with gateway.watched() as watch:
        answer = gateway.convert("a.zip", model)
        assert (answer.status, answer.code) == (422, "ambiguous_model"), answer
    spent = gateway.processor_seconds() - before
    # One gigabyte is unpacked at most, whatever their number: 50 of them took more than two minutes.
    assert spent < 45, spent
    print(f"{len(model) >> 10} KiB: {spent:.1f} s, /livez at most {watch.worst * 1000:.0f} ms")


def test_unpacking_ends_when_the_client_is_gone(gateway):
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


def test_others_do_not_wait_for_one_client_that_has_much_unpacked(start):
    gateway = start(TRUSTED_PROXIES="127.0.0.1")
    model = zipped({f"{number}.blend": zstandard_bomb(GIB) for number in range(3)})
    ended, over = [], threading.Event()
    flooders, turns = 20, 3

    def flood(number: int) -> None:
        while not over.is_set():
            # Each sends something else than the others, so that none waits for another one's answer.
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
    # In the order in which they came, each of its three would wait for all of the flood.
    assert meanwhile < flooders * turns / 2, meanwhile
    print(f"{meanwhile} of the flood were done meanwhile")
