"""A client that openapi-python-client makes of a node's own document calls a service that reads digits."""

from __future__ import annotations

import http.client
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import checked_subjects as subjects
import pytest
import roundhouse as rh
from sklearn.datasets import load_digits


class Generated:
    """The package that was made, with a client of it that is let in."""

    def __init__(self, name: str, url: str, token: str) -> None:
        self.name = name
        self.client = self.module("client").AuthenticatedClient(base_url=url, token=token, timeout=60)

    def module(self, path: str) -> ModuleType:
        return importlib.import_module(f"{self.name}.{path}")

    def model(self, name: str) -> Any:
        return getattr(self.module("models"), name)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder: Path = tmp_path_factory.mktemp("generated")
    with rh.compute("generated") as box:
        rh.cls(subjects.Digits).to(box)(name="digits")
        url, token = box.listen().url, box.create_token("generated")
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        connection.request("GET", "/v1/services/digits/openapi.json", headers={"Authorization": f"Bearer {token}"})
        (folder / "digits.json").write_bytes(connection.getresponse().read())
        connection.close()
        made = subprocess.run(
            [
                str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none",
                "--path", "digits.json", "--output-path", "digits_client",
            ],
            cwd=folder, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        # It says what it could make nothing of; that ruff is not on the PATH is no matter of the document.
        assert "WARNING" not in made.stdout, made.stdout
        assert "Unable to parse" not in made.stdout, made.stdout
        sys.path.insert(0, str(folder))
        try:
            yield Generated("digits_client", url, token)
        finally:
            sys.path.remove(str(folder))
            for name in [each for each in sys.modules if each.partition(".")[0] == "digits_client"]:
                del sys.modules[name]


def test_it_trains_and_reads_digits(generated: Generated) -> None:
    scans, labels = load_digits(return_X_y=True)
    known, held_out = scans[:1200].tolist(), scans[1200:1300].tolist()
    asked = generated.module("api.digits.digits_is_trained_by_get").sync(client=generated.client)
    assert asked is False
    Fit = generated.model("DigitsFitBody")
    learned = generated.module("api.digits.digits_fit").sync(
        client=generated.client, body=Fit.from_dict({"scans": known, "labels": labels[:1200].tolist()})
    )
    assert 0.85 < learned <= 1
    assert generated.module("api.digits.digits_is_trained_by_get").sync(client=generated.client) is True
    Predict = generated.model("DigitsPredictBody")
    read = generated.module("api.digits.digits_predict").sync(client=generated.client, body=Predict(scans=held_out))
    right = sum(one == other for one, other in zip(read, labels[1200:1300], strict=True))
    assert right > 70
    Evaluate = generated.model("DigitsEvaluateBody")
    score = generated.module("api.digits.digits_evaluate").sync(
        client=generated.client, body=Evaluate.from_dict({"scans": held_out, "labels": labels[1200:1300].tolist()})
    )
    # A dataclass there is a class of the client's here.
    assert type(score).__name__ == "Score"
    assert (score.right, score.of, score.accuracy) == (right, 100, right / 100)


def test_a_failure_is_a_typed_answer(generated: Generated) -> None:
    Predict = generated.model("DigitsPredictBody")
    answer = generated.module("api.digits.digits_predict").sync_detailed(
        client=generated.client, body=Predict.from_dict({"scans": [["many"]]})
    )
    assert answer.status_code == 422
    assert type(answer.parsed).__name__ == "Failure"
    assert answer.parsed.error.code == "bad_arguments"
    assert "scans" in answer.parsed.error.message
