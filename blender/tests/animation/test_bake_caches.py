"""USD and Alembic keep meshes that change over time; other formats report the loss once, with its reason."""

from pathlib import Path

import bpy
import pytest
from helpers import convert, in_child
from models import box, clip, skinned_figure


def _save(path: str, also_an_object: bool) -> None:
    """Saves the animated skinned figure as Alembic, which stores a mesh for each of 31 frames."""
    rig = skinned_figure()
    bpy.context.scene.render.fps = 30
    clip(rig, "Nod", 31)
    if also_an_object:
        ball = box("Ball", (-1, -1, 0), (-0.5, -0.5, 0.5))
        for frame, place in ((1, 0.0), (31, 3.0)):
            ball.location.x = place
            ball.keyframe_insert("location", frame=frame)
    bpy.ops.wm.alembic_export(filepath=path, start=1, end=31, as_background_job=False)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    made = {}
    for name in ("mesh", "both"):
        made[name] = tmp_path_factory.mktemp(name) / "moving.abc"
        in_child(_save, str(made[name]), name == "both")
    return made


@pytest.mark.parametrize("target", ["glb", "fbx", "blend"])
def test_lost_mesh_motion_is_reported_with_its_reason(tmp_path, moving, target):
    report = convert(tmp_path / "c", moving["mesh"], target)
    (taken,) = report["input"]["clips"]
    assert (taken["frames"], report["output"]["clips"]) == (31, [])
    assert report["losses"] == [f"1 clip: {target} holds no meshes that change with time"]


def test_glb_keeps_bone_motion_beside_lost_mesh_motion(tmp_path, moving):
    report = convert(tmp_path / "c", moving["both"], "glb")
    assert [made["frames"] for made in report["output"]["clips"]] == [31]
    assert report["losses"] == ["the motion of 1 mesh: glb holds no meshes that change with time"]


@pytest.mark.parametrize("target", ["stl", "obj"])
def test_formats_without_animation_report_no_lost_mesh_motion(tmp_path, moving, target):
    # The service itself reports lost clips for these formats, from the counts.
    assert convert(tmp_path / "c", moving["mesh"], target)["losses"] == []


def test_animation_off_reports_no_lost_motion(tmp_path, moving):
    report = convert(tmp_path / "c", moving["mesh"], "glb", animation=False)
    assert report["losses"] == []


def _extents(path: Path) -> list[float]:
    """The front bound of the figure at the first, the middle and the last frame."""
    from meshgate_engine import formats
    from meshgate_engine.job import Job
    from meshgate_engine.report import statistics

    target = path.suffix[1:]
    formats.module(target).read(Job(str(path), target, "", ""))
    world = bpy.context.scene
    found = []
    for frame in (world.frame_start, (world.frame_start + world.frame_end) // 2, world.frame_end):
        world.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        (item,) = [item for item in graph.objects if item.type == "MESH" and item.name.startswith("Body")]
        corners = [item.matrix_world @ vertex.co for vertex in item.data.vertices]
        found.append(min(corner.y for corner in corners))
    assert statistics.counts([])["clips"][0]["frames"] == 31
    return found


@pytest.mark.parametrize("target", ["abc", "usdc", "usdz"])
def test_usd_and_alembic_keep_mesh_motion(tmp_path, moving, target):
    report = convert(tmp_path / "c", moving["mesh"], target)
    assert [(made["frames"], made["fps"]) for made in report["output"]["clips"]] == [(31, 30)]
    assert report["losses"] == []
    before = in_child(_extents, moving["mesh"])
    assert before[1] != pytest.approx(before[0], abs=0.1)
    assert in_child(_extents, tmp_path / "c/out" / f"model.{target}") == pytest.approx(before, abs=1e-3)


def test_a_blend_does_not_refer_to_its_source_file(tmp_path, moving):
    convert(tmp_path / "c", moving["mesh"], "blend", read_back=False)
    assert in_child(_cache_files, str(tmp_path / "c/out/model.blend")) == 0


def _cache_files(path: str) -> int:
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    return len(bpy.data.cache_files)
