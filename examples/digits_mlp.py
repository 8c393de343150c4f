"""Train a small neural network on scikit-learn's bundled handwritten digits and log every batch.

python examples/digits_mlp.py --lr 0.01 --hidden 64
"""

import argparse
import signal
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import runtide


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lr", type=float, default=0.003, help="learning rate of Adam (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=64, help="units of the hidden layer (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images a batch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the data (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse()
    images, labels = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(images / 16.0, labels, test_size=0.2, random_state=0)
    model = MLPClassifier((args.hidden,), learning_rate_init=args.lr, random_state=args.seed)
    shuffle = np.random.default_rng(args.seed)
    classes = np.unique(labels)

    with runtide.init(project="digits", config=vars(args), tags=["example"]) as run:
        run.define_metric("val/loss", summary="min", goal="minimize")
        run.define_metric("val/accuracy", summary="max", goal="maximize")
        for epoch in range(args.epochs):
            for batch in np.array_split(shuffle.permutation(len(x_train)), len(x_train) // args.batch_size):
                model.partial_fit(x_train[batch], y_train[batch], classes=classes)
                run.log(
                    {
                        "train/loss": model.loss_,
                        "train/accuracy": model.score(x_train[batch], y_train[batch]),
                        "weights/hidden_norm": np.linalg.norm(model.coefs_[0]),
                        "weights/output_norm": np.linalg.norm(model.coefs_[1]),
                        "epoch": epoch,
                    }
                )
            probabilities = model.predict_proba(x_val)
            loss, accuracy = log_loss(y_val, probabilities), model.score(x_val, y_val)
            run.log({"val/loss": loss, "val/accuracy": accuracy})
            print(f"epoch {epoch}: val/loss {loss:.4f}, val/accuracy {accuracy:.3f}", flush=True)


if __name__ == "__main__":
    # Schedulers end jobs with SIGTERM: as an exception, it ends the run in good order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
