"""The lease on a ``.state`` folder, so that no two jobs work in one folder.

After a SIGKILL of Snakemake its SLURM jobs continue, and the next start of Snakemake submits the same jobs again. Each
job therefore takes the lease of its folder first; a second job waits until the first one has ended.

A ``.state`` holds numbered files, ``lease-000001``, ``lease-000002`` and so on. Only the highest number counts. When
its holder has released it or is dead, a waiting job takes the lease by creating the next number. If several jobs wait,
exactly one succeeds, and no job changes a file that another job may still hold. The holder renews its own file
regularly (its heartbeat) and marks it as released in the end.

On the machine of a holder, its process shows whether it is alive; elsewhere SLURM is asked (`judge.py`). If neither
gives an answer, the heartbeat decides: a holder counts as dead if its file has not changed for `Intervals.patience`.
The waiting job measures this by its own clock, so the clocks of two machines are never compared. This can be wrong, for
instance if a node was cut off from the file system. The holder therefore looks for a higher number at every heartbeat
and before it gives a step its final name, and ends if there is one (`Lease.check`). A short time remains between this
look and the rename.

The file system must have atomic renames, and hard links or exclusive creation, which fail if the name exists. NFS has
all of them but is untested.
"""

from histobench.core.lease.events import FAILED, add_event
from histobench.core.lease.holder import Holder, this_process
from histobench.core.lease.judge import HolderLookup, Intervals
from histobench.core.lease.lease import Lease, held

__all__ = ["FAILED", "Holder", "HolderLookup", "Intervals", "Lease", "add_event", "held", "this_process"]
