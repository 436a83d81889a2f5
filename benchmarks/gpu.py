"""What an epoch of PCam's size costs on a card: this workflow beside plain Keras and compiled PyTorch, in one run.

    python benchmarks/gpu.py --json gpu.json --markdown gpu.md

It takes under eight minutes, whatever the card: what there is no time for is said to be missing. It needs Keras and one
of its backends, nothing else; where PyTorch is installed, too, the same networks are measured in it. Without a card it
takes a minute, for B2 and a fraction of an epoch.

The ways, each with the networks of the paper's Table 2:

- "histobench": as `train` does it, by the recipe `paper` (batches of 32, float32), by `fast` (batches of 256, mixed
  precision, XLA), and by `fast` in float32.
- "plain": what a script does that has all patches as float32 in memory and calls `model.fit`, by the paper's recipe.
- "pytorch": patches on the card as bytes, channels last, mixed precision, `torch.compile`, batches of 256.

The patches are noise and the weights random: neither changes what a step costs. An epoch's seconds are extrapolated
from the patches that are measured, after a warm-up; the table says from how many. Every way of a network has a process
of its own. On a card they compile side by side, which takes most of the time, and are measured one after another, while
no other does anything.
"""

import argparse
import fcntl
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SIDE = 96
EPOCH = 262_144  # patches of PCam's training part

# (name, key of the catalogue, mode)
NETWORKS = {
    "B2": ("b2", "full"),
    "B6": ("b6", "full"),
    "IV3-TL": ("inceptionv3", "tl"),
    "IV3-F": ("inceptionv3", "full"),
}
PAPER = {"batch_size": 32}
RECIPES = {
    "paper": PAPER,
    "fast": {"batch_size": 256, "precision": "mixed_float16", "jit_compile": True},
    "fast, float32": {"batch_size": 256, "jit_compile": True},
}
# The most telling first, in case that time runs out.
WAYS = [
    ("histobench", "fast"),
    ("plain", "paper"),
    ("pytorch", "fast"),
    ("histobench", "paper"),
    ("histobench", "fast, float32"),
]
BACKENDS = ("tensorflow", "jax", "torch")
# Patches in memory, with a card and without one, and seconds of an epoch that is measured.
PATCHES, SECONDS = {True: 32_768, False: 512}, 2.0
LEAST = {True: 2048, False: 64}
# Share of the time after which whatever still compiles is given up, since nothing is measured meanwhile.
COMPILING = 0.7
# Cards are shared by processes, so none may take all memory at once.
SHARED_CARD = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


class Noise:
    """Patches of noise in memory, as a part of a data set."""

    shape, dtype, split = (SIDE, SIDE, 3), "uint8", "train"

    def __init__(self, n: int) -> None:
        import numpy as np

        generator = np.random.default_rng(1)
        self.images = generator.integers(0, 256, (n, *self.shape), np.uint8)
        self.labels = (generator.random(n) < 0.5).astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: Any) -> Any:
        """Return patches, (n, height, width, 3) uint8."""
        return self.images[positions]


def specification(network: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a run."""
    key, mode = NETWORKS[network]
    application = {"inceptionv3": "InceptionV3"}.get(key)
    return {
        "run": {"dataset": "noise", "model": key, "mode": mode, "recipe": "r", "device": "card", "seed": 1},
        "model": {"key": key, "application": application, "weights_origin": "random"},
        "recipe": {
            "epochs": 1000,
            "optimizer": {"name": "adam", "learning_rate": 0.001},
            "input_scaling": "paper",
            "best_epoch": "last",
            **recipe,
        },
        "input": {"preprocessing": "unit", "side": SIDE},
    }


class Turns:
    """Lets processes compile side by side, and each measure alone: the lock of a file, which all of them share."""

    def __init__(self, path: str, compiling: int) -> None:
        self._file = Path(path).open("a")  # noqa: SIM115, open until the process ends
        fcntl.flock(self._file, fcntl.LOCK_SH)
        signal.alarm(compiling)  # which ends the process

    def alone(self) -> None:
        """Wait until no process compiles or measures."""
        signal.alarm(0)
        fcntl.flock(self._file, fcntl.LOCK_EX)


def timed(epoch: Callable[[int], Any], batch_size: int, most: int, card: bool, turns: Turns) -> dict[str, Any]:
    """Return patches and seconds of the longest part of an epoch that there is time for, after a warm-up.

    `epoch` trains on so many patches; its first call compiles.
    """

    def seconds(patches: int) -> float:
        start = time.perf_counter()
        epoch(patches)
        return time.perf_counter() - start

    patches = max(min(LEAST[card], most) // batch_size * batch_size, batch_size)
    compiling = seconds(patches)
    turns.alone()
    taken = seconds(patches)
    longer = int(min(most, patches * SECONDS / taken)) // batch_size * batch_size
    if longer >= 2 * patches:
        patches, taken = longer, seconds(longer)
    return {"patches": patches, "seconds": taken, "first_seconds": compiling}


def histobench(network: str, recipe: dict[str, Any], card: bool, turns: Turns) -> dict[str, Any]:
    """Train as the workflow does."""
    import keras

    from histobench.train import fit, hardware, initial_model, models
    from histobench.train.model_size import multiply_adds

    part, spec = Noise(PATCHES[card]), specification(network, recipe)
    place = hardware.machine("card" if card else "")
    if card and not place.data_bytes:  # no NVML
        place = hardware.Machine(8 << 30, hardware.CARD_BLOCK)
    with models.policy(recipe.get("precision", "float32")):
        built, _ = initial_model.build(spec, part, None)
        trainer = fit.Trainer(built, part, Noise(32), spec, place)
        trainer.compile(0)

        def epoch(patches: int) -> None:
            spec["recipe"]["steps_per_epoch"] = patches // recipe["batch_size"]
            trainer.fit([])

        measured = timed(epoch, recipe["batch_size"], len(part), card, turns)
    operations = multiply_adds(built) + 2 * multiply_adds(built, trained=True)
    return measured | {"multiply_adds": operations, "keras": keras.__version__}


def plain(network: str, recipe: dict[str, Any], card: bool, turns: Turns) -> dict[str, Any]:
    """Train as a plain script does, by the same network, loss and metrics."""
    import keras
    import numpy as np

    from histobench.train import initial_model

    # As float32 they take four times the memory.
    part, spec = Noise(PATCHES[card] // 4), specification(network, recipe)
    built, _ = initial_model.build(spec, part, None)
    images = part.images.astype(np.float32) / 255
    built.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])

    def epoch(patches: int) -> None:
        labels = part.labels[:patches, None]
        built.fit(images[:patches], labels, batch_size=recipe["batch_size"], verbose=0)

    return timed(epoch, recipe["batch_size"], len(part), card, turns)


def pytorch(network: str, recipe: dict[str, Any], card: bool, turns: Turns) -> dict[str, Any]:
    """Train the same network in PyTorch, as its guide to performance advises."""
    import torch
    from torch import nn

    device, half = ("cuda", torch.float16) if card else ("cpu", torch.bfloat16)
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    frozen = NETWORKS[network][1] == "tl"
    built = torch_network(NETWORKS[network][0]).eval()
    built(torch.zeros(1, 3, SIDE, SIDE))  # which builds the layers whose inputs were not known
    built = built.train().to(device, memory_format=torch.channels_last)
    if frozen:
        built.backbone.requires_grad_(requires_grad=False)
        built.backbone.eval()
    part = Noise(PATCHES[card])
    images, labels = torch.from_numpy(part.images).to(device), torch.from_numpy(part.labels).to(device)
    chosen = [parameter for parameter in built.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(chosen, 1e-3, fused=card)
    scaler = torch.amp.GradScaler(device, enabled=card)
    loss_of = nn.BCEWithLogitsLoss()

    def loss(positions: Any) -> Any:
        batch = (images[positions].permute(0, 3, 1, 2).float() / 255).to(memory_format=torch.channels_last)
        with torch.autocast(device, half):
            scores = built(batch)
        return loss_of(scores.float()[:, 0], labels[positions])

    loss = torch.compile(loss)

    def epoch(patches: int) -> None:
        order = torch.randperm(patches, device=device)
        total = torch.zeros((), device=device)
        for start in range(0, patches, recipe["batch_size"]):
            optimizer.zero_grad(set_to_none=True)
            value = loss(order[start : start + recipe["batch_size"]])
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            total += value.detach()
        float(total)  # waits for the card

    return timed(epoch, recipe["batch_size"], len(part), card, turns) | {"torch": torch.__version__}


def torch_network(key: str) -> Any:
    """Return a network of `histobench.train.models` in PyTorch, from (n, 3, side, side) to logits, (n, 1)."""
    from torch import nn

    if key == "b2":
        return nn.Sequential(
            *(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.LazyLinear(256), nn.ReLU(), nn.Linear(256, 1)),
        )
    if key == "b6":
        stack: list[Any] = [nn.Conv2d(3, 32, 3), nn.ReLU()]
        for place, (before, after) in enumerate([(32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]):
            stack += [nn.Conv2d(before, after, 3, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            stack += [nn.MaxPool2d(2), nn.Dropout(0.3)] if place % 2 == 0 else []
        stack += [nn.Flatten(), nn.LazyLinear(256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5)]
        return nn.Sequential(*stack, nn.Linear(256, 1))
    from torchvision.models import inception_v3

    class WithHead(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
            self.backbone.dropout, self.backbone.fc = nn.Identity(), nn.Identity()
            self.head = nn.Sequential(nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 1))

        def forward(self, images: Any) -> Any:
            return self.head(self.backbone(images))

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
                self.backbone.eval()
            return self

    return WithHead()


def device() -> dict[str, Any]:
    """Return the name of the card that the backend sees, None without one, and the version of the backend."""
    import keras

    name = keras.backend.backend()
    if name == "torch":  # no backend of the workflow
        import torch

        cards = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    else:
        from histobench.train import hardware

        cards = hardware.devices()
    found = {"backend": name, "version": importlib.import_module(name).__version__, "keras": keras.__version__}
    return {"card": cards[0] if cards else None, **found}


def peak_memory_mib(backend: str) -> int | None:
    """Return the most memory that a backend has held on the card, in MiB; None if it does not tell."""
    if backend == "torch":  # no backend of the workflow
        import torch

        return int(torch.cuda.max_memory_allocated()) // 2**20
    from histobench.train import hardware

    return hardware.peak_memory_mib("card")


def one(way: str, network: str, recipe: str, card: bool, turns: Turns) -> dict[str, Any]:
    """Measure a way in this process."""
    measure = {"histobench": histobench, "plain": plain, "pytorch": pytorch}[way]
    measured = measure(network, RECIPES[recipe], card, turns)
    if card:
        measured["peak_memory_mib"] = peak_memory_mib("torch" if way == "pytorch" else os.environ["KERAS_BACKEND"])
    return measured


def peaks() -> dict[str, dict[str, float]]:
    """Return the peak rates of cards, TFLOPS, from the configuration, if there is a library to read it."""
    if importlib.util.find_spec("yaml") is None:
        return {}
    import yaml

    devices = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["devices"]
    return {each["gpu_model"]: each["peak_tflops"] for each in devices.values() if "gpu_model" in each}


def shares_of_peak(rows: list[dict[str, Any]], card: str) -> None:
    """Add the multiply-adds of networks, two operations each, as a share of what the card can do, if it is known."""
    rates = next((rates for name, rates in peaks().items() if name in card.lower().replace(" ", "")), {})
    known = {row["network"]: row["multiply_adds"] for row in rows if "multiply_adds" in row}
    for row in rows:
        precision = RECIPES[row["recipe"]].get("precision", "tf32" if "tf32" in rates else "float32")
        if "error" not in row and precision in rates and row["network"] in known:
            operations = 2 * known[row["network"]] * row["patches"] / row["seconds"]
            row["share_of_peak"] = operations / (rates[precision] * 1e12)


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    columns = ["Network", "Way", "Recipe", "Seconds per epoch", "Measured patches", "Patches/s", "Share of peak"]
    columns.append("Peak memory, MiB")
    keras_on = f"Keras {about['keras']} on {about['backend']} {about['version']}"
    lines = [
        f"Seconds of an epoch of {EPOCH:,} patches of {SIDE} px on {about['card'] or 'a CPU'}, {keras_on};",
        "extrapolated from the patches that were measured. Noise, random weights.",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join(['---'] * 3 + ['---:'] * 5)} |",
    ]
    for row in rows:
        cells = [row["network"], row["way"], row["recipe"]]
        if "error" in row:
            cells += [row["error"], "", "", "", ""]
        else:
            share, peak = row.get("share_of_peak"), row.get("peak_memory_mib")
            cells += [f"{row['epoch_seconds']:.2f}", f"{row['patches']:,}", f"{row['patches'] / row['seconds']:,.0f}"]
            cells += ["" if share is None else f"{share:.1%}", "" if peak is None else f"{peak:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *comparisons(rows)])


def comparisons(rows: list[dict[str, Any]]) -> list[str]:
    """Return what the table says in ratios, and a warning where mixed precision is slower."""
    seconds = {(row["network"], row["way"], row["recipe"]): row["epoch_seconds"] for row in rows if "error" not in row}
    told = []
    for network in NETWORKS:
        fast = seconds.get((network, "histobench", "fast"))
        for way, recipe in (("plain", "paper"), ("histobench", "paper"), ("pytorch", "fast")):
            if fast and (other := seconds.get((network, way, recipe))):
                told.append(f"- {network}: `fast` takes {fast / other:.3f} of the time of {way}, {recipe}.")
        if fast and (single := seconds.get((network, "histobench", "fast, float32"), fast)) < fast:
            told.append(
                f"- Warning: {network} in mixed_float16 takes {fast / single:.2f} of its time in float32 on this card."
            )
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=BACKENDS, help="of Keras; by default the first that is installed")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="by default all, without a card B2")
    parser.add_argument("--limit", type=float, default=450, help="seconds after which what is left is given up")
    parser.add_argument("--at-once", type=int, help="processes that compile side by side; by default as many as cores")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if not installed:
        parser.error(f"none of Keras's backends is installed: {', '.join(BACKENDS)}")
    if given.backend and given.backend not in installed:
        parser.error(f"--backend {given.backend}: is not installed here; there is {', '.join(installed)}")
    if given.at_once is not None and given.at_once < 1:
        parser.error(f"--at-once {given.at_once}: expected 1 or more")
    for path in filter(None, (given.json, given.markdown)):  # now, not after minutes
        if not path.resolve().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent} to write it into")
    os.environ["KERAS_BACKEND"] = given.backend or installed[0]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
    if given.one:
        print(json.dumps(of_process(given.one, int(COMPILING * given.limit))))
        return

    start, compiling = time.monotonic(), COMPILING * given.limit

    def process(*arguments: str) -> Any:
        options = ["--backend", os.environ["KERAS_BACKEND"], "--limit", str(given.limit)]
        command = [sys.executable, __file__, *options, "--one", *arguments]
        left = given.limit - (time.monotonic() - start)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=max(left, 0.1))
        except subprocess.TimeoutExpired:
            return {"error": "not measured: no time left"}
        if done.returncode == -signal.SIGALRM:
            return {"error": f"not measured: still compiling after {compiling:.0f} s"}
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return {"error": done.stderr.strip().splitlines()[-1][:200]}
        return json.loads(done.stdout.strip().splitlines()[-1])

    about = process("device")
    if "error" in about:
        sys.exit(f"which card there is could not be found out: {about['error']}")
    card = about["card"]
    if card:
        os.environ.update(SHARED_CARD)
    networks = given.networks or (list(NETWORKS) if card else ["B2"])
    # Without a card, processes would take cores from each other.
    at_once = given.at_once or ((os.cpu_count() or 1) if card else 1)
    ways = [(way, network, recipe) for way, recipe in (WAYS if card else WAYS[:4]) for network in networks]
    rows: list[dict[str, Any]] = []

    def measured(way: str, network: str, recipe: str) -> Any:
        if way == "pytorch" and not importlib.util.find_spec("torch"):
            return {"error": "PyTorch is not installed"}
        return process(way, network, recipe, str(bool(card)), lock.name)

    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(at_once) as pool:
        futures = {pool.submit(measured, *way): way for way in ways}
        for future in as_completed(futures):
            way, network, recipe = futures[future]
            row = future.result() | {"network": network, "way": way, "recipe": recipe}
            if "error" not in row:
                row["epoch_seconds"] = row["seconds"] * EPOCH / row["patches"]
            rows.append(row)
            rows.sort(key=lambda row: ways.index((row["way"], row["network"], row["recipe"])))
            shares_of_peak(rows, card or "")
            print(f"{time.monotonic() - start:4.0f} s: {network}, {way}, {recipe}", file=sys.stderr, flush=True)
            if given.json:  # whatever comes after
                given.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    text = markdown(about, rows)
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n")


def of_process(arguments: list[str], compiling: int) -> dict[str, Any]:
    """Return what a process of its own finds out: about the device, or by measuring a way."""
    if arguments == ["device"]:
        return device()
    way, network, recipe, card, lock = arguments
    return one(way, network, recipe, card == "True", Turns(lock, compiling))


if __name__ == "__main__":
    main()
