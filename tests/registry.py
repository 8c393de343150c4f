"""A schema registry that speaks Confluent's protocol, as far as runtide needs it: run as a process of its own.

Schemas are kept in a file. A schema has one id under all subjects; a new version must be able to read the one before.
Source: Confluent Schema Registry API reference.
"""

import argparse
import base64
import json
from pathlib import Path

import uvicorn
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import Schema, parse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class Refusal(Exception):
    """An answer with an error; the first three digits of the code are the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Registry:
    """The subjects with their versions: ids of schemas, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        kept = json.loads(file.read_text()) if file.exists() else {"schemas": [], "subjects": {}}
        self._schemas: list[str] = kept["schemas"]
        self._subjects: dict[str, list[int]] = kept["subjects"]

    def register(self, subject: str, text: str) -> int:
        new = _parsed(text)
        versions = self._subjects.get(subject, [])
        known = next((i for i, one in enumerate(self._schemas, 1) if json.loads(one) == json.loads(text)), None)
        if known is not None and known in versions:
            return known
        if versions and not _reads(new, _parsed(self._schemas[versions[-1] - 1])):
            message = f"Schema being registered is incompatible with an earlier schema for subject '{subject}'"
            raise Refusal(409, message)
        if known is None:
            self._schemas.append(text)
            known = len(self._schemas)
        self._subjects.setdefault(subject, []).append(known)
        self._file.write_text(json.dumps({"schemas": self._schemas, "subjects": self._subjects}))
        return known

    def schema(self, number: str) -> str:
        if not number.isdigit() or not 1 <= int(number) <= len(self._schemas):
            raise Refusal(40403, f"Schema {number} not found")
        return self._schemas[int(number) - 1]

    def version(self, subject: str, name: str) -> dict[str, object]:
        if subject not in self._subjects:
            raise Refusal(40401, f"Subject '{subject}' not found.")
        versions = self._subjects[subject]
        wanted = len(versions) if name == "latest" else int(name)
        if not 1 <= wanted <= len(versions):
            raise Refusal(40402, f"Version {name} not found.")
        number = versions[wanted - 1]
        return {"subject": subject, "version": wanted, "id": number, "schema": self._schemas[number - 1]}

    def find(self, subject: str, text: str) -> dict[str, object]:
        for number in range(len(self._subjects.get(subject, [])), 0, -1):
            found = self.version(subject, str(number))
            if json.loads(str(found["schema"])) == json.loads(text):
                return found
        raise Refusal(*((40403, "Schema not found") if subject in self._subjects else (40401, "Subject not found.")))


def _parsed(text: str) -> Schema:
    try:
        return parse(text)
    except AvroException as error:
        raise Refusal(42201, f"Invalid schema {text}, details: {error}") from error


def _reads(new: Schema, old: Schema) -> bool:
    found = ReaderWriterCompatibilityChecker().get_compatibility(new, old)
    return found.compatibility is SchemaCompatibilityType.compatible


def application(registry: Registry, auth: str) -> Starlette:
    """The registry's HTTP interface; `auth` is user:password, empty when anybody may."""

    async def text(request: Request) -> str:
        try:
            return str(json.loads(await request.body())["schema"])
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(42201, f"Invalid request: {error}") from error

    async def register(request: Request) -> object:
        return {"id": registry.register(request.path_params["subject"], await text(request))}

    async def find(request: Request) -> object:
        return registry.find(request.path_params["subject"], await text(request))

    async def version(request: Request) -> object:
        return registry.version(request.path_params["subject"], request.path_params["version"])

    async def schema(request: Request) -> object:
        return {"schema": registry.schema(request.path_params["id"])}

    def answering(handler):
        async def answer(request: Request) -> JSONResponse:
            wanted = "Basic " + base64.b64encode(auth.encode()).decode()
            try:
                if auth and request.headers.get("authorization") != wanted:
                    raise Refusal(401, "Unauthorized")
                status, body = 200, await handler(request)
            except Refusal as refusal:
                status, body = int(str(refusal.code)[:3]), {"error_code": refusal.code, "message": str(refusal)}
            return JSONResponse(body, status, media_type="application/vnd.schemaregistry.v1+json")

        return answer

    return Starlette(
        routes=[
            Route("/subjects/{subject}/versions", answering(register), methods=["POST"]),
            Route("/subjects/{subject}", answering(find), methods=["POST"]),
            Route("/subjects/{subject}/versions/{version}", answering(version)),
            Route("/schemas/ids/{id}", answering(schema)),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", default="")
    options = parser.parse_args()
    app = application(Registry(options.file), options.auth)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
