"""`python -m cql_tutorial.cli` is the same as `cql-tutorial`."""

from . import main

raise SystemExit(main())
