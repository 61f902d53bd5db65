"""One file per upstream dialect: pure translation between its wire and the OpenAI types, no I/O."""
