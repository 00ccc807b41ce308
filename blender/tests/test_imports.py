"""Modules of the package import only modules in lower rows of the table in docs/ARCHITECTURE.md, section "Python"."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import meshgate_engine

PACKAGE = Path(meshgate_engine.__file__).parent
ARCHITECTURE = PACKAGE.parents[1] / "docs/ARCHITECTURE.md"


def rows() -> list[list[str]]:
    """The packages of each row of the table, the lowest first; those of one row must not import each other."""
    section = ARCHITECTURE.read_text().partition("\n## Python\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return [re.findall(r"`(\w+)/?`", cell) for cell in cells]


def modules() -> dict[str, Path]:
    """Dotted name in the package -> file; a package has the name of its folder."""
    names = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(part for part in parts if part != "__init__"): path for path, parts in names.items()}


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules of the package that a module imports, also inside of functions."""
    here = path.relative_to(PACKAGE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("meshgate_engine") for alias in node.names), f"{name}: import by from"
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = here[: len(here) - node.level + 1] + module
            elif module[0] == "meshgate_engine":
                base = module[1:]
            else:
                continue
            for alias in node.names:
                inner = ".".join((*base, alias.name))
                found.add(inner if inner in known else ".".join(base))
    return found - {""}


def outside(text: str) -> set[str]:
    """The packages besides this one that a module imports, also inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found


BLENDER = {"addon_utils", "bmesh", "bpy", "bpy_extras", "gpu", "io_scene_gltf2", "mathutils"}

# What a row must not know although it is no higher row.
MUST_NOT_KNOW = {
    "errors": BLENDER,
    "capabilities": BLENDER,
    "job": BLENDER,
    # It loads Blender by name.
    "runtime": BLENDER,
    "conversion": {"runtime"},
}


def known_too_much(name: str, imported: set[str]) -> list[str]:
    """The imports that the table's last column forbids."""
    return [f"{name} imports {other}" for other in sorted(imported) if room(other) in MUST_NOT_KNOW.get(room(name), ())]


def graph() -> dict[str, set[str]]:
    found = modules()
    return {name: imports(name, path, set(found)) for name, path in found.items() if name}


def room(name: str) -> str:
    return name.partition(".")[0]


def forbidden(imported: dict[str, set[str]]) -> list[str]:
    """The imports of other packages that are not in a lower row."""
    row = {name: number for number, names in enumerate(rows()) for name in names}
    return [
        f"{name} imports {other}"
        for name, others in sorted(imported.items())
        for other in sorted(others)
        if room(name) != room(other) and row[room(other)] >= row[room(name)]
    ]


def test_the_table_lists_every_package():
    assert sorted(name for names in rows() for name in names) == sorted({room(name) for name in modules() if name})


def test_imports_lead_only_to_lower_rows():
    assert forbidden(graph()) == []


def test_imports_have_no_cycle():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_row_knows_what_it_must_not_know():
    inside = graph()
    assert [
        line
        for name, path in modules().items()
        if name
        for line in known_too_much(name, inside[name] | outside(path.read_text()))
    ] == []


def test_an_import_of_blender_into_plain_data_is_detected():
    assert known_too_much("job", outside("def f():\n    import bpy.types as t")) == ["job imports bpy"]
    assert known_too_much("runtime.zygote", outside("from mathutils import Matrix")) == [
        "runtime.zygote imports mathutils"
    ]
    assert known_too_much("conversion", {"runtime.protocol", "formats"}) == ["conversion imports runtime.protocol"]


def test_a_forbidden_import_is_detected():
    assert forbidden({"animation.clips": {"job", "formats.gltf"}}) == ["animation.clips imports formats.gltf"]
