"""Trains a tiny detector by Ultralytics on four generated images."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from ultralytics import YOLO, settings

root = Path("data").resolve()
random = np.random.default_rng(0)
for split in ("train", "val"):
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(root / f"images/{split}/{number}.jpg"), random.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        (root / f"labels/{split}/{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
(root / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames:\n  0: thing\n")

settings.update({"wandb": True, "runs_dir": str(root / "runs")})
model = YOLO("yolov8n.yaml")
model.train(
    data=str(root / "data.yaml"), epochs=2, imgsz=32, batch=4, workers=0, device="cpu", project="tiny", name="yolo",
    plots=True,
)  # fmt: skip
with (Path(model.trainer.save_dir) / "results.csv").open() as file:
    print(json.dumps([{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]))
