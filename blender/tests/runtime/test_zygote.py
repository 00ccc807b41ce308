"""A real zygote starts, its children end, and no process outlives it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import BLENDER_DIR, Zygote
from meshgate_engine.runtime import child_monitor, protocol


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        assert started.hello()["type"] == "ready"
        yield started


def gone(pid: int, within: float = 20.0) -> bool:
    """Whether a process is gone, or a zombie that another process must reap."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_warm_zygote_reports_its_versions(tmp_path):
    with Zygote(tmp_path) as zygote:
        assert zygote.hello() == {
            "type": "ready", "protocol": protocol.VERSION, "blender": "5.0.1", "vrm_addon": "4.10.2",
            "sandbox_missing": [],
        }  # fmt: skip


def test_another_protocol_version_is_refused(tmp_path):
    with Zygote(tmp_path) as zygote:
        answer = zygote.hello(protocol=1)
        assert answer == {"type": "broken", "reason": "the supervisor speaks protocol 1, this engine 2"}
        assert zygote.process.wait(20) == 1


def test_a_zygote_without_a_hello_reports_broken(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.send("cancel", id=1)
        assert zygote.event() == {"type": "broken", "reason": "the first message is not a hello"}


@pytest.mark.parametrize("cold", [False, True])
def test_a_python_without_blender_reports_broken(tmp_path, cold):
    # The same Python outside its virtual environment.
    path = f"import sys; sys.path.insert(0, {str(BLENDER_DIR)!r})"
    script = f"{path}\nfrom meshgate_engine.runtime import zygote; zygote.main(print)"
    python = Path(sys.executable).resolve()
    with Zygote(tmp_path, python=python, script=script, stderr=subprocess.DEVNULL) as zygote:
        answer = zygote.hello(cold=cold)
        assert answer["type"] == "broken"
        assert "blender could not be loaded" in answer["reason"] and "bpy" in answer["reason"]
        assert zygote.process.wait(20) == 1


def test_the_package_can_be_started_by_path(tmp_path):
    entry = str(BLENDER_DIR / "meshgate_engine" / "__main__.py")
    with Zygote(tmp_path, script=f"import runpy; runpy.run_path({entry!r}, run_name='__main__')") as zygote:
        # The zygote checks the version first, so a refusal shows that it listens.
        assert zygote.hello(protocol=0)["type"] == "broken"


def test_output_and_input_are_separate_from_the_socket(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(BLENDER_DIR)!r})\nfrom meshgate_engine.runtime import preload, zygote\n"
        "import os\n"
        "def load():\n  print('printed', os.readlink('/proc/self/fd/0'))\n"
        "  os.system('echo inherited')\n  raise ImportError('stop')\n"
        "preload.load = load\nzygote.main(print)"
    )
    read, write = os.pipe()
    with os.fdopen(read) as printed, Zygote(tmp_path, script=script, stderr=write) as zygote:
        os.close(write)
        assert zygote.hello() == {"type": "broken", "reason": "blender could not be loaded: stop"}
        text = printed.read()
    assert "printed /dev/null" in text
    assert "inherited" in text


def test_a_conversion_sends_started_progress_and_exited(zygote):
    number = zygote.start("progress('importing', 0.25); progress('exporting', None); print('a word')")
    started = zygote.event("started", number)
    zygote.wait_until_over(number)
    exited = zygote.event("exited", number)
    steps = []
    with contextlib.suppress(StopIteration):
        while True:
            steps.append(zygote.unread.pop(next(i for i, e in enumerate(zygote.unread) if e.get("id") == number)))
    # The zygote may merge steps that arrive together.
    assert {"type": "progress", "id": number, "stage": "exporting", "fraction": None} in steps
    assert exited["end"] == {"how": "exit", "status": 0}
    assert (exited["stage"], exited["log"]) == ("exporting", "a word")
    assert exited["peak_memory_bytes"] > 1 << 20
    assert gone(started["pid"])


def test_a_child_that_reports_finished_is_killed(zygote):
    # This child continues in several threads, and would never exit by itself.
    number = zygote.start(
        """
        import os, threading
        def work():
            with open("out/log", "ab", buffering=0) as file:
                while True:
                    file.write(b"x")
        for _ in range(3):
            threading.Thread(target=work).start()
        while os.stat("out/log").st_size < 100:
            pass
        os.write(3, b"finished\\n")
        work()
        """
    )
    zygote.wait_until_over(number)
    written = (zygote.conversion(number) / "out/log").stat().st_size
    exited = zygote.event("exited", number)
    assert exited["end"] == {"how": "exit", "status": 0}
    assert (zygote.conversion(number) / "out/log").stat().st_size == written
    assert not (zygote.conversion(number) / "report.json").exists()


def test_cancelling_a_finished_conversion_does_nothing(zygote):
    number = zygote.start("result = 1")
    zygote.wait_until_over(number)
    zygote.send("cancel", id=number)
    zygote.event("exited", number)
    assert zygote.result("result = 2") == "2"


@pytest.mark.parametrize(
    ("code", "expected", "logged"),
    [
        ("raise ConversionError('empty_model', 'the model has no object')", "empty_model", ""),
        ("progress('importing', None); raise RuntimeError('secret text')", "import_failed", "secret text"),
        ("progress('exporting', None); raise RuntimeError('secret text')", "export_failed", "secret text"),
        ("progress('processing', None); {}['missing']", "internal", "KeyError"),
        ("import errno; raise OSError(errno.ENOSPC, 'full')", "disk_full", "full"),
        ("raise RuntimeError('Error: Python: Traceback … MemoryError')", "memory_limit", "MemoryError"),
        (
            "try: raise MemoryError\nexcept MemoryError as error: raise ConversionError('import_failed', 'x')",
            "memory_limit",
            "",
        ),
        ("raise SystemExit(3)", "import_failed", "SystemExit"),
    ],
)
def test_a_failed_conversion_writes_a_report(zygote, code, expected, logged):
    exited, report = zygote.run(code)
    assert exited["end"] == {"how": "exit", "status": 0}
    assert (report["outcome"], report["code"]) == ("failed", expected)
    assert "secret" not in report["detail"] and "Error" not in report["detail"]
    assert logged in exited["log"]


def test_reports_of_earlier_attempts_are_removed(zygote):
    folder = zygote.conversion(zygote.number + 1)
    folder.mkdir()
    (folder / "report.json").write_text("{}")
    exited, report = zygote.run("import os; os._exit(0)")
    assert exited["end"] == {"how": "exit", "status": 0}
    assert report is None


def test_a_segmentation_fault_ends_one_child_only(zygote):
    exited, report = zygote.run("import ctypes; print('last words', flush=True); ctypes.string_at(0)")
    assert exited["end"] == {"how": "signal", "signal": signal.SIGSEGV}
    assert exited["log"] == "last words"
    assert report is None
    assert zygote.result("result = 1") == "1"


def test_endless_output_does_not_affect_other_conversions(zygote):
    noisy = zygote.start("import os\nwhile True: os.write(1, b'x' * 65536)")
    zygote.event("started", noisy)
    assert zygote.result("result = 'served'") == "served"
    zygote.send("cancel", id=noisy)
    exited = zygote.event("exited", noisy)
    assert exited["end"] == {"how": "cancelled"}
    assert 0 < len(exited["log"]) <= 4096


def test_endless_progress_is_rate_limited(zygote):
    begin = time.monotonic()
    noisy = zygote.start(
        "import time\nend = time.process_time() + 1\n"
        "while time.process_time() < end: progress('importing', 0.5); progress('exporting', 0.5)"
    )
    zygote.event("exited", noisy)
    steps = [event for event in zygote.unread if event.get("id") == noisy]
    zygote.unread.clear()
    # The zygote forwards a burst and then 20 a second, far fewer than were written.
    assert 1 <= len(steps) < 50 + 20 * (time.monotonic() - begin)


def test_invalid_progress_is_not_forwarded(zygote):
    forged = rb"b'{\"type\": \"ready\"}\nimporting 2\nexporting nan\nnothing 0.5\n\x00\x00\x00\x05\n' + b'y' * 70000"
    number = zygote.start(f"import os\nos.set_blocking(3, True)\nos.write(3, {forged.decode()})")
    exited = zygote.event("exited", number)
    assert exited["stage"] is None
    assert [event["type"] for event in zygote.unread if event.get("id") == number] == ["started"]


def test_the_log_has_no_control_characters(zygote):
    exited, _ = zygote.run(r"import os; os.write(1, b'\xff\x1b[31m\x00red\n'); os.write(1, b'\xe3\x83\xa2')")
    assert exited["log"] == "\ufffd\ufffd[31m\ufffdred\nモ"


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (b"importing -", ("importing", None)),
        (b"packing 1.0000", ("packing", 1.0)),
        (b"exporting 0.25", ("exporting", 0.25)),
        (b"exporting 1.5", None),
        (b"exporting -0.5", None),
        (b"exporting 1e-3", None),
        (b"exporting nan", None),
        (b"exporting", None),
        (b"cooking 0.5", None),
        (b"finished", None),
        (b"importing " + b"0" * 100, None),
        (b"\xff\xfe", None),
    ],
)
def test_progress_lines_are_validated(line, step):
    assert child_monitor.parse_progress(line) == step


def test_a_hang_is_detected(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.hello(hang_after_s=0.5)
        exited, report = zygote.run("import threading; threading.Lock().acquire(); threading.Event().wait()")
        assert exited["end"] == {"how": "hang"}
        assert report is None
        # A child that is busy for longer than that is not killed.
        code = "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\nresult = 'worked'"
        assert zygote.result(code) == "worked"


def test_a_stopped_child_counts_as_hung(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.hello(hang_after_s=0.5)
        number = zygote.start("while True: pass")
        os.kill(zygote.event("started", number)["pid"], signal.SIGSTOP)
        assert zygote.event("exited", number)["end"] == {"how": "hang"}


def test_a_pause_of_the_whole_engine_is_not_a_hang(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(child_monitor.time, "monotonic", lambda: clock[0])
    command = {"id": 1, "folder": str(tmp_path), "limits": {"disk_bytes": 1 << 30}}
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as sleeper:
        while Path(f"/proc/{sleeper.pid}/stat").read_text().split()[2] != "S":
            time.sleep(0.01)
        child = child_monitor.Child(command, sleeper.pid, 0, -1, -1)
        found = []
        # The child sleeps for 3 s, then no process runs for a minute, then it sleeps for 5 s more.
        for clock[0] in [*range(4), *range(64, 70)]:
            child.check(5.0)
            found.append(child.hangs)
        assert sleeper.wait(20) == -signal.SIGKILL
    assert found == [False] * 9 + [True]


def test_openexr_does_not_hang_after_a_fork(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.hello(hang_after_s=5.0)
        code = """
        import bpy
        image = bpy.data.images.new("sky", 64, 64, float_buffer=True)
        image.filepath_raw, image.file_format = "out/sky.exr", "OPEN_EXR"
        image.save()
        result = bpy.data.images.load("out/sky.exr").size[:], bpy.data.images["sky"].pixels[0]
        """
        assert zygote.result(code).startswith("((64, 64)")


def test_the_vrm_addon_adds_nothing_to_other_models(zygote):
    code = """
    import bpy
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.view_layer.update()
    bpy.ops.export_scene.gltf(filepath="out/a.glb")
    result = len(bpy.data.objects), len(bpy.data.materials), len(bpy.data.node_groups)
    """
    assert zygote.result(code) == "(1, 0, 0)"


def test_cancelling_kills_descendants_too(tmp_path):
    with Zygote(tmp_path) as zygote:
        # Without a sandbox, which allows no descendants.
        zygote.hello(sandbox="off", seccomp="")
        code = """
        import os, time
        for leaves in (False, True):
            if os.fork() == 0:
                if leaves:
                    os.setsid()
                open(f"out/{os.getpid()}", "w").close()
                while True:
                    time.sleep(60)
        while len(os.listdir("out")) < 2:
            time.sleep(0.01)
        progress("importing", None)
        time.sleep(60)
        """
        number = zygote.start(code)
        zygote.event("progress", number)
        descendants = [int(entry.name) for entry in (zygote.conversion(number) / "out").iterdir()]
        begin = time.monotonic()
        zygote.send("cancel", id=number)
        assert zygote.event("exited", number)["end"] == {"how": "cancelled"}
        assert all(gone(pid) for pid in descendants)
        assert time.monotonic() - begin < 1
        assert len(descendants) == 2


def test_cancelling_an_unknown_conversion_does_nothing(zygote):
    zygote.send("cancel", id=1_000_000)
    assert zygote.result("result = 1") == "1"


def test_conversions_run_in_parallel(zygote):
    first = zygote.start("open('out/waits', 'w').close()\nwhile True: pass")
    zygote.event("started", first)
    assert zygote.result("result = 2") == "2"
    zygote.send("cancel", id=first)
    assert zygote.event("exited", first)["end"] == {"how": "cancelled"}


def test_closing_the_socket_ends_zygote_and_children(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.hello()
        number = zygote.start("import time; time.sleep(600)")
        pid = zygote.event("started", number)["pid"]
        zygote.peer.shutdown(socket.SHUT_RDWR)
        assert zygote.process.wait(20) == 0
        assert gone(pid, 0.5)


def test_killing_the_zygote_kills_its_children(tmp_path):
    with Zygote(tmp_path) as zygote:
        zygote.hello()
        number = zygote.start("progress('importing', None)\nimport time; time.sleep(600)")
        zygote.event("progress", number)
        pid = zygote.event("started", number)["pid"]
        zygote.process.kill()
        assert gone(pid)


def test_killing_the_supervisor_kills_zygote_and_children(tmp_path):
    # The supervisor's end of the socket stays open elsewhere: only the parent-death signal ends the zygote.
    code = f"""
import os, socket, sys
sys.path[:0] = [{str(BLENDER_DIR)!r}, {str(BLENDER_DIR / "tests")!r}]
from pathlib import Path
from harness import Zygote
zygote = Zygote(Path({str(tmp_path)!r}))
zygote.hello()
number = zygote.start("progress('importing', None)\\nimport time; time.sleep(600)")
zygote.event("progress", number)
socket.send_fds(socket.socket(fileno=0), [b"%d %d" % (zygote.process.pid, zygote.event("started")["pid"])],
                [zygote.peer.fileno()])
zygote.process.wait()
"""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    with ours, subprocess.Popen([sys.executable, "-c", code], stdin=theirs) as supervisor:
        theirs.close()
        message, kept, _, _ = socket.recv_fds(ours, 100, 1)
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        assert len(kept) == 1
        assert all(gone(int(pid)) for pid in message.split())
        os.close(kept[0])


def test_an_idle_zygote_sleeps_and_leaves_no_temporary_files(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with Zygote(tmp_path, environment=environment) as zygote:
        zygote.hello()
        assert zygote.result("result = 1") == "1"
        assert list(scratch.iterdir()) == []
        status = Path(f"/proc/{zygote.process.pid}/status")

        def switches() -> int:
            return int(status.read_text().partition("voluntary_ctxt_switches:")[2].split()[0])

        def sleeps() -> bool:
            before = switches()
            # Twice the interval of the checks that run while there are children.
            time.sleep(2)
            return switches() - before <= 1

        # The zygote cleans up once at first.
        assert any(sleeps() for _ in range(3))
        assert int(status.read_text().partition("VmRSS:")[2].split()[0]) < 300 * 1024


def test_a_failed_fork_is_reported(tmp_path):
    script = f"""
import errno, os, sys
sys.path.insert(0, {str(BLENDER_DIR)!r})
from meshgate_engine.runtime import zygote
def fail():
    raise OSError(errno.EAGAIN, "out of processes")
def run(task, progress):
    pass
prepare = zygote._prepare
def prepared(*arguments):
    result = prepare(*arguments)
    os.fork = fail
    return result
zygote._prepare = prepared
zygote.main(run)
"""
    with Zygote(tmp_path, script=script) as zygote:
        zygote.hello()
        exited, _ = zygote.run("")
        assert exited["end"] == {"how": "not_started"}
        assert exited["log"] == "cannot fork: out of processes"
