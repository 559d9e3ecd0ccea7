"""What files and ONNX graphs get from a LinearProbe."""

from typing import Any

from mtrl_sklearn._training.onnx_graph import Graph
from mtrl_sklearn._training.saving import SaveableMixin
from mtrl_sklearn.probing._blocks import pin
from mtrl_sklearn.probing._fitted_form import check_probe
from mtrl_sklearn.probing._onnx import write_probe
from mtrl_sklearn.probing._settings import rename_blocks

BY_BLOCKS = {"weights", "weights_", "coef_"}


class SavedProbeMixin(SaveableMixin):
    """The methods of the protocols `Saveable` and `Exportable`."""

    def check_fitted_form(self, values: dict[str, Any]) -> None:
        """Check that fitted values are whole; see `check_probe`.

        Parameters
        ----------
        values : dict
            Those of `fitted_form`.
        """
        check_probe(values)

    @staticmethod
    def read_older(
        parameters: dict[str, Any], values: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and fitted values of a file, under their names of today.

        Earlier files call a block "scores", some hold the representation only as a
        parameter, and none had a prior or weights of classes.

        Parameters
        ----------
        parameters, values : dict
            As the file has them.
        """
        parameters, values = parameters.copy(), values.copy()
        if not {"class_weight", "prior"} & parameters.keys():
            parameters |= {"class_weight": None, "prior": None}
            if values:
                values["prior_"] = None
        for found in (parameters, values):
            for name in BY_BLOCKS & found.keys():
                found[name] = rename_blocks(found[name])
        if values and "representation" in parameters:
            values.setdefault("representation_", pin(parameters["representation"]))
        return parameters, values

    def write_onnx(self, graph: Graph) -> None:
        """Add the probe to an ONNX graph; see `mtrl_sklearn.to_onnx`.

        Parameters
        ----------
        graph : Graph
        """
        write_probe(graph, self)
