from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.pki import Pair, Wanted, make_leaf


@pytest.fixture(scope="session")
def rsa_key() -> Pair:
    """A self-signed pair whose RSA key the tests share, since making one takes long."""
    return make_leaf(None, Wanted(key=rsa.generate_private_key(65537, 2048)))
