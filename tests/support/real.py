"""A short study on real patches."""

from pathlib import Path

import yaml

from support.project import LOCAL, copy_project

SHORT = (*LOCAL, "--configfile", "short.yaml")


def short_study(folder: Path, real_data: Path, *datasets: str) -> Path:
    """Return a clone with the configuration `short.yaml`: of a head on PCam for two epochs, of B2 on IDC for one."""
    copy_project(folder)
    config = yaml.safe_load((folder / "tests/configs/real.yaml").read_text())
    config["recipes"]["pcam"]["epochs"] = 2
    config["recipes"]["idc"]["epochs"] = 1
    block = config["matrix"][0] | {"seeds": [1]}
    blocks = {
        "pcam": block | {"models": ["mobilenetv2"], "modes": ["tl"]},
        "idc": block | {"models": ["b2"], "modes": ["full"], "datasets": ["idc"], "recipes": ["idc"]},
    }
    config["matrix"] = [blocks[dataset] for dataset in datasets]
    config["downloads"] = {"mirror": str(real_data)}
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    return folder
