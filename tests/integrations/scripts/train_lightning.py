"""Trains a tiny module by Lightning; arguments: the package (lightning or pytorch_lightning) and the logger's name."""

import importlib
import json
import sys

import torch

package = "lightning.pytorch" if sys.argv[1] == "lightning" else sys.argv[1]
lightning = importlib.import_module(package)
loggers = importlib.import_module(f"{package}.loggers")


class Model(lightning.LightningModule):
    def __init__(self, width=4, rate=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, number):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, number):
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.rate)


noted: list = []


class Recorder(loggers.CSVLogger):
    """Notes what Lightning hands to a logger."""

    rows = noted

    def log_metrics(self, metrics, step=None):
        self.rows.append([step, dict(metrics)])


if sys.argv[2] == "wandb":
    import wandb

    logger = loggers.WandbLogger(project="tiny", name="lightning", log_model=True)
    logger.watch(torch.nn.Linear(1, 1))
else:
    from runtide.integrations.lightning import RuntideLogger

    logger = RuntideLogger(project="tiny", name="lightning", log_model=True)

torch.manual_seed(0)
data = torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=8)
trainer = lightning.Trainer(
    max_epochs=2,
    logger=[logger, Recorder(".")],
    log_every_n_steps=2,
    accelerator="cpu",
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Model(), data, data)
if sys.argv[2] == "wandb":
    logger.log_table("table", columns=["a"], data=[[1]])
    logger.log_image("image", [torch.zeros(1, 2, 2)])
    wandb.finish()
print(json.dumps(noted))
