"""Sky, hills and ground of a scene, and the camera that sees them."""
from dataclasses import dataclass

import cv2
import numpy as np

from sprites import noise

WIDTH, HEIGHT = 320, 192  # a scene in its own units; a picture has `k` pixels to the unit
EYE = 1.5                 # metres above the ground

MOODS = {  # sky above, sky at the horizon, tint of the light, its strength, share of clouds, metres of sight, how often
    "clear": ((0.22, 0.42, 0.74), (0.70, 0.82, 0.92), (1.06, 1.0, 0.93), 1.0, 0.45, 160, 0.34),
    "overcast": ((0.58, 0.62, 0.67), (0.78, 0.80, 0.82), (0.95, 1.0, 1.04), 0.80, 0.9, 110, 0.20),
    "golden": ((0.34, 0.42, 0.62), (0.98, 0.76, 0.48), (1.22, 0.98, 0.72), 0.95, 0.5, 120, 0.16),
    "dusk": ((0.16, 0.18, 0.36), (0.86, 0.50, 0.42), (0.98, 0.82, 0.92), 0.46, 0.5, 110, 0.10),
    "night": ((0.03, 0.04, 0.09), (0.13, 0.12, 0.16), (0.74, 0.82, 1.06), 0.14, 0.3, 140, 0.12),
    "fog": ((0.74, 0.76, 0.78), (0.80, 0.81, 0.82), (0.98, 1.0, 1.02), 0.85, 0.0, 24, 0.08),
}


@dataclass
class Camera:
    k: int
    horizon: float
    vanish: float
    focal: float

    def project(self, u, height, v):
        """Pixels of a point `u` metres to the right, `height` above the ground, `v` ahead."""
        return (self.vanish + self.focal * u / v) * self.k, (self.horizon + self.focal * (EYE - height) / v) * self.k


@dataclass
class Mood:
    name: str
    above: np.ndarray
    below: np.ndarray
    tint: np.ndarray
    strength: float
    clouds: float
    sight: float
    sun: float  # where in the picture it stands, 0..1 across

    @property
    def night(self):
        return self.name == "night"


def mood(rng, name=None):
    names = list(MOODS)
    name = name or names[rng.choice(len(names), p=[MOODS[n][6] for n in names])]
    above, below, tint, strength, clouds, sight, _ = MOODS[name]
    vary = lambda c: np.clip(np.array(c) * rng.uniform(0.92, 1.08) * rng.uniform(0.97, 1.03, 3), 0, 1).astype(np.float32)
    return Mood(name, vary(above), vary(below), (np.array(tint) * rng.uniform(0.96, 1.04, 3)).astype(np.float32),
                strength * rng.uniform(0.85, 1.12), clouds * rng.uniform(0.4, 1.15), sight * rng.uniform(0.8, 1.4), rng.uniform(0.05, 0.95))


def sky(cam, m, rng):
    k, w, h = cam.k, WIDTH * cam.k, HEIGHT * cam.k
    y = np.clip(np.arange(h, dtype=np.float32) / (cam.horizon * k), 0, 1)[:, None, None]
    img = m.above * (1 - y ** 1.5) + m.below * y ** 1.5
    img = np.repeat(img, w, 1).astype(np.float32)
    if m.clouds > 0.05:
        wide = cv2.resize(noise((h, w // 3 + 1), 46 * k, rng, 5), (w, h), interpolation=cv2.INTER_LINEAR)
        cover = np.clip((wide + 2.2 * m.clouds - 1.4) * 0.75, 0, 1) * (1 - 0.6 * y[..., 0])
        lit = np.clip(0.86 + 0.12 * noise((h, w), 30 * k, rng, 3), 0.5, 1.1)[..., None]
        white = (0.35 * m.below + 0.65 * np.clip(m.below + 0.25, 0, 1)) if not m.night else m.below * 0.7
        img += cover[..., None] * (white * lit - img)
    if m.name in ("clear", "golden", "dusk"):
        yy, xx = np.mgrid[:h, :w].astype(np.float32) / k
        d = np.hypot(xx - m.sun * WIDTH, (yy - cam.horizon * 0.55) * 1.2)
        img += (0.30 * np.exp(-d / 60) + 0.25 * np.exp(-d / 16))[..., None] * np.array([1.0, 0.85, 0.6], np.float32)
    return np.clip(img, 0, 1)


def hills(img, cam, m, rng):
    """One or two ridges on the horizon, paler with distance; woods, or the roofs of a town."""
    k, w = cam.k, WIDTH * cam.k
    yy = np.arange(HEIGHT * k, dtype=np.float32)[:, None]
    for i in range(int(rng.integers(1, 3))):
        far = 0.75 - 0.3 * i
        if rng.random() < 0.3:
            line = np.repeat(rng.uniform(4, 26, w // (9 * k) + 1), 9 * k)[:w] * (1 - 0.3 * i)
        else:
            line = (9 - 3 * i) + 5 * noise((1, w), 70 * k, rng, 6, 0.45)[0]
        top = (cam.horizon - np.maximum(line, 1.0)) * k
        mask = np.clip(yy - top[None] + 0.5, 0, 1)[..., None]
        base = np.array([[0.20, 0.30, 0.20], [0.30, 0.34, 0.38], [0.33, 0.33, 0.22]])[rng.integers(3)]
        colour = (base * (0.25 if m.night else 1) * (1 - far) + m.below * far).astype(np.float32)
        img += mask * (colour - img)


def ground(img, cam, m, rng, place):
    """Road, markings, verges or pavements: everything is a function of metres ahead (v) and across (u)."""
    k, h, w = cam.k, HEIGHT * cam.k, WIDTH * cam.k
    y0 = int(np.ceil(cam.horizon * k)) + 1
    below = (np.arange(y0, h, dtype=np.float32)[:, None] / k - cam.horizon)
    v = cam.focal * EYE / below * np.ones((1, w), np.float32)
    foot = v / cam.focal / k  # metres across a pixel
    bend = rng.normal(0, 0.006)
    u = (np.arange(w, dtype=np.float32)[None, :] / k - cam.vanish) * v / cam.focal - bend * v ** 2
    tile = [noise((512, 512), 90, rng, 6, 0.72), noise((512, 512), 14, rng, 3, 0.9)]
    def texture(i, scale):
        t = cv2.remap(tile[i], np.mod(u * scale, 511).astype(np.float32), np.mod(v * scale, 511).astype(np.float32), cv2.INTER_LINEAR)
        return t * np.clip(2.2 - foot * scale * 0.8, 0, 1)
    inside = lambda d: np.clip(d / np.maximum(foot, 1e-4) + 0.5, 0, 1)[..., None]
    span = lambda a, b: inside(u - a) * inside(b - u)
    half, centre = rng.uniform(3.0, 4.2), rng.uniform(-2.2, 0.6)
    u = u - centre
    if place == "city":
        base = np.array([0.50, 0.49, 0.47]) * rng.uniform(0.8, 1.15)
        seam = np.maximum(np.mod(u, 0.8) < 0.04, np.mod(v, 0.8) < 0.05) * np.clip(1.5 - foot * 25, 0, 1)
        rgb = base * (1 + 0.05 * texture(0, 40) - 0.14 * seam)[..., None]
    else:
        base = np.array([[0.30, 0.40, 0.15], [0.24, 0.36, 0.16], [0.50, 0.45, 0.22], [0.36, 0.38, 0.18]])[rng.integers(4)] * rng.uniform(0.85, 1.15)
        rgb = base * (1 + 0.16 * texture(0, 30) + 0.16 * texture(1, 60))[..., None]
    kerb = span(-half - 0.25, half + 0.25)
    rgb = rgb + kerb * ((np.array([0.60, 0.59, 0.57]) if place == "city" else base * 0.75 + 0.12) - rgb)
    tar = np.array([0.27, 0.275, 0.29]) * rng.uniform(0.75, 1.35)
    wear = 0.05 * np.exp(-((np.abs(np.abs(u) - half / 2) - 0.8) / 0.35) ** 2)
    asphalt = tar * (1 + 0.06 * texture(0, 26) + 0.09 * texture(1, 90) + wear)[..., None]
    rgb = rgb + span(-half, half) * (asphalt - rgb)
    paint = np.array([0.84, 0.84, 0.80]) * (1 + 0.05 * texture(1, 70))[..., None]
    dash = inside(np.mod(v + rng.uniform(0, 6), 6) - 3.0) if rng.random() < 0.75 else 1.0
    lines = span(-0.07, 0.07) * dash
    if rng.random() < 0.6:
        lines = np.maximum(lines, np.maximum(span(half - 0.35, half - 0.22), span(-half + 0.22, -half + 0.35)))
    if rng.random() < 0.22:  # zebra crossing
        at = rng.uniform(6, 20)
        bars = inside(0.25 - np.abs(np.mod(u, 1.0) - 0.5)) * span(-half + 0.3, half - 0.3)
        lines = lines * (1 - inside(v - at + 1) * inside(at + 4 - v)) + bars * inside(v - at) * inside(at + 3 - v)
    rgb = rgb + 0.85 * lines * (paint - rgb)
    if m.name in ("clear", "golden") and rng.random() < 0.55:  # shade of what stands outside the picture
        rgb *= (1 - 0.42 * np.clip(texture(0, 11 + rng.uniform(0, 8)) * 3 - rng.uniform(0, 1.5), 0, 1))[..., None]
    haze = (1 - np.exp(-v / m.sight))[..., None] * 0.9
    img[y0:] = np.clip(rgb + haze * (m.below * (0.5 if m.night else 1) - rgb), 0, 1)
    return half, centre, bend
