"""Validates the OpenAPI document on standard input."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

errors = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in OpenAPIV31SpecValidator(json.load(sys.stdin)).iter_errors()]
print(json.dumps({"valid": True} if not errors else {"valid": False, "errors": errors[:20]}))
