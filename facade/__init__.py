"""The HTTP application and its traffic policy: OpenAI clients in front, model servers behind."""
