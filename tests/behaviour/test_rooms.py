"""Rust modules import only modules in lower rows of the table "Rooms" in ARCHITECTURE.md, without cycles."""

import re

from snapshot import ROOT

SOURCE = ROOT / "src"
# `mod tests` at the end of a file, and files of tests.
TESTS = re.compile(r"\n#\[cfg\(test\)\]\n(?:#\[path = .*\n)?mod tests\b[\s\S]*")


def rooms() -> list[str]:
    """The rooms of the table in ARCHITECTURE.md, from bottom to top."""
    table = (ROOT / "docs/ARCHITECTURE.md").read_text().split("\n## Rooms\n")[1].split("\n## ")[0]
    return [re.sub(r"\.rs$|/$", "", name) for name in re.findall(r"^\| `src/([\w./]+)`", table, re.MULTILINE)]


def modules() -> dict[tuple[str, ...], str]:
    """The source of every library module by path, without tests."""
    found = {}
    for path in SOURCE.rglob("*.rs"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if "tests" in parts or path.stem.endswith("_tests") or parts in {("lib",), ("main",)}:
            continue
        text = TESTS.sub("", path.read_text())
        found[parts[:-1] if parts[-1] == "mod" else parts] = re.sub(r"//.*", "", text)
    return found


def flatten(tree: str) -> list[str]:
    """`a::{b, c::d}` as `a::b` and `a::c::d`."""
    tree = tree.strip()
    if "{" not in tree:
        return [tree]
    prefix, inner = tree.split("{", 1)
    paths, depth, item = [], 0, ""
    for letter in inner.rsplit("}", 1)[0] + ",":
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            paths += flatten(prefix + item.strip()) if item.strip() else []
            item = ""
        else:
            item += letter
    return paths


def absolute(path: str, module: tuple[str, ...]) -> tuple[str, ...] | None:
    """Resolves `crate::…`, `super::…` or `self::…` in a module; `None` for other crates."""
    parts = re.sub(r"\s+as\s+\w+$", "", path).split("::")
    base = list(module)
    if parts[0] == "crate":
        return tuple(parts[1:])
    if parts[0] not in {"super", "self"}:
        return None
    while parts and parts[0] in {"super", "self"}:
        base = base[:-1] if parts[0] == "super" else base
        parts = parts[1:]
    return tuple(base + parts)


def imports() -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """The modules that each module imports by `use` or names in paths."""
    known = modules()
    found = {}
    for module, text in known.items():
        uses = re.findall(r"\buse\s+((?:crate|super|self)\b[^;]*);", text)
        paths = [path for tree in uses for path in flatten(re.sub(r"\s+", " ", tree))]
        paths += re.findall(r"\b(?:crate|super)(?:::\w+)+", re.sub(r"\buse\s+[^;]*;", "", text))
        targets = set()
        for path in paths:
            parts = absolute(path, module)
            while parts and parts not in known:
                parts = parts[:-1]
            # Names that a child imports from a `mod.rs` are re-exports, unless it defines them itself.
            if parts and parts != module:
                targets.add(parts)
        found[module] = targets
    return found


def room_of(module: tuple[str, ...], names: list[str]) -> str:
    path = "/".join(module)
    return max((name for name in names if path == name or path.startswith(f"{name}/")), key=len, default="")


def test_the_architecture_table_lists_every_module():
    names = rooms()
    assert [module for module in modules() if not room_of(module, names)] == []


def test_modules_import_only_lower_modules():
    names = rooms()
    wrong = [
        f"{'/'.join(module)} -> {'/'.join(target)}"
        for module, targets in imports().items()
        for target in targets
        if names.index(room_of(target, names)) > names.index(room_of(module, names))
    ]
    assert sorted(wrong) == []


def test_imports_have_no_cycle():
    graph = imports()
    done: set[tuple[str, ...]] = set()

    def walk(module, above):
        if module in above:
            circle = [*above[above.index(module) :], module]
            raise AssertionError(" -> ".join("/".join(each) for each in circle))
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            # A folder's `mod.rs` declares its children and re-exports their names.
            is_parent = module[: len(target)] == target
            is_child = target[: len(module)] == module
            if not is_parent and not is_child:
                walk(target, [*above, module])
        done.add(module)

    for module in sorted(graph):
        walk(module, [])


# The most files that a request passes from the router to the result.
WAY = 35


def test_the_documented_path_of_a_request_exists():
    table = (
        (ROOT / "docs/ARCHITECTURE.md").read_text().split("\n### From the request to the result\n")[1].split("\n## ")[0]
    )
    rows = re.findall(r"^\| `([\w./]+)` \| (`[^|]+`) \|", table, re.MULTILINE)
    assert 20 < len(rows) <= WAY
    for file, functions in rows:
        text = (SOURCE / file).read_text()
        for function in re.findall(r"`(\w+)`", functions):
            assert re.search(rf"\bfn {function}\b", text), f"{file} has no {function}"
