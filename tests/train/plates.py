"""The faces of road signs, drawn large and smooth: RGBA arrays with premultiplied alpha, 0..1."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CLASSES = ["stop", "give way", "no entry", "speed limit", "priority road", "parking", "pedestrian crossing", "warning"]
SIZE, OVER = 256, 3  # pixels of a face; how much larger it is drawn
RED, BLUE, YELLOW, WHITE, BLACK = (193, 22, 34), (16, 78, 168), (250, 190, 10), (247, 247, 244), (22, 22, 24)
FULL, MID = SIZE * OVER, SIZE * OVER / 2


def font(size):
    return ImageFont.truetype("DejaVuSansCondensed-Bold.ttf", size * OVER)


class Face:
    """A square drawing area with its origin in the middle; lengths are shares of half its side."""

    def __init__(self):
        self.image = Image.new("RGBA", (FULL, FULL), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def at(self, points):
        return [(MID + x * MID, MID + y * MID) for x, y in points]

    def polygon(self, points, fill, rounding=0.0):
        """A convex polygon; its corners are drawn with circles of `rounding` around them."""
        p, r = self.at(points), rounding * MID
        self.draw.polygon(p, fill=fill)
        if rounding:
            self.draw.line(p + p[:2], fill=fill, width=round(2 * r))
            for x, y in p:
                self.draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    def disc(self, radius, fill, x=0.0, y=0.0):
        (a, b), (c, d) = self.at([(x - radius, y - radius), (x + radius, y + radius)])
        self.draw.ellipse([a, b, c, d], fill=fill)

    def text(self, text, size, fill, y=0.0, squeeze=1.0):
        f = font(size)
        left, top, right, bottom = f.getbbox(text)
        word = Image.new("L", (right - left + 8, bottom - top + 8), 0)
        ImageDraw.Draw(word).text((4 - left, 4 - top), text, font=f, fill=255)
        word = word.resize((max(1, round(word.width * squeeze)), word.height), Image.LANCZOS)
        self.image.paste(Image.new("RGBA", word.size, fill + (255,)),
                         (round(MID - word.width / 2), round(MID + y * MID - word.height / 2)), word)

    def array(self):
        a = np.asarray(self.image, np.float32) / 255
        a = np.dstack([a[..., :3] * a[..., 3:], a[..., 3]])
        return np.ascontiguousarray(a.reshape(SIZE, OVER, SIZE, OVER, 4).mean((1, 3)), np.float32)


def ngon(n, radius, turn, y=0.0):
    return [(radius * math.cos(turn + 2 * math.pi * i / n), y + radius * math.sin(turn + 2 * math.pi * i / n)) for i in range(n)]


def walker(face, fill, y=0.0, size=1.0):
    """Somebody who walks, in outline: head, trunk, arms, legs."""
    p = lambda x, v: (x * size, y + v * size)
    limb = lambda points, w: face.draw.line(face.at([p(*q) for q in points]), fill=fill, width=round(w * size * MID), joint="curve")
    face.disc(0.085 * size, fill, *p(0.03, -0.37))
    limb([(0.02, -0.26), (-0.01, 0.05)], 0.15)
    limb([(0.0, -0.22), (0.15, -0.09), (0.2, 0.04)], 0.06)
    limb([(0.0, -0.22), (-0.14, -0.08), (-0.16, 0.06)], 0.06)
    limb([(0.0, 0.0), (0.11, 0.18), (0.2, 0.38)], 0.085)
    limb([(-0.01, 0.0), (-0.07, 0.2), (-0.2, 0.38)], 0.085)


def triangle(face, up):
    turn = -math.pi / 2 if up else math.pi / 2
    y = 0.16 if up else -0.16
    face.polygon(ngon(3, 0.92, turn, y), WHITE, 0.11)
    face.polygon(ngon(3, 0.90, turn, y), RED, 0.095)
    face.polygon(ngon(3, 0.60, turn, y), WHITE, 0.045)


def warning(face, kind):
    triangle(face, True)
    line = lambda points, w: face.draw.line(face.at(points), fill=BLACK, width=round(w * MID), joint="curve")
    if kind == "danger":
        face.polygon([(-0.075, -0.22), (0.075, -0.22), (0.045, 0.2), (-0.045, 0.2)], BLACK, 0.012)
        face.disc(0.075, BLACK, 0, 0.34)
    elif kind == "bend":
        line([(-0.08, 0.42), (-0.08, 0.16), (0.1, 0.0), (0.1, -0.16)], 0.1)
        face.polygon([(-0.05, -0.12), (0.25, -0.12), (0.1, -0.34)], BLACK)
    elif kind == "crossroads":
        line([(0, 0.42), (0, -0.3)], 0.12)
        line([(-0.28, 0.14), (0.28, 0.14)], 0.1)
    elif kind == "bumps":
        face.polygon([(-0.42, 0.36), (0.42, 0.36), (0.42, 0.42), (-0.42, 0.42)], BLACK)
        for x in (-0.19, 0.19):
            face.draw.pieslice([*face.at([(x - 0.17, 0.2)])[0], *face.at([(x + 0.17, 0.54)])[0]], 180, 360, fill=BLACK)
    else:
        walker(face, BLACK, 0.1, 0.85)


def face(name, variant=None):
    f = Face()
    if name == "stop":
        f.polygon(ngon(8, 0.97, math.pi / 8), WHITE, 0.03)
        f.polygon(ngon(8, 0.90, math.pi / 8), RED, 0.02)
        f.text("STOP", 76, WHITE, 0.0, 0.98)
    elif name == "give way":
        triangle(f, False)
    elif name == "no entry":
        f.disc(0.99, WHITE)
        f.disc(0.95, RED)
        f.polygon([(-0.68, -0.15), (0.68, -0.15), (0.68, 0.15), (-0.68, 0.15)], WHITE, 0.02)
    elif name == "speed limit":
        f.disc(0.99, WHITE)
        f.disc(0.96, RED)
        f.disc(0.74, WHITE)
        f.text(variant, 100, BLACK, 0.0, 0.98 if len(variant) < 3 else 0.7)
    elif name == "priority road":
        f.polygon(ngon(4, 0.94, 0), BLACK, 0.05)
        f.polygon(ngon(4, 0.93, 0), WHITE, 0.04)
        f.polygon(ngon(4, 0.68, 0), BLACK, 0.03)
        f.polygon(ngon(4, 0.66, 0), YELLOW, 0.03)
    elif name == "parking":
        f.polygon([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], WHITE, 0.11)
        f.polygon([(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)], BLUE, 0.10)
        f.text("P", 190, WHITE)
    elif name == "pedestrian crossing":
        f.polygon([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], WHITE, 0.11)
        f.polygon([(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)], BLUE, 0.10)
        f.polygon([(0, -0.68), (0.74, 0.64), (-0.74, 0.64)], WHITE, 0.03)
        for x in (-0.48, -0.18, 0.12, 0.42):
            f.polygon([(x, 0.5), (x + 0.12, 0.5), (x + 0.16, 0.62), (x + 0.02, 0.62)], BLACK)
        walker(f, BLACK, 0.08, 0.98)
    else:
        warning(f, variant)
    return f.array()


def faces():
    """Every face: a list of arrays for each class."""
    variants = {"speed limit": ["20", "30", "40", "50", "60", "70", "80", "90", "100", "120"],
                "warning": ["danger", "bend", "crossroads", "bumps", "people"]}
    return [[face(name, v) for v in variants.get(name, [None])] for name in CLASSES]


def distractors(rng, count):
    """Boards that are no signs of the classes: backs of signs, plain discs, arrows, adverts, bus stops."""
    paint = lambda: [RED, BLUE, YELLOW, WHITE, (40, 120, 60), (120, 125, 128), (230, 110, 20), (60, 60, 66)][rng.integers(8)]
    out = []
    for i in range(count):
        f, back = Face(), (118, 122, 126)
        kind = i % 8
        if kind == 0:  # the back of a sign
            shape = rng.integers(4)
            if shape == 0:
                f.disc(0.97, back)
            else:
                f.polygon(ngon([3, 4, 8][shape - 1], 0.92, [-math.pi / 2, math.pi / 4, math.pi / 8][shape - 1]), back, 0.06)
            f.polygon([(-0.05, -0.6), (0.05, -0.6), (0.05, 0.6), (-0.05, 0.6)], (92, 96, 100))
        elif kind == 1:  # a disc or a ring of any colour, with or without a letter
            f.disc(0.97, paint())
            f.disc(rng.uniform(0.6, 0.85), paint())
            if rng.random() < 0.5:
                f.text("HBMTUAX"[rng.integers(7)], 110, paint())
        elif kind == 2:  # a shop's board
            f.polygon([(-0.95, -0.4), (0.95, -0.4), (0.95, 0.4), (-0.95, 0.4)], paint(), 0.03)
            f.text(["CAFE", "BAR", "SHOP", "PIZZA", "HOTEL", "BANK"][rng.integers(6)], 62, paint())
        elif kind == 3:  # an arrow to keep to
            f.disc(0.98, WHITE)
            f.disc(0.93, BLUE)
            a = rng.choice([0, math.pi / 2, math.pi, math.pi * 0.75, math.pi * 0.25])
            turn = lambda x, y: (x * math.cos(a) - y * math.sin(a), x * math.sin(a) + y * math.cos(a))
            shaft, head = [(-0.6, -0.12), (0.15, -0.12), (0.15, 0.12), (-0.6, 0.12)], [(0.1, -0.42), (0.65, 0.0), (0.1, 0.42)]
            f.polygon([turn(*p) for p in shaft], WHITE)
            f.polygon([turn(*p) for p in head], WHITE)
        elif kind == 4:  # a signpost
            f.polygon([(-0.95, -0.28), (0.7, -0.28), (0.95, 0.0), (0.7, 0.28), (-0.95, 0.28)], [(16, 78, 168), (250, 200, 40), (240, 240, 240)][rng.integers(3)], 0.02)
            f.text(["Centre", "Airport", "North", "Harbour", "Market"][rng.integers(5)], 44, [WHITE, BLACK, BLACK][rng.integers(3)])
        elif kind == 5:  # a poster
            f.polygon([(-0.7, -0.95), (0.7, -0.95), (0.7, 0.95), (-0.7, 0.95)], paint())
            for _ in range(4):
                x, y = rng.uniform(-0.6, 0.6, 2)
                f.disc(rng.uniform(0.1, 0.4), paint(), x * 0.6, y)
            f.text(["SALE", "NEW", "LIVE", "2x1"][rng.integers(4)], 50, paint(), rng.uniform(-0.6, 0.6))
        elif kind == 6:  # end of restrictions, or no parking
            f.disc(0.98, WHITE if rng.random() < 0.5 else RED)
            f.disc(0.92 if rng.random() < 0.5 else 0.74, WHITE if rng.random() < 0.5 else BLUE)
            f.draw.line(f.at([(-0.62, 0.62), (0.62, -0.62)]), fill=BLACK if rng.random() < 0.5 else RED, width=round(0.16 * MID))
        else:  # a board of information
            f.polygon([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], [BLUE, (30, 110, 60), WHITE][rng.integers(3)], 0.1)
            f.text("iHBA+"[rng.integers(5)], 150, [WHITE, YELLOW, BLACK][rng.integers(3)])
        out.append(f.array())
    return out
