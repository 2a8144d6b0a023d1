"""Makes the certificates that TLS is tested with, in the folder named by the one argument.

    ca, other-ca         two authorities
    server               by ca, for 127.0.0.1 and localhost      elsewhere   by ca, for db.elsewhere.test
    expired, future      by ca, for 127.0.0.1, in vain           client      by ca, for a client
    stranger             by other-ca, for 127.0.0.1 or a client

Each is NAME.pem with its key in NAME-key.pem. Needs the `cryptography` that scripts/test-tools.sh gets.
"""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
folder = pathlib.Path(sys.argv[1])


def write(name, certificate, key):
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}-key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def make(name, issuer=None, names=(), begins=NOW - DAY, ends=NOW + 30 * DAY):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer_name)
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(begins).not_valid_after(ends)
               .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    write(name, certificate, key)
    return certificate, key


HERE = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"))
ca, other_ca = make("ca"), make("other-ca")
make("server", ca, HERE)
make("elsewhere", ca, (x509.DNSName("db.elsewhere.test"),))
make("expired", ca, HERE, NOW - 9 * DAY, NOW - 2 * DAY)
make("future", ca, HERE, NOW + 2 * DAY, NOW + 9 * DAY)
make("client", ca, (x509.DNSName("client.test"),))
make("stranger", other_ca, HERE)
