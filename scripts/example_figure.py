"""The figure of the examples: the geometry, skin weights and poses of a low-poly person, as plain data.

Metres, z up, facing -y (Blender's front), so that the person's left is +x. Everything is our own work.
"""

import math
from collections.abc import Sequence

# Name: (parent, head, tail).
BONES: dict[str, tuple[str | None, tuple[float, float, float], tuple[float, float, float]]] = {
    "Hips": (None, (0, 0, 0.95), (0, 0, 1.06)),
    "Spine": ("Hips", (0, 0, 1.06), (0, 0, 1.22)),
    "Chest": ("Spine", (0, 0, 1.22), (0, 0, 1.49)),
    "Neck": ("Chest", (0, 0, 1.49), (0, 0, 1.57)),
    "Head": ("Neck", (0, 0, 1.57), (0, 0, 1.80)),
}
for _side, _sign in (("Left", 1), ("Right", -1)):
    BONES |= {
        f"{_side}Shoulder": ("Chest", (_sign * 0.03, 0, 1.44), (_sign * 0.17, 0, 1.44)),
        f"{_side}UpperArm": (f"{_side}Shoulder", (_sign * 0.17, 0, 1.44), (_sign * 0.45, 0, 1.44)),
        f"{_side}LowerArm": (f"{_side}UpperArm", (_sign * 0.45, 0, 1.44), (_sign * 0.70, 0, 1.44)),
        f"{_side}Hand": (f"{_side}LowerArm", (_sign * 0.70, 0, 1.44), (_sign * 0.88, 0, 1.44)),
        f"{_side}UpperLeg": ("Hips", (_sign * 0.095, 0, 0.91), (_sign * 0.095, -0.005, 0.50)),
        f"{_side}LowerLeg": (f"{_side}UpperLeg", (_sign * 0.095, -0.005, 0.50), (_sign * 0.095, 0.01, 0.09)),
        f"{_side}Foot": (f"{_side}LowerLeg", (_sign * 0.095, 0.01, 0.09), (_sign * 0.095, -0.11, 0.03)),
        f"{_side}Toes": (f"{_side}Foot", (_sign * 0.095, -0.11, 0.03), (_sign * 0.095, -0.19, 0.03)),
    }

# Tiles of the texture, four by four: base colour and stripe colour.
TILES = {
    "skin": ((236, 188, 152), (236, 188, 152)),
    "hair": ((92, 52, 38), (112, 66, 46)),
    "shirt": ((38, 142, 140), (48, 160, 154)),
    "collar": ((240, 196, 84), (240, 196, 84)),
    "trousers": ((44, 54, 88), (44, 54, 88)),
    "belt": ((70, 44, 32), (70, 44, 32)),
    "shoe": ((236, 234, 228), (222, 220, 214)),
    "sole": ((226, 98, 78), (226, 98, 78)),
    "eye": ((36, 30, 40), (36, 30, 40)),
    "mouth": ((176, 78, 76), (176, 78, 76)),
}

# A ring of a loft: centre along the axis, offsets of the centre, the two radii, the tile from here to the next ring.
Ring = tuple[float, float, float, float, float, str]

TORSO: list[Ring] = [
    (0.845, 0, 0.005, 0.070, 0.060, "trousers"),
    (0.885, 0, 0.008, 0.150, 0.105, "trousers"),
    (0.955, 0, 0.008, 0.166, 0.112, "trousers"),
    (1.035, 0, 0.004, 0.148, 0.100, "belt"),
    (1.065, 0, 0.002, 0.144, 0.098, "shirt"),
    (1.140, 0, 0.000, 0.138, 0.094, "shirt"),
    (1.250, 0, -0.004, 0.160, 0.108, "shirt"),
    (1.350, 0, -0.006, 0.172, 0.114, "shirt"),
    (1.425, 0, 0.002, 0.158, 0.098, "shirt"),
    (1.475, 0, 0.006, 0.120, 0.078, "shirt"),
    (1.500, 0, 0.006, 0.070, 0.066, "collar"),
    (1.518, 0, 0.004, 0.060, 0.060, "skin"),
    (1.600, 0, 0.000, 0.052, 0.056, "skin"),
]
HEAD: list[Ring] = [
    (1.548, 0, -0.030, 0.022, 0.030, "skin"),
    (1.562, 0, -0.024, 0.046, 0.058, "skin"),
    (1.595, 0, -0.012, 0.064, 0.082, "skin"),
    (1.640, 0, -0.004, 0.075, 0.094, "skin"),
    (1.690, 0, 0.000, 0.080, 0.098, "skin"),
    (1.735, 0, 0.000, 0.076, 0.092, "skin"),
    (1.770, 0, 0.000, 0.055, 0.066, "skin"),
    (1.785, 0, 0.000, 0.015, 0.018, "skin"),
]
HAIR: list[Ring] = [
    (1.575, 0, 0.058, 0.040, 0.034, "hair"),
    (1.610, 0, 0.052, 0.072, 0.056, "hair"),
    (1.670, 0, 0.040, 0.089, 0.072, "hair"),
    (1.722, 0, 0.020, 0.091, 0.092, "hair"),
    (1.752, 0, -0.004, 0.086, 0.104, "hair"),
    (1.780, 0, -0.006, 0.064, 0.080, "hair"),
    (1.795, 0, -0.002, 0.030, 0.040, "hair"),
    (1.800, 0, 0.000, 0.006, 0.008, "hair"),
]
LEG: list[Ring] = [
    (0.925, 0, 0.004, 0.070, 0.078, "trousers"),
    (0.860, 0, 0.004, 0.088, 0.098, "trousers"),
    (0.720, 0, 0.000, 0.080, 0.088, "trousers"),
    (0.560, 0, -0.006, 0.062, 0.066, "trousers"),
    (0.500, 0, -0.008, 0.058, 0.062, "trousers"),
    (0.440, 0, 0.000, 0.056, 0.060, "trousers"),
    (0.330, 0, 0.012, 0.056, 0.062, "trousers"),
    (0.170, 0, 0.012, 0.046, 0.050, "trousers"),
    (0.125, 0, 0.012, 0.052, 0.056, "trousers"),
    (0.120, 0, 0.012, 0.040, 0.044, "shoe"),
    (0.060, 0, 0.012, 0.038, 0.042, "shoe"),
]
# Along -y; its rings are cut flat at the sole.
FOOT: list[Ring] = [
    (-0.066, 0, 0.050, 0.024, 0.040, "shoe"),
    (-0.050, 0, 0.052, 0.038, 0.052, "shoe"),
    (0.010, 0, 0.056, 0.043, 0.060, "shoe"),
    (0.080, 0, 0.042, 0.047, 0.046, "shoe"),
    (0.140, 0, 0.032, 0.050, 0.036, "shoe"),
    (0.180, 0, 0.028, 0.042, 0.030, "sole"),
    (0.200, 0, 0.024, 0.022, 0.018, "sole"),
]
# Along +x for the left arm.
ARM: list[Ring] = [
    (0.095, 0, -0.010, 0.030, 0.026, "shirt"),
    (0.125, 0, -0.004, 0.056, 0.052, "shirt"),
    (0.165, 0, -0.002, 0.066, 0.062, "shirt"),
    (0.230, 0, 0.000, 0.060, 0.057, "shirt"),
    (0.340, 0, 0.000, 0.052, 0.050, "shirt"),
    (0.400, 0, 0.000, 0.053, 0.051, "skin"),
    (0.402, 0, 0.000, 0.041, 0.040, "skin"),
    (0.450, 0, 0.000, 0.039, 0.038, "skin"),
    (0.520, 0, 0.000, 0.041, 0.038, "skin"),
    (0.640, 0, 0.000, 0.031, 0.027, "skin"),
    (0.700, 0, 0.000, 0.028, 0.021, "skin"),
    (0.735, 0, 0.000, 0.038, 0.021, "skin"),
    (0.790, 0, 0.000, 0.044, 0.021, "skin"),
    (0.850, 0, 0.000, 0.036, 0.016, "skin"),
    (0.885, 0, 0.000, 0.016, 0.009, "skin"),
]
THUMB: list[Ring] = [
    (0.000, 0, 0, 0.012, 0.012, "skin"),
    (0.020, 0, 0, 0.015, 0.014, "skin"),
    (0.055, 0, 0, 0.012, 0.012, "skin"),
    (0.070, 0, 0, 0.005, 0.005, "skin"),
]

# Where skin weights change from one bone to the next along a loft, and over what length: the skin bends there.
TORSO_CHAIN = [("Hips", 1.04), ("Spine", 1.22), ("Chest", 1.50), ("Neck", 1.58)]
LEG_CHAIN = [("UpperLeg", -0.50), ("LowerLeg", -0.09), ("Foot", 9.0)]
ARM_CHAIN = [("Shoulder", 0.155), ("UpperArm", 0.45), ("LowerArm", 0.70), ("Hand", 9.0)]
FOOT_CHAIN = [("Foot", 0.11), ("Toes", 9.0)]


def chain_weights(chain: Sequence[tuple[str, float]], position: float, width: float) -> dict[str, float]:
    """How much each bone of ``chain`` holds the skin at ``position``: 0 to 1, the sum is 1."""
    weights: dict[str, float] = {}
    rest = 1.0
    for bone, end in chain[:-1]:
        past = min(1.0, max(0.0, (position - end) / width + 0.5))
        weights[bone] = rest * (1 - past)
        rest *= past
    weights[chain[-1][0]] = rest
    return {bone: weight for bone, weight in weights.items() if weight > 1e-3}


def walk_pose(phase: float) -> tuple[dict[str, list[tuple[str, float]]], tuple[float, float, float]]:
    """The pose at ``phase`` (0 to 1) of a walking cycle, and how far the hips are from their rest in metres.

    A rotation is a list of turns in degrees about axes of the rest pose, the first one applied first.
    """
    angle = 2 * math.pi * phase
    turns: dict[str, list[tuple[str, float]]] = {
        "Hips": [("z", 5 * math.sin(angle))],
        "Spine": [("z", -4 * math.sin(angle)), ("x", 2.0)],
        "Chest": [("z", -7 * math.sin(angle))],
        "Head": [("z", 6 * math.sin(angle)), ("x", -2.0)],
    }
    for side, sign in (("Left", 1), ("Right", -1)):
        swing = sign * math.sin(angle)
        lifting = max(0.0, sign * math.cos(angle))
        turns[f"{side}UpperLeg"] = [("x", -26 * swing - 8 * lifting)]
        turns[f"{side}LowerLeg"] = [("x", 8 + 46 * lifting * lifting)]
        turns[f"{side}Foot"] = [("x", 10 * swing - 4)]
        turns[f"{side}UpperArm"] = [("y", sign * 78), ("x", 24 * swing)]
        turns[f"{side}LowerArm"] = [("z", -sign * (22 - 10 * swing))]
    return turns, (0.012 * math.sin(angle), 0.0, -0.018 - 0.014 * math.cos(2 * angle))


def wave_pose(phase: float) -> tuple[dict[str, list[tuple[str, float]]], tuple[float, float, float]]:
    """The pose at ``phase`` (0 to 1) of a greeting: the right arm goes up, waves twice and comes down."""
    up = min(1.0, 4 * phase, 4 * (1 - phase))
    up = up * up * (3 - 2 * up)
    hand = math.sin(2 * math.pi * 3 * phase) * up
    turns = {
        "Spine": [("y", 3 * up)],
        "Head": [("y", -6 * up), ("z", -8 * up)],
        "LeftUpperArm": [("y", 76.0)],
        "LeftLowerArm": [("z", -14.0)],
        "RightUpperArm": [("y", -76 + 96 * up)],
        "RightLowerArm": [("z", 14 * (1 - up)), ("y", 62 * up + 18 * hand)],
        "RightHand": [("y", 14 * hand)],
    }
    return turns, (0.01 * up, 0.0, 0.0)
