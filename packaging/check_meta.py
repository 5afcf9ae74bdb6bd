#!/usr/bin/python3
"""Checks META.json by the schemas of the PGXN Meta Spec (pgxn_meta_v1.json, as PGXN's own
validator has them), and that all that names a version names the same one. From the top
folder. Prints what is wrong, and fails if anything is."""

import json
import os
import re
import sys

import jsonschema
import regex

SCHEMAS = "packaging/pgxn_meta_v1.json"
ROOT = "https://pgxn.org/meta/v1/distribution.schema.json"
VERSIONS = (("agno_bg.control", r"default_version = '(.*)'"),
            ("src/core/version.h", r'AGNO_VERSION "(.*)"'),
            ("packaging/debian/changelog", r"\((.*)\.\d+-\d+\)"))


def matches(_validator, pattern, value, _schema):
    """The patterns have classes that the module re does not know."""
    if isinstance(value, str) and not regex.search(pattern, value):
        yield jsonschema.ValidationError("%r is not like %s" % (value, pattern))


def validator():
    with open(SCHEMAS, encoding="utf-8") as file:
        schemas = {schema["$id"]: schema for schema in json.load(file)}
    for schema in schemas.values():
        del schema["$schema"]  # or a validator of that name would take over
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator,
                                        {"pattern": matches})
    resolver = jsonschema.RefResolver(ROOT, schemas[ROOT], store=schemas)
    return kind(schemas[ROOT], resolver=resolver)


def faults():
    with open("META.json", encoding="utf-8") as file:
        meta = json.load(file)
    for error in validator().iter_errors(meta):
        yield "%s: %s" % (error.json_path, error.message)
    for name, extension in meta.get("provides", {}).items():
        for key in ("file", "docfile"):
            if not os.path.exists(extension.get(key, "")):
                yield "the %s of %s is not there" % (key, name)
        if extension.get("version") != meta.get("version"):
            yield "%s is not of the distribution's version" % name
    for path, pattern in VERSIONS:
        with open(path, encoding="utf-8") as file:
            version = re.search(pattern, file.read()).group(1)
        if not str(meta.get("version")).startswith(version + "."):
            yield "%s is of version %s" % (path, version)


found = list(faults())
print("".join("META.json: %s\n" % fault for fault in found), end="", file=sys.stderr)
sys.exit(bool(found))
