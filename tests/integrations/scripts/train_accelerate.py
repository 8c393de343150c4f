"""Trains by Accelerate; the argument is the tracker's name."""

import json
import sys

import torch
from accelerate import Accelerator

if sys.argv[1] == "runtide":
    import runtide.integrations.accelerate  # noqa: F401 - makes the name known to Accelerate

torch.manual_seed(0)
accelerator = Accelerator(log_with=sys.argv[1], cpu=True)
options = {sys.argv[1]: {"tags": ["small"], "name": "accelerate"}}
accelerator.init_trackers("tiny", config={"lr": 0.1, "layers": 2}, init_kwargs=options)
model = torch.nn.Linear(4, 1)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1))
losses = []
for step in range(5):
    loss = model(torch.randn(8, 4)).square().mean()
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    accelerator.log({"loss": loss.item(), "nested": {"step": step}}, step=10 * step)
tracker = accelerator.get_tracker(sys.argv[1])
tracker.log_images({"image": [torch.zeros(2, 2).numpy()]}, step=50)
tracker.log_table("table", columns=["a"], data=[[1]], step=50)
accelerator.log({"done": 1}, step=50)
accelerator.end_training()
print(json.dumps(losses))
