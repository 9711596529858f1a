"""What other engines accept, as JSON schemas.

Source: vllm-project/vllm, vllm/config/speculative.py at 002e77c1f0ef (class SpeculativeConfig, which takes no other
key), vllm/transformers_utils/configs/{eagle,medusa}.py at 23c5aa92 and 0531c222; sgl-project/sglang,
docs/advanced_features/speculative_decoding.md at 067ad4d3, python/sglang/srt/models/llama_eagle3.py at 03d5a777;
ggml-org/llama.cpp, common/arg.cpp at f5e85d43. Read on 2026-11-22.
"""

from typing import Any

COUNT = {"type": "integer", "minimum": 1}
NEEDS_MODEL = {"if": {"properties": {"method": {"enum": ["draft_model", "eagle", "eagle3", "medusa"]}}}}

VLLM: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["method", "num_speculative_tokens"],
    "properties": {
        "method": {"enum": ["ngram", "medusa", "mlp_speculator", "draft_model", "suffix", "eagle", "eagle3", "mtp"]},
        "num_speculative_tokens": COUNT,
        "model": {"type": "string"},
        "draft_tensor_parallel_size": COUNT,
        "max_model_len": COUNT,
        "use_heterogeneous_vocab": {"type": "boolean"},
        "prompt_lookup_max": COUNT,
        "prompt_lookup_min": COUNT,
        "suffix_decoding_max_tree_depth": COUNT,
        "suffix_decoding_max_cached_requests": {"type": "integer", "minimum": 0},
        "suffix_decoding_max_spec_factor": {"type": "number", "minimum": 0},
        "suffix_decoding_min_token_prob": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "allOf": [
        {**NEEDS_MODEL, "then": {"required": ["model"]}},
        {
            "if": {"required": ["use_heterogeneous_vocab"]},
            "then": {"properties": {"method": {"const": "draft_model"}}},
        },
        {"if": {"required": ["prompt_lookup_max"]}, "then": {"properties": {"method": {"const": "ngram"}}}},
    ],
}

LLAMA_LAYER = {
    "hidden_size": COUNT,
    "intermediate_size": COUNT,
    "num_attention_heads": COUNT,
    "num_key_value_heads": COUNT,
    "head_dim": COUNT,
    "vocab_size": COUNT,
    "rms_norm_eps": {"type": "number", "exclusiveMinimum": 0},
    "rope_theta": {"type": "number"},
    "max_position_embeddings": COUNT,
    "num_hidden_layers": {"const": 1},
    "hidden_act": {"const": "silu"},
    "tie_word_embeddings": {"const": False},
    "model_type": {"const": "llama"},
}
THREE_LAYERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 3, "maxItems": 3}
AUX = {
    "type": "object",
    "required": ["use_aux_hidden_state", "eagle_aux_hidden_state_layer_ids"],
    "properties": {"use_aux_hidden_state": {"const": True}, "eagle_aux_hidden_state_layer_ids": THREE_LAYERS},
}


def head(architecture: str, **more: Any) -> dict[str, Any]:
    """config.json of a head that is a Llama layer."""
    properties = {**LLAMA_LAYER, "architectures": {"const": [architecture]}, **more}
    return {"type": "object", "required": list(properties), "properties": properties}


VLLM_EAGLE = head("EagleLlamaForCausalLM")
VLLM_EAGLE3 = head(
    "LlamaForCausalLMEagle3", draft_vocab_size=COUNT, eagle_aux_hidden_state_layer_ids=THREE_LAYERS, eagle_config=AUX
)
SGLANG_EAGLE = head("LlamaForCausalLMEagle")
SGLANG_EAGLE3 = head("LlamaForCausalLMEagle3", draft_vocab_size=COUNT, eagle_config=AUX)
VLLM_MEDUSA: dict[str, Any] = {
    "type": "object",
    "required": ["architectures", "model_type", "hidden_size", "vocab_size", "num_heads", "num_hidden_layers"],
    # Every other name with `num` and `heads` or `layers` in it would be taken for one of these two.
    "propertyNames": {
        "anyOf": [{"enum": ["num_heads", "num_hidden_layers"]}, {"not": {"pattern": "num.*(heads|layers)"}}]
    },
    "properties": {
        "architectures": {"const": ["MedusaModel"]},
        "model_type": {"const": "medusa"},
        "hidden_size": COUNT,
        "vocab_size": COUNT,
        "truncated_vocab_size": COUNT,
        "num_heads": COUNT,
        "num_hidden_layers": COUNT,
        "medusa_fc_bias": {"type": "boolean"},
        "original_lm_head": {"type": "boolean"},
    },
}

SGLANG: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["speculative_algorithm"],
    "properties": {
        "speculative_algorithm": {"enum": ["EAGLE", "EAGLE3", "NEXTN", "STANDALONE", "NGRAM"]},
        "speculative_draft_model_path": {"type": "string"},
        "speculative_num_steps": COUNT,
        "speculative_eagle_topk": COUNT,
        "speculative_num_draft_tokens": COUNT,
        "speculative_token_map": {"type": "string"},
        "speculative_ngram_min_match_window_size": COUNT,
        "speculative_ngram_max_match_window_size": COUNT,
    },
    "allOf": [
        {
            "if": {"properties": {"speculative_algorithm": {"enum": ["EAGLE", "EAGLE3", "STANDALONE"]}}},
            "then": {
                "required": [
                    "speculative_draft_model_path",
                    "speculative_num_steps",
                    "speculative_eagle_topk",
                    "speculative_num_draft_tokens",
                ]
            },
        },
        {
            "if": {"properties": {"speculative_eagle_topk": {"const": 1}}, "required": ["speculative_eagle_topk"]},
            "then": {"not": {"required": ["speculative_token_map", "speculative_ngram_max_match_window_size"]}},
        },
    ],
}

LLAMA_CPP: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["spec_type"],
    "properties": {
        "spec_type": {"enum": ["none", "draft-simple", "draft-eagle3", "draft-mtp", "ngram-simple", "ngram-mod"]},
        "spec_draft_model": {"type": "string"},
        "spec_draft_n_max": COUNT,
        "spec_ngram_simple_size_n": COUNT,
        "spec_ngram_simple_size_m": COUNT,
    },
    "if": {"properties": {"spec_type": {"pattern": "^draft-"}}},
    "then": {"required": ["spec_draft_model", "spec_draft_n_max"]},
    "else": {"not": {"required": ["spec_draft_model"]}},
}
