"""The table of scores that probes of new tasks return, and what it says."""

from typing import Any

import numpy as np
import pandas as pd

from mtrl_sklearn.probing._contenders import NO_LABELS, OURS
from mtrl_sklearn.probing._forecast import LEAST_LABELS

SMALL_GAIN = 0.0005  # that is printed as 0.000 or 0.001


class TransferTable(pd.DataFrame):
    """Scores of probes: a row per task, number of labels, draw, features and metric.

    A pandas DataFrame with columns ``task``, ``shots``, ``draw``, ``features``,
    ``metric`` and ``score``, and two methods that say what it shows.

    Attributes
    ----------
    skipped : DataFrame
        Tasks and numbers of labels that could not be drawn: ``task``, ``shots``, the
        number of ``draws`` that failed, and the ``reason``.
    """

    _metadata = ["_skipped"]

    @property
    def _constructor(self):
        return TransferTable

    @property
    def skipped(self) -> pd.DataFrame:
        """Tasks and numbers of labels that were skipped, with the reason."""
        columns = ["task", "shots", "draws", "reason"]
        return pd.DataFrame(getattr(self, "_skipped", None) or [], columns=columns)

    def summary(self) -> pd.DataFrame:
        """Means over tasks, and how the representation fares against the baselines.

        Returns
        -------
        DataFrame
            One row per ``metric``, number of labels (``shots``) and kind of
            ``features``:

            n_tasks : int
                Tasks that were scored.
            mean : float
                Mean score over tasks and draws.
            std : float
                Standard deviation over draws of the mean over tasks; NaN for one draw.
            gain : float
                Mean score of the representation minus this one. Negative means
                negative transfer.
            gain_se : float
                Standard error of the gain over tasks, from their differences.
            tasks_won : float
                Share of tasks in which the representation has the higher mean score;
                a tie counts half.
            labels_to_match : float
                Number of labels that these features need for the mean score of the
                representation with ``shots`` labels, interpolated, over the tasks
                scored at every number of labels. At least the smallest number; inf
                where the largest does not suffice. NaN for "no labels".

            The last four are NaN for the representation itself. Fewer tasks have many
            labels: means at different numbers of labels are over different tasks.
        """
        parts = [of_metric._sum_up() for of_metric in self._by_metric()]
        columns = ["metric", "shots", "features", "n_tasks", "mean", "std"]
        columns += ["gain", "gain_se", "tasks_won", "labels_to_match"]
        return pd.DataFrame([row for rows in parts for row in rows], columns=columns)

    def _by_metric(self) -> list["TransferTable"]:
        """The rows of each metric."""
        if "metric" not in self:
            return [self.assign(metric="score")] if len(self) else []
        return [part for _, part in self.groupby("metric", sort=False)]

    def _sum_up(self) -> list[dict[str, Any]]:
        """Rows of the summary, of one metric."""
        metric = self["metric"].iloc[0]
        of_task = self._mean_over("task")  # (task, shots) x features
        of_draw = self._mean_over("draw").groupby("shots").std()
        means = of_task.groupby("shots").mean()
        curves = _common_curves(of_task)
        rows = []
        for shots, features in np.ndindex(means.shape):
            k, name = means.index[shots], means.columns[features]
            scores = of_task.xs(k, level="shots")
            row = {
                "metric": metric,
                "shots": k,
                "features": name,
                "n_tasks": int(scores[name].count()),
                "mean": means.loc[k, name],
                "std": of_draw.loc[k, name],
            }
            if name != OURS and OURS in means:
                difference = scores[OURS] - scores[name]
                row["gain"] = means.loc[k, OURS] - row["mean"]
                row["gain_se"] = difference.sem()
                row["tasks_won"] = ((np.sign(difference) + 1) / 2).mean()
                if name != NO_LABELS:
                    row["labels_to_match"] = _labels_to_match(curves, name, k)
            rows.append(row)
        return rows

    def report(self) -> str:
        """What the table says, in sentences.

        Returns
        -------
        str
            A line per metric, number of labels and baseline, and one for skipped tasks.
            Of several metrics each line names its own.
        """
        summary, lines = self.summary(), []
        largest = summary["shots"].max() if len(summary) else 0
        several = summary["metric"].nunique() > 1
        means = summary.set_index(["features", "metric", "shots"])["mean"]
        for row in summary[summary["features"] != OURS].itertuples():
            start = f"{row.metric}, " * several + f"{row.shots} labels"
            verdict = "gains" if row.gain >= 0 else "LOSES"
            if np.isnan(row.gain):
                lines.append(f"{start}: no scores to compare.")
                continue
            line = (
                f"{start}: {means[OURS, row.metric, row.shots]:.3f} {verdict} "
                f"{abs(row.gain):.3f} against {row.features} ({row.mean:.3f}), better "
                f"on {row.tasks_won:.0%} of {row.n_tasks} tasks"
            )
            if abs(row.gain) < max(SMALL_GAIN, 2 * row.gain_se):
                line += f"; no clear difference (standard error {row.gain_se:.3f})"
            elif row.gain < 0:
                line += "; negative transfer"
            elif np.isinf(row.labels_to_match):
                line += f"; {row.features} does not reach this with {largest} labels"
            elif row.labels_to_match > row.shots:
                line += (
                    f"; {row.features} needs {row.labels_to_match:.0f} labels for it"
                )
            lines.append(f"{line}.")
        if len(self.skipped):
            n_tasks = self.skipped["task"].nunique()
            lines.append(
                f"{n_tasks} tasks lack labels for some of these numbers: see skipped."
            )
        return "\n".join(lines)

    def _mean_over(self, kind: str) -> pd.DataFrame:
        """Mean scores by task or draw and by shots, a column per kind of features."""
        table = pd.DataFrame(self)
        names = list(dict.fromkeys(table["features"]))
        means = table.groupby([kind, "shots", "features"])["score"].mean()
        return means.unstack("features")[names]


def _common_curves(of_task: pd.DataFrame) -> pd.DataFrame:
    """Means over the tasks that were scored at every number of labels."""
    n_scored = of_task.groupby("task").size()
    common = n_scored.index[n_scored == of_task.index.unique("shots").size]
    kept = of_task[of_task.index.get_level_values("task").isin(common)]
    return kept.groupby("shots").mean()


def _labels_to_match(curves: pd.DataFrame, name: str, shots: int) -> float:
    """Where the curve of a baseline reaches the score of the representation."""
    if len(curves) == 0:
        return float("nan")
    target = curves.loc[shots, OURS]
    known = np.log(np.maximum(curves.index.to_numpy(dtype=float), LEAST_LABELS))
    reached = np.maximum.accumulate(curves[name].to_numpy())
    if target > reached[-1]:
        return float("inf")
    k = int(np.argmax(reached >= target))
    if k == 0:
        return float(curves.index[0])
    share = (target - reached[k - 1]) / (reached[k] - reached[k - 1])
    return float(np.exp(known[k - 1] + share * (known[k] - known[k - 1])))


def build_table(records: list[dict[str, Any]], skipped: list[dict[str, Any]]):
    """A `TransferTable` of records with its columns, of which there may be none."""
    columns = ["task", "shots", "draw", "features", "metric", "score"]
    extra = [name for name in (records[0] if records else {}) if name not in columns]
    table = TransferTable(records, columns=columns + extra)
    table._skipped = skipped
    return table
