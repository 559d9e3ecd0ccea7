"""Where the documentation of public classes is found."""

ADDRESS = "https://mtrl-sklearn.readthedocs.io/en/stable"


class DocumentationLinkMixin:
    """Links the HTML representation of an estimator to its page."""

    _doc_link_module = "mtrl_sklearn"
    _doc_link_template = ADDRESS + "/generated/{estimator_module}.{estimator_name}.html"
