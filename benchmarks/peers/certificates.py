"""The certificates of a measurement: one authority for the sink, two for those who sign leaves, one leaf for all."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = r"""
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
for authority in ca proxy-authority untrusted-authority; do
  new_key $authority
  openssl req -x509 -key $authority.key -days 30 -subj "/CN=bench $authority" -out $authority.pem \
    -addext keyUsage=critical,keyCertSign,cRLSign
done
for pair in sink:ca leaf:proxy-authority; do
  name=${pair%:*} authority=${pair#*:}
  new_key $name
  cat > $name.ext <<EXT
subjectAltName=DNS:sink.test,IP:127.0.0.1
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXT
  openssl req -new -key $name.key -subj "/CN=sink.test" |
    openssl x509 -req -CA $authority.pem -CAkey $authority.key -CAcreateserial \
      -days 20 -extfile $name.ext -out $name.pem
  cat $name.pem $name.key > $name.both
done
"""


def make_certificates(folder: Path) -> None:
    """Write ``sink``, ``leaf`` and the authorities into a folder, each as ``.pem`` and ``.key``."""
    subprocess.run(["sh", "-ec", _SCRIPT], cwd=folder, check=True, capture_output=True)
