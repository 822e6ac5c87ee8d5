"""Settings shared by all tests."""

import collections
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import numpy as np
import pytest

# Fixed examples: a test run says the same today and tomorrow.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def rng():
    """A seeded NumPy generator."""
    return np.random.default_rng(20210619)


def pytest_collection_modifyitems(items):
    """Files of slow tests come first, and then those of many, so that all workers end together."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path], item.path))
