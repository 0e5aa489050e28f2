"""The training loop: `lt.minimize`, `lt.maximize`, what they return, and what the host does between their steps.

On several devices of one host, `mesh=` spreads the rows of the data over them. (To try it on a CPU, call
`jax.config.update("jax_num_cpu_devices", 8)` before anything else.)

    mesh = jax.make_mesh((jax.device_count(),), ("rows",))
    fit = lt.minimize(key, objective, params, optimizer, num_steps=100_000, data=data, batch_size=1024, mesh=mesh,
                      checkpoint="runs/a")

On a cluster under SLURM the same program runs once on each node, after `jax.distributed.initialize()`, which reads SLURM's
environment. Every process passes the same arguments; the first one writes the checkpoints. On SIGTERM the fit is saved, and
the processes exit with status 143; when the job is started again, it continues with the same bits:

    #SBATCH --nodes=4 --ntasks-per-node=1 --signal=TERM@120 --requeue
    srun python train.py
"""

from logtrick.training._adaptive import merge as merge, partition as partition
from logtrick.training._average import (
    Average as Average,
    ExponentialAverage as ExponentialAverage,
    PolyakAverage as PolyakAverage,
)
from logtrick.training._checkpoint import Checkpoint as Checkpoint
from logtrick.training._compare_checkpoints import (
    CheckpointComparison as CheckpointComparison,
    compare_checkpoints as compare_checkpoints,
)
from logtrick.training._data import ArrayFeed as ArrayFeed, as_feed as as_feed
from logtrick.training._epochs import Position as Position
from logtrick.training._gradient_noise import GradientNoise as GradientNoise
from logtrick.training._history import History as History
from logtrick.training._host_feed import HostFeed as HostFeed
from logtrick.training._json_lines import JSONLines as JSONLines
from logtrick.training._listener import Listener as Listener
from logtrick.training._metrics_writer import MetricsWriter as MetricsWriter
from logtrick.training._minimize import maximize as maximize, minimize as minimize
from logtrick.training._progress import ProgressBar as ProgressBar, TqdmBar as TqdmBar
from logtrick.training._replay import Replay as Replay, replay as replay
from logtrick.training._result import FitResult as FitResult
from logtrick.training._run import Run as Run
from logtrick.training._state import FitState as FitState
from logtrick.training._stop import Converged as Converged
from logtrick.training._store import Store as Store, read_params as read_params
from logtrick.training._with_gradient import (
    forward_mode as forward_mode,
    with_gradient as with_gradient,
)
