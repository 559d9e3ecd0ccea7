"""What a representation is worth on new tasks, and a classifier that uses it."""

from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.probing._affinity import label_agreement, task_affinity
from mtrl_sklearn.probing._calibration import calibrate
from mtrl_sklearn.probing._linear_probe import LinearProbe
from mtrl_sklearn.probing._new_tasks import probe_new_tasks
from mtrl_sklearn.probing._settings import ProbeSettings
from mtrl_sklearn.probing._source_transfer import source_task_transfer

__all__ = [
    "LinearProbe",
    "ProbePrior",
    "ProbeSettings",
    "Representation",
    "calibrate",
    "label_agreement",
    "probe_new_tasks",
    "source_task_transfer",
    "task_affinity",
]
