"""`python -m cql_tutorial` is the same as `cql-tutorial`."""

from .cli import main

raise SystemExit(main())
