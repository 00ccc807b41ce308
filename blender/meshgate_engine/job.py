"""One conversion, as the modules of the formats see it."""

from dataclasses import dataclass, field

from . import capabilities

# More names than these nobody reads.
_MOST_NAMES = 5


@dataclass
class Job:
    """Paths are relative to the conversion's folder, which is the working directory."""

    input: str
    input_format: str
    output: str
    output_format: str
    packaging: str = "auto"
    animation: bool = True
    scale: float = 1.0
    triangulate: bool = False
    draco: bool = False
    other_importer: bool = False
    # Metres per unit of a BVH that was read, so that a BVH that is written has the same numbers.
    source_unit: float = 1.0
    # What no count shows, one clause each.
    losses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # The colours that tint textures, by the names of material and socket, where the exporter does not write them.
    tints: dict[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)

    @property
    def target(self) -> capabilities.Capabilities:
        """What the output format holds."""
        return capabilities.of(self.output_format)

    @classmethod
    def from_task(cls, task: dict) -> "Job":
        """The job in a ``task`` of the protocol."""
        options = task["options"]
        return cls(
            input=task["input"],
            input_format=task["input_format"],
            output=task["output"],
            output_format=task["output_format"],
            packaging=options["packaging"],
            animation=options["animation"],
            scale=options["scale"],
            triangulate=options["triangulate"],
            draco=options["draco"],
            other_importer=task["importer"] == "other",
        )

    def reading_back(self) -> "Job":
        """The job that imports this one's result."""
        return Job(self.output, self.output_format, self.output, self.output_format)

    def warn(self, clause: str) -> None:
        """Adds a warning, once."""
        if clause not in self.warnings:
            self.warnings.append(clause)

    def lose(self, clause: str) -> None:
        """Adds a loss, once."""
        if clause not in self.losses:
            self.losses.append(clause)


def counted(number: int, noun: str) -> str:
    """So many things, in words: ``2 textures``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: list[str]) -> str:
    """The first of the names for a clause, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def losing(count: int, word: str) -> str:
    """That so many materials lose something, as a clause."""
    return f"{count} materials lose their {word}" if count > 1 else f"{count} material loses its {word}"
