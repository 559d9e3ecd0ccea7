"""The version, and where its documentation is found."""

__version__ = "0.1.0"

ADDRESS = "https://mtrl-sklearn.readthedocs.io/en/stable"


class DocumentationLinkMixin:
    """Links the HTML representation of an estimator to its page."""

    _doc_link_module = "mtrl_sklearn"
    _doc_link_template = ADDRESS + "/generated/{estimator_module}.{estimator_name}.html"
