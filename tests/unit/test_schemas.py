"""The files in schemas/ say what the types say, and every event type has one."""

from pathlib import Path

from jsonschema import Draft202012Validator

from gateway.catalogue import MEANINGS, schema_files
from gateway.events import dump_schema, schemas
from gateway.operations import TYPES
from gateway.orders.tables import OrderType

FOLDER = Path(__file__).parents[2] / "schemas"


def test_every_type_has_a_meaning() -> None:
    assert set(MEANINGS) == {*OrderType, *TYPES}


def test_schema_files_are_up_to_date() -> None:
    """Run .ci/schemas after a change of the types."""
    expected = {name: dump_schema(schema) for name, schema in schema_files().items()}
    found = {
        str(path.relative_to(FOLDER)): path.read_text("utf-8") for path in FOLDER.rglob("*.json")
    }
    assert expected == found


def test_schemas_are_served_from_the_same_files() -> None:
    served = schemas()
    assert {Path(name).name for name in schema_files()} == set(served)


def test_schemas_are_valid_and_closed() -> None:
    for schema in schema_files().values():
        Draft202012Validator.check_schema(schema)
        objects = [part for part in schema["$defs"].values() if part.get("type") == "object"]
        assert objects
        assert all(part["additionalProperties"] is False for part in objects)
