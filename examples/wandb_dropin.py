"""An ordinary PyTorch script written for W&B: the import is the only line that knows runtide.

pip install torch
python examples/wandb_dropin.py
"""

import torch
from torch import nn

import runtide as wandb

wandb.init(
    project="pytorch-intro",
    config={"learning_rate": 0.01, "architecture": "SimpleCNN", "dataset": "CIFAR-10", "epochs": 5},
)
config = wandb.config

model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
criterion = nn.CrossEntropyLoss()

for epoch in range(config.epochs):
    total = 0.0
    for _ in range(100):
        inputs, targets = torch.randn(64, 784), torch.randint(0, 10, (64,))
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        wandb.log({"batch_loss": loss.item()})
        total += loss.item()
    wandb.log({"epoch": epoch + 1, "avg_loss": total / 100})

wandb.finish()
