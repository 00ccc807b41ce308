"""Models that cost the gateway itself time or memory, while it reads, compares and reports outside the engine."""

import base64
import threading
import time

from kit import CORNERS, at_once, gltf, until, zipped_small

# The most memory of the server itself while it handles such models: four models of 64 MiB of JSON, the budget for
# parsing, and about as much again for memory that the allocator has not released yet.
MOST_MEMORY = 1400 << 20


def empty_animations(count: int, name: str = "{}") -> bytes:
    clips = [{"name": name.format(number), "samplers": [], "channels": []} for number in range(count)]
    return gltf(animations=clips)


def test_many_clips_are_compared_quickly(gateway):
    model = empty_animations(100_000)
    before = gateway.processor_seconds()
    with gateway.watched() as watch:
        answers = at_once(*[lambda: gateway.convert("a.gltf", model, Cache_Control="no-cache")] * 2)
    assert [answer.status for answer in answers] == [200, 200], answers
    report = gateway.get(answers[0].headers["link"].split(">")[0].lstrip("<")).json()
    assert len(report["input"]["clips"]) + report["input"]["more_clips"] == 100_000
    print(f"/livez at most {watch.worst * 1000:.0f} ms, {gateway.processor_seconds() - before:.1f} s of processor")


def test_work_stops_when_the_client_disconnects(gateway):
    """A client sends a large model and disconnects: soon after, the server is idle."""
    model = empty_animations(300_000)
    with gateway.watched():
        for _ in range(3):
            try:
                gateway.convert("a.gltf", model, timeout=0.3, Cache_Control="no-cache")
            except OSError:
                continue
        time.sleep(1)
        before = gateway.processor_seconds()
        time.sleep(2)
        assert gateway.processor_seconds() - before < 1


def test_excess_human_bones_take_little_memory(gateway):
    """60 MB of small objects where 55 objects are expected."""
    bones = b'"humanBones":[' + b'{"a":{}},' * (60_000_000 // 9) + b"{}]"
    few = b'"humanBones":[' + b'{"a":{}},' * 1_200_000 + b"{}]"
    extra = b'"extensions":{"VRM":{"humanoid":{%s}}},'
    with gateway.watched() as watch:
        gateway.peak_memory()
        refused = gateway.convert("a.gltf", b"{" + extra % bones + gltf()[1:])
        assert (refused.status, refused.code) == (413, "too_large"), refused
        assert b"values" in refused.body
        # The largest accepted number, from four clients at once.
        model = b"{" + extra % few + gltf()[1:]
        answers = at_once(*[lambda: gateway.convert("a.gltf", model, Cache_Control="no-cache")] * 4)
        assert [answer.status for answer in answers] == [200] * 4, answers
        peak = gateway.peak_memory()
    assert peak < MOST_MEMORY, f"{peak >> 20} MB"
    print(f"{peak >> 20} MB at most, /livez at most {watch.worst * 1000:.0f} ms")


def test_long_gltf_lists_take_little_memory(gateway):
    """Every list that is parsed, with items that take the most memory for the least text."""
    lists = {
        "nodes": b"{}",
        "meshes": b'{"primitives":[]}',
        "skins": b'{"joints":[]}',
        "textures": b"{}",
        "images": b"{}",
        "buffers": b'{"byteLength":0}',
        "bufferViews": b'{"buffer":0,"byteLength":0}',
        "animations": b"{}",
        "materials": b"{}",
    }
    models = [
        b'{"asset":{"version":"2.0"},"%s":[' % name.encode() + (item + b",") * 900_000 + item + b"]}"
        for name, item in lists.items()
    ]
    with gateway.watched() as watch:
        gateway.peak_memory()
        calls = [lambda model=model: gateway.convert("a.gltf", model, "glb") for model in models]
        for answer in at_once(*calls[:5]) + at_once(*calls[5:]):
            assert answer.status in (200, 413, 422), answer
        peak = gateway.peak_memory()
    assert peak < MOST_MEMORY, f"{peak >> 20} MB"
    print(f"{peak >> 20} MB at most, /livez at most {watch.worst * 1000:.0f} ms")


def test_embedded_images_take_little_memory(gateway):
    model = gltf()[:-1] + b',"images":[' + b'{"uri":"data:;base64,AA"},' * 400_000 + b"{}]}"
    with gateway.watched() as watch:
        gateway.peak_memory()
        for target in ("glb", "gltf"):
            answers = at_once(*[lambda target=target: gateway.convert("a.gltf", model, target)] * 2)
            assert {answer.status for answer in answers} == {200}, answers
        peak = gateway.peak_memory()
    assert peak < MOST_MEMORY, f"{peak >> 20} MB"
    print(f"{peak >> 20} MB at most, /livez at most {watch.worst * 1000:.0f} ms")


def test_base64_with_an_escaped_slash_is_decoded_once(gateway):
    """5,000 slices of 40 MB with one escaped slash: each slice was once decoded from the start."""
    count, stride = 5000, 8000
    size = count * stride
    views = [{"buffer": 0, "byteOffset": number * stride, "byteLength": 36} for number in range(count)]
    primitives = [{"attributes": {"POSITION": number}} for number in range(count)]
    accessors = [{"bufferView": number, "componentType": 5126, "count": 3, "type": "VEC3"} for number in range(count)]
    for accessor in accessors:
        accessor.update(min=[0, 0, 0], max=[1, 1, 0])
    model = gltf(
        buffers=[{"byteLength": size, "uri": "data:;base64,@"}],
        bufferViews=views,
        accessors=accessors,
        meshes=[{"primitives": primitives}],
    )
    text = base64.b64encode(CORNERS.ljust(stride, b"\0") * count)
    model = model.replace(b"@", text[:-4] + b"\\/A==" if size % 3 == 1 else text[:-4] + b"\\/AA=")
    with gateway.watched() as watch:
        before = gateway.processor_seconds()
        answer = gateway.convert("a.gltf", model)
        spent = gateway.processor_seconds() - before
    assert answer.status == 200, answer
    assert spent < 20, spent
    print(f"{spent:.1f} s of processor, /livez at most {watch.worst * 1000:.0f} ms")


def test_report_size_and_stored_reports_are_limited(gateway):
    """Reports of 4,000 clips with 15 kB names, more than can be stored, and many readers of one."""
    names = ["x" * 15_000 + str(number) for number in range(4000)]
    model = gltf(animations=[{"name": name, "samplers": [], "channels": []} for name in names])
    with gateway.watched() as watch:
        answer = gateway.convert("a.gltf", model, Cache_Control="no-cache")
        assert answer.status == 200
        path = answer.headers["link"].split(">")[0].lstrip("<")
        report = gateway.get(path)
        assert len(report.body) < 2 << 20, len(report.body)
        counts = report.json()["input"]
        assert counts["more_clips"] == 4000 - len(counts["clips"]) > 0
        for _ in range(6):
            assert gateway.convert("a.gltf", model, Cache_Control="no-cache").status == 200
        readers = at_once(*[lambda: gateway.get(path)] * 20)
        assert all(reader.body == report.body for reader in readers)
    print(f"{len(report.body) >> 10} KiB, /livez at most {watch.worst * 1000:.0f} ms")


def test_large_models_do_not_delay_probes(gateway):
    """Compares probe times while large models are parsed with those of an idle reference."""
    models = [empty_animations(100_000), empty_animations(20_000, "clip {}" + "x" * 500)]
    over = threading.Event()

    def attack(model: bytes) -> None:
        while not over.is_set():
            gateway.convert("a.gltf", model, Cache_Control="no-cache")

    attackers = [threading.Thread(target=attack, args=[model]) for model in models]
    with gateway.watched() as watch:
        for attacker in attackers:
            attacker.start()
        until("some probes", lambda: len(watch.times) > 150)
        over.set()
        for attacker in attackers:
            attacker.join()
    # One in a hundred may be late because the machine is busy.
    assert watch.late(0.99) <= 0.05, sorted(watch.times)[-5:]


def test_millions_of_data_uris_cost_little(gateway):
    """7 million strings that look like `data:` URIs, as names and as values."""
    model = b'{"extras":{' + b'"data:,":"data:,",' * 3_500_000 + b'"a":0},' + gltf()[1:]
    with gateway.watched() as watch:
        gateway.peak_memory()
        before = gateway.processor_seconds()
        answers = at_once(*[lambda: gateway.convert("a.gltf", model, Cache_Control="no-cache")] * 4)
        spent, peak = gateway.processor_seconds() - before, gateway.peak_memory()
    assert [answer.code for answer in answers] == ["too_large"] * 4, answers
    assert peak < MOST_MEMORY and spent < 20, (peak, spent)
    print(f"{peak >> 20} MB, {spent:.1f} s of processor, /livez at most {watch.worst * 1000:.0f} ms")


def test_many_instances_of_one_mesh_cost_little(gateway):
    """2 million reads of one vertex for the bounding box; a large buffer allows many reads."""
    size = 60 << 20
    accessor = {"bufferView": 0, "componentType": 5126, "count": 1, "type": "VEC3", "min": [0] * 3, "max": [0] * 3}
    model = gltf(
        nodes=[{"mesh": 0}] * 200_000,
        meshes=[{"primitives": [{"attributes": {"POSITION": number}} for number in range(10)]}],
        accessors=[accessor] * 10,
        bufferViews=[{"buffer": 0, "byteLength": size}],
        buffers=[{"byteLength": size, "uri": "data:;base64,@"}],
    )
    # In text that is not plain base64, decoding starts from the nearest checkpoint.
    model = model.replace(b"@", b"A" * (size // 3 * 4) + b"AA\\/A")
    with gateway.watched() as watch:
        before = gateway.processor_seconds()
        answer = gateway.convert("a.zip", zipped_small({"a.gltf": model}), Cache_Control="no-cache")
        spent = gateway.processor_seconds() - before
    assert answer.status == 200, answer
    assert spent < 20, spent
    print(f"{spent:.1f} s of processor, /livez at most {watch.worst * 1000:.0f} ms")


def test_reading_a_data_uri_stops_when_the_client_disconnects(gateway):
    """900 MB in one `data:` URI without base64; the client disconnects at two moments."""
    model = zipped_small({"a.gltf": b'{"extras":"data:,' + b"!!" * (450 << 20) + b'",' + gltf()[1:]})
    with gateway.watched():
        for after in (4, 8):
            gateway.rests_without_its_client("a.zip", model, after)
