"""Models whose many or long file references are costly to resolve and rewrite."""

import json

from costs import costs_little
from kit import CORNERS, TRIANGLE, gltf, triangle_gltf, zipped_small

DEEP = "/".join("x" * 190 for _ in range(10))
DEEP_ELSEWHERE = "/".join("é" * 90 for _ in range(10))


def test_millions_of_lengthened_texture_paths_are_refused(gateway):
    """`map_Kd a.png` becomes a path of 2 kB; 200 MB of it would become 30 GB."""
    library = b"newmtl a\n" + b"map_Kd a.png\n" * (200_000_000 // 13)
    model = {"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": library, f"{DEEP}/a.png": b""}
    costs_little(gateway, zipped_small(model), "too_large")


def test_many_lengthened_image_paths_are_refused(gateway):
    """The escaped path has 6 kB."""
    for count in (400_000, 100_000):
        model = {"a.gltf": gltf(images=[{"uri": "a.png"}] * count), f"{DEEP_ELSEWHERE}/a.png": b""}
        costs_little(gateway, zipped_small(model), "too_large")


def test_repeated_references_to_one_library_are_refused(gateway):
    lines = b"".join(b"mtllib a%d.mtl " % number + b"b.mtl " * 10_000 + b"\n" for number in range(120))
    costs_little(gateway, zipped_small({"a.obj": lines + TRIANGLE, f"{DEEP}/b.mtl": b"newmtl a\n"}), "too_large")


def test_long_distinct_statements_cost_little(gateway):
    """10,000 lines of 50 kB; and 200 libraries of 20,000 names each."""
    long = b"".join(b"map_Kd %d" % number + b"x" * 50_000 + b".png\n" for number in range(10_000))
    costs_little(gateway, zipped_small({"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": long}), None)
    names = b"".join(b"map_Kd %d.png\n" % number for number in range(20_000))
    libraries = {f"{number}.mtl": names for number in range(200)}
    main = b"".join(b"mtllib %s\n" % name.encode() for name in libraries)
    costs_little(gateway, zipped_small({"a.obj": main + TRIANGLE, **libraries}), "too_large")


def test_layers_referring_to_each_other_cost_little(gateway):
    """1,990 layers of 2,000 names each."""
    names = b"\n".join(b"@./%d%s.usda@" % (number, b"y" * 200) for number in range(2000))
    model = zipped_small({f"{number}.usda": b"#usda 1.0\n" + names for number in range(1990)})
    costs_little(gateway, model, "ambiguous_model")


def usdc(words: bytes) -> bytes:
    """The words of a binary layer, as LZ4 of literals only; the rest is missing."""
    more = len(words) - 15
    return layer(len(words), b"\0\xf0" + b"\xff" * (more // 255) + bytes([more % 255]) + words)


def layer(size: int, compressed: bytes) -> bytes:
    """A binary layer with the given size of words and their compressed bytes."""
    section = (9).to_bytes(8, "little") + size.to_bytes(8, "little") + bytes(8) + compressed
    head = b"PXR-USDC\0\x08\0\0\0\0\0\0" + (24 + len(section)).to_bytes(8, "little")
    entry = b"TOKENS\0\0" + bytes(8) + (24).to_bytes(8, "little") + len(section).to_bytes(8, "little")
    return head + section + (1).to_bytes(8, "little") + entry


def test_binary_layer_paths_of_many_folders_cost_little(gateway):
    """20,000 paths to one texture, each with 60 folders of its own."""
    words = b"".join(b"/".join([b"%d" % number] * 60) + b"/a.png\0" for number in range(20_000))
    costs_little(gateway, zipped_small({"a.usdc": usdc(words), "t/a.png": b"png"}), "import_failed")


def test_binary_layers_that_unpack_to_gigabytes_cost_little(gateway):
    """15 layers that each refer to the next one, with 60 MB of other words."""
    layers = {f"{number}.usdc": usdc(b"%d.usdc\0" % (number + 1) + bytes(60 << 20)) for number in range(15)}
    main = b"#usda 1.0\n(\n    subLayers = [@./0.usdc@]\n)\n"
    costs_little(gateway, zipped_small({"a.usda": main, **layers}), "empty_model", "a.zip&main=a.usda")


def test_many_long_paths_are_refused(gateway):
    """880 MB of paths in a small zip."""
    images = b",".join(b'{"uri":"%d%s"}' % (number, b"z" * 4000) for number in range(220_000))
    costs_little(gateway, zipped_small({"a.gltf": gltf()[:-1] + b',"images":[' + images + b"]}"}), "too_large")


def test_rewriting_paths_beside_large_embedded_data_is_refused(gateway):
    """Paths can only be changed in JSON that is in memory."""
    large = triangle_gltf(CORNERS, images=[{"uri": "b.png"}])
    large["buffers"].append({"byteLength": 3, "uri": "data:;base64," + "A" * (900 << 20)})
    model = {"a.gltf": json.dumps(large).encode(), "t/b.png": b"png"}
    costs_little(gateway, zipped_small(model), "too_large")


def test_references_to_many_files_with_equal_names_are_refused(gateway):
    """190,000 paths with many folders, each matching 64 files equally well."""
    folders = "/".join(["ab"] * 50)
    textures = {f"{number}/{folders}/a.png": b"" for number in range(64)}
    images = b",".join(b'{"uri":"../x%d/%s/a.png"}' % (number, folders.encode()) for number in range(190_000))
    model = {"a.gltf": gltf()[:-1] + b',"images":[' + images + b"]}", **textures}
    costs_little(gateway, zipped_small(model), "too_large")


def stage(layers: dict[str, bytes]) -> bytes:
    """A zip with a main layer that has all of these as sublayers."""
    paths = ",".join(f"@./{name}@" for name in layers)
    return zipped_small({"a.usda": f"#usda 1.0\n(\n    subLayers = [{paths}]\n)\n".encode(), **layers})


def repeated(unit: bytes, size: int, end: bytes) -> bytes:
    """LZ4 of the given size: `unit` repeated, then the end of the block."""
    more = size - len(unit) - 4 - 15
    first = bytes([len(unit) << 4 | 15]) + unit + len(unit).to_bytes(2, "little")
    return first + b"\xff" * (more // 255) + bytes([more % 255]) + end


def test_binary_layers_with_damaged_ends_cost_little(gateway):
    """255 blocks in each, or one that unpacks to 64 MiB first."""
    blocks = [b"\x10a"] * 254 + [b"\x10a\0\0"]
    many = b"\xff" + b"".join(len(block).to_bytes(4, "little") + block for block in blocks)
    one = b"\0" + repeated(b"\0", (64 << 20) - 64, b"\x10a\0\0")
    for compressed in (many, one):
        layers = {f"{number}.usdc": layer(64 << 20, compressed) + b"%d" % number for number in range(90)}
        costs_little(gateway, stage(layers), "empty_model", "a.zip&main=a.usda")


def test_invalid_words_of_binary_layers_cost_little(gateway):
    """60 MiB of words with a dot and invalid UTF-8, in each of four layers."""
    words = 60 << 20
    compressed = b"\0" + repeated(b"\xff.\0", words - 5, b"\x50abcd\0")
    model = stage({f"{number}.usdc": layer(words, compressed) + b"%d" % number for number in range(4)})
    costs_little(gateway, model, "empty_model", "a.zip&main=a.usda")


def test_repeated_names_in_a_binary_file_are_refused(gateway):
    """100 MB of names: each ends in four extensions, and is a folder of the next."""
    names = b"\xb1.png.png.png.png/" * (100_000_000 // 18)
    model = {"a.fbx": b"Kaydara FBX Binary  \0\x1a\0" + names, "b.png": b""}
    costs_little(gateway, zipped_small(model), "too_large")


def test_binary_layers_with_thousands_of_paths_are_refused(gateway):
    """1,500 invalid layers with meaningless paths."""
    names = b"".join(b"%d/%d.png\0" % (number % 64, number // 64) for number in range(8000))
    layers = {f"{number}.usdc": b"PXR-USDC\0\0" + names for number in range(1500)}
    costs_little(gateway, stage(layers), "too_large", "a.zip&main=a.usda")


def test_binary_file_names_with_many_dots_are_refused(gateway):
    names = (b".png" * 60 + b"\0") * 300_000
    model = {"a.fbx": b"Kaydara FBX Binary  \0\x1a\0" + names, "a.png": b""}
    costs_little(gateway, zipped_small(model), "too_large")


def test_file_names_equal_after_shortening_cost_little(gateway):
    """Names are cut to 200 bytes in the working folder and in results."""
    textures = {f"{'x' * 230}{number}.png": b"" for number in range(1990)}
    images = [{"uri": name} for name in textures]
    costs_little(gateway, zipped_small({"a.gltf": gltf(images=images), **textures}), None, target="gltf")


def test_file_names_that_are_long_in_total_are_refused(gateway):
    names = [f"{number}{'n' * 600}" for number in range(1900)]
    costs_little(gateway, zipped_small({"a.obj": TRIANGLE, **{f"{name}/a.txt": b"" for name in names}}), "too_large")
    part = '--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n\r\n'
    form = "".join([part % f"{name}.txt" for name in names] + ["--x--\r\n"]).encode()
    with gateway.watched():
        answer = gateway.ask("POST", "/convert?output_format=glb", form, Content_Type="multipart/form-data; boundary=x")
    assert answer.code == "too_large", answer


def test_large_legitimate_models_are_accepted(gateway):
    """A scene of 1,500 materials whose textures are in folders with long names, not at the paths it gives."""
    folder = "/".join(["Texturen und Vorlagen für die große Halle"] * 6)
    lines = b"".join(b"newmtl m%d\nmap_Kd C:\\work\\t\\t%d.png\n" % (number, number) for number in range(1500))
    textures = {f"{folder}/t{number}.png": b"\x89PNG\r\n\x1a\n" for number in range(1500)}
    answer = gateway.convert("a.zip", zipped_small({"a.obj": b"mtllib a.mtl\n" + TRIANGLE, "a.mtl": lines, **textures}))
    assert answer.status == 200, answer
    images = [{"uri": f"t{number % 1500}.png"} for number in range(10_000)]
    answer = gateway.convert("a.zip", zipped_small({"a.gltf": gltf(images=images), **textures}))
    assert answer.status == 200, answer
