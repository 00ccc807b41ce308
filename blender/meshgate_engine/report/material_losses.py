"""Reports features of materials that a target cannot hold."""

from collections import Counter

from ..job import Job
from ..materials import features, texture_usage

# Features that USD holds, but Blender's exporter does not write.
_UNWRITTEN = {"ambient occlusion", "specular colour"}


def report_losses(job: Job) -> None:
    """Reports features of the scene's materials that the target does not hold."""
    row = job.target
    lost = Counter()
    for material in texture_usage.scene_materials():
        for word, is_texture in features.found_in(job, material).items():
            held = word in row.material_features and (row.textured_features or not is_texture)
            lost[word] += not held
    for word, count in sorted(lost.items()):
        reason = "written without" if row.module == "usd" and word in _UNWRITTEN else "holds none"
        job.lose("feature", count, reason, name=word)
