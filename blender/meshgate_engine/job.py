"""One conversion as all modules see it: files, formats, options, losses and warnings."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import capabilities

# The most names that a sentence lists.
_MOST_NAMES = 5


@dataclass(frozen=True)
class Loss:
    """A part of the model that the target does not hold; ``report/losses.py`` has the words for kind and reason."""

    kind: str
    count: int
    reason: str
    # How many there were, if some of them are left.
    total: int = 0
    # Names that the wording uses.
    name: str = ""
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass
class Job:
    """The files, formats and options of one conversion, and its losses and warnings so far.

    Paths are relative to the conversion's folder, which is the working directory.
    """

    input: str
    input_format: str
    output: str
    output_format: str
    packaging: str = "auto"
    animation: bool = True
    scale: float = 1.0
    triangulate: bool = False
    draco: bool = False
    fallback_importer: bool = False
    # Metres per unit of a BVH that was read, so that a BVH that is written has the same numbers.
    source_unit: float = 1.0
    # Losses that no count shows.
    losses: list[Loss] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # (material, socket) -> colour that tints its texture, where the exporter does not write it.
    tints: dict[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)

    @property
    def target(self) -> capabilities.Capabilities:
        """The capabilities of the output format."""
        return capabilities.of(self.output_format)

    @property
    def source(self) -> capabilities.Capabilities:
        """The capabilities of the input format."""
        return capabilities.of(self.input_format)

    @classmethod
    def from_task(cls, task: dict) -> "Job":
        """The job in a ``task`` of the protocol."""
        files = {name: task[name] for name in ("input", "input_format", "output", "output_format")}
        # The service itself has chosen the engine.
        options = {name: value for name, value in task["options"].items() if name != "engine"}
        return cls(**files, **options, fallback_importer=task["importer"] == "other")

    def reading_back(self) -> "Job":
        """The job that imports this one's result."""
        return Job(self.output, self.output_format, self.output, self.output_format)

    def warn(self, clause: str) -> None:
        """Adds a warning, once."""
        if clause not in self.warnings:
            self.warnings.append(clause)

    def lose(self, kind: str, count: int, reason: str, **details: object) -> None:
        """Adds a loss, unless ``count`` is 0."""
        if count:
            self.losses.append(Loss(kind, count, reason, **details))


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``2 textures``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
