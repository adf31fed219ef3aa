"""Loose signs, turned and worn, to put into pictures while training: more to learn from in each of them."""
import cv2
import numpy as np

import plates
from scene import overlap, weathered


class Stickers:
    def __init__(self, rng, count=700, sizes=(9, 66)):
        faces, others = plates.faces(), plates.distractors(rng, 32)
        self.items = []
        for _ in range(count):
            label = int(rng.integers(-2, len(faces)))  # two draws of ten are no sign of the classes
            face = others[rng.integers(len(others))] if label < 0 else faces[label][rng.integers(len(faces[label]))]
            size = np.exp(rng.uniform(*np.log(sizes)))
            n = int(np.clip(1.3 * size, 32, 96))
            face = weathered(face, n, rng, True)
            yaw, roll, deep = rng.normal(0, 0.35), rng.normal(0, 0.06), 0.35
            c, s, quad = np.cos(roll), np.sin(roll), []
            for a, b in [(-1, -1), (1, -1), (1, 1), (-1, 1)]:
                z = 1 + deep * a * np.sin(yaw) * 0.5
                quad.append([(a * np.cos(yaw) * c - b * s) / z, (a * np.cos(yaw) * s + b * c) / z])
            quad = np.array(quad) * size / 2
            quad -= quad.min(0) - 1.5
            w, h = np.ceil(quad.max(0) + 1.5).astype(int)
            m = cv2.getPerspectiveTransform(np.float32([[-.5, -.5], [n - .5, -.5], [n - .5, n - .5], [-.5, n - .5]]), np.float32(quad - 0.5))
            big = cv2.warpPerspective(face, m, (int(w), int(h)), flags=cv2.INTER_LINEAR)
            ys, xs = np.nonzero(big[..., 3] > 0.45)
            if len(xs) > 20:
                self.items.append((big, label, np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)))

    def put(self, image, boxes, labels, rng, most):
        """Up to `most` more signs on a picture (uint8, changed in place)."""
        h, w = image.shape[:2]
        boxes, labels = list(boxes), list(labels)
        for _ in range(int(rng.integers(0, most + 1))):
            item, label, box = self.items[rng.integers(len(self.items))]
            ih, iw = item.shape[:2]
            x, y = int(rng.integers(0, w - iw)), int(rng.integers(0, h - ih))
            at = box + [x, y, x, y]
            if any(overlap(at, b) > 0.05 for b in boxes):
                continue
            region = image[y:y + ih, x:x + iw]
            around = region.mean() / 255
            gain = 255 * np.clip(around * rng.uniform(0.8, 2.2) + rng.uniform(0, 0.3), 0.12, 1.0)
            region[:] = np.clip(region * (1 - item[..., 3:]) + item[..., :3] * np.float32(gain), 0, 255).astype(np.uint8)
            if label >= 0:
                boxes.append(at)
                labels.append(label)
        return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)
