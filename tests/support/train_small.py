"""A training job as a process of its own: ``python -m support.train_small DATA RUN MODEL MODE EPOCHS``."""

import os
import sys
from pathlib import Path

os.environ.update(TF_NUM_INTRAOP_THREADS="2", TF_NUM_INTEROP_THREADS="2", OMP_NUM_THREADS="2")
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow")


def specification(model: str, mode: str, epochs: int, seed: int = 1) -> dict:
    from histobench.catalogue import CATALOGUE

    fields = ("key", "application", "preprocessing")
    return {
        "run": {"dataset": "small", "model": model, "mode": mode, "recipe": "r", "device": "cpu", "seed": seed},
        "model": {name: getattr(CATALOGUE[model], name) for name in fields} | {"weights_origin": "random"},
        "recipe": {
            "epochs": epochs,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "input_scaling": "paper",
            "best_epoch": "val_accuracy",
        },
    }


def main(data: str, folder: str, model: str, mode: str, epochs: str, seed: str = "1", code: str = "c") -> None:
    from histobench.train import predict, run

    spec = specification(model, mode, int(epochs), int(seed))
    target = Path(folder)
    run.train(spec=spec, data=Path(data), weights=None, folder=target, code=code, threads=2, gpu_model="")
    predict.predict(spec=spec, data=Path(data), weights=target / "best.weights.h5", output=target / "predictions.csv")


if __name__ == "__main__":
    main(*sys.argv[1:])
