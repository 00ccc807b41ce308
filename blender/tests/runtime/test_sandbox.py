"""The limits of the sandbox, each tested from inside a real child of a real zygote."""

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from harness import Zygote
from meshgate_engine.runtime import thread_limit

SECRET = "a-secret-of-the-service"

# ``setpriv`` without any capabilities, and without a way to get them back.
NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
ORDINARY_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *NO_CAPABILITIES[1:])

# Python may be in a home that the other user cannot read: a mount namespace makes it visible to that user.
SHOWN = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')

PRELUDE = """
import ctypes, errno, fcntl, os, resource, signal, socket, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def ioctl(*arguments):
    with open("out/file", "wb") as file:
        fcntl.ioctl(file, *arguments)
parent = os.getppid()
"""

FORBIDDEN = {
    "read /etc/passwd": "open, '/etc/passwd'",
    "list /": "os.listdir, '/'",
    "list programs": "os.listdir, '/usr/bin'",
    "read /usr/share": "os.listdir, '/usr/share'",
    "read /usr/local": "os.listdir, '/usr/local'",
    "read the engine's other programs": "os.listdir, os.path.join(__import__('sys').base_prefix, 'bin')",
    "list the other folders": "os.listdir, '..'",
    "read another conversion's folder": "open, '../other/in/model'",
    "read its own initial environment": "open, '/proc/self/environ'",
    "read the parent's environment": "open, f'/proc/{parent}/environ'",
    "open the parent's memory": "open, f'/proc/{parent}/mem', 'rb'",
    "see the parent's descriptors": "os.listdir, f'/proc/{parent}/fd'",
    "write beside its folder": "open, '../new', 'w'",
    "write into another conversion's folder": "open, '../other/out/new', 'w'",
    "write to /tmp": "open, '/tmp/meshgate-test-new', 'w'",
    "empty a file by opening it for reading": "os.open, '../other/in/model', os.O_RDONLY | os.O_TRUNC",
    "empty a file by its name": "os.truncate, '../other/in/model', 0",
    "remove another conversion's file": "os.remove, '../other/in/model'",
    "move a file out": "os.rename, 'in', '../moved'",
    "link to a file outside": "os.link, '../other/in/model', 'out/model'",
    "leave a symbolic link": "os.symlink, '/etc/passwd', 'out/passwd'",
    "leave a pipe": "os.mkfifo, 'out/pipe'",
    "open a TCP socket": "socket.socket, socket.AF_INET, socket.SOCK_STREAM",
    "open a UDP socket": "socket.socket, socket.AF_INET6, socket.SOCK_DGRAM",
    "open a Unix socket": "socket.socket, socket.AF_UNIX, socket.SOCK_STREAM",
    "open a netlink socket": "socket.socket, socket.AF_NETLINK, socket.SOCK_RAW",
    "open a pair of sockets": "socket.socketpair,",
    "execute": "os.execv, '/no/such/program', ['x']",
    "run a program": "subprocess.run, ['/bin/true']",
    "fork": "lambda: os.fork() or os._exit(0),",
    "spawn": "os.posix_spawn, '/bin/true', ['true'], {}",
    "signal the parent": "os.kill, parent, 0",
    "signal all processes": "os.kill, -1, 0",
    "open the parent as a descriptor": "os.pidfd_open, parent",
    "trace the parent": "call, 'ptrace', 16, parent, 0, 0",
    "limit the parent": "lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (64, 64)),",
    "leave its session": "call, 'setpgid', 0, 0",
    "outlive the parent": "call, 'prctl', 1, 0, 0, 0, 0",
    "change its user": "call, 'setresuid', 1, 1, 1",
    "create a namespace": "call, 'unshare', 0x10000000",
    "mount": "call, 'mount', None, b'/mnt', b'tmpfs', 0, None",
    "create an anonymous memory file": "os.memfd_create, 'x'",
    "share memory": "call, 'shmget', 0, 4096, 0o1600",
    "reserve disk space": "ioctl, 0x40305828, struct.pack('=hh4xqqiI16x', 0, 0, 0, 1 << 30, 0, 0)",
    "reserve disk space by the 64-bit call": "ioctl, 0x4030582a, struct.pack('=hh4xqqiI16x', 0, 0, 0, 1 << 30, 0, 0)",
    "reserve disk space as zeroes": "ioctl, 0x40305839, struct.pack('=hh4xqqiI16x', 0, 0, 0, 1 << 30, 0, 0)",
    "share another file's blocks": "ioctl, 0x40049409, 1",
    "make a file immutable": "ioctl, 0x40086602, struct.pack('=q', 0x10)",
    "call posix_fallocate": "os.posix_fallocate, os.open('out/a', os.O_CREAT | os.O_RDWR), 0, 1 << 30",
    "send signals through a descriptor": "lambda: __import__('fcntl').fcntl(1, 8, parent),",
}


@pytest.fixture(scope="module", params=["as it is", "without capabilities", "as an ordinary user"])
def zygote(request):
    folder = Path(tempfile.mkdtemp(prefix="meshgate-test-"))
    try:
        with start(request.param, folder) as started:
            assert started.hello()["sandbox_missing"] == []
            other = folder / "other"
            for name in ("in", "out"):
                (other / name).mkdir(parents=True)
            (other / "in" / "model").write_text("another's")
            for path in (other, *other.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
            yield started
            assert (other / "in" / "model").read_text() == "another's"
    finally:
        shutil.rmtree(folder)


def start(who: str, folder: Path) -> Zygote:
    environment = {**os.environ, "API_KEYS": SECRET}
    if who == "as it is" or os.geteuid() != 0:
        return Zygote(folder, environment=environment)
    if who == "without capabilities":
        return Zygote(folder, wrapper=NO_CAPABILITIES, environment=environment)
    os.chown(folder, 65534, 65534)
    home = Path(sys.executable).resolve().parents[1]
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in (home, *home.parents)):
        return Zygote(folder, wrapper=ORDINARY_USER, python=Path(sys.executable).resolve(), environment=environment)
    shown = folder / "python"
    shown.mkdir()
    wrapper = (*SHOWN, str(home), str(shown), *ORDINARY_USER)
    python = shown / "bin" / Path(sys.executable).resolve().name
    return Zygote(folder, wrapper=wrapper, python=python, environment=environment)


def test_the_child_has_the_expected_user_and_no_capabilities(zygote, request):
    who = request.node.callspec.params["zygote"]
    uid, capabilities = eval(
        zygote.result(
            "import os, ctypes; held = (ctypes.c_uint32 * 6)()\n"
            "ctypes.CDLL(None).capget(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), held)\n"
            "result = (os.getuid(), sum(held))"
        )
    )
    assert capabilities == 0
    if os.geteuid() == 0:
        assert uid == (65534 if who == "as an ordinary user" else 0)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_sandbox_refuses_forbidden_calls(zygote, what):
    outcome = zygote.result(PRELUDE + f"result = attempt({FORBIDDEN[what]})")
    # The call fails as unsupported, and the C library uses its fallback.
    refused = ("EPERM", "EACCES", "EXDEV", *(["ENOSYS"] if what == "call posix_fallocate" else []))
    assert outcome in refused


@pytest.mark.parametrize(
    "what",
    [
        "read /etc/passwd", "read another conversion's folder", "read its own initial environment",
        "write beside its folder", "open a TCP socket", "open a Unix socket", "fork", "signal the parent",
        "leave a symbolic link", "create an anonymous memory file", "empty a file by its name",
        "list programs", "read /usr/local",
    ],
)  # fmt: skip
def test_forbidden_calls_work_without_a_sandbox(unbound, what):
    assert unbound.result(PRELUDE + f"result = attempt({FORBIDDEN[what]})") == "done"


@pytest.fixture(scope="module")
def unbound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbound")
    (folder / "other" / "in").mkdir(parents=True)
    (folder / "other" / "in" / "model").touch()
    with Zygote(folder, environment={**os.environ, "API_KEYS": SECRET}) as started:
        assert started.hello(sandbox="off", seccomp="")["sandbox_missing"] == []
        yield started


def test_the_environment_holds_no_secret(unbound):
    # This child has no sandbox, so it can read these files.
    result = unbound.result(
        "import os, ctypes; ctypes.CDLL(None).getenv.restype = ctypes.c_char_p\n"
        "result = (open('/proc/self/environ').read(), open(f'/proc/{os.getppid()}/environ').read(), "
        "dict(os.environ), ctypes.CDLL(None).getenv(b'API_KEYS'))"
    )
    assert SECRET not in result
    assert "API_KEYS" not in result


def test_changing_modes_and_times_has_no_effect(zygote):
    other = zygote.folder / "other" / "in" / "model"
    before = other.stat()
    zygote.result(
        "import os, shutil; os.chmod('../other/in/model', 0o600); os.utime('../other/in/model', (1, 1))\n"
        "os.chown('../other/in/model', 1, 1)\n"
        "open('in/texture', 'w').close(); shutil.copy2('in/texture', 'out/texture')"
    )
    after = other.stat()
    assert (before.st_mode, before.st_uid, before.st_mtime) == (after.st_mode, after.st_uid, after.st_mtime)


def test_a_child_inherits_no_other_descriptors(zygote):
    code = """
    import os
    result = []
    for fd in range(4096):
        try:
            os.fstat(fd)
            result.append(fd)
        except OSError:
            pass
    """
    # /dev/null, the log twice, and the progress pipe.
    assert zygote.result(code) == "[0, 1, 2, 3]"


def test_the_sandbox_allows_normal_conversions(zygote):
    code = """
    import os, subprocess, tempfile, threading, bpy
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert tempfile.gettempdir() == os.path.realpath("tmp") == os.environ["HOME"]
    assert os.path.dirname(bpy.app.tempdir.rstrip("/")) == os.path.realpath("tmp")
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.export_scene.gltf(filepath="out/a.glb")
    bpy.ops.export_scene.fbx(filepath="out/a.fbx")
    bpy.ops.wm.usd_export(filepath="out/a.usdz")
    bpy.ops.wm.save_as_mainfile(filepath="out/a.blend", copy=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath="out/a.glb")
    bpy.ops.wm.fbx_import(filepath="out/a.fbx")
    bpy.ops.wm.usd_import(filepath="out/a.usdz")
    bpy.ops.wm.open_mainfile(filepath="out/a.blend", load_ui=False, use_scripts=False)
    result = sorted(os.listdir("out")), len(bpy.data.meshes)
    """
    assert zygote.result(code) == "(['a.blend', 'a.fbx', 'a.glb', 'a.usdz'], 1)"


def test_memory_is_limited_and_the_zygote_survives(zygote):
    exited, report = zygote.run("held = bytearray(4 << 30)", memory_bytes=3 << 30)
    assert exited["end"] == {"how": "exit", "status": 0}
    assert report == {
        "outcome": "failed", "code": "memory_limit", "detail": "the conversion needs more memory than allowed",
    }  # fmt: skip
    assert zygote.result("result = 'alive'") == "alive"


def test_slow_memory_growth_hits_the_limit(zygote):
    _, report = zygote.run("held = []\nwhile True: held.append(bytes(1 << 16))", memory_bytes=2 << 30)
    assert report["code"] == "memory_limit"


def test_out_of_memory_crashes_are_reported_as_memory_limit(zygote):
    crash = "import os, ctypes; os.write(2, b'Calloc returns null: len=9'); ctypes.string_at(0)"
    assert zygote.run(crash)[0]["end"] == {"how": "memory_limit"}


def test_a_child_cannot_raise_its_limit(zygote):
    code = PRELUDE + "try: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nexcept ValueError: result = 'refused'"
    assert zygote.result(code) == "refused"


def test_file_size_is_limited(zygote):
    _, report = zygote.run("open('out/a', 'wb').write(bytes(2 << 20))", file_bytes=1 << 20)
    assert report["code"] == "output_too_large"


def test_silently_truncated_files_are_detected(zygote):
    code = "import os; fd = os.open('out/a', os.O_CREAT | os.O_WRONLY); os.write(fd, bytes(2 << 20))"
    _, report = zygote.run(code, file_bytes=1 << 20)
    assert report["code"] == "output_too_large"


GROWING = {
    "write": "os.write(fd, bytes(2 << 20))",
    "write at an offset": "os.pwrite(fd, b'x', 2 << 20)",
    "extend it": "os.ftruncate(fd, 2 << 20)",
    "copy a file into it": "os.copy_file_range(source, fd, 2 << 20)",
    "send a file into it": "os.sendfile(fd, source, 0, 2 << 20)",
}


@pytest.mark.parametrize("way", GROWING)
def test_every_way_to_grow_a_file_is_limited(zygote, way):
    code = PRELUDE + (
        "open('in/source', 'wb').write(bytes(1 << 20))\n"
        "source, fd = os.open('in/source', os.O_RDONLY), os.open('out/a', os.O_CREAT | os.O_WRONLY)\n"
        f"result = [attempt(lambda: {GROWING[way]}) for _ in range(3)][-1], os.fstat(fd).st_size <= 1 << 20\n"
        "os.remove('out/a')"
    )
    assert zygote.result(code, file_bytes=1 << 20) == "('EFBIG', True)"


THREADS = """
import _thread, os, threading, time
# The stacks are small, so that the threads meet no memory limit.
threading.stack_size(32 << 10)
def more():
    try:
        _thread.start_new_thread(time.sleep, (60,))
    except RuntimeError:
        return False
    return True
made = 0
while made < 900 and more():
    made += 1
# The child may not list the folder of its threads, but its link count shows their number.
result = made, os.stat("/proc/self/task").st_nlink - 2
"""


def test_thread_count_is_limited(zygote):
    made, alive = eval(zygote.result(THREADS))
    assert (made, alive) == (thread_limit.LIMIT - 1, thread_limit.LIMIT)


def test_simultaneously_started_threads_are_limited(zygote):
    # Each thread starts others as fast as it can.
    code = """
    import _thread, os, time
    def more():
        for _ in range(4):
            try:
                _thread.start_new_thread(more, ())
            except RuntimeError:
                time.sleep(0.01)
        time.sleep(60)
    _thread.start_new_thread(more, ())
    most = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        most = max(most, os.stat("/proc/self/task").st_nlink - 2)
        time.sleep(0.001)
    result = most
    """
    assert 16 < int(zygote.result(code)) <= thread_limit.LIMIT


def test_crashes_at_the_thread_limit_are_reported_as_thread_limit(zygote):
    exited, _report = zygote.run(THREADS + "os.abort()")
    assert exited["end"] == {"how": "thread_limit"}


def test_a_child_that_keeps_requesting_threads_is_killed(zygote):
    exited, _report = zygote.run(THREADS + "while True: more()")
    assert exited["end"] == {"how": "thread_limit"}
    assert zygote.result("result = 'alive'") == "alive"


def test_interrupted_thread_requests_do_not_block_other_conversions(zygote):
    # A timer interrupts the asking thread again and again.
    code = """
    import ctypes, signal, threading
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    while True:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
    """
    number = zygote.start(code)
    for _ in range(5):
        assert zygote.result("result = 'alive'") == "alive"
    zygote.send("cancel", id=number)
    assert zygote.event("exited", number)["end"]["how"] in ("cancelled", "thread_limit")


def test_threads_are_not_limited_without_a_sandbox(unbound):
    assert eval(unbound.result(THREADS))[0] == 900


def test_cpu_time_is_limited(zygote):
    exited, report = zygote.run("while True: pass", cpu_seconds=1)
    assert exited["end"] == {"how": "cpu_limit"}
    assert report is None
    # The kernel checks the limit by ticks, but reports the exact time at the end.
    assert exited["cpu_seconds"] > 0.5


def test_a_child_ignoring_the_cpu_limit_signal_is_killed(zygote):
    code = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert zygote.run(code, cpu_seconds=1)[0]["end"] == {"how": "cpu_limit"}


def test_abort_ends_a_child_with_a_signal(zygote):
    end = zygote.run("import os; os.abort()")[0]["end"]
    assert end["how"] == "signal"


def test_a_cold_child_is_sandboxed_too(tmp_path):
    with Zygote(tmp_path) as zygote:
        ready = zygote.hello(cold=True)
        assert (ready["blender"], ready["sandbox_missing"]) == ("5.0.1", [])
        code = "import bpy\nbpy.ops.mesh.primitive_cube_add(); bpy.ops.export_scene.gltf(filepath='out/a.glb')\n"
        code += PRELUDE + "result = attempt(open, '/etc/passwd'), attempt(socket.socket)"
        assert zygote.result(code) == "('EACCES', 'EPERM')"
        assert (zygote.conversion(1) / "out" / "a.glb").stat().st_size > 0


def test_a_missing_required_sandbox_part_refuses_to_start(tmp_path):
    with Zygote(tmp_path) as zygote:
        answer = zygote.hello(seccomp="")
        assert answer["type"] == "broken"
        assert "seccomp" in answer["reason"]


def test_a_missing_sandbox_part_is_named_and_others_apply(tmp_path):
    with Zygote(tmp_path) as zygote:
        assert zygote.hello(seccomp="", sandbox="auto")["sandbox_missing"] == ["seccomp"]
        assert zygote.result(PRELUDE + "result = attempt(open, '/etc/passwd')") == "EACCES"
