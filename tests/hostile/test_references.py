"""Models that refer to files so often, or by such paths, that finding and writing these would cost much."""

import json

from costs import costs_little
from kit import CORNERS, TRIANGLE, gltf, packed_small, triangle_gltf

DEEP = "/".join("x" * 190 for _ in range(10))
DEEP_ELSEWHERE = "/".join("é" * 90 for _ in range(10))


def test_a_line_that_grows_is_in_the_file_ten_million_times(gateway):
    """`map_Kd a.png` becomes a path of 2 kB; 200 MB of it would become 30 GB."""
    library = b"newmtl a\n" + b"map_Kd a.png\n" * (200_000_000 // 13)
    model = {"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": library, f"{DEEP}/a.png": b""}
    costs_little(gateway, packed_small(model), "too_large")


def test_an_image_that_grows_is_in_the_file_many_times(gateway):
    """Escaped, the path has 6 kB."""
    for count in (400_000, 100_000):
        model = {"a.gltf": gltf(images=[{"uri": "a.png"}] * count), f"{DEEP_ELSEWHERE}/a.png": b""}
        costs_little(gateway, packed_small(model), "too_large")


def test_statements_that_name_one_library_again_and_again(gateway):
    lines = b"".join(b"mtllib a%d.mtl " % number + b"b.mtl " * 10_000 + b"\n" for number in range(120))
    costs_little(gateway, packed_small({"a.obj": lines + TRIANGLE, f"{DEEP}/b.mtl": b"newmtl a\n"}), "too_large")


def test_statements_that_are_long_and_all_different(gateway):
    """10,000 lines of 50 kB; and 200 libraries of 20,000 names each."""
    long = b"".join(b"map_Kd %d" % number + b"x" * 50_000 + b".png\n" for number in range(10_000))
    costs_little(gateway, packed_small({"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": long}), None)
    names = b"".join(b"map_Kd %d.png\n" % number for number in range(20_000))
    libraries = {f"{number}.mtl": names for number in range(200)}
    main = b"".join(b"mtllib %s\n" % name.encode() for name in libraries)
    costs_little(gateway, packed_small({"a.obj": main + TRIANGLE, **libraries}), "too_large")


def test_layers_that_name_each_other(gateway):
    """1,990 layers of 2,000 names each."""
    names = b"\n".join(b"@./%d%s.usda@" % (number, b"y" * 200) for number in range(2000))
    model = packed_small({f"{number}.usda": b"#usda 1.0\n" + names for number in range(1990)})
    costs_little(gateway, model, "ambiguous_model")


def usdc(words: bytes) -> bytes:
    """The words of a binary layer, as LZ4 of nothing but literals; the rest is missing."""
    more = len(words) - 15
    return layer(len(words), b"\0\xf0" + b"\xff" * (more // 255) + bytes([more % 255]) + words)


def layer(size: int, packed: bytes) -> bytes:
    """A binary layer of so many bytes of words, which are packed so."""
    section = (9).to_bytes(8, "little") + size.to_bytes(8, "little") + bytes(8) + packed
    head = b"PXR-USDC\0\x08\0\0\0\0\0\0" + (24 + len(section)).to_bytes(8, "little")
    entry = b"TOKENS\0\0" + bytes(8) + (24).to_bytes(8, "little") + len(section).to_bytes(8, "little")
    return head + section + (1).to_bytes(8, "little") + entry


def test_words_of_a_binary_layer_that_would_make_folders(gateway):
    """20,000 names of one texture, each below 60 folders of its own."""
    words = b"".join(b"/".join([b"%d" % number] * 60) + b"/a.png\0" for number in range(20_000))
    costs_little(gateway, packed_small({"a.usdc": usdc(words), "t/a.png": b"png"}), "import_failed")


def test_binary_layers_that_unpack_to_much(gateway):
    """Each names the next one, with 60 MB of other words."""
    layers = {f"{number}.usdc": usdc(b"%d.usdc\0" % (number + 1) + bytes(60 << 20)) for number in range(15)}
    main = b"#usda 1.0\n(\n    subLayers = [@./0.usdc@]\n)\n"
    costs_little(gateway, packed_small({"a.usda": main, **layers}), "empty_model", "a.zip&main=a.usda")


def test_many_paths_that_are_long(gateway):
    """880 MB of them in a zip of a few."""
    images = b",".join(b'{"uri":"%d%s"}' % (number, b"z" * 4000) for number in range(220_000))
    costs_little(gateway, packed_small({"a.gltf": gltf()[:-1] + b',"images":[' + images + b"]}"}), "too_large")


def test_json_whose_paths_change_beside_much_that_is_embedded(gateway):
    """Paths can only be changed in JSON that is in memory."""
    large = triangle_gltf(CORNERS, images=[{"uri": "b.png"}])
    large["buffers"].append({"byteLength": 3, "uri": "data:;base64," + "A" * (900 << 20)})
    model = {"a.gltf": json.dumps(large).encode(), "t/b.png": b"png"}
    costs_little(gateway, packed_small(model), "too_large")


def test_references_to_many_files_of_one_name(gateway):
    """190,000 paths of 60 folders, to 64 files that are all as likely."""
    folders = "/".join(["ab"] * 50)
    textures = {f"{number}/{folders}/a.png": b"" for number in range(64)}
    images = b",".join(b'{"uri":"../x%d/%s/a.png"}' % (number, folders.encode()) for number in range(190_000))
    model = {"a.gltf": gltf()[:-1] + b',"images":[' + images + b"]}", **textures}
    costs_little(gateway, packed_small(model), "too_large")


def stage(layers: dict[str, bytes]) -> bytes:
    """A zip with a main layer that has all of these below it."""
    paths = ",".join(f"@./{name}@" for name in layers)
    return packed_small({"a.usda": f"#usda 1.0\n(\n    subLayers = [{paths}]\n)\n".encode(), **layers})


def repeated(unit: bytes, size: int, end: bytes) -> bytes:
    """LZ4 of so many bytes: `unit` again and again, and then a block's end."""
    more = size - len(unit) - 4 - 15
    first = bytes([len(unit) << 4 | 15]) + unit + len(unit).to_bytes(2, "little")
    return first + b"\xff" * (more // 255) + bytes([more % 255]) + end


def test_binary_layers_whose_words_are_damaged_at_their_end(gateway):
    """255 blocks in each, or one that unpacks to 64 MiB first."""
    blocks = [b"\x10a"] * 254 + [b"\x10a\0\0"]
    many = b"\xff" + b"".join(len(block).to_bytes(4, "little") + block for block in blocks)
    one = b"\0" + repeated(b"\0", (64 << 20) - 64, b"\x10a\0\0")
    for packed in (many, one):
        layers = {f"{number}.usdc": layer(64 << 20, packed) + b"%d" % number for number in range(90)}
        costs_little(gateway, stage(layers), "empty_model", "a.zip&main=a.usda")


def test_words_that_are_looked_at_in_vain_end_with_their_client(gateway):
    """60 MiB of words with a dot that are no UTF-8, in each of four layers."""
    words = 60 << 20
    packed = b"\0" + repeated(b"\xff.\0", words - 5, b"\x50abcd\0")
    model = stage({f"{number}.usdc": layer(words, packed) + b"%d" % number for number in range(4)})
    costs_little(gateway, model, "empty_model", "a.zip&main=a.usda")


def test_names_that_a_binary_file_repeats(gateway):
    """100 MB of them: each ends in four names, and is a folder of the next."""
    names = b"\xb1.png.png.png.png/" * (100_000_000 // 18)
    model = {"a.fbx": b"Kaydara FBX Binary  \0\x1a\0" + names, "b.png": b""}
    costs_little(gateway, packed_small(model), "too_large")


def test_binary_layers_that_name_thousands_of_paths_each(gateway):
    """1,500 files that are no layers, with names in them that mean nothing."""
    names = b"".join(b"%d/%d.png\0" % (number % 64, number // 64) for number in range(8000))
    layers = {f"{number}.usdc": b"PXR-USDC\0\0" + names for number in range(1500)}
    costs_little(gateway, stage(layers), "too_large", "a.zip&main=a.usda")


def test_a_binary_file_of_names_with_many_dots(gateway):
    names = (b".png" * 60 + b"\0") * 300_000
    model = {"a.fbx": b"Kaydara FBX Binary  \0\x1a\0" + names, "a.png": b""}
    costs_little(gateway, packed_small(model), "too_large")


def test_files_whose_names_become_one(gateway):
    """Names are cut to 200 bytes, in the conversion's folder and in a result."""
    textures = {f"{'x' * 230}{number}.png": b"" for number in range(1990)}
    images = [{"uri": name} for name in textures]
    costs_little(gateway, packed_small({"a.gltf": gltf(images=images), **textures}), None, target="gltf")


def test_names_that_are_long_together(gateway):
    names = [f"{number}{'n' * 600}" for number in range(1900)]
    costs_little(gateway, packed_small({"a.obj": TRIANGLE, **{f"{name}/a.txt": b"" for name in names}}), "too_large")
    part = '--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n\r\n'
    form = "".join([part % f"{name}.txt" for name in names] + ["--x--\r\n"]).encode()
    with gateway.watched():
        answer = gateway.ask("POST", "/convert?output_format=glb", form, Content_Type="multipart/form-data; boundary=x")
    assert answer.code == "too_large", answer


def test_what_is_honest_is_not_refused(gateway):
    """A scene of 1,500 materials whose textures lie in folders with long names, elsewhere than it says."""
    folder = "/".join(["Texturen und Vorlagen für die große Halle"] * 6)
    lines = b"".join(b"newmtl m%d\nmap_Kd C:\\work\\t\\t%d.png\n" % (number, number) for number in range(1500))
    textures = {f"{folder}/t{number}.png": b"\x89PNG\r\n\x1a\n" for number in range(1500)}
    answer = gateway.convert("a.zip", packed_small({"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": lines, **textures}))
    assert answer.status == 200, answer
    images = [{"uri": f"t{number % 1500}.png"} for number in range(10_000)]
    answer = gateway.convert("a.zip", packed_small({"a.gltf": gltf(images=images), **textures}))
    assert answer.status == 200, answer
