"""Evaluate a classifier on scikit-learn's bundled handwritten digits: stands for the evaluation of your own model.

python examples/ci/evaluate.py
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

import runtide

images, labels = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(images / 16.0, labels, test_size=0.5, random_state=0)
config = {"C": 0.1, "max_iter": 200}

# The commit, the branch and the job are recorded without a word of ours: SELECT environment FROM runs.
with runtide.init(project="digits-evaluation", job_type="evaluation", config=config) as run:
    model = LogisticRegression(**config).fit(x_train, y_train)
    accuracy = accuracy_score(y_test, model.predict(x_test))
    run.log({"accuracy": accuracy, "loss": log_loss(y_test, model.predict_proba(x_test))})
    print(f"accuracy {accuracy:.4f}")
