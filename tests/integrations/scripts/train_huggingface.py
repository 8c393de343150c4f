"""Trains and evaluates a tiny model by Transformers' Trainer; the argument says where it reports to."""

import json
import sys

import numpy as np
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

callbacks = []
if sys.argv[1] != "wandb":
    import runtide
    from runtide.integrations.huggingface import RuntideCallback  # makes the name known to Transformers

    if sys.argv[1] == "callback":
        runtide.init(project="mine", name="begun", config={"own": 1})
        callbacks = [RuntideCallback()]

set_seed(0)
random = np.random.default_rng(0)
data = [
    {"input_ids": random.integers(0, 50, 8).tolist(), "attention_mask": [1] * 8, "labels": number % 2}
    for number in range(32)
]
model = BertForSequenceClassification(
    BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
)
arguments = TrainingArguments(
    "out",
    report_to="none" if callbacks else sys.argv[1],
    run_name="tiny",
    num_train_epochs=2,
    logging_steps=2,
    eval_strategy="epoch",
    save_strategy="epoch",
    per_device_train_batch_size=8,
    use_cpu=True,
    disable_tqdm=True,
)
trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data, callbacks=callbacks)
trainer.train()
trainer.evaluate()
predicted = trainer.predict(data).metrics
history, parameters = trainer.state.log_history, model.num_parameters()
print(json.dumps({"history": history, "predicted": predicted, "parameters": parameters}))
