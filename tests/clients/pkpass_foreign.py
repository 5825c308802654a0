"""Packages as strangers see them.

    verify ROOT FILE...   pyHanko, a validator of signatures, says of each package whether the signature over the
                          manifest is intact and leads to ROOT, and who signed it when: one JSON object a line
    build CERTIFICATE KEY INTERMEDIATE PASS_TYPE TEAM OUT
                          py-pkpass, a builder of packages, makes one from scratch
"""

import asyncio
import io
import json
import struct
import sys
import zipfile
import zlib

from asn1crypto import cms, pem, x509


def verify(root, *files):
    from pyhanko.sign.validation import async_validate_detached_cms
    from pyhanko.sign.validation.settings import KeyUsageConstraints
    from pyhanko_certvalidator import ValidationContext

    with open(root, "rb") as file:
        root = x509.Certificate.load(pem.unarmor(file.read())[2])
    for name in files:
        archive = zipfile.ZipFile(name)
        assert archive.testzip() is None
        signature = cms.ContentInfo.load(archive.read("signature"), strict=True)
        status = asyncio.run(
            async_validate_detached_cms(
                archive.read("manifest.json"),
                signature["content"],
                signer_validation_context=ValidationContext(trust_roots=[root], allow_fetching=False),
                key_usage_settings=KeyUsageConstraints(key_usage={"digital_signature"}),
            )
        )
        subject = status.signing_cert.subject.native
        said = {
            "intact": status.intact,
            "valid": status.valid,
            "trusted": status.trusted,
            "pass_type": subject.get("user_id"),
            "team": subject.get("organizational_unit_name"),
            "digest": status.md_algorithm,
            "signed_at": status.signer_reported_dt.isoformat() if status.signer_reported_dt else None,
        }
        print(json.dumps(said))


def picture():
    """The smallest PNG there is: one black point."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def build(certificate, key, intermediate, pass_type, team, out):
    from py_pkpass.models import Barcode, BarcodeFormat, EventTicket, Location, Pass

    ticket = EventTicket()
    ticket.addPrimaryField("event", "An evening of engines", "EVENT")
    ticket.addSecondaryField("place", "Ockham Park", "PLACE")
    ticket.addAuxiliaryField("seat", "12", "SEAT")
    ticket.addBackField("terms", "No smoking.\nNo dogs.", "TERMS")
    package = Pass(ticket, passTypeIdentifier=pass_type, organizationName="A stranger", teamIdentifier=team)
    package.serialNumber = "stranger-1"
    package.description = "A ticket that somebody else's program made"
    package.backgroundColor = "rgb(12, 34, 56)"
    package.logoText = "Grüße"
    package.barcode = Barcode("stranger-1", BarcodeFormat.QR, "stranger-1")
    place = Location(51.24, -0.43).json_dict()
    package.locations = [{key: value for key, value in place.items() if value not in (None, "")}]
    package.webServiceURL = "https://wallet.example.org"
    package.authenticationToken = "a-token-of-a-stranger"
    png = picture()
    for name in ["icon.png", "icon@2x.png", "logo.png"]:
        package.addFile(name, io.BytesIO(png))
    with open(out, "wb") as file:
        package.create(certificate, key, intermediate, None, file)


{"verify": verify, "build": build}[sys.argv[1]](*sys.argv[2:])
