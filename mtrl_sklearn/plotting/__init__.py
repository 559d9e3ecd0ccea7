"""Pictures of what was learned, as Displays in the manner of scikit-learn.

A Display holds data and draws it: ``from_estimator``, ``from_predictions`` or
``from_table`` make one and call its ``plot``, which may be called again with other
axes. None shows a window, and none changes a global setting of matplotlib, which is an
optional dependency: ``pip install 'mtrl-sklearn[plot]'``.
"""

from mtrl_sklearn.plotting._evidence import EvidenceDisplay
from mtrl_sklearn.plotting._filters import FilterDisplay
from mtrl_sklearn.plotting._forecast import ForecastDisplay
from mtrl_sklearn.plotting._loss_curve import LossCurveDisplay
from mtrl_sklearn.plotting._spectrum import SpectrumDisplay
from mtrl_sklearn.plotting._subspace_recovery import SubspaceRecoveryDisplay
from mtrl_sklearn.plotting._task_affinity import TaskAffinityDisplay
from mtrl_sklearn.plotting._transfer_curve import TransferCurveDisplay

__all__ = [
    "EvidenceDisplay",
    "FilterDisplay",
    "ForecastDisplay",
    "LossCurveDisplay",
    "SpectrumDisplay",
    "SubspaceRecoveryDisplay",
    "TaskAffinityDisplay",
    "TransferCurveDisplay",
]
