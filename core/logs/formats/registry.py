"""The log formats by name. A format is added by adding its file here."""

from tablefold.errors import LogError, UsageError
from tablefold.files.place import place_of
from tablefold.logs.formats import avazu, criteo, frappe, movielens, schema_file, synthetic
from tablefold.logs.source import LogFormat, Source
from tablefold.printable import redacted
from tablefold.schema import FeatureSchema

FORMATS: dict[str, LogFormat] = {
    log_format.name: log_format
    for log_format in (criteo.FORMAT, avazu.FORMAT, movielens.FORMAT, frappe.FORMAT, synthetic.FORMAT)
}


def open_source(spec: str) -> Source:
    """Return what `NAME:ARGUMENT` or a SCHEMA.toml stands for.

    Raises UsageError for a wrong specification, LogError for a file that is not there.
    """
    try:
        return _open(spec)
    except OSError as error:
        file = str(error.filename or redacted(spec))
        raise LogError(f"cannot be read: {error.strerror}", file=file) from error


def _open(spec: str) -> Source:
    if spec.endswith(".toml"):
        return schema_file.open_source(place_of(spec))
    name, _, argument = spec.partition(":")
    if name not in FORMATS or not argument:
        forms = ", ".join(f"{known.name}:{known.argument}" for known in FORMATS.values())
        raise UsageError(f"--data {redacted(spec)!r} is not known; give {forms} or a SCHEMA.toml")
    return FORMATS[name].open(argument)


def schema_of(name: str) -> FeatureSchema:
    """Return the usual schema of a format, or that of a SCHEMA.toml. Raises UsageError for another name."""
    if name.endswith(".toml"):
        return schema_file.read_schema(place_of(name)).feature_schema
    if name not in FORMATS:
        raise UsageError(f"--schema {name!r} is not known: give {', '.join(FORMATS)} or a SCHEMA.toml")
    return FORMATS[name].schema
