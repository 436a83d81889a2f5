"""Build an environment: `python envs/build.py .venv/installed-CHECKSUM LOCK_FILE`, as the Makefile calls it.

It runs before there is an environment, so it needs the standard library alone. `.venv` is a link to a folder in
`.venvs`. A new environment is built beside the one in use, and the link is turned to it when it is whole: wherever this
is stopped, what was there still serves, and a second try finishes. It deletes nothing that it has not built.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

STORE = Path(".venvs")
PIP_INSTALL = "-m pip install --quiet --disable-pip-version-check --compile --no-deps --require-hashes --requirement"


def main(mark: Path, lock_file: Path) -> None:
    """Point `mark.parent` to an environment that holds `mark`."""
    link, stem = mark.parent, lock_file.stem
    refuse_foreign(link, lock_file)
    STORE.mkdir(exist_ok=True)
    with (STORE / "lock").open("w") as lock:
        wait_for_another_make(lock)
        before = link.readlink() if link.is_symlink() else None
        new, aside = STORE / mark.name.replace("installed", stem), STORE / f"{stem}-replaced"
        if not ((new / mark.name).exists() and (new / "bin" / "python").exists()):
            print(f"Installing the packages of {lock_file} into {new}: a few minutes, once.", flush=True)
            build(new, aside, lock_file, lock)
            (new / mark.name).touch()
        turn(link, new, aside)
        if before and before != new and before.exists():
            print(f"{before}, in which a study may still be running, is kept until the next environment is built.")
        if not STORE.is_symlink():  # else other clones may use what is in it
            for folder in set(STORE.glob(f"{stem}-*")) - {new, before}:
                shutil.rmtree(folder)


def refuse_foreign(link: Path, lock_file: Path) -> None:
    """End if what stands in the link's place is neither a link of ours nor a folder that an earlier make has built."""
    if link.is_symlink():
        target = link.readlink()
        if target.parent != STORE or not target.name.startswith(f"{lock_file.stem}-"):
            sys.exit(
                f"{link} is a link to {target}, where other packages are installed than {lock_file} asks for, or none. "
                f"make changes nothing behind a link: remove the link {link}, then try again"
            )
    elif link.exists():
        built_by_make = link.is_dir() and ((link / "built-by-make").exists() or any(link.glob("installed-*")))
        if not built_by_make and not (link.is_dir() and not any(link.iterdir())):
            sys.exit(f"{link} is there already, and was not built by make: move it away, then try again")


def wait_for_another_make(lock: IO[str]) -> None:
    """Take the lock. A file system without locks has none."""
    for flags in (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX):
        try:
            return fcntl.flock(lock, flags)
        except BlockingIOError:
            print("Waiting for another make that builds an environment here.", flush=True)
        except OSError:
            return None
    return None


def build(folder: Path, aside: Path, lock_file: Path, lock: IO[str]) -> None:
    """Build an environment, or end with what was there."""
    replaces = folder.exists()  # begun by a make that was killed, or the Python behind it is gone, for now or for good
    if replaces:
        move_aside(folder, aside)
    venv = [sys.executable, "-m", "venv", str(folder)]
    pip = [str(folder / "bin" / "python"), *PIP_INSTALL.split(), str(lock_file)]
    for command in (venv, pip):
        # They inherit the lock: where this process is killed, they still work, and the next make waits for them.
        if subprocess.run(command, pass_fds=[lock.fileno()]).returncode:
            shutil.rmtree(folder, ignore_errors=True)
            if replaces:
                aside.rename(folder)
            sys.exit(f"{folder} could not be built, for the reason above. What was there before is as it was.")


def move_aside(folder: Path, aside: Path) -> None:
    """Move a folder to where an earlier one may have been left."""
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def turn(link: Path, new: Path, aside: Path) -> None:
    """Let the link lead to another environment; a folder in its place is moved aside."""
    if link.is_dir() and not link.is_symlink():
        move_aside(link, aside)
    turned = link.with_name(f"{link.name}-turned")
    if turned.is_symlink():  # left by a make that was killed
        turned.unlink()
    turned.symlink_to(new)
    turned.replace(link)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.exit(f"No environment could be built: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
