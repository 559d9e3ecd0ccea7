"""The version, and where its documentation is found."""

__version__ = "0.1.0"

# Of the site, without a slash at its end, once it is online: the HTML representation of
# estimators links to it, and pyproject.toml names it under project.urls.
ADDRESS: str | None = None


class DocumentationLinkMixin:
    """Links the HTML representation of an estimator to its page, if there is one."""

    _doc_link_module = "mtrl_sklearn" if ADDRESS else ""
    _doc_link_template = (
        f"{ADDRESS}/generated/{{estimator_module}}.{{estimator_name}}.html"
    )
