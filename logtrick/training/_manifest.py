"""The manifest of a checkpoint: JSON that says what the archive beside it contains, and its own checksum."""

import hashlib
import json
import pathlib
from typing import Any

from logtrick._core.errors import CheckpointError

FORMAT = 1  # to be raised whenever what is written changes
MOST_BYTES = 2**26
_FIELDS = {
    "format": int,
    "step": int,
    "about": dict,
    "archive": dict,
    "leaves": list,
    "extra": dict,
}
_ARCHIVE = {"name": str, "bytes": int, "sha256": str}


class DamagedError(CheckpointError):
    """The files are not what was written: the only kind of error after which an older checkpoint may be better."""


def to_bytes(manifest: dict[str, Any]) -> bytes:
    """The content of the manifest's file: the manifest and its checksum."""
    content = json.dumps({**manifest, "checksum": _checksum(manifest)}, indent=1).encode("ascii")
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"the manifest of a checkpoint needs at most {MOST_BYTES} bytes; got {len(content)}. Put the numbers in extra "
            "into arrays of the state."
        )
    return content


def from_file(path: pathlib.Path) -> dict[str, Any]:
    """A manifest, complete and intact."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DamagedError(
                path, f"has {size} bytes; a manifest has at most {MOST_BYTES}. It is another file."
            )
        raw = path.read_bytes()
    except OSError as error:
        raise DamagedError(path, f"cannot be read: {error.strerror}.") from error
    manifest = _intact(path, raw)
    _check_format(path, manifest.get("format"))
    if not _has(manifest, _FIELDS) or not _has(manifest["archive"], _ARCHIVE):
        raise DamagedError(path, "lacks fields of a manifest. It is another file.")
    if not all(_is_leaf(leaf) for leaf in manifest["leaves"]):
        raise DamagedError(path, "describes a leaf wrongly. It is another file.")
    return manifest


def _check_format(path: pathlib.Path, version: Any) -> None:
    if not isinstance(version, int):
        raise DamagedError(path, "has no format version. It is another file.")
    if version != FORMAT:
        raise CheckpointError(
            path,
            f"has format {version}; this version of logtrick reads format {FORMAT}. Use the version that wrote it.",
        )


def check_extra(value: Any, where: str = "extra") -> None:
    """Refuse what JSON would change silently: tuples become lists, numbers as keys become strings."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} needs strings as keys; got {key!r}. Pass str(key).")
            check_extra(item, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            check_extra(item, f"{where}[{i}]")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise TypeError(
            f"{where} needs what JSON keeps (dict, list, str, bool, int, float, None); got "
            f"{type(value).__name__}. Put arrays into the state, and tuples into lists."
        )


def _intact(path: pathlib.Path, raw: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError) as error:
        reason = "is not the JSON of a manifest: damaged, cut off, or another file."
        raise DamagedError(path, reason) from error
    checksum = manifest.pop("checksum", None) if isinstance(manifest, dict) else None
    if checksum is None or checksum != _checksum(manifest):
        raise DamagedError(path, "does not agree with its own checksum: damaged, or another file.")
    return manifest


def _checksum(manifest: dict[str, Any]) -> str:
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _has(value: dict[str, Any], fields: dict[str, type]) -> bool:
    return all(type(value.get(name)) is kind for name, kind in fields.items())


def _is_leaf(leaf: Any) -> bool:
    return isinstance(leaf, dict) and _has(leaf, {"path": str, "kind": str})
