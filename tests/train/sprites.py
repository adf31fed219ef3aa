"""What stands beside a road, drawn without perspective: trees, facades, cars, lamps. RGBA, premultiplied, 0..1."""
import cv2
import numpy as np
from PIL import Image, ImageDraw


def noise(shape, cell, rng, octaves=4, keep=0.55):
    """Fractal noise of mean 0 and deviation 1; `cell` is the size of its largest features in pixels."""
    h, w = shape
    total, gain = np.zeros(shape, np.float32), 1.0
    for _ in range(octaves):
        grid = rng.standard_normal((int(h / cell) + 3, int(w / cell) + 3)).astype(np.float32)
        big = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC if cell > 2 else cv2.INTER_LINEAR)
        y, x = (rng.random(2) * cell).astype(int)
        total += gain * big[y:y + h, x:x + w]
        gain, cell = gain * keep, max(1.0, cell / 2)
    return total / (total.std() + 1e-6)


def premultiplied(rgb, alpha):
    return np.dstack([rgb * alpha[..., None], alpha]).astype(np.float32)


def tree(rng):
    """A crown of leaf clusters, lit from above, on a trunk. 320 x 256."""
    h, w = 320, 256
    yy, xx = np.mgrid[:h, :w].astype(np.float32)
    kind = rng.random()
    hue = np.array([[0.24, 0.40, 0.15], [0.18, 0.34, 0.16], [0.40, 0.44, 0.14], [0.58, 0.38, 0.12], [0.13, 0.27, 0.17]])[
        rng.choice(5, p=[0.35, 0.3, 0.15, 0.06, 0.14])] * rng.uniform(0.8, 1.15)
    trunk = np.array([0.27, 0.21, 0.16]) * rng.uniform(0.7, 1.2)
    rgb, alpha = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32)
    lean = rng.uniform(-10, 10)
    for (x0, y0, x1, y1, t0, t1) in [(128, h, 128 + lean, 150, 11, 6)] + [
            (128 + lean * 0.7, 200 - 8 * i, 128 + rng.uniform(-70, 70), rng.uniform(70, 140), 5, 2) for i in range(4)]:
        n = np.array([y1 - y0, x0 - x1]) / np.hypot(x1 - x0, y1 - y0)
        p = np.array([[x0, y0] + n * t0, [x1, y1] + n * t1, [x1, y1] - n * t1, [x0, y0] - n * t0])
        m = np.zeros((h, w), np.uint8)
        cv2.fillPoly(m, [np.round(p * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        m = m.astype(np.float32) / 255
        shade = np.clip(0.75 + (xx - x0) / 26, 0.5, 1.25)[..., None]
        rgb, alpha = rgb * (1 - m[..., None]) + trunk * shade * m[..., None], np.maximum(alpha, m)
    clusters = []
    if kind < 0.25:  # a conifer
        for i in range(46):
            t = rng.random() ** 0.7
            clusters.append((128 + rng.uniform(-1, 1) * (12 + 78 * t), 16 + 240 * t, 10 + 20 * t))
    else:
        rx, ry, cy = rng.uniform(70, 104), rng.uniform(72, 104), rng.uniform(112, 128)
        for i in range(60):
            a, r = rng.uniform(0, 2 * np.pi), rng.random() ** 0.5
            clusters.append((128 + lean + rx * r * np.cos(a), cy + ry * r * np.sin(a), rng.uniform(13, 27)))
    clusters.sort(key=lambda c: -c[1])
    ragged, fine = noise((h, w), 11, rng, 3, 0.8), noise((h, w), 5, rng, 2, 0.9)
    for x, y, r in clusters:
        d = np.hypot(xx - x, (yy - y) * 1.15) / r
        m = np.clip((1.0 - d + 0.30 * ragged) * 5, 0, 1)
        top = np.clip(1.02 - (yy - y) / r * 0.36 - (xx - x) / r * 0.18, 0.45, 1.6) * (0.62 + 0.42 * (1 - y / 260))
        colour = hue * (top * (1 + 0.17 * fine))[..., None] * rng.uniform(0.86, 1.14)
        rgb, alpha = rgb * (1 - m[..., None]) + colour * m[..., None], np.maximum(alpha, m)
    return premultiplied(np.clip(rgb, 0, 1), alpha)


def branch(rng):
    """Twigs with leaves that hang in from one side. 256 x 256."""
    h, w = 256, 256
    im = Image.new("RGBA", (2 * w, 2 * h), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    hue = np.array([[60, 100, 38], [44, 84, 40], [104, 112, 36]])[rng.integers(3)]
    for _ in range(int(rng.integers(3, 6))):
        x, y, a = 0.0, rng.uniform(40, 470), rng.uniform(-0.5, 0.5)
        width = rng.uniform(4, 8)
        for step in range(int(rng.integers(9, 17))):
            nx, ny = x + 30 * np.cos(a), y + 30 * np.sin(a)
            d.line([(x, y), (nx, ny)], fill=(58, 44, 34, 255), width=max(2, int(width)))
            for _ in range(6):
                b, r = a + rng.uniform(-1.6, 1.6), rng.uniform(18, 40)
                t = rng.random()
                sx, sy = x + t * (nx - x), y + t * (ny - y)
                ex, ey, n = sx + r * np.cos(b), sy + r * np.sin(b), np.array([-np.sin(b), np.cos(b)]) * r * 0.24
                mx, my = (sx + ex) / 2, (sy + ey) / 2
                c = tuple(int(v) for v in np.clip(hue * rng.uniform(0.6, 1.5), 0, 255)) + (255,)
                d.polygon([(sx, sy), (mx + n[0], my + n[1]), (ex, ey), (mx - n[0], my - n[1])], fill=c)
            x, y, a, width = nx, ny, a + rng.normal(0, 0.28), width * 0.9
    a = np.asarray(im.resize((w, h), Image.BOX), np.float32) / 255
    return premultiplied(a[..., :3], a[..., 3])


def facade(rng, night):
    """The front of a house: wall, rows of windows, a ground floor. 288 x 256; `night` lights some of the windows."""
    h, w = 288, 256
    wall = np.array([[0.72, 0.66, 0.56], [0.62, 0.38, 0.30], [0.80, 0.78, 0.74], [0.55, 0.56, 0.58], [0.74, 0.60, 0.46], [0.46, 0.50, 0.55],
                     [0.84, 0.74, 0.52]])[rng.integers(7)] * rng.uniform(0.8, 1.1)
    img = np.ones((h, w, 3), np.float32) * wall
    img *= (1 + 0.035 * noise((h, w), 40, rng, 5))[..., None]
    if wall[0] - wall[2] > 0.25:
        img[::4] *= 0.92
    floors, columns = int(rng.integers(3, 6)), int(rng.integers(4, 7))
    fh, cw = (h - 66) / floors, w / columns
    ww, wh, sill = rng.uniform(0.42, 0.62) * cw, rng.uniform(0.5, 0.66) * fh, wall * 1.18
    glass = np.array([0.30, 0.38, 0.46]) * rng.uniform(0.6, 1.2)

    def pane(x, y, pw, ph, lit):
        x, y, pw, ph = int(x), int(y), int(pw), int(ph)
        img[y - 2:y + ph + 2, x - 2:x + pw + 2] = np.clip(sill, 0, 1)
        grad = np.linspace(1.35, 0.75, ph)[:, None, None] + np.linspace(0.12, -0.12, pw)[None, :, None]
        inner = np.array([1.0, 0.80, 0.46]) * rng.uniform(0.8, 1.0) if lit else glass * rng.uniform(0.8, 1.25)
        img[y:y + ph, x:x + pw] = np.clip(inner * (grad if not lit else 0.8 + 0.2 * grad), 0, 1)
        img[y:y + ph, x + pw // 2:x + pw // 2 + 2] = np.clip(sill * 0.92, 0, 1)
        if rng.random() < 0.4:
            img[y:y + int(ph * rng.uniform(0.15, 0.6)), x:x + pw] *= 0.7 if not lit else 0.9
        img[y + ph + 2:y + ph + 6, x - 3:x + pw + 3] *= 0.75

    for r in range(floors):
        if rng.random() < 0.3:
            img[int(12 + r * fh) - 3:int(12 + r * fh), :] *= 1.12
        for c in range(columns):
            pane((c + 0.5) * cw - ww / 2, 14 + r * fh + (fh - wh) / 2, ww, wh, night and rng.random() < 0.45)
    img[:6] *= 0.7
    base = h - 50
    img[base - 6:base] *= 0.8
    if rng.random() < 0.6:  # shops
        img[base:] = wall * 0.5
        x = 6
        while x < w - 40:
            sw = int(rng.uniform(34, 70))
            awning = np.array([[0.62, 0.14, 0.14], [0.13, 0.30, 0.52], [0.20, 0.42, 0.26], [0.85, 0.80, 0.66], [0.78, 0.55, 0.15]])[rng.integers(5)]
            pane(x, base + 14, min(sw, w - 4 - x) - 6, 30, night and rng.random() < 0.7)
            img[base:base + 12, x:x + sw - 4] = awning
            x += sw
    else:
        img[base:] *= 0.85
        for x in (int(w * 0.2), int(w * 0.68)):
            img[base + 8:, x:x + 24] = np.array([0.28, 0.20, 0.15]) * rng.uniform(0.6, 1.4)
    return premultiplied(np.clip(img, 0, 1), np.ones((h, w), np.float32))


def car(rng, night):
    """A car from behind, or from the front. 192 x 256."""
    s = 3
    im = Image.new("RGBA", (256 * s, 192 * s), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    box = lambda x0, y0, x1, y1, fill, r=0: d.rounded_rectangle([x0 * s, y0 * s, x1 * s, y1 * s], r * s, fill=fill)
    poly = lambda pts, fill: d.polygon([(x * s, y * s) for x, y in pts], fill=fill)
    paint = np.array([[176, 28, 32], [28, 60, 120], [205, 208, 212], [40, 42, 46], [120, 126, 132], [232, 232, 230], [30, 84, 66], [150, 110, 60]])[
        rng.integers(8)]
    tone = lambda k: tuple(int(v) for v in np.clip(paint * k, 0, 255)) + (255,)
    roof, back = rng.uniform(12, 34), rng.random() < 0.7
    for x in (34, 186):
        box(x, 138, x + 36, 186, (18, 18, 20, 255), 9)
    poly([(52, 86), (72, roof + 8), (88, roof), (168, roof), (184, roof + 8), (204, 86)], tone(0.86))
    poly([(62, 84), (78, roof + 12), (178, roof + 12), (194, 84)], (38, 48, 58, 255))
    poly([(66, 82), (80, roof + 14), (120, roof + 14), (96, 82)], (74, 90, 104, 255))
    box(26, 82, 230, 164, tone(1.0), 17)
    box(28, 82, 228, 108, tone(1.14), 12)
    box(30, 138, 226, 168, tone(0.6), 10)
    for x in (32, 182):
        if back:
            box(x, 94, x + 42, 116, (210, 22, 22, 255) if not night else (255, 60, 44, 255), 6)
            box(x + (26 if x < 100 else 4), 98, x + (38 if x < 100 else 16), 112, (240, 180, 170, 255), 3)
        else:
            box(x, 94, x + 42, 116, (226, 232, 236, 255) if not night else (255, 252, 230, 255), 9)
    if back:
        box(98, 112, 158, 128, (238, 238, 232, 255), 2)
        for i in range(6):
            box(103 + 9 * i, 116, 108 + 9 * i, 124, (30, 30, 40, 255))
    else:
        box(84, 98, 172, 118, (24, 24, 28, 255), 5)
        box(98, 142, 158, 156, (238, 238, 232, 255), 2)
    a = np.asarray(im.resize((256, 192), Image.BOX), np.float32) / 255
    a[..., :3] *= np.clip(1.1 - np.linspace(0, 0.3, 192)[:, None, None], 0, 1)
    return premultiplied(np.clip(a[..., :3], 0, 1), a[..., 3])


def lamp(rng):
    """A street lamp with an arm to the right, or a traffic light. 320 x 96."""
    s = 3
    im = Image.new("RGBA", (96 * s, 320 * s), (0, 0, 0, 0))
    d = ImageDraw.Draw(im)
    grey = tuple([int(rng.uniform(60, 130))] * 3) + (255,)
    if rng.random() < 0.6:
        d.line([(14 * s, 320 * s), (15 * s, 26 * s)], fill=grey, width=5 * s)
        d.arc([15 * s, 8 * s, 78 * s, 52 * s], 180, 290, fill=grey, width=4 * s)
        d.rounded_rectangle([52 * s, 7 * s, 88 * s, 15 * s], 4 * s, fill=(170, 172, 170, 255))
    else:
        d.line([(40 * s, 320 * s), (40 * s, 120 * s)], fill=grey, width=7 * s)
        d.rounded_rectangle([18 * s, 24 * s, 62 * s, 140 * s], 8 * s, fill=(24, 26, 26, 255))
        on = rng.integers(3)
        for i, c in enumerate([(235, 40, 30), (245, 170, 20), (40, 215, 110)]):
            c = c if i == on else tuple(v // 5 for v in c)
            d.ellipse([25 * s, (30 + 36 * i) * s, 55 * s, (60 + 36 * i) * s], fill=c + (255,))
    a = np.asarray(im.resize((96, 320), Image.BOX), np.float32) / 255
    return premultiplied(a[..., :3], a[..., 3])
