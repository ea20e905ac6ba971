"""A warning if the archived library, which is imported by the same name, is installed in the same environment."""

import importlib.metadata
import warnings

LAST_ARCHIVED = (0, 6)


def warn_of_archived_library() -> None:
    """Warns if there is a distribution `neural-tangents` that is not ours, whose files may be mixed with ours."""
    try:
        version = importlib.metadata.version("neural-tangents")
    except importlib.metadata.PackageNotFoundError:
        return
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) <= LAST_ARCHIVED:
        warnings.warn(
            f"The archived library neural-tangents {version} is installed beside this one, neural-tangents-jax. Both "
            "are imported as `neural_tangents`, so their files are mixed. Uninstall both, and install one again: "
            "pip uninstall neural-tangents neural-tangents-jax; pip install neural-tangents-jax.",
            UserWarning,
            stacklevel=2,
        )


warn_of_archived_library()
