"""The vendors that speak OpenAI's API: one row each, with all that is special about it.

A row is data. What data cannot say is a named verb in `openai_requests`. A new vendor is a new
row here; nothing else needs to know its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from adapters.openai_embeddings import signed_bytes
from adapters.openai_requests import PLAIN, Names, Quirks, any_tool, short_call_ids


class Provider(Struct, frozen=True, kw_only=True):
    """A vendor. Without a `base_url` only the operator knows where it is.

    `base_url_variable` may hold an address; where the vendor has its own, that is another
    server's, which only speaks the same API. The first of `key_variables` that is set holds the
    key. `path` is where the API is below an address that is given without one; `query` goes with
    every request where the address has none. `lists`: what /models lists is what can be asked.
    """

    dialect: str = "openai"
    base_url: str | None = None
    base_url_variable: str | None = None
    path: str = ""
    query: str = ""
    key_variables: tuple[str, ...] = ()
    key_header: str = "authorization"
    lists: bool = True
    quirks: Quirks = PLAIN

    def credentials(self, key: str) -> Mapping[str, str]:
        """The header that carries the key."""
        bearer = self.key_header == "authorization"
        return {self.key_header: f"Bearer {key}" if bearer else key}


def _without(names: str) -> Names:
    return dict.fromkeys(names.split())


_OLD_BOUND: Final[Names] = {"max_completion_tokens": "max_tokens"}
_NEW_BOUND: Final[Names] = {"max_tokens": "max_completion_tokens"}
_FLOATS: Final[Names] = {"encoding_format": None}  # where base64 is refused, ignored or unproven
_SYSTEM: Final = Quirks(developer=False, embedding_fields=_FLOATS)
_OLD: Final = Quirks(developer=False, fields=_OLD_BOUND, embedding_fields=_FLOATS)
_SERVER: Final = Quirks(developer=False, fields=_OLD_BOUND, takes_tokens=True)  # of its model
# Of OpenAI's fields, those that no vendor that refuses unknown ones has taken over.
_OPENAIS_OWN: Final = _without(
    "audio modalities moderation prompt_cache_options prompt_cache_retention "
    "safety_identifier store verbosity web_search_options"
)
_HISTORY: Final = _without(  # what answers of others leave in the history
    "annotations audio content_parts reasoning_content reasoning_details refusal"
)

PROVIDERS: Final[Mapping[str, Provider]] = {
    # https://platform.openai.com/docs/api-reference/chat/create: max_tokens is deprecated
    "openai": Provider(
        base_url="https://api.openai.com/v1",
        base_url_variable="OPENAI_BASE_URL",
        key_variables=("OPENAI_API_KEY",),
        quirks=Quirks(fields=_NEW_BOUND, takes_tokens=True),
    ),
    # https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle; a model is the
    # name of a deployment, while /models lists what could be deployed
    "azure": Provider(
        base_url_variable="AZURE_OPENAI_ENDPOINT",
        path="/openai/v1",
        key_variables=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        lists=False,
        quirks=Quirks(fields=_NEW_BOUND, takes_tokens=True),
    ),
    # https://learn.microsoft.com/azure/ai-foundry/openai/reference: the last version by date.
    # Earlier ones know neither max_completion_tokens nor developers, so no name is changed to
    # these; all from 2024-09-01-preview on know stream_options.
    "azure-deployments": Provider(
        path="/openai",
        query="api-version=2025-04-01-preview",
        key_variables=("AZURE_OPENAI_API_KEY",),
        key_header="api-key",
        lists=False,
        quirks=Quirks(
            paths={
                path: "/deployments/{model}" + path
                for path in ("/chat/completions", "/completions", "/embeddings")
            },
            developer=False,
            takes_tokens=True,
        ),
    ),
    # https://console.groq.com/docs/openai
    "groq": Provider(
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        quirks=Quirks(
            developer=False,
            fields=_OPENAIS_OWN
            | _without("logit_bias logprobs metadata n prediction prompt_cache_key top_logprobs"),
            in_messages=_HISTORY | _without("name"),
        ),
    ),
    # https://docs.mistral.ai/api/endpoint/chat: unknown fields are a 422; usage always comes
    "mistral": Provider(
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        quirks=Quirks(
            developer=False,
            fields=_OPENAIS_OWN
            | _OLD_BOUND
            | {"seed": "random_seed"}
            | _without("function_call functions logit_bias stream_options user"),
            in_messages=_HISTORY | _without("function_call name reasoning thinking"),
            embedding_fields=_FLOATS | {"dimensions": "output_dimension", "user": None},
            verbs=(any_tool, short_call_ids),
        ),
    ),
    # https://api-docs.deepseek.com/
    "deepseek": Provider(
        base_url="https://api.deepseek.com",
        key_variables=("DEEPSEEK_API_KEY",),
        quirks=_OLD,
    ),
    # https://docs.x.ai/docs/api-reference
    "xai": Provider(base_url="https://api.x.ai/v1", key_variables=("XAI_API_KEY",), quirks=_SYSTEM),
    # https://docs.together.ai/docs/inference/openai-compatibility
    "together": Provider(
        base_url="https://api.together.ai/v1",
        key_variables=("TOGETHER_API_KEY",),
        quirks=_OLD,
    ),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility: unknown fields are a 400
    "fireworks": Provider(
        base_url="https://api.fireworks.ai/inference/v1",
        key_variables=("FIREWORKS_API_KEY",),
        quirks=Quirks(developer=False, fields=_OPENAIS_OWN | _OLD_BOUND, embedding_fields=_FLOATS),
    ),
    # https://openrouter.ai/docs/api-reference/overview
    "openrouter": Provider(
        base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY",),
        quirks=_SYSTEM,
    ),
    # https://inference-docs.cerebras.ai/api-reference/chat-completions: unknown fields are a 400
    "cerebras": Provider(
        base_url="https://api.cerebras.ai/v1",
        key_variables=("CEREBRAS_API_KEY",),
        quirks=Quirks(
            developer=False,
            fields=_OPENAIS_OWN | _without("function_call functions metadata"),
            in_messages=_HISTORY | {"reasoning_content": "reasoning"},
            embedding_fields=_FLOATS,
        ),
    ),
    # https://docs.perplexity.ai/api-reference/chat-completions-post: usage is in every chunk;
    # .../embeddings-post: vectors are signed bytes
    "perplexity": Provider(
        base_url="https://api.perplexity.ai",
        key_variables=("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        lists=False,
        quirks=Quirks(
            paths={"/embeddings": "/v1/embeddings"},
            developer=False,
            fields=_OLD_BOUND | _without("stream_options"),
            embedding_fields=_FLOATS,
            vectors=signed_bytes,
        ),
    ),
    # https://platform.moonshot.ai/docs/api/chat
    "moonshot": Provider(
        base_url="https://api.moonshot.ai/v1",
        key_variables=("MOONSHOT_API_KEY",),
        quirks=_SYSTEM,
    ),
    # https://docs.z.ai/api-reference/llm/chat-completion
    "zai": Provider(
        base_url="https://api.z.ai/api/paas/v4",
        key_variables=("ZAI_API_KEY",),
        quirks=_OLD,
    ),
    # https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope;
    # Singapore, of which the keys of other regions know nothing
    "alibaba": Provider(
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_variables=("DASHSCOPE_API_KEY",),
        quirks=_OLD,
    ),
    # https://huggingface.co/docs/inference-providers/index
    "huggingface": Provider(
        base_url="https://router.huggingface.co/v1",
        key_variables=("HF_TOKEN",),
        quirks=_OLD,
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html; every version knows
    # max_tokens
    "vllm": Provider(base_url="http://127.0.0.1:8000/v1", path="/v1", quirks=_SERVER),
    # https://docs.gpustack.ai/latest/user-guide/openai-compatible-apis/
    "gpustack": Provider(path="/v1", quirks=_OLD),
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server; its usual port is ours
    "llama.cpp": Provider(path="/v1", quirks=_SERVER),
    # https://lmstudio.ai/docs/app/api/endpoints/openai
    "lmstudio": Provider(
        base_url="http://127.0.0.1:1234/v1",
        path="/v1",
        quirks=_OLD,
    ),
    # https://github.com/ollama/ollama/blob/main/docs/openai.md; max_completion_tokens is ignored
    "ollama-v1": Provider(
        base_url="http://127.0.0.1:11434/v1",
        path="/v1",
        quirks=Quirks(developer=False, fields=_OLD_BOUND, slots=1),
    ),
}
