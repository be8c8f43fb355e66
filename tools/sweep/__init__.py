"""``microzone sweep``: behaviour over formats, parameters and detection quality, against logic cells."""
