"""What happens between import and export: the options, and what exporters do not do by themselves."""

from . import clips
from .errors import ConversionError
from .job import Job
from .modifiers import apply_modifiers
from .scaling import scale

# Targets that are nothing without motion.
_MOTION = {"vrma", "bvh"}


def apply(job: Job) -> None:
    """Applies the options to the scene and readies it for the target."""
    if not job.animation:
        if job.output_format in _MOTION:
            raise ConversionError(
                "no_animation", f"{job.output_format} is animation, and the option animation is false"
            )
        clips.remove_all()
    if job.output_format != "blend":
        apply_modifiers(job)
    if job.scale != 1.0:
        scale(job.scale)
    clips.prepare_for_export(job.output_format)
