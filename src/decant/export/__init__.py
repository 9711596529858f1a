"""Models, and what drafts for them, in other engines' formats: `export.formats.run`."""
