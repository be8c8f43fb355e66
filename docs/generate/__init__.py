"""The generated parts of the docs: tables, timing diagrams, pages of the registers."""
