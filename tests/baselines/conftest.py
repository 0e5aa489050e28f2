import pytest

from tests.core.x64 import double_precision


@pytest.fixture
def x64():
    with double_precision():
        yield
