"""One face per file: parse, call the pipeline, answer."""
