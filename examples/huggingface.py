"""A Transformers Trainer that reports to runtide: `report_to` is all it takes.

pip install torch transformers accelerate
python examples/huggingface.py
"""

import json

import numpy as np
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

import runtide.integrations.huggingface  # noqa: F401 - makes the name known to Transformers

set_seed(0)
random = np.random.default_rng(0)


def sentences(number):
    """Each has the label of its first word: even or odd."""
    words = random.integers(2, 50, (number, 8)).tolist()
    return [{"input_ids": ids, "attention_mask": [1] * 8, "labels": ids[0] % 2} for ids in words]


model = BertForSequenceClassification(
    BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
)
arguments = TrainingArguments(
    "out",
    report_to="runtide",
    num_train_epochs=5,
    learning_rate=3e-3,
    logging_steps=10,
    eval_strategy="epoch",
    per_device_train_batch_size=32,
    use_cpu=True,
    disable_tqdm=True,
)
trainer = Trainer(model, arguments, train_dataset=sentences(1024), eval_dataset=sentences(256))
trainer.train()
print(json.dumps(trainer.evaluate()))
