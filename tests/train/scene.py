"""Pictures of streets with road signs, and where the signs are.

A scene is a pinhole camera's view of a road with houses, trees, cars and lamps along it; signs stand on posts at real sizes, turned a
little away. It is painted from far to near, so that what stands in front hides what is behind, then lit, then photographed.
"""
import cv2
import numpy as np

import backdrop
import plates
import sprites
from backdrop import HEIGHT, WIDTH
from sprites import noise

VISIBLE = 0.45   # a sign that shows less of itself than this is not in the ground truth


class Props:
    """What scenes are made of; drawn once, used many times."""

    def __init__(self, seed, count=24):
        rng = np.random.default_rng(seed)
        self.faces, self.others = plates.faces(), plates.distractors(rng, 2 * count)
        self.trees = [sprites.tree(rng) for _ in range(count)]
        self.branches = [sprites.branch(rng) for _ in range(count // 2)]
        self.lamps = [sprites.lamp(rng) for _ in range(count // 2)]
        self.houses = {night: [sprites.facade(rng, night) for _ in range(count)] for night in (False, True)}
        self.cars = {night: [sprites.car(rng, night) for _ in range(count // 2)] for night in (False, True)}


class Painter:
    def __init__(self, img, cam, mood):
        self.img, self.cam, self.mood, self.signs = img, cam, mood, []

    def place(self, sprite, quad, v=0.0, gain=1.0):
        """Put a sprite on a quadrangle of pixels (from its top left corner, clockwise). Returns where, and its opacity there."""
        quad = np.asarray(quad, np.float32)
        h, w = self.img.shape[:2]
        x0, y0 = np.floor(quad.min(0)).astype(int) - 1
        x1, y1 = np.ceil(quad.max(0)).astype(int) + 2
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, w), min(y1, h)
        if x1 <= x0 or y1 <= y0:
            return None
        side = max(np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[3]), 2)
        tall = max(np.linalg.norm(quad[3] - quad[0]), np.linalg.norm(quad[2] - quad[1]), 2)
        sh, sw = sprite.shape[:2]
        if side < sw * 0.8 or tall < sh * 0.8:
            sw, sh = min(sw, int(np.ceil(side * 1.1))), min(sh, int(np.ceil(tall * 1.1)))
            sprite = cv2.resize(sprite, (sw, sh), interpolation=cv2.INTER_AREA)
        m = cv2.getPerspectiveTransform(np.float32([[-.5, -.5], [sw - .5, -.5], [sw - .5, sh - .5], [-.5, sh - .5]]), quad - np.float32([x0, y0]))
        part = cv2.warpPerspective(sprite, m, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        alpha = part[..., 3:]
        rgb = part[..., :3] * gain
        if v:
            t = float(1 - np.exp(-v / self.mood.sight)) * 0.9
            rgb = rgb * (1 - t) + t * self.mood.below * (0.5 if self.mood.night else 1) * alpha
        region = self.img[y0:y1, x0:x1]
        region *= 1 - alpha
        region += rgb
        self.cover(x0, y0, alpha[..., 0])
        return x0, y0, alpha[..., 0]

    def cover(self, x0, y0, alpha):
        """Take what is hidden now from the visible part of earlier signs."""
        h, w = alpha.shape
        for s in self.signs:
            sx, sy, seen = s["x"], s["y"], s["seen"]
            a, b, c, d = max(x0, sx), max(y0, sy), min(x0 + w, sx + seen.shape[1]), min(y0 + h, sy + seen.shape[0])
            if a < c and b < d:
                seen[b - sy:d - sy, a - sx:c - sx] *= 1 - alpha[b - y0:d - y0, a - x0:c - x0]

    def upright(self, sprite, u, v, width, height, lift=0.0, gain=1.0):
        p = self.cam.project
        return self.place(sprite, [p(u - width / 2, lift + height, v), p(u + width / 2, lift + height, v),
                                   p(u + width / 2, lift, v), p(u - width / 2, lift, v)], v, gain)

    def shade(self, u, v, width, depth=0.35):
        """A soft shadow under something."""
        (x, y), rx = self.cam.project(u, 0, v), self.cam.focal * width / 2 / v * self.cam.k
        ry = max(rx * 0.16, 1)
        h, w = self.img.shape[:2]
        x0, x1, y0, y1 = int(max(x - 1.3 * rx, 0)), int(min(x + 1.3 * rx, w)), int(max(y - 1.3 * ry, 0)), int(min(y + 1.3 * ry, h))
        if x0 < x1 and y0 < y1:
            yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
            d = ((xx - x) / rx) ** 2 + ((yy - y) / ry) ** 2
            self.img[y0:y1, x0:x1] *= (1 - (0.6 if not self.mood.night else 0.3) * np.clip(1 - d / 1.6, 0, 1))[..., None]

    def sign(self, face, label, u, v, size, height, yaw, roll, night_gain):
        """A plate of `size` metres with its middle at `height`; a post below it is the caller's."""
        c, s = np.cos(roll), np.sin(roll)
        quad = []
        for a, b in [(-1, 1), (1, 1), (1, -1), (-1, -1)]:
            a, b = (a * c - b * s) * size / 2, (a * s + b * c) * size / 2
            quad.append(self.cam.project(u + a * np.cos(yaw), height + b, v + a * np.sin(yaw)))
        put = self.place(face, quad, v * 0.7, night_gain)
        if put is not None and label is not None:
            quad = np.array(quad)
            x, y, alpha = put
            solid = face[..., 3] > 0.5
            ys, xs = np.nonzero(solid.any(1))[0], np.nonzero(solid.any(0))[0]
            n = face.shape[0]
            m = cv2.getPerspectiveTransform(np.float32([[0, 0], [n, 0], [n, n], [0, n]]), np.float32(quad))
            edge = np.argwhere(solid ^ cv2.erode(solid.astype(np.uint8), np.ones((3, 3))).astype(bool))[::5, ::-1].astype(np.float32)
            p = cv2.perspectiveTransform(edge[None] + 0.5, m)[0] if len(edge) else np.float32([[xs[0], ys[0]], [xs[-1], ys[-1]]])
            self.signs.append(dict(x=x, y=y, seen=alpha.copy(), total=cv2.contourArea(np.float32(quad)) * solid.mean(),
                                   label=label, box=[*p.min(0), *p.max(0)]))


def weathered(face, n, rng, sun):
    """The same plate at `n` pixels, faded, dirty, in part in the shade."""
    face = cv2.resize(face, (n, n), interpolation=cv2.INTER_AREA)
    rgb, alpha = face[..., :3], face[..., 3:]
    fade = rng.uniform(0, 0.25) ** 1.5
    rgb = rgb * (1 - fade) + alpha * fade * np.float32([0.62, 0.60, 0.58])
    gain = np.float32(rng.uniform(0.72, 1.06)) * (1 + rng.uniform(-0.14, 0.14) * np.linspace(-1, 1, n, dtype=np.float32)[:, None, None])
    if rng.random() < 0.4:
        gain = gain * (1 - 0.3 * np.clip(noise((n, n), 0.28 * n, rng, 4) - rng.uniform(0.3, 1.3), 0, 1))[..., None]
    if sun and rng.random() < 0.35:
        gain = gain * (1 - rng.uniform(0.3, 0.6) * np.clip(noise((n, n), rng.uniform(0.25, 0.6) * n, rng, 3) * 4 - rng.uniform(-2, 2), 0, 1))[..., None]
    if rng.random() < 0.25:  # sheen
        y, x = np.mgrid[:n, :n].astype(np.float32) / n
        a = rng.uniform(0, np.pi)
        band = np.exp(-(((x - 0.5) * np.cos(a) + (y - 0.5) * np.sin(a) - rng.uniform(-0.4, 0.4)) / rng.uniform(0.08, 0.25)) ** 2)
        rgb = rgb + alpha * rng.uniform(0.1, 0.35) * band[..., None]
    return np.ascontiguousarray(np.dstack([np.clip(rgb * gain, 0, alpha), alpha]), np.float32)


def post():
    shade = np.float32([0.62, 0.85, 1.0, 0.8, 0.55])[None, :, None] * np.float32([0.56, 0.57, 0.58])
    return np.dstack([np.repeat(shade, 40, 0), np.ones((40, 5), np.float32)]).astype(np.float32)


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return 0.0 if w <= 0 or h <= 0 else w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def things(props, cam, m, rng, road, place):
    """What is painted: (metres ahead, function of the painter), in any order."""
    half, centre, bend = road
    at = lambda side, off, v: centre + bend * v ** 2 + side * (half + off)
    pick = lambda pool: pool[rng.integers(len(pool))]
    out = []
    for side in (-1, 1):
        v = rng.uniform(4, 9)
        if place == "city" or (place == "suburb" and rng.random() < 0.6):
            off = rng.uniform(3.5, 6) if place == "city" else rng.uniform(8, 13)
            while v < 110:
                deep, tall, house = rng.uniform(9, 18), rng.uniform(8, 17), pick(props.houses[m.night])
                gap = rng.uniform(0, 1.0) if place == "city" else rng.uniform(5, 18)

                def draw(p, side=side, v=v, deep=deep, tall=tall, house=house, off=off):
                    front = [(at(side, off, v) - bend * (deep * v), v), (at(side, off, v) + bend * deep * v, v + deep)]
                    front = front if side < 0 else front[::-1]
                    (ua, va), (ub, vb) = front
                    # the end wall that faces the camera
                    near_u, wall = at(side, off, v), house[120:200, 2:20].mean((0, 1))
                    flat = np.ones((4, 4, 4), np.float32) * np.append(wall[:3] * 0.62, 1)
                    q = cam.project
                    p.place(flat.astype(np.float32), [q(near_u, tall, v), q(near_u + side * 12, tall, v), q(near_u + side * 12, 0, v), q(near_u, 0, v)], v)
                    p.place(house, [q(ua, tall, va), q(ub, tall, vb), q(ub, 0, vb), q(ua, 0, va)], v + deep / 2, 1.0 if side * (m.sun - 0.5) < 0 else 0.78)
                out.append((v + 0.1 + deep / 2, draw))
                v += deep + gap
        n = int(rng.integers(2, 8) if place == "city" else rng.integers(6, 22))
        for _ in range(n):
            v, off = rng.uniform(7, 90), rng.uniform(1.2, 3) if place == "city" else rng.gamma(2, 5) + 2.0
            tall, sprite = rng.uniform(4, 9), pick(props.trees)
            gain = rng.uniform(0.8, 1.1)
            out.append((v, lambda p, u=at(side, off, v), v=v, t=tall, s=sprite, g=gain: (
                p.shade(u, v, t * 0.7), p.upright(s, u, v, t * 0.8, t, gain=g))))
        for i in range(int(rng.integers(0, 5))):
            v, sprite = rng.uniform(6, 60), pick(props.lamps)
            sprite = sprite if side < 0 else sprite[:, ::-1]
            tall = rng.uniform(3.5, 7)
            out.append((v, lambda p, u=at(side, 0.7, v), v=v, s=np.ascontiguousarray(sprite), t=tall: p.upright(s, u, v, t * 0.3, t)))
    for _ in range(int(rng.integers(0, 5))):
        v, sprite = rng.uniform(9, 60), pick(props.cars[m.night])
        u = at(rng.choice([-1, 1]), rng.choice([-1.1, -half / 2 - 0.1]), v)
        out.append((v, lambda p, u=u, v=v, s=sprite: (p.shade(u, v, 2.0), p.upright(s, u, v, 1.85, 1.4))))
    return out


def posts(props, cam, m, rng, road, count, sizes):
    """Posts with one or two plates, some of them no signs of the classes."""
    half, centre, bend = road
    out, boxes = [], []
    tries = 0
    while count > 0 and tries < 90:
        tries += 1
        size = np.exp(rng.uniform(*np.log(sizes)))  # units across
        real = rng.uniform(0.6, 0.95)
        v = cam.focal * real / size
        low = rng.uniform(1.5, 2.5)
        x = rng.uniform(size * 0.4, WIDTH - size * 0.4)
        u = (x - cam.vanish) * v / cam.focal
        if abs(u - centre - bend * v ** 2) < half * 0.8 and rng.random() < 0.85:
            continue  # on the carriageway: seldom
        stack = 2 if rng.random() < 0.22 else 1
        y = cam.horizon + cam.focal * (1.5 - low) / v
        while y - size * (stack - 0.3) < 0 and low > 0.6:
            low -= 0.15
            y = cam.horizon + cam.focal * (1.5 - low) / v
        yaw, roll = rng.normal(0, 0.30), rng.normal(0, 0.045)
        box = [x - size / 2, y - size * (stack - 0.5), x + size / 2, y + size / 2]
        if box[1] < -size * 0.25 or box[3] > HEIGHT or any(overlap(box, b) > rng.choice([0.02, 0.25], p=[0.85, 0.15]) for b in boxes):
            continue
        boxes.append(box)
        plates_here = []
        for i in range(stack):
            if rng.random() < 0.2:
                plates_here.append((props.others[rng.integers(len(props.others))], None))
            else:
                label = int(rng.integers(len(plates.CLASSES)))
                plates_here.append((props.faces[label][rng.integers(len(props.faces[label]))], label))
                count -= 1
        pixels = int(np.clip(1.4 * size * cam.k, 48, plates.SIZE))
        worn = [(weathered(f, pixels, rng, m.name in ("clear", "golden")), l) for f, l in plates_here]
        gain = rng.uniform(1.0, 2.6) if m.night else (rng.uniform(1, 1.5) if m.name == "dusk" else 1.0)

        def draw(p, u=u, v=v, low=low, real=real, yaw=yaw, roll=roll, worn=worn, gain=gain, stack=stack):
            p.shade(u, v, 0.7)
            top = low + real * (stack - 0.6)
            p.upright(post(), u, v + 0.02, 0.075, top, gain=0.9)
            for i, (f, l) in enumerate(worn):
                p.sign(f, l, u, v, real, low + i * real * 1.02, yaw + rng.normal(0, 0.02), roll, gain)
        out.append((v, draw))
        if rng.random() < 0.30 and size > 14:  # something before it
            kind, near = rng.random(), v * rng.uniform(0.55, 0.9)
            side, edge = (-1, x) if x < WIDTH / 2 else (1, WIDTH - x)
            if kind < 0.7 and edge < 2.2 * size:  # twigs from beyond the picture's edge
                sprite = props.branches[rng.integers(len(props.branches))]
                sprite = np.ascontiguousarray(sprite if side < 0 else sprite[:, ::-1])
                reach, tall, oy = edge + size * rng.uniform(-0.3, 0.3), size * rng.uniform(0.9, 1.6), y + rng.uniform(-0.5, 0.5) * size
                left = 0 if side < 0 else WIDTH - reach
                out.append((near, lambda p, s=sprite, q=(left, oy - tall / 2, left + reach, oy + tall / 2): p.place(
                    s, np.array([[q[0], q[1]], [q[2], q[1]], [q[2], q[3]], [q[0], q[3]]]) * cam.k, near)))
            elif kind < 0.7:  # a tree whose crown reaches over it
                sprite, far = props.trees[rng.integers(len(props.trees))], v * rng.uniform(0.8, 0.95)
                tall = rng.uniform(3.2, 5) * max(1.0, low / 2)
                ox = (x + side * size * rng.uniform(0.1, 0.5) - cam.vanish) * far / cam.focal + side * tall * 0.30
                out.append((far, lambda p, s=sprite, u=ox, v=far, t=tall: (p.shade(u, v, t * 0.7), p.upright(s, u, v, t * 0.8, t))))
            else:
                bar = post()
                wide = size * rng.uniform(0.06, 0.16)

                def pole(p, bar=bar, ox=x + rng.uniform(-0.4, 0.4) * size, wide=wide, near=near):
                    p.place(bar, np.array([[ox - wide / 2, 0], [ox + wide / 2, 0], [ox + wide / 2, HEIGHT], [ox - wide / 2, HEIGHT]]) * cam.k, near, 0.6)
                out.append((near, pole))
    return out


def lit(img, cam, m, rng):
    """Light, in linear values: its colour and strength, headlights, glare, the fall-off of the lens."""
    h, w = img.shape[:2]
    yy, xx = np.mgrid[:h, :w].astype(np.float32) / cam.k
    lin = img * img * m.tint * (m.strength * rng.uniform(0.85, 1.2))
    if m.night:
        pool = np.exp(-((xx - cam.vanish) / rng.uniform(90, 150)) ** 2 - ((yy - cam.horizon - 30) / rng.uniform(40, 75)) ** 2)
        lin += img * img * (rng.uniform(0.35, 0.85) * pool)[..., None] * np.float32([1.0, 0.93, 0.78])
        for _ in range(int(rng.integers(0, 7))):
            x, y, r = rng.uniform(0, WIDTH), rng.uniform(0.1, 1.0) * cam.horizon, rng.uniform(0.8, 3)
            d = np.hypot(xx - x, yy - y)
            colour = np.float32([[1.0, 0.72, 0.36], [1.0, 0.9, 0.75], [0.8, 0.9, 1.0]][rng.integers(3)])
            lin += (np.exp(-(d / r) ** 2) * 1.2 + 0.10 * np.exp(-d / (6 * r)))[..., None] * colour
    elif m.name in ("clear", "golden", "dusk") and rng.random() < 0.3:
        x, y = m.sun * WIDTH, cam.horizon * rng.uniform(0.2, 0.9)
        d, a = np.hypot(xx - x, yy - y), np.arctan2(yy - y, xx - x)
        rays = 1 + 0.25 * np.cos(a * int(rng.integers(5, 9)) + rng.uniform(0, 6))
        glare = rng.uniform(0.15, 0.8) * np.exp(-d / rng.uniform(20, 70)) * rays + 0.8 * np.exp(-(d / 7) ** 2)
        lin += glare[..., None] * np.float32([1.0, 0.86, 0.62]) * m.strength
    if rng.random() < 0.25:  # one side in the shade
        ramp = np.clip((xx if rng.random() < 0.5 else WIDTH - xx) / WIDTH * 2 - rng.uniform(0, 1), 0, 1)
        lin *= (1 - rng.uniform(0.2, 0.5) * ramp)[..., None]
    r2 = ((xx - WIDTH / 2) ** 2 + (yy - HEIGHT / 2) ** 2) / (WIDTH / 2) ** 2
    lin *= (1 - rng.uniform(0, 0.22) * r2)[..., None]
    small = cv2.GaussianBlur(cv2.resize(np.maximum(lin - 0.75, 0), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), 5)
    lin += 0.5 * cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    return np.sqrt(np.clip(lin, 0, 1))


def photographed(img, m, rng, rough, over):
    """Averaged down `over` times; focus, movement, the sensor's noise. `rough` is how bad it may get, 0..1."""
    h, w = img.shape[0] // over, img.shape[1] // over
    unit = w / WIDTH
    img = cv2.resize(img, (w, h), interpolation=cv2.INTER_AREA)
    kind = rng.random()
    if kind < 0.35 * rough:
        img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.3, 1.1) * unit)
    elif kind < 0.55 * rough:
        n, a = int(rng.integers(3, 6) * unit) | 1, rng.uniform(0, np.pi)
        kernel = np.zeros((n, n), np.float32)
        c = n // 2
        cv2.line(kernel, (round(c - c * np.cos(a)), round(c - c * np.sin(a))), (round(c + c * np.cos(a)), round(c + c * np.sin(a))), 1.0)
        img = cv2.filter2D(img, -1, kernel / kernel.sum())
    level = (rng.uniform(0.004, 0.012) + rough * rng.exponential(0.012)) * (2.0 if m.night else 1.0)
    grain = rng.standard_normal((h, w, 1), np.float32) * 0.8 + rng.standard_normal((h, w, 3), np.float32) * 0.5
    return np.clip((img + np.float32(level) * grain) * 255 + 0.5, 0, 255).astype(np.uint8)


def render(props, rng, k=1, over=2, rough=1.0, mood=None, place=None, count=None, sizes=(9, 64)):
    """A picture of WIDTH*k x HEIGHT*k pixels, painted `over` times larger, uint8 RGB; boxes [n,4] in its pixels; labels [n]."""
    cam = backdrop.Camera(k * over, rng.uniform(0.42, 0.62) * HEIGHT, rng.uniform(0.3, 0.7) * WIDTH, rng.uniform(230, 330))
    m = backdrop.mood(rng, mood)
    place = place or ["city", "suburb", "country"][rng.choice(3, p=[0.42, 0.33, 0.25])]
    img = backdrop.sky(cam, m, rng)
    backdrop.hills(img, cam, m, rng)
    road = backdrop.ground(img, cam, m, rng, place)
    painter = Painter(np.ascontiguousarray(img, np.float32), cam, m)
    count = int(rng.integers(0, 13)) if count is None else count
    todo = things(props, cam, m, rng, road, place) + posts(props, cam, m, rng, road, count, sizes)
    for _, draw in sorted(todo, key=lambda t: -t[0]):
        draw(painter)
    picture = photographed(lit(painter.img, cam, m, rng), m, rng, rough, over)
    h, w = picture.shape[:2]
    boxes, labels = [], []
    for s in painter.signs:
        box = np.array(s["box"]) / over
        if s["seen"].sum() >= VISIBLE * s["total"]:
            boxes.append(box.clip(0, [w, h, w, h]))
            labels.append(s["label"])
    return picture, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)
