"""Small models with random weights, made where the tests run: nothing is downloaded. One tokenizer for all, trained
on the project's own documents.

Usage: models.py FOLDER [name ...]
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCABULARY = 1024
# name: (layers, hidden, heads, KV heads, feed-forward). Head sizes are those that vLLM's CPU attention has.
LLAMAS = {"tiny": (4, 256, 8, 4, 512), "mid": (12, 768, 12, 4, 2048)}


def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))]
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    return fast


def config(name):
    from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig

    common = dict(vocab_size=VOCABULARY, max_position_embeddings=32768, bos_token_id=0, eos_token_id=1,
                  tie_word_embeddings=False)
    if name in LLAMAS:
        layers, hidden, heads, kv_heads, forward = LLAMAS[name]
        return LlamaConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
                           num_key_value_heads=kv_heads, intermediate_size=forward, **common)
    if name == "other":  # tiny's shape, other weights
        return config("tiny")
    if name == "sliding":
        return MistralConfig(num_hidden_layers=4, hidden_size=256, num_attention_heads=8, num_key_value_heads=4,
                             intermediate_size=512, sliding_window=256, **common)
    if name == "hybrid":  # five sliding layers for each full one
        return Gemma3TextConfig(num_hidden_layers=6, hidden_size=256, num_attention_heads=4,
                                num_key_value_heads=1, head_dim=64, intermediate_size=512, sliding_window=256,
                                layer_types=["sliding_attention"] * 5 + ["full_attention"], **common)
    raise ValueError(f"no model '{name}'")


def make(folder, name, dtype="bfloat16"):
    """The folder of a model; made on first use. Equal weights for equal arguments."""
    import torch
    from transformers import AutoModelForCausalLM

    target = pathlib.Path(folder) / f"{name}-{dtype}"
    if (target / "done").exists():
        return str(target)
    torch.manual_seed(sum(name.encode()))
    model = AutoModelForCausalLM.from_config(config(name)).to(getattr(torch, dtype))
    # Larger than the usual start: attention that is almost uniform would not show wrong KV.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(3.0)
    model.generation_config.eos_token_id = None
    model.save_pretrained(target)
    tokenizer().save_pretrained(target)
    (target / "done").write_text(json.dumps({"name": name, "dtype": dtype}))
    return str(target)


def make_adapter(folder, name, seed, rank=8):
    """A LoRA adapter of a model with made-up weights, large enough to change what it says."""
    import torch
    from safetensors.torch import save_file

    shape = config(name)
    generator = torch.Generator().manual_seed(seed)
    head = shape.hidden_size // shape.num_attention_heads
    targets = {"q_proj": shape.num_attention_heads * head, "v_proj": shape.num_key_value_heads * head}
    weights = {}
    for layer in range(shape.num_hidden_layers):
        for target, out in targets.items():
            at = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            weights[f"{at}.lora_A.weight"] = torch.randn((rank, shape.hidden_size), generator=generator) * 0.05
            weights[f"{at}.lora_B.weight"] = torch.randn((out, rank), generator=generator) * 0.05
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0,
        "bias": "none", "target_modules": sorted(targets), "base_model_name_or_path": name}))
    return str(folder)


if __name__ == "__main__":
    for wanted in sys.argv[2:] or ["tiny"]:
        print(make(sys.argv[1], wanted))
