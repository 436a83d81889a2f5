"""A SLURM on this machine: several nodes on the loopback, one per kind of card, brought up and down by process id.

The cards are device nodes that stand in for real ones (they are copies of /dev/null): SLURM counts, types and hands
them out as it would real ones, and sets CUDA_VISIBLE_DEVICES.

``SLURM_CONF`` cannot be used, since the job step of Snakemake's plugin drops it: /etc/slurm is replaced meanwhile by a
link, and put back, also after a test that was killed.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

ETC = Path("/etc/slurm")
# What stood at /etc/slurm, meanwhile.
KEPT = Path("/etc/slurm.kept-by-histobench-tests")
# Daemons that were started, in the folder of a cluster, so that those that a killed test left can be ended.
PIDS = "pids"
SBIN = Path("/usr/sbin")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin", "sacctmgr", "sacct")
INSTALL = (
    "apt-get update && apt-get install -y --no-install-recommends "
    "slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
)
# Seconds that a client command may take, and those that all of SLURM may take to come up.
ANSWER, UP = 20, 60
# Cores of every node: more than the machine has, so that a job is never too large for it.
CPUS, MEMORY_MB = 16, 60000
CARDS_PER_NODE = 2

# By kind of card; a node without one is for CPU jobs.
PAPER = ("k80", "p100", "v100", "a100")


def missing() -> list[str]:
    """Return the programs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return [name for name in (*PROGRAMS, *ACCOUNTING) if shutil.which(name, path=path) is None]


def client(*command: str, check: bool = True) -> str:
    """Run a client command of SLURM and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False, env=environment())
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment for clients: none of a SLURM that these tests themselves may run in."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}


class Cluster:
    """A private SLURM: a node and a partition for each kind of card, of its name, and for jobs without one."""

    def __init__(self, cards: tuple[str, ...] = PAPER, *, accounting: bool = False) -> None:
        # Not below pytest's folder, which only its owner may enter: the database has a user of its own.
        self.root = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.root.chmod(0o755)
        self.cards = cards
        self.nodes = (*cards, "cpu")
        self.accounting = accounting
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._munge = self.root / "run" / "munge.sock"
        self._ports = dict(zip(("slurmctld", "slurmdbd", "mariadb", *self.nodes), _free_ports(), strict=False))

    def __enter__(self) -> "Cluster":
        """Bring everything up."""
        try:
            for name in ("munge", "state", "log", "run", "dev", "db", *(f"spool/{node}" for node in self.nodes)):
                (self.root / name).mkdir(parents=True)
            (self.root / "munge").chmod(0o700)
            self._write_configuration()
            _take_etc(self.root)
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_for_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Cancel all jobs, end every process that was started here, and put /etc/slurm back."""
        if "slurmctld" in self._processes:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                if jobs := client("squeue", "--noheader", "--format=%A").split():
                    client("scancel", *jobs, check=False)
                    _wait(lambda: not client("squeue", "--noheader", "--format=%A").split(), 30)
        for name in reversed(list(self._processes)):
            self.end(name)
        _put_etc_back()
        shutil.rmtree(self.root, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld, with the state that an earlier one left."""
        self._start("slurmctld", SBIN / "slurmctld", "-D")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start(node, SBIN / "slurmd", "-D", "-N", node)

    def wait_for_nodes(self, *nodes: str) -> None:
        """Wait until these nodes, by default all, take jobs."""
        wanted = set(nodes or self.nodes)

        def up() -> bool:
            nodes = client("sinfo", "--noheader", "-N", "--states=idle,mixed,allocated", "--format=%N", check=False)
            return wanted <= set(nodes.split())

        if not _wait(up, UP):
            logs = "\n".join(_tail(path) for path in sorted((self.root / "log").glob("*.log")))
            raise RuntimeError(f"SLURM did not come up: {client('sinfo', '-N', '-l', check=False)}\n{logs}")

    def end(self, name: str, by: signal.Signals = signal.SIGTERM) -> None:
        """End one of the daemons: "slurmctld", or that of a node by its name."""
        process = self._processes.pop(name)
        process.send_signal(by)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, name: str, *command: str | Path) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment()
            )
        with (self.root / PIDS).open("a") as file:
            file.write(f"{self._processes[name].pid} {command[0]}\n")

    def _start_munge(self) -> None:
        key = self.root / "munge" / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key": key, "pid": self.root / "run" / "munged.pid"}
        files |= {name: self.root / "munge" / f"munged.{name}" for name in ("log", "seed")}
        options = [f"--{name}-file={path}" for name, path in files.items()]
        self._start("munged", SBIN / "munged", "--foreground", f"--socket={self._munge}", *options)
        if not _wait(lambda: self._munge.exists() and stat.S_ISSOCK(self._munge.stat().st_mode), 10):
            raise RuntimeError(f"munge did not come up: {_tail(self.root / 'log' / 'munged.out')}")

    def _start_accounting(self) -> None:
        database, log = self.root / "db", self.root / "log"
        shutil.chown(database, "mysql", "mysql")
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={database / 'data'}"]
        install += ["--skip-test-db", "--auth-root-authentication-method=socket"]
        with (log / "mariadb-install.log").open("wb") as out:
            subprocess.run(install, check=True, stdout=out, stderr=out)
        here = ("--no-defaults", f"--socket={database / 'm.sock'}")
        self._start(
            "mariadbd", SBIN / "mariadbd", *here, "--user=mysql", f"--datadir={database / 'data'}",
            f"--pid-file={database / 'm.pid'}", "--bind-address=127.0.0.1", f"--port={self._ports['mariadb']}",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=2", "--performance-schema=OFF",
        )  # fmt: skip
        ping = ["mariadb-admin", *here, "ping"]
        _wait(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, UP)
        rights = "; ".join(
            f"create user slurm@'{host}' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'{host}'"
            for host in ("127.0.0.1", "localhost")
        )
        subprocess.run(["mariadb", *here, "-e", f"create database slurm_acct_db; {rights}"], check=True)
        self._start("slurmdbd", SBIN / "slurmdbd", "-D")
        show = ("sacctmgr", "--noheader", "show", "cluster")
        environ = environment()
        _wait(lambda: subprocess.run(show, capture_output=True, check=False, env=environ).returncode == 0, UP)
        client("sacctmgr", "-i", "add", "cluster", "tests", check=False)
        client("sacctmgr", "-i", "add", "account", "tests", "Description=tests", "Organization=tests")
        client("sacctmgr", "-i", "add", "user", "root", "Account=tests")

    def _write_configuration(self) -> None:
        cards = [self.root / "dev" / f"card{number}" for number in range(CARDS_PER_NODE)]
        for card in cards:  # SLURM sets CUDA_VISIBLE_DEVICES only for device nodes
            os.mknod(card, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        accounting = [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={self._ports['slurmdbd']}",
            f"AccountingStoragePass={self._munge}",
            # By type as well, or accounts say "gpu" of any.
            f"AccountingStorageTRES={','.join(['gres/gpu', *(f'gres/gpu:{card}' for card in self.cards)])}",
            "AccountingStoreFlags=job_comment",
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=task=1",
        ]
        nodes = [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={self._ports[node]} CPUs={CPUS} "
            f"RealMemory={MEMORY_MB} State=UNKNOWN" + (f" Gres=gpu:{node}:{CARDS_PER_NODE}" if node != "cpu" else "")
            for node in self.nodes
        ]
        partitions = ["PartitionName=DEFAULT MaxTime=1440 DefaultTime=5"]
        # The default is none that any job here should land on by itself.
        partitions += [
            f"PartitionName={node} Nodes={node} Default={'YES' if node == self.cards[0] else 'NO'}"
            for node in self.nodes
        ]
        # Whose jobs take a card away from others, for tests of preemption.
        partitions.append(f"PartitionName=urgent Nodes={','.join(self.cards)} PriorityTier=10 PreemptMode=OFF")
        gres = [
            f"NodeName={card} Name=gpu Type={card} File={self.root / 'dev'}/card[0-{CARDS_PER_NODE - 1}]"
            for card in self.cards
        ]
        head = f"""
            ClusterName=tests
            SlurmctldHost=localhost(127.0.0.1)
            SlurmUser=root
            AuthInfo=socket={self._munge}
            SlurmctldPort={self._ports["slurmctld"]}
            SlurmctldPidFile={self.root}/run/slurmctld.pid
            SlurmctldLogFile={self.root}/log/slurmctld.log
            StateSaveLocation={self.root}/state
            SlurmdPidFile={self.root}/run/slurmd.%n.pid
            SlurmdLogFile={self.root}/log/slurmd.%n.log
            SlurmdSpoolDir={self.root}/spool/%n
            SlurmdParameters=config_overrides
            ProctrackType=proctrack/linuxproc
            ReturnToService=2
            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core_Memory
            PreemptType=preempt/partition_prio
            PreemptMode=REQUEUE
            GresTypes=gpu
            SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0,batch_sched_delay=0,defer
            MinJobAge=1500
            KillWait=5
            SlurmctldTimeout=30
            SlurmdTimeout=30
            UnkillableStepTimeout=20
            EnforcePartLimits=ALL
            CommunicationParameters=NoAddrCache
        """.split()
        lines = [*head, *(accounting if self.accounting else []), *nodes, *partitions]
        (self.root / "slurm.conf").write_text("\n".join(lines) + "\n")
        (self.root / "gres.conf").write_text("\n".join(["AutoDetect=off", *gres]) + "\n")
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        database = f"""
            AuthInfo=socket={self._munge}
            DbdHost=localhost
            DbdAddr=127.0.0.1
            DbdPort={self._ports["slurmdbd"]}
            SlurmUser=root
            LogFile={self.root}/log/slurmdbd.log
            PidFile={self.root}/run/slurmdbd.pid
            StorageType=accounting_storage/mysql
            StorageHost=127.0.0.1
            StoragePort={self._ports["mariadb"]}
            StorageUser=slurm
            StoragePass=slurm
            StorageLoc=slurm_acct_db
        """.split()
        path = self.root / "slurmdbd.conf"
        path.write_text("\n".join(database) + "\n")
        path.chmod(0o600)


def record(job: str) -> dict[str, str]:
    """Return what SLURM's controller knows of a job: `Partition`, `NodeList`, `TresPerJob`, `JobState` and so on."""
    return dict(re.findall(r"(\w[\w/:]*)=(\S*)", client("scontrol", "show", "job", job)))


def jobs() -> list[str]:
    """Return the ids of all jobs that the controller remembers, of ended ones for MinJobAge."""
    return client("squeue", "--noheader", "--states=all", "--format=%A").split()


def _free_ports() -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(16)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _take_etc(root: Path) -> None:
    if ETC.is_symlink() and (pids := ETC / PIDS).exists():  # of a test that was killed
        for line in reversed(pids.read_text().splitlines()):
            pid, program = line.split()
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and program.encode() in command.read_bytes():
                os.kill(int(pid), signal.SIGTERM)
                # Its parent may be gone, or not look: what is left of it then has no command.
                _wait(lambda command=command: not command.exists() or not command.read_bytes(), 10)
    _put_etc_back()
    if ETC.exists():
        ETC.rename(KEPT)
    ETC.symlink_to(root)


def _put_etc_back() -> None:
    if ETC.is_symlink() and ETC.readlink().name.startswith("slurm-"):
        ETC.unlink()
    if KEPT.exists() and not ETC.exists():
        KEPT.rename(ETC)


def _wait(condition, seconds: float) -> bool:
    """Wait until a condition holds; say whether it does."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return bool(holds)


def _tail(path: Path) -> str:
    return f"{path.name}: " + "\n".join(path.read_text(errors="replace").splitlines()[-5:]) if path.exists() else ""
