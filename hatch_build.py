"""What the build makes of the README: the page on PyPI has no files next to it to link to."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "sklearn-ncti/sklearn-ncti"
# The target of a link or picture that is no address and no part of the page itself.
LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)\s]+)\)")


def with_addresses(text, version):
    """Return the README with the address of each file that it links to, in the release."""
    # Only releases have a tag.
    commit = "main" if "dev" in version else f"v{version}"

    def address(match):
        picture, label, path = match.groups()
        host = "raw.githubusercontent.com" if picture else "github.com"
        middle = "" if picture else "blob/"
        return f"{picture}{label}(https://{host}/{REPOSITORY}/{middle}{commit}/{path})"

    return LINK.sub(address, text)


class ReadmeHook(MetadataHookInterface):
    """Sets the readme of the project."""

    def update(self, metadata):
        """Add the readme to the metadata; hatchling calls this."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        source = (root / "sklearn_ncti" / "_version.py").read_text(encoding="utf-8")
        version = re.search(r'^__version__ = "(.+)"$', source, re.M).group(1)
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_addresses(text, version),
        }
