"""How long an audio file is, by its own structure: one module a format, none of which decodes a sample."""
