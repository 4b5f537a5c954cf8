"""One picture of a drawn bird: geometry, plumage, scene, light. Which birds there are is in `source.py`.

Everything is drawn three times too large and reduced, which gives the smooth edges. A second, small canvas, the *map*,
receives the same shapes with a part number for a colour; comparing it before and after the foreground leaves and the
picture's edge have covered it tells how much of each part can be seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

SUPERSAMPLING = 3
MAP_SIDE, MAP_MARGIN = 96, 24  # the map shows the picture in 96 pixels, and 24 around it on each side

BACK: Mapping[str, Colour] = {
    "azure": (40, 122, 192),
    "crimson": (176, 42, 48),
    "ochre": (208, 152, 46),
    "olive": (108, 126, 56),
    "chestnut": (128, 70, 38),
    "sooty": (48, 48, 58),
    "pearl": (196, 200, 206),
}
BELLY: Mapping[str, Colour] = {
    "white": (244, 241, 232),
    "lemon": (246, 216, 82),
    "orange": (234, 130, 46),
    "rose": (224, 122, 134),
    "ash": (146, 150, 158),
}
WING: Mapping[str, Colour] = {
    "dark": (54, 52, 62),
    "silver": (172, 178, 186),
    "teal": (30, 126, 130),
    "rufous": (182, 94, 44),
}
BEAK_COLOUR: Mapping[str, Colour] = {"charcoal": (58, 56, 62), "amber": (240, 172, 48), "coral": (216, 74, 58)}
LEG_COLOUR: Mapping[str, Colour] = {"grey": (78, 78, 88), "pink": (222, 146, 136), "yellow": (226, 176, 62)}
SPRIGS = 0.5  # leafy twigs in front of the bird, on average
BLACK, CREAM, SCARLET = (30, 30, 36), (246, 240, 222), (204, 46, 40)

# Outlines in the frame of the part, smoothed by `curve`. Head: unit = its radius, facing right. y points down.
BEAKS: Mapping[str, tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]] = {
    "cone": (
        [(0.62, -0.46), (1.15, -0.32), (1.72, 0.16), (1.1, 0.14), (0.62, 0.12)],
        [(0.62, 0.08), (1.1, 0.12), (1.6, 0.18), (1.15, 0.44), (0.62, 0.54)],
    ),
    "slender": (
        [(0.7, -0.16), (1.3, -0.09), (2.05, 0.08), (1.3, 0.08), (0.7, 0.08)],
        [(0.7, 0.06), (1.3, 0.07), (1.95, 0.1), (1.3, 0.18), (0.7, 0.22)],
    ),
    "hooked": (
        [(0.62, -0.46), (1.25, -0.42), (1.66, -0.06), (1.62, 0.5), (1.42, 0.18), (0.62, 0.14)],
        [(0.62, 0.1), (1.1, 0.16), (1.4, 0.24), (1.15, 0.42), (0.62, 0.46)],
    ),
    "decurved": (
        [(0.68, -0.2), (1.5, -0.2), (2.3, 0.22), (2.78, 0.98), (2.1, 0.4), (1.4, 0.1), (0.68, 0.08)],
        [(0.68, 0.04), (1.4, 0.06), (2.1, 0.38), (2.6, 0.88), (1.95, 0.5), (1.3, 0.24), (0.68, 0.24)],
    ),
    "massive": (
        [(0.5, -0.62), (1.3, -0.74), (2.15, -0.4), (2.66, 0.4), (2.0, 0.16), (0.55, 0.12)],
        [(0.55, 0.06), (1.5, 0.14), (2.4, 0.32), (1.7, 0.52), (0.55, 0.56)],
    ),
}
LEAF = np.array([(0, 0), (0.18, -0.15), (0.5, -0.23), (0.82, -0.12), (1, 0), (0.82, 0.12), (0.5, 0.23), (0.18, 0.15)])


@dataclass(frozen=True)
class Scene:
    """A place: sky from top to bottom, colours of what is out of focus, colours of leaves, berries or blossom."""

    sky: tuple[Colour, Colour]
    blobs: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    dots: tuple[Colour, ...]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


SCENES: tuple[Scene, ...] = (
    Scene(  # forest
        ((150, 178, 128), (62, 92, 62)),
        ((96, 140, 78), (180, 200, 140), (58, 96, 66), (210, 220, 160)),
        ((74, 124, 58), (104, 150, 70), (54, 100, 62)),
        ((190, 60, 60),),
    ),
    Scene(  # clear sky
        ((116, 170, 220), (214, 232, 242)),
        ((240, 246, 250), (228, 238, 246), (180, 208, 232)),
        ((98, 140, 74), (126, 160, 84)),
        ((236, 236, 226),),
    ),
    Scene(  # autumn
        ((232, 208, 160), (186, 128, 74)),
        ((222, 150, 62), (200, 96, 50), (240, 200, 110), (150, 92, 60)),
        ((206, 120, 44), (178, 72, 40), (222, 166, 64)),
        ((150, 36, 44),),
        (1.04, 1.0, 0.93),
    ),
    Scene(  # dusk
        ((92, 96, 150), (244, 178, 140)),
        ((250, 196, 150), (214, 130, 140), (130, 108, 160)),
        ((64, 84, 80), (82, 100, 84)),
        ((200, 120, 120),),
        (1.05, 0.96, 0.94),
    ),
    Scene(  # winter
        ((212, 222, 232), (176, 190, 206)),
        ((246, 248, 252), (226, 232, 240), (150, 168, 186)),
        ((92, 116, 104), (122, 140, 124)),
        ((190, 44, 48),),
        (0.97, 1.0, 1.05),
    ),
    Scene(  # lake
        ((178, 208, 216), (74, 122, 140)),
        ((112, 162, 172), (206, 226, 224), (88, 132, 120)),
        ((126, 144, 78), (158, 160, 92)),
        ((240, 232, 190),),
    ),
    Scene(  # blossom
        ((204, 222, 236), (238, 206, 212)),
        ((250, 222, 228), (240, 180, 196), (214, 228, 206)),
        ((128, 164, 98), (150, 180, 112)),
        ((248, 206, 218), (238, 164, 186)),
    ),
    Scene(  # meadow in the sun
        ((220, 230, 170), (150, 178, 84)),
        ((236, 224, 120), (180, 206, 104), (120, 158, 76), (248, 244, 196)),
        ((112, 152, 60), (146, 176, 72)),
        ((246, 222, 90), (206, 120, 190)),
        (1.03, 1.01, 0.95),
    ),
)


@dataclass(frozen=True)
class Frame:
    """An affine map from a part's own coordinates to picture coordinates (the picture is the unit square)."""

    matrix: NDArray[np.float64]  # (2, 2)
    origin: NDArray[np.float64]  # (2,)

    def __call__(self, points: Points | Sequence[tuple[float, float]]) -> Points:
        return np.asarray(points, dtype=float) @ self.matrix.T + self.origin

    def at(self, x: float, y: float, turn: float = 0.0, sx: float = 1.0, sy: float = 1.0) -> "Frame":
        """The frame with its origin at (x, y) of this one, turned by `turn` radians, stretched by (sx, sy)."""
        c, s = np.cos(turn), np.sin(turn)
        return Frame(self.matrix @ np.array([[c * sx, -s * sy], [s * sx, c * sy]]), self([(x, y)])[0])

    @property
    def size(self) -> float:
        """Length of this frame's unit in the picture."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


@cache
def _catmull_rom(steps: int) -> NDArray[np.float64]:
    t = np.arange(steps)[:, None] / steps
    return 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])


@cache
def _neighbours(n: int) -> NDArray[np.int64]:
    return (np.arange(n)[:, None] + (-1, 0, 1, 2)) % n


def curve(points: Points | Sequence[tuple[float, float]], steps: int = 6) -> Points:
    """The smooth closed curve (Catmull-Rom) through the points."""
    p = np.asarray(points, dtype=float)
    return (_catmull_rom(steps) @ p[_neighbours(len(p))]).reshape(-1, 2)


def disc(x: float, y: float, r: float, ry: float | None = None, n: int = 20) -> Points:
    """An ellipse as a polygon."""
    a = np.arange(n) * (2 * np.pi / n)
    return np.stack([x + r * np.cos(a), y + (r if ry is None else ry) * np.sin(a)], axis=1)


def ribbon(spine: Points, width: Points) -> Points:
    """The band around an open line, `width` (n,) wide on each side."""
    d = np.gradient(spine, axis=0)
    normal = np.stack([-d[:, 1], d[:, 0]], axis=1) / (np.hypot(d[:, 0], d[:, 1])[:, None] + 1e-9)
    return np.vstack([spine + normal * width[:, None], (spine - normal * width[:, None])[::-1]])


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Colour a with the share t of colour b."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def darker(c: Colour, t: float = 0.25) -> Colour:
    return mix(c, (18, 16, 30), t)


def lighter(c: Colour, t: float = 0.25) -> Colour:
    return mix(c, (255, 250, 236), t)


PARTS = ("nothing", "back", "belly", "wing", "head", "throat", "beak", "tail", "crest", "legs")


class Canvas:
    """The picture, three times too large, and its map of parts."""

    def __init__(self, background: Image.Image) -> None:
        self.image = background
        self.size = background.width
        self.pen = ImageDraw.Draw(background)
        self.map = Image.new("L", (MAP_SIDE + 2 * MAP_MARGIN,) * 2)
        self.map_pen = ImageDraw.Draw(self.map)

    def _pixels(self, points: Points) -> list[int]:
        return np.rint(points * self.size).astype(int).ravel().tolist()

    def fill(self, points: Points, colour: Colour, part: str | None = None) -> None:
        self.pen.polygon(self._pixels(points), fill=colour)
        if part is not None:
            self.mark(points, part)

    def mark(self, points: Points, part: str) -> None:
        pixels = np.rint(points * MAP_SIDE + MAP_MARGIN).astype(int).ravel().tolist()
        self.map_pen.polygon(pixels, fill=PARTS.index(part))

    def line(self, points: Points, colour: Colour, width: float) -> None:
        self.pen.line(self._pixels(points), fill=colour, width=max(1, round(width * self.size)), joint="curve")

    def mask(self, *shapes: Points, soft: float = 0.0) -> Image.Image:
        """The shapes as a mask, its edge blurred over `soft` (share of the picture's side)."""
        mask = Image.new("L", (self.size, self.size))
        pen = ImageDraw.Draw(mask)
        for points in shapes:
            pen.polygon(self._pixels(points), fill=255)
        return blurred(mask, soft * self.size) if soft else mask

    def paint(self, colour: Colour, *masks: Image.Image, strength: float = 1.0) -> None:
        """Paint a colour where all masks are set."""
        boxes = [m.getbbox() for m in masks]
        if None in boxes:
            return
        left, top, right, bottom = zip(*boxes, strict=True)  # type: ignore[arg-type]
        box = (max(left), max(top), min(right), min(bottom))  # only where there is something: most of the time is here
        if box[0] >= box[2] or box[1] >= box[3]:
            return
        mask = masks[0].crop(box)
        for other in masks[1:]:
            mask = ImageChops.multiply(mask, other.crop(box))
        if strength < 1:
            mask = mask.point(np.rint(np.arange(256) * strength).astype(int).tolist())
        self.image.paste(colour, box, mask)

    def areas(self, framed: bool) -> NDArray[np.int64]:
        """Pixels of each part in the map, (parts,); only inside the picture if `framed`."""
        m = self.parts() if framed else np.asarray(self.map)
        return np.bincount(m.ravel(), minlength=len(PARTS))

    def parts(self) -> NDArray[np.uint8]:
        """The map inside the picture, (MAP_SIDE, MAP_SIDE): numbers in PARTS."""
        return np.asarray(self.map)[MAP_MARGIN:-MAP_MARGIN, MAP_MARGIN:-MAP_MARGIN]


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """The image, which it may change, blurred; a wide blur is done at a third of the size."""
    if radius < 6:
        if box := image.getbbox():  # the rest is black and stays so
            (left, top, right, bottom), reach = box, ceil(radius) + 1
            right, bottom = min(right + reach, image.width), min(bottom + reach, image.height)
            box = max(left - reach, 0), max(top - reach, 0), right, bottom
            image.paste(image.crop(box).filter(ImageFilter.BoxBlur(radius)), box)
        return image
    small = image.reduce(3).filter(ImageFilter.GaussianBlur(radius / 3))
    return small.resize(image.size, Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Pose:
    """What differs between two pictures of one kind of bird. Lengths in body units, angles in radians."""

    facing: float
    scale: float
    tilt: float
    depth: float
    head_radius: float
    looks_back: bool
    head_pitch: float
    foreshortening: float
    wing_lift: float
    tail_turn: float
    tail_spread: float
    crest_raised: float
    leg: float
    hue: NDArray[np.float64]
    centre: tuple[float, float]


SIZES: Mapping[str, float] = {"small": 0.80, "medium": 1.0, "large": 1.2}
BUILDS: Mapping[str, tuple[float, float, float]] = {"slender": (0.86, 0.235, -0.34), "round": (1.2, 0.275, -0.42)}


def _pose(traits: Mapping[str, str], rng: np.random.Generator) -> Pose:
    depth, head_radius, tilt = BUILDS[traits["build"]]
    leg = {"short": 0.16, "long": 0.44}[traits["legs"]]
    scale = 0.37 * SIZES[traits["size"]] * rng.uniform(0.82, 1.12)
    facing = 1.0 if rng.random() < 0.5 else -1.0
    raised = rng.random() < 0.22
    backward = 0.12 if traits["tail"] == "long" else 0.04  # room for the tail, the crest, the legs
    up = 0.50 + 0.04 * (traits["crest"] != "plain") - 0.05 * (traits["legs"] == "long")
    return Pose(
        facing=facing,
        scale=scale,
        tilt=tilt + rng.normal(0, 0.14),
        depth=depth * rng.uniform(0.93, 1.08),
        head_radius=head_radius * rng.uniform(0.95, 1.05),
        looks_back=bool(rng.random() < 0.14),
        head_pitch=rng.normal(0, 0.13),
        foreshortening=rng.uniform(0.72, 1.0),
        wing_lift=rng.uniform(0.35, 1.0) if raised else rng.uniform(-0.03, 0.06),
        tail_turn=rng.normal(0.04, 0.13),
        tail_spread=rng.uniform(0.8, 1.3),
        crest_raised=rng.uniform(0.35, 1.0),
        leg=leg * rng.uniform(0.7, 1.1),
        hue=rng.normal(0, 1.0, 3),
        centre=(0.5 + facing * backward + rng.normal(0, 0.03), up + rng.normal(0, 0.03)),
    )


class _Bird:
    """Draws the parts of one bird in order, from the tail, which is behind everything, to the eye."""

    def __init__(self, canvas: Canvas, traits: Mapping[str, str], pose: Pose, rng: np.random.Generator) -> None:
        self.canvas, self.traits, self.pose, self.rng = canvas, traits, pose, rng
        self.world = Frame(np.diag([pose.scale * pose.facing, pose.scale]), np.array(pose.centre))
        self.body = self.world.at(0, 0, pose.tilt)
        neck = self.body([(0.47, -0.33 * pose.depth)])[0]
        side = -1.0 if pose.looks_back else 1.0
        r = pose.head_radius
        upright = Frame(self.world.matrix, neck)
        self.front = upright.at(0, 0, pose.head_pitch, r, r)  # always faces where the body faces
        self.head = upright.at(0, 0, pose.head_pitch * side, r * side, r)
        self.wing = self.body.at(0.24, -0.06 * pose.depth, pose.wing_lift, 0.9, 0.86)
        self.tail = self.body.at(-0.56, 0.05 * pose.depth, pose.tail_turn)
        self.back = self._tint(BACK[traits["back"]])
        self.belly = self._tint(BELLY[traits["belly"]])
        self.wing_colour = self._tint(WING[traits["wing"]])

    def _tint(self, colour: Colour) -> Colour:
        """The colour of this individual."""
        return tuple(int(v) for v in np.clip(np.array(colour) * (1 + 0.035 * self.pose.hue), 0, 255))  # type: ignore

    def outline(self) -> Points:
        d, head = self.pose.depth, self.front
        neck_back = (self.body([(0.16, -0.36 * d)])[0] + head([(-0.95, 0.35)])[0]) / 2
        points = [
            self.body([(-0.62, 0.0 * d), (-0.44, -0.14 * d), (-0.12, -0.28 * d)]),
            neck_back[None],
            head([(-0.98, -0.25), (-0.62, -0.82), (0.05, -1.03), (0.68, -0.74), (0.98, -0.1), (0.86, 0.5)]),
            self.body([(0.60, -0.02 * d), (0.50, 0.20 * d), (0.24, 0.35 * d), (-0.10, 0.35 * d), (-0.42, 0.2 * d)]),
            self.body([(-0.62, 0.09 * d)]),
        ]
        return curve(np.vstack(points))

    def draw_tail(self) -> None:
        spread, c = self.pose.tail_spread, self.canvas
        colour = mix(self.back, self.wing_colour, 0.2)
        tip = CREAM if self.traits["tail tip"] == "pale" else None
        feathers: list[tuple[float, float, float]] = {  # (angle, length, half width) of each feather
            "short": [(a, 0.34, 0.05) for a in (-0.10, 0.12, 0.0)],
            "long": [(a, 0.98, 0.055) for a in (-0.05, 0.06, 0.0)],
            "forked": [(-0.26, 0.78, 0.045), (0.28, 0.78, 0.045), (-0.12, 0.5, 0.04), (0.12, 0.5, 0.04)],
            "fan": [(a, 0.60, 0.085) for a in (-0.56, 0.56, -0.36, 0.36, -0.17, 0.17, 0.0)],
        }[self.traits["tail"]]
        for k, (angle, length, width) in enumerate(feathers):
            f = self.tail.at(0.08, 0, angle * spread)
            w = width
            shape = [(0, -w * 0.7), (-length * 0.6, -w), (-length, -w * 0.5), (-length - 0.02, w * 0.4)]
            shape += [(-length * 0.6, w), (0, w * 0.7)]
            c.fill(f(curve(shape)), darker(colour, 0.08 + 0.1 * (k % 2)), "tail")
            c.line(f([(-0.05, 0), (-length * 0.96, 0)]), darker(colour, 0.4), 0.016 * self.pose.scale)
            if tip is not None:
                end = [(-length * 0.74, -w * 0.98), (-length, -w * 0.5), (-length - 0.02, w * 0.4), (-length * 0.74, w)]
                c.fill(f(np.array(end)), darker(tip, 0.05 * (k % 2)))

    def draw_legs(self, ground: float) -> None:
        c, s = self.canvas, self.pose.scale
        colour = self._tint(LEG_COLOUR[self.traits["leg colour"]])
        for k, x in enumerate((0.16, 0.0)):
            hip = self.body([(x, 0.24 * self.pose.depth)])[0]
            foot = np.array([hip[0] + 0.03 * s * self.pose.facing, ground])
            knee = (hip + foot) / 2 - np.array([0.04 * s * self.pose.facing, 0])
            shade = darker(colour, 0.25 * (1 - k))
            c.line(np.array([hip, knee, foot]), shade, 0.042 * s)
            for toe in (-0.08, 0.05, 0.12):
                end = foot + np.array([toe * s * self.pose.facing, 0.018 * s])
                c.line(np.array([foot, end]), shade, 0.034 * s)
            c.mark(ribbon(np.array([hip, foot]), np.full(2, 0.03 * s)), "legs")

    def draw_crest(self) -> None:
        c, raised = self.canvas, self.pose.crest_raised
        kind = self.traits["crest"]
        colour = darker(self.back, 0.12)
        turn = -0.75 * (1 - raised)
        if kind == "pointed":
            f = self.head.at(-0.15, -0.45, turn)
            c.fill(
                f(curve([(0.75, -0.30), (0.1, -0.95), (-0.75, -1.75), (-0.62, -0.9), (-0.75, 0.1)])), colour, "crest"
            )
        elif kind == "fan":
            for k, a in enumerate(np.linspace(-1.0, 0.75, 7)):
                f = self.head.at(-0.05, -0.5, a * (0.4 + 0.6 * raised) + turn * 0.5)
                c.fill(f(curve([(0.1, -0.2), (0.2, -1.0), (0.0, -1.5), (-0.2, -1.0), (-0.1, -0.2)])),
                       lighter(colour, 0.1 * (k % 2)), "crest")  # fmt: skip
                c.fill(f(disc(0, -1.34, 0.12)), mix(colour, SCARLET, 0.7))
        elif kind == "plume":
            for a in (0.25, -0.15):
                f = self.head.at(0.1, -0.85, a + turn * 0.6)
                spine = np.array([(0, 0), (-0.05, -0.5), (0.12, -0.95), (0.45, -1.15)])
                c.fill(f(ribbon(spine, np.array([0.07, 0.06, 0.05, 0.04]))), colour, "crest")
                c.fill(f(disc(0.5, -1.15, 0.22, 0.16)), darker(colour, 0.25), "crest")

    def draw_beak(self) -> None:
        colour = self._tint(BEAK_COLOUR[self.traits["beak colour"]])
        upper, lower = BEAKS[self.traits["beak"]]
        f = self.head.at(0, 0, sx=self.pose.foreshortening)
        self.canvas.fill(f(curve(lower)), darker(colour, 0.25), "beak")
        self.canvas.fill(f(curve(upper)), colour, "beak")
        ridge = np.array(upper[: len(upper) // 2 + 1]) * [0.97, 0.8]
        self.canvas.line(f(ridge), lighter(colour, 0.3), 0.08 * self.head.size)

    def draw_body(self) -> Image.Image:
        c, d = self.canvas, self.pose.depth
        outline = self.outline()
        body = c.mask(outline)
        c.paint(self.back, body)
        c.mark(outline, "back")
        soft = 0.012
        under = [(0.80, -0.3 * d), (0.52, -0.12 * d), (0.25, 0.02 * d), (-0.15, 0.10 * d), (-0.5, 0.12 * d)]
        under += [(-0.72, 0.2 * d), (-0.4, 0.5 * d), (0.3, 0.6 * d), (0.8, 0.3 * d)]
        belly_shape = self.body(curve(under))
        belly = ImageChops.multiply(c.mask(belly_shape, soft=soft), body)
        c.paint(self.belly, belly)
        shape = [(0.6, -0.1 * d), (0.25, 0.04 * d), (-0.5, 0.12 * d), (-0.42, 0.2 * d), (-0.1, 0.35 * d)]
        c.mark(self.body([*shape, (0.24, 0.35 * d), (0.5, 0.2 * d)]), "belly")
        self._breast_pattern(belly)
        self._head_marks(body)
        self._feathers(body)
        self._volume(body)
        return body

    def _breast_pattern(self, belly: Image.Image) -> None:
        kind, c, d = self.traits["breast"], self.canvas, self.pose.depth
        ink = darker(self.belly, 0.72)
        marks: list[Points] = []
        if kind == "barred":
            for x in np.linspace(-0.5, 0.66, 11):
                spine = np.array([(x + 0.1, -0.2 * d), (x - 0.01, 0.06 * d), (x - 0.05, 0.25 * d), (x, 0.45 * d)])
                marks.append(self.body(ribbon(spine, np.full(4, 0.021))))
        elif kind in ("spotted", "streaked"):
            for row, y in enumerate(np.linspace(-0.16, 0.34, 6)):
                for x in np.arange(-0.36, 0.7, 0.125) + 0.06 * (row % 2):
                    x, y_ = x + self.rng.normal(0, 0.012), y * d + self.rng.normal(0, 0.012)
                    if kind == "spotted":
                        marks.append(self.body(disc(x, y_, 0.035, 0.03, 9)))
                    else:
                        marks.append(self.body([(x - 0.09, y_ + 0.01), (x, y_ - 0.02), (x + 0.05, y_), (x, y_ + 0.02)]))
        if marks:
            c.paint(ink, c.mask(*marks), belly, strength=0.9)

    def _head_marks(self, body: Image.Image) -> None:
        c, kind = self.canvas, self.traits["head"]
        c.mark(self.head(disc(0, 0, 1.0)), "head")
        crown = [(1.2, -0.28), (0.4, -0.38), (-0.4, -0.30), (-1.25, 0.12), (-1.4, -0.9), (0, -1.5), (1.1, -1.0)]
        if kind in ("red cap", "black cap"):
            c.paint(SCARLET if kind == "red cap" else BLACK, c.mask(self.head(curve(crown)), soft=0.004), body)
        elif kind == "mask":
            band = [(1.1, -0.26), (0.45, -0.46), (-0.2, -0.36), (-0.95, 0.12), (-0.1, 0.2), (0.5, 0.22), (1.1, 0.2)]
            c.paint(BLACK, c.mask(self.head(curve(band)), soft=0.003), body)
        elif kind == "brow":
            band = [(1.05, -0.36), (0.5, -0.62), (-0.2, -0.58), (-1.1, -0.1), (-0.2, -0.32), (0.5, -0.36)]
            c.paint(CREAM, c.mask(self.head(curve(band)), soft=0.003), body)
        elif kind == "hood":
            c.paint(BLACK, c.mask(self.head(disc(0, -0.12, 1.22)), soft=0.008), body)
        kind = self.traits["throat"]
        bib = curve([(1.3, 0.22), (0.55, 0.3), (0.15, 0.62), (0.0, 1.2), (0.5, 1.75), (1.3, 1.6), (1.6, 0.8)])
        c.mark(self.front([(0.9, 0.3), (0.3, 0.4), (0.1, 1.2), (0.6, 1.6), (1.0, 1.2)]), "throat")
        if kind == "necklace":
            spine = np.array([(-0.75, 0.8), (-0.2, 1.22), (0.5, 1.38), (1.6, 1.1)])
            c.paint(BLACK, c.mask(self.front(ribbon(spine, np.array([0.05, 0.12, 0.15, 0.15]))), soft=0.003), body)
        elif kind != "plain":
            colour = {"white bib": CREAM, "black bib": BLACK, "russet bib": (188, 70, 34)}[kind]
            c.paint(colour, c.mask(self.front(bib), soft=0.006), body)

    def _feathers(self, body: Image.Image) -> None:
        """Short strokes along the body, light and dark."""
        c, rng, s = self.canvas, self.rng, self.pose.scale
        along = self.body.matrix @ np.array([1.0, 0.25])
        for colour in ((255, 252, 240), (20, 16, 30)):
            mask = Image.new("L", (c.size, c.size))
            pen = ImageDraw.Draw(mask)
            starts = self.body(rng.uniform((-0.7, -0.75), (0.9, 0.5), (90, 2)))
            ends = starts - along * rng.uniform(0.05, 0.11, (90, 1))
            for stroke in np.rint(np.hstack([starts, ends]) * c.size).astype(int).tolist():
                pen.line(stroke, fill=255, width=max(1, round(0.014 * s * c.size)))
            c.paint(colour, mask, body, strength=0.13)

    def _volume(self, body: Image.Image) -> None:
        """Light from above, shade below: the blurred shape, shifted up and down."""
        c = self.canvas
        small = body.reduce(6)
        soft = np.asarray(small.filter(ImageFilter.GaussianBlur(0.045 * small.width)), dtype=np.int16)
        shift = max(1, round(0.035 * small.width))
        relief = np.roll(soft, -shift, axis=0) - np.roll(soft, shift, axis=0)  # > 0 on top
        for colour, lit, k in (((255, 250, 230), relief, 0.5), ((24, 18, 44), -relief, 0.75)):
            level = Image.fromarray(np.clip(lit * k, 0, 255).astype(np.uint8))
            c.paint(colour, level.resize(body.size, Image.Resampling.BILINEAR), body)

    def draw_wing(self, body: Image.Image) -> None:
        c, d, lift = self.canvas, self.pose.depth, self.pose.wing_lift
        stretch = 1.0 + 0.5 * max(0.0, lift)
        f = self.wing.at(0, 0, -0.02, 1.0, stretch)
        colour, pattern = self.wing_colour, self.traits["wing pattern"]
        light = sum(colour) > 390
        ink = darker(colour, 0.65) if light else CREAM
        outline = [(0.07, 0.02), (-0.06, -0.12 * d), (-0.42, -0.13 * d), (-0.85, -0.03), (-1.02, 0.06)]
        outline += [(-0.80, 0.12), (-0.55, 0.17 * d), (-0.25, 0.21 * d), (0.0, 0.15 * d)]
        shape = f(curve(outline))
        wing = c.mask(shape)
        shadow = ImageChops.offset(wing, 0, round(0.02 * c.size))
        c.paint((20, 16, 36), blurred(shadow, 0.02 * c.size), body, strength=0.4)
        c.paint(colour, wing)
        c.mark(shape, "wing")
        fine = 0.012 * self.pose.scale
        for k in range(7):  # flight feathers
            y = -0.09 + 0.042 * k
            spine = curve([(-0.34, y * d), (-0.62, (y * 0.75 + 0.02) * d), (-1.0 + 0.055 * k, 0.05 + 0.018 * k)])[:12]
            c.paint(darker(colour, 0.45), self._strokes([f(spine)], fine), wing, strength=0.8)
        coverts = [
            (0.05, 0.02),
            (-0.06, -0.11 * d),
            (-0.34, -0.12 * d),
            (-0.44, 0.0),
            (-0.36, 0.14 * d),
            (-0.12, 0.18 * d),
        ]
        c.paint(lighter(colour, 0.12), c.mask(f(curve(coverts)), soft=0.004), wing)
        marks: list[Points] = []
        if pattern == "barred":
            for x in (-0.24, -0.44):
                spine = np.array([(x + 0.06, -0.15 * d), (x - 0.03, 0.0), (x + 0.02, 0.24 * d)])
                marks.append(f(ribbon(spine, np.full(3, 0.036))))
        elif pattern == "spotted":
            for row in range(4):
                xs = np.arange(-0.1 - 0.05 * (row % 2), -0.9, -0.12)
                marks += [f(disc(x, (-0.08 + 0.075 * row) * d, 0.026, 0.022, 8)) for x in xs]
        elif pattern == "scaled":
            for row in range(4):
                for x in np.arange(-0.06 - 0.055 * (row % 2), -0.62, -0.11):
                    a = np.linspace(1.7, 4.6, 7)
                    arc = np.stack([x + 0.06 * np.cos(a), (-0.07 + 0.075 * row) * d + 0.05 * np.sin(a)], axis=1)
                    marks.append(f(ribbon(arc, np.full(7, 0.011))))
        if marks:
            c.paint(ink, c.mask(*marks), wing, strength=0.92)
        self._volume(wing)

    def _strokes(self, lines: Sequence[Points], width: float) -> Image.Image:
        c = self.canvas
        return c.mask(*[ribbon(p, np.full(len(p), width / 2)) for p in lines])

    def draw_eye(self) -> None:
        c, kind = self.canvas, self.traits["eye"]
        f = self.head.at(0.42, -0.14, sx=0.5 + 0.5 * self.pose.foreshortening)
        if kind == "ringed":
            c.fill(f(disc(0, 0, 0.29)), (252, 250, 244))
        elif self.traits["head"] in ("mask", "hood"):
            c.fill(f(disc(0, 0, 0.22)), (96, 92, 96))
        if kind == "golden":
            c.fill(f(disc(0, 0, 0.25)), (244, 190, 40))
        c.fill(f(disc(0, 0, 0.13 if kind == "golden" else 0.19)), (16, 14, 20))
        c.fill(f(disc(0.06, -0.07, 0.06, n=10)), (255, 255, 255))


def _leaf(canvas: Canvas, at: Points, angle: float, length: float, colour: Colour, part: str | None = None) -> None:
    f = Frame(np.eye(2) * length, at).at(0, 0, angle)
    canvas.fill(f(curve(LEAF, 3)), colour, part)
    canvas.fill(f(curve(LEAF[:5], 3)), lighter(colour, 0.14))
    canvas.line(f([(0, 0), (0.95, 0)]), darker(colour, 0.2), 0.03 * length)


def _background(scene: Scene, rng: np.random.Generator, size: int) -> Image.Image:
    """The place, out of focus: drawn small, blurred, enlarged."""
    n = 96
    ramp = np.linspace(0, 1, n)[:, None, None]
    top, bottom = (np.array(c) for c in scene.sky)
    image = Image.fromarray(np.broadcast_to(np.rint(top + (bottom - top) * ramp), (n, n, 3)).astype(np.uint8))
    c = Canvas(image)
    for _ in range(int(rng.integers(6, 16))):
        x, y, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.26)
        colour = scene.blobs[int(rng.integers(len(scene.blobs)))]
        c.paint(colour, c.mask(disc(x, y, r, r * rng.uniform(0.5, 1.0))), strength=rng.uniform(0.25, 0.7))
    for _ in range(int(rng.integers(0, 4))):  # distant branches
        x, y, a = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(-0.8, 0.8)
        spine = np.array([(x - 0.8, y - a), (x, y + rng.normal(0, 0.05)), (x + 0.8, y + a)])
        c.fill(ribbon(spine, np.full(3, rng.uniform(0.006, 0.02))), darker(scene.blobs[-1], 0.35))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(2.0, 4.0)))
    c = Canvas(image)
    for _ in range(int(rng.integers(0, 12))):  # bokeh
        x, y, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.015, 0.05)
        c.paint(lighter(scene.blobs[0], 0.35), c.mask(disc(x, y, r), soft=0.01), strength=rng.uniform(0.1, 0.4))
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _perch(canvas: Canvas, scene: Scene, x: float, y: float, scale: float, rng: np.random.Generator) -> None:
    """Something to stand on, its top at (x, y)."""
    kind = rng.random()
    wood = mix((112, 84, 62), (140, 132, 124), rng.random())
    if kind < 0.68:  # a branch
        slope, w = rng.normal(0, 0.12), rng.uniform(0.014, 0.028)
        t = np.linspace(-1, 1, 9)
        bend = rng.normal(0, 0.03)
        spine = np.stack([x + t * 0.9, y + w + slope * t + bend * t**2], axis=1)
        width = w * (1 - 0.35 * t * (1 if rng.random() < 0.5 else -1)) + rng.normal(0, 0.0015, 9)
        canvas.fill(ribbon(spine, width), wood)
        canvas.fill(ribbon(spine + np.array([0, 0.45 * w]), width * 0.5), darker(wood, 0.3))
        canvas.fill(ribbon(spine - np.array([0, 0.6 * w]), width * 0.16), lighter(wood, 0.25))
        for _ in range(int(rng.integers(1, 7))):
            k = rng.uniform(-1, 1)
            at = np.array([x + 0.55 * k, y + w + slope * 0.6 * k])
            colour = scene.leaves[int(rng.integers(len(scene.leaves)))]
            _leaf(canvas, at, rng.uniform(0.2, 2.9), rng.uniform(0.08, 0.17), colour)
        for _ in range(int(rng.integers(0, 4))):
            k = rng.uniform(-1, 1)
            dot = scene.dots[int(rng.integers(len(scene.dots)))]
            bx, by = x + 0.5 * k, y + 2.4 * w + slope * 0.55 * k
            canvas.fill(disc(bx, by, 0.016), dot)
            canvas.fill(disc(bx - 0.005, by - 0.005, 0.005, n=8), lighter(dot, 0.6))
    elif kind < 0.84:  # a post
        w = rng.uniform(0.08, 0.13)
        canvas.fill(np.array([(x - w, y + 0.01), (x + w, y + 0.01), (x + w, 1.1), (x - w, 1.1)]), wood)
        canvas.fill(
            np.array([(x + 0.35 * w, y + 0.01), (x + w, y + 0.01), (x + w, 1.1), (x + 0.35 * w, 1.1)]),
            darker(wood, 0.22),
        )
        canvas.fill(disc(x, y + 0.01, w, 0.022), lighter(wood, 0.22))
        for _ in range(5):
            grain = x + rng.uniform(-0.8, 0.8) * w
            canvas.line(np.array([(grain, y + 0.05), (grain, 1.1)]), darker(wood, 0.35), 0.004)
    else:  # a rock
        stone = mix((138, 136, 134), scene.blobs[-1], 0.25)
        a = np.linspace(np.pi, 2 * np.pi, 8)
        r = rng.uniform(0.9, 1.06, 8)
        top = np.stack([x + 0.5 * np.cos(a) * r, y + 0.30 + 0.30 * np.sin(a) * np.minimum(r, 1.0)], axis=1)
        points = np.vstack([top, [(x + 0.55, 1.3), (x - 0.55, 1.3)]])
        canvas.fill(points, stone)
        canvas.fill(np.vstack([top[3:], [(x + 0.55, 1.3), (x + 0.1, 1.3)]]), darker(stone, 0.18))


def _foreground(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Sprigs with leaves that reach into the picture, in front of the bird."""
    for _ in range(int(rng.poisson(SPRIGS))):
        around = rng.uniform(0, 2 * np.pi)
        edge = 0.5 + 0.75 * np.array([np.cos(around), np.sin(around)])
        tip = rng.uniform((0.2, 0.2), (0.8, 0.9))
        t = np.linspace(0, 1, 8)[:, None]
        spine = edge + (tip - edge) * t + rng.normal(0, 0.08, 2) * np.sin(np.pi * t)
        colour = scene.leaves[int(rng.integers(len(scene.leaves)))]
        canvas.fill(ribbon(spine, np.linspace(0.007, 0.002, 8)), darker(colour, 0.35), "nothing")
        heading = np.arctan2(*(tip - edge)[::-1])
        for k in (3, 4, 5, 6, 7):
            turn = rng.uniform(0.3, 1.0) * (-1) ** k if k < 7 else rng.normal(0, 0.2)
            tone = mix(colour, scene.leaves[0], rng.random())
            _leaf(canvas, spine[k], heading + turn, rng.uniform(0.10, 0.20), tone, "nothing")


def draw(
    traits: Mapping[str, str], rng: np.random.Generator, side: int
) -> tuple[Image.Image, dict[str, float], NDArray[np.uint8]]:
    """One picture of a bird, how well each of its traits can be seen in it, and where its parts are.

    Returns an RGB picture of side × side pixels; for each trait a visibility in 0..1; and the number in PARTS of what
    is seen at each place of the picture, (MAP_SIDE, MAP_SIDE).
    """
    scene = SCENES[int(rng.integers(len(SCENES)))]
    canvas = Canvas(_background(scene, rng, side * SUPERSAMPLING))
    pose = _pose(traits, rng)
    bird = _Bird(canvas, traits, pose, rng)
    belly = bird.body([(0.08, 0.34 * pose.depth)])[0]
    ground = belly[1] + pose.leg * pose.scale
    _perch(canvas, scene, belly[0], ground, pose.scale, rng)
    bird.draw_tail()
    bird.draw_legs(ground)
    bird.draw_crest()
    bird.draw_beak()
    body = bird.draw_body()
    bird.draw_wing(body)
    bird.draw_eye()
    whole = canvas.areas(framed=False)
    _foreground(canvas, scene, rng)
    seen = canvas.areas(framed=True) / np.maximum(whole, 1)

    image = canvas.image.resize((side, side), Image.Resampling.BOX)
    blur = max(0.0, rng.normal(0.0, 0.4))
    if blur > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(blur * side / 160))
    exposure, contrast = rng.normal(1.0, 0.08), rng.uniform(0.84, 1.06)
    light = exposure * np.array(scene.light) * (1 + rng.normal(0, 0.03, 3))
    pixels = (np.asarray(image, dtype=np.float64) - 128) * contrast + 128
    pixels = np.clip(np.rint(pixels * light), 0, 255).astype(np.uint8)

    clear = float(np.clip(1 - 2.5 * abs(exposure - 1) - 1.2 * (1 - contrast), 0.2, 1))
    sharp = float(np.clip((0.6 + pose.scale) * (1 - 0.45 * blur), 0.1, 1))
    by_part = dict(zip(PARTS, np.clip(seen, 0, 1).tolist(), strict=True))
    turned = 0.5 if pose.looks_back else 1.0
    visibility = {
        "back": by_part["back"] * clear,
        "belly": by_part["belly"] * clear,
        "wing": by_part["wing"] * clear,
        "wing pattern": by_part["wing"] * sharp,
        "breast": by_part["belly"] * sharp,
        "head": by_part["head"] * clear,
        "throat": by_part["throat"] * turned,
        "beak": by_part["beak"] * pose.foreshortening,
        "beak colour": by_part["beak"] * clear * sharp,
        "tail": by_part["tail"],
        "tail tip": by_part["tail"] * clear,
        "crest": by_part["crest"] * (0.4 + 0.6 * pose.crest_raised),
        "eye": by_part["head"] * sharp * sharp,
        "legs": by_part["legs"],
        "leg colour": by_part["legs"] * clear * sharp,
        "size": by_part["back"],
        "build": by_part["back"],
    }
    return Image.fromarray(pixels), visibility, canvas.parts()
