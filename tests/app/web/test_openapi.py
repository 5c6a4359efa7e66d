"""Every operation fuzzed from the OpenAPI document: no server error, and each answer fits the document."""

from contextlib import suppress
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.adapter.v2  # early: parsing in one of several threads may fail before Python 3.11.5
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.store.run_store import RunStore
from cct.spec import RunSpec

# Not among them: that what fits the schema is accepted. A batch may fit it and still be larger than its dataset.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_the_api(server: str, store: RunStore, mode: schemathesis.GenerationMode) -> None:
    store.create_runs([RunSpec()])
    schema = schemathesis.openapi.from_url(f"{server}/openapi.json")
    found = list(schema.exclude(path="/events").get_all_operations())  # /events never ends
    operations = [result.ok() for result in found if isinstance(result, Ok)]
    assert len(operations) == len(found)
    assert len(operations) > 10
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis_settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def send(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # an operation without fields has none to get wrong
            send()


def test_the_document_is_enough_to_work_from(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            responses = operation["responses"]
            assert "application/problem+json" in responses["422"]["content"], (method, path)
    body = document["paths"]["/runs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]["one run"]["value"]["dataset"] == "digits"
    described = document["components"]["schemas"]["RunRequest"]["properties"]
    assert all(field["description"] and "default" in field for field in described.values())
