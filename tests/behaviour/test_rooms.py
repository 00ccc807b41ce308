"""Rust modules import as docs/ARCHITECTURE.md says: only from lower rooms, without circles, and nothing that their room
must not know.

Names are followed through `use` and re-exports to the module that defines them.
"""

import re
from functools import cache
from typing import NamedTuple

from snapshot import ROOT

SOURCE = ROOT / "src"
# What a path is not read from: comments, and strings, whose braces would also be counted.
LITERALS = re.compile(
    r"""//[^\n]*|/\*[\s\S]*?\*/|\bb?r(#*)"[\s\S]*?"\1|\bb?"(?:\\[\s\S]|[^"\\])*"|"(?:\\[\s\S]|[^"\\])*"|'(?:\\.[^']*|[^\\'])'"""
)
USE = re.compile(r"\b(pub(?:\([\w\s:]+\))?\s+)?use\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])(?:::)?[A-Za-z_]\w*(?:::\w+)+")
# An inline module.
INLINE = re.compile(r"\bmod\s+\w+\s*\{")

# What a path inside the library may begin with.
INSIDE = {"crate", "self", "super"}

# A path: `crate` or the name of another crate, then the names below it.
Path = tuple[str, ...]


class Rule(NamedTuple):
    """What a room must not know: other crates, and names of this one. Rooms above it are forbidden anyway."""

    forbidden: str
    # Exceptions below a forbidden name.
    allowed: str = ""


SERVER = "axum hyper hyper_util tower tower_http utoipa"
TERMINAL = "clap indicatif comfy_table"
CLUSTER = "kube k8s_openapi"
WORK = "crate::domain::format crate::domain::options crate::domain::report"

# The third column of the table "Rooms". The longest path applies.
MUST_NOT_KNOW = {
    "domain": Rule(f"tokio std::fs std::env std::process redis object_store {SERVER} {TERMINAL} {CLUSTER}"),
    "fs": Rule(f"serde serde_json tokio crate::domain::options crate::domain::report {SERVER} {TERMINAL}"),
    "config": Rule(
        "crate::domain::client tokio std::net::TcpStream std::net::TcpListener std::net::UdpSocket "
        f"std::net::ToSocketAddrs redis hyper {SERVER} {TERMINAL}",
        # Types that only parse.
        "redis::ConnectionInfo redis::ConnectionAddr hyper::Uri",
    ),
    "context": Rule(f"{WORK} std::fs tokio {SERVER} {TERMINAL}"),
    "slots": Rule(f"crate std::fs {SERVER} {TERMINAL}", "crate::domain::client"),
    "telemetry": Rule(f"prometheus crate::redis {SERVER} {TERMINAL}", "axum::http::HeaderMap"),
    "redis": Rule(f"crate {SERVER} {TERMINAL}", "crate::config crate::domain::error"),
    "storage": Rule(f"{WORK} crate::redis redis {SERVER} {TERMINAL}"),
    "cache": Rule(f"object_store {SERVER} {TERMINAL}"),
    "rate_limit": Rule(f"{WORK} crate::storage {SERVER} {TERMINAL}"),
    "formats": Rule(f"crate::storage crate::cache crate::config tokio object_store redis {SERVER} {TERMINAL}"),
    "intake": Rule(f"std::process std::env tokio {SERVER} {TERMINAL}"),
    "inspect": Rule(f"std::process tokio crate::intake {SERVER} {TERMINAL}"),
    "repack": Rule(f"std::process tokio crate::intake {SERVER} {TERMINAL}"),
    "executor": Rule(
        "crate::formats crate::intake crate::inspect crate::repack crate::storage crate::cache "
        f"crate::domain::format::Format::Fbx {SERVER} {TERMINAL}"
    ),
    "executor/kubernetes": Rule(
        f"crate {SERVER} {TERMINAL}", "crate::domain::format crate::domain::census crate::causes"
    ),
    "executor/local/attempts": Rule(
        f"crate::formats crate::intake crate::inspect crate::repack crate::storage crate::cache {SERVER} {TERMINAL}"
    ),
    "metrics": Rule(f"crate::executor crate::intake crate::repack {SERVER} {TERMINAL}", "crate::executor::stats"),
    "conversion": Rule(f"crate::executor::local redis object_store {SERVER} {TERMINAL}"),
    "jobs": Rule(f"{SERVER} {TERMINAL}"),
    "webhooks": Rule(f"crate::jobs::redis crate::jobs::sqlite redis rusqlite {SERVER} {TERMINAL}"),
    "http": Rule(
        "crate::executor crate::repack crate::inspect crate::intake crate::formats std::process "
        f"redis object_store {TERMINAL} {CLUSTER}",
        # The state of the engine, folders for uploads, and the limit of their names.
        "crate::executor::interface::Status crate::executor::workdir "
        "crate::intake::model_files::budget::MAX_NAME_BYTES",
    ),
    "app": Rule(f"crate::http std::process {SERVER} {TERMINAL}"),
}


class Use(NamedTuple):
    """A name that a `use` brings into a module."""

    path: Path
    is_public: bool


class Module(NamedTuple):
    # Names that `use` brings into scope. Globs, `_` and names that are imported twice stand under their path.
    uses: dict[str, Use]
    # The rest of the source.
    body: str
    # Whether it is a `mod.rs`.
    is_folder: bool


def without_tests(text: str) -> str:
    """The source without comments, strings, and items under `#[cfg(test)]`."""
    text = LITERALS.sub(lambda found: "" if found[0].startswith("/") else '""', text)
    while found := re.search(r"#\[cfg\(test\)\]", text):
        end, depth = found.end(), 0
        while end < len(text):
            depth += (text[end] in "{[(") - (text[end] in "}])")
            end += 1
            # An attribute ends with a bracket, and an item with a semicolon or a brace.
            if depth == 0 and text[end - 1] in ";}":
                break
        text = text[: found.start()] + text[end:]
    return text


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


@cache
def parse(text: str, is_folder: bool) -> Module:
    text = without_tests(text)
    uses = {}
    for visibility, tree in USE.findall(text):
        for path in flatten(re.sub(r"\s+", " ", tree)):
            path, _, alias = path.partition(" as ")
            parts = tuple(path.strip().removesuffix("::self").split("::"))
            name = alias.strip() or parts[-1]
            uses[path if name in {"*", "_", *uses} else name] = Use(parts, bool(visibility))
    return Module(uses, USE.sub("", text), is_folder)


def sources() -> dict[str, str]:
    """The text of every file of the library by its path, without those of tests."""
    files = {str(file.relative_to(SOURCE)): file for file in SOURCE.rglob("*.rs")}
    is_test = re.compile(r"(^|/)tests(/|\.rs$)|_tests\.rs$|^main\.rs$")
    return {name: file.read_text() for name, file in files.items() if not is_test.search(name)}


def modules(files: dict[str, str]) -> dict[Path, Module]:
    """The modules of the files; the root is `crate`."""
    found = {}
    for name, text in files.items():
        parts = name.removesuffix(".rs").split("/")
        is_folder = parts[-1] in {"mod", "lib"}
        found["crate", *(parts[:-1] if is_folder else parts)] = parse(text, is_folder)
    return found


def absolute(path: Path, here: Path, known: dict[Path, Module], seen: frozenset = frozenset()) -> Path | None:
    """The path from its crate, as far as modules and their `use`s tell; `None` for a local name."""
    first, *rest = path
    if first == "":
        return tuple(rest)
    if first in INSIDE:
        base = ("crate",) if first == "crate" else here
        while path and path[0] in INSIDE:
            base = base[:-1] if path[0] == "super" else base
            path = path[1:]
        rest = list(path)
    elif (*here, first) in known:
        base, rest = (), [*here, first, *rest]
    elif first in known[here].uses and (here, first) not in seen:
        base, rest = (), [first, *rest]
        target = absolute(known[here].uses[first].path, here, known, seen | {(here, first)})
        return (*target, *rest[1:]) if target else None
    else:
        return path
    return (*base, *rest)


def resolve(path: Path, here: Path, known: dict[Path, Module]) -> Path:
    """The path of the definition: through re-exports, down to the module that defines the name."""
    seen = set()
    while True:
        path = absolute(path, here, known)
        at = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in known), None)
        name = path[len(at)] if at and len(path) > len(at) else None
        if name is None or name not in known[at].uses or (at, name) in seen:
            return path
        seen.add((at, name))
        here, path = at, (*known[at].uses[name].path, *path[len(at) + 1 :])


def home(path: Path, known: dict[Path, Module]) -> Path | None:
    """The module that holds a resolved path; `None` for other crates."""
    return next((path[:length] for length in range(len(path), 0, -1) if path[:length] in known), None)


def named(here: Path, known: dict[Path, Module]) -> list[tuple[Path, bool]]:
    """Every path that a module names, resolved, and whether it only re-exports it from a module below."""
    body = known[here].body
    found = []
    for name, use in known[here].uses.items():
        path = resolve(use.path, here, known)
        target = home(path, known)
        below = target is not None and target != here and target[: len(here)] == here
        found.append((path, use.is_public and below and not re.search(rf"\b{re.escape(name)}\b", body)))
    return found + [(resolve(tuple(path.split("::")), here, known), False) for path in PATH.findall(body)]


def imports(known: dict[Path, Module]) -> dict[Path, set[Path]]:
    """The modules that each module uses; those that it only declares or re-exports do not count."""
    graph = {}
    for here in known:
        targets = {home(path, known) for path, is_reexport in named(here, known) if not is_reexport}
        graph[here] = targets - {None, here, ("crate",)}
    return graph


def circles(graph: dict[Path, set[Path]]) -> list[list[str]]:
    """The groups of modules in which each leads to each."""

    def reach(start):
        found, todo = set(), [start]
        while todo:
            for target in graph.get(todo.pop(), ()):
                if target not in found:
                    found.add(target)
                    todo.append(target)
        return found

    reached = {module: reach(module) for module in graph}
    groups = {
        frozenset(other for other in reached[module] if module in reached.get(other, ()))
        for module in graph
        if module in reached[module]
    }
    return sorted(sorted("::".join(module) for module in group) for group in groups)


def show(path: Path) -> str:
    return "::".join(path)


def rooms() -> dict[str, str]:
    """The rooms of the table in ARCHITECTURE.md, from bottom to top, with what they must not know."""
    table = (ROOT / "docs/ARCHITECTURE.md").read_text().split("\n## Rooms\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `src/([\w./]+)` \|.*\|\s*([^|]*?)\s*\|$", table, re.MULTILINE)
    return {re.sub(r"\.rs$|/$", "", name): column for name, column in rows}


def room_of(module: Path, names) -> str:
    """The longest of the names that the module is or lies below."""
    path = "/".join(module[1:])
    return max((name for name in names if path == name or path.startswith(f"{name}/")), key=len, default="")


def upward(known: dict[Path, Module]) -> list[str]:
    """The imports from higher rooms."""
    names = list(rooms())
    return sorted(
        f"{show(module)} -> {show(target)}"
        for module, targets in imports(known).items()
        for target in targets
        if module != ("crate",) and names.index(room_of(target, names)) > names.index(room_of(module, names))
    )


def from_parent(known: dict[Path, Module]) -> list[str]:
    """The names that modules import from the `mod.rs` above them, which defines them."""
    found = set()
    for here in known:
        for path, _ in named(here, known):
            target = home(path, known)
            if target and target != here and here[: len(target)] == target and known[target].is_folder:
                found.add(f"{show(here)} -> {show(path)}")
    return sorted(found)


def below(path: Path, names: str) -> bool:
    """Whether the path is one of the names or lies below one."""
    return any(path[: len(name)] == name for name in (tuple(each.split("::")) for each in names.split()))


def forbidden(known: dict[Path, Module]) -> list[str]:
    """The paths that a room must not know."""
    found = set()
    for here in known:
        rule = MUST_NOT_KNOW.get(room_of(here, MUST_NOT_KNOW))
        for path, _ in named(here, known) if rule else ():
            is_own = path[:2] == here[:2]
            if not is_own and below(path, rule.forbidden) and not below(path, rule.allowed):
                found.add(f"{show(here)} -> {show(path)}")
    return sorted(found)


def refused(files: dict[str, str]) -> list[str]:
    """What would hide a path from this test."""
    found = []
    for name, text in files.items():
        text = without_tests(text)
        module = parse(text, is_folder=False)
        whole = [use.path for use in module.uses.values() if set(use.path) <= INSIDE]
        found += [f"{name}: use {show(path)} by another name" for path in whole]
        globs = [use.path for use in module.uses.values() if use.path[0] in INSIDE and use.path[-1] == "*"]
        found += [f"{name}: use {show(path)}" for path in globs]
        found += [f"{name}: {what[0]}" for what in re.finditer(r"#\[path\b|\bextern\s+crate\b|\binclude!", text)]
        inside = (text[start.end() :] for start in INLINE.finditer(text))
        found += [f"{name}: paths in an inline module" for rest in inside if re.search(r"\b(super|self)::", rest)]
    return found


def test_the_architecture_table_lists_every_module():
    names = list(rooms())
    assert [show(module) for module in modules(sources()) if len(module) > 1 and not room_of(module, names)] == []


def test_every_row_that_forbids_something_has_a_rule():
    whole = {name for name in MUST_NOT_KNOW if "/" not in name or name in rooms()}
    assert {name for name, column in rooms().items() if column} == whole


def test_no_source_hides_its_imports():
    assert refused(sources()) == []


def test_modules_import_only_lower_modules():
    assert upward(modules(sources())) == []


def test_imports_have_no_circle():
    assert circles(imports(modules(sources()))) == []


def test_modules_import_siblings_and_not_the_mod_rs_above():
    assert from_parent(modules(sources())) == []


def test_no_room_knows_what_its_row_forbids():
    assert forbidden(modules(sources())) == []


def with_lines(**lines: str) -> dict[Path, Module]:
    """The library with a line added to some files; `__` in a name is a `/`."""
    files = sources()
    for name, line in lines.items():
        files[name.replace("__", "/") + ".rs"] += f"\n{line}\n"
    return modules(files)


def test_an_import_from_a_higher_room_is_detected():
    assert upward(with_lines(intake__prepare="use crate::http::Gateway;")) == [
        "crate::intake::prepare -> crate::http::state"
    ]
    assert upward(with_lines(fs__blob="fn f() { crate::config::settings::named(1) }"))


def test_a_circle_of_siblings_through_reexports_is_detected():
    known = with_lines(redis__link="use super::Redis;")
    assert circles(imports(known)) == [["crate::redis::client", "crate::redis::link", "crate::redis::reconnect"]]


def test_a_circle_of_a_parent_and_its_child_is_detected():
    files = {"lib.rs": "mod a;", "a/mod.rs": "mod b; pub use b::f; struct S;", "a/b.rs": "use super::S; pub fn f() {}"}
    assert circles(imports(modules(files))) == [], "the parent only re-exports"
    assert from_parent(modules(files)) == ["crate::a::b -> crate::a::S"]
    for use in ["fn g() { f() }", "fn g() { b::f() }", "use b::h;", "pub use self::b as c; fn g() { c::h() }"]:
        changed = modules(files | {"a/mod.rs": files["a/mod.rs"] + use})
        assert circles(imports(changed)) == [["crate::a", "crate::a::b"]], use


def test_sources_after_the_declaration_of_tests_are_read():
    text = """
        #[cfg(test)]
        mod tests;
        // use crate::a;
        const TEXT: &str = "use crate::b; {";
        #[cfg(test)]
        #[path = "c_tests.rs"]
        mod c { use crate::c; }
        use crate::d as e;
    """
    assert parse(text, is_folder=False).uses == {"e": Use(("crate", "d"), is_public=False)}


def test_forbidden_names_are_detected():
    for name, line, found in [
        ("domain__error", "use tokio::time::sleep;", "tokio::time::sleep"),
        ("domain__error", "use std::{env, fmt};", "std::env"),
        ("domain__format", "fn f() { std::fs::read(1) }", "std::fs::read"),
        ("conversion__service", "use axum::http::HeaderMap;", "axum::http::HeaderMap"),
        ("conversion__service", "use clap as c;", "clap"),
        ("http__reports", "use crate::executor::local::Blender;", "crate::executor::local::supervisor::Blender"),
        ("http__reports", "fn f() { redis::cmd(1) }", "redis::cmd"),
        ("executor__task", "const F: Format = Format::Fbx;", "crate::domain::format::Format::Fbx"),
        ("storage__keys", "use crate::domain::Report;", "crate::domain::report::Report"),
        ("cache__entry", "use axum::body::Body;", "axum::body::Body"),
        ("jobs__service", "use axum::http::HeaderMap;", "axum::http::HeaderMap"),
        ("webhooks__payload", "use crate::jobs::RedisQueue;", "crate::jobs::redis::queue::RedisQueue"),
        ("redis__reconnect", "use crate::domain::Client;", "crate::domain::client::Client"),
        ("executor__kubernetes__client", "use crate::config::Config;", "crate::config::Config"),
    ]:
        here = show(("crate", *name.split("__")))
        assert forbidden(with_lines(**{name: line})) == [f"{here} -> {found}"], line


def test_what_would_hide_an_import_is_refused():
    for line in [
        "use crate as m;",
        "use crate::{self as m};",
        "use super as s;",
        "pub use crate::config::*;",
        '#[path = "b.rs"] mod b;',
        "extern crate tokio as t;",
        'include!("b.rs");',
        "mod inline { use super::super::b; }",
    ]:
        assert len(refused({"a.rs": line})) == 1, line
    assert refused({"a.rs": '#[cfg(test)]\n#[path = "a_tests.rs"]\nmod tests;'}) == []


# The most files that a request passes from the router to the result.
WAY = 35


def test_the_documented_path_of_a_request_exists():
    table = (
        (ROOT / "docs/ARCHITECTURE.md").read_text().split("\n### From the request to the result\n")[1].split("\n## ")[0]
    )
    rows = re.findall(r"^\| `([\w./]+)` \| (`[^|]+`) \|", table, re.MULTILINE)
    assert 20 < len({file for file, _ in rows}) <= WAY
    for file, functions in rows:
        text = (SOURCE / file).read_text()
        for function in re.findall(r"`(\w+)`", functions):
            assert re.search(rf"\bfn {function}\b", text), f"{file} has no {function}"
