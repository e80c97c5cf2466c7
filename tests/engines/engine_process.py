"""A vLLM engine in a process of its own that a test drives, line by line, and may kill at any moment.

Usage: engine_process.py MODEL JSON_OF_LLM_ARGUMENTS. Commands are JSON lines on standard input, answers are JSON
lines on descriptor 3; everything that vLLM prints goes to standard error.
"""
import ctypes
import dataclasses
import json
import os
import sys
import time


class Engine:
    def __init__(self, model, arguments):
        from vllm import LLM

        self.llm = LLM(model, enforce_eager=True, disable_log_stats=False, **arguments)
        # The first one pays for what is made once.
        self.generate([list(range(2, 40))], max_tokens=2)

    def _sides(self):
        core = self.llm.llm_engine.engine_core.engine_core
        from vllm.distributed.kv_transfer import get_kv_transfer_group, has_kv_transfer_group

        # With several ranks the workers are processes of their own.
        worker = get_kv_transfer_group()._worker if has_kv_transfer_group() else None
        return core.scheduler.connector._scheduler, worker

    def generate(self, prompts, max_tokens=8, salts=None, logprobs=True, adapters=None):
        """adapters: of each prompt None, or (name, number, folder)."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        parameters = SamplingParams(
            temperature=0, max_tokens=max_tokens, logprobs=1 if logprobs else None, ignore_eos=True)
        asked = [{"prompt_token_ids": p} for p in prompts]
        for one, salt in zip(asked, salts or []):
            if salt is not None:
                one["cache_salt"] = salt
        begin = time.monotonic()
        loras = [LoRARequest(*one) if one else None for one in adapters] if adapters else None
        outputs = self.llm.generate(asked, parameters, use_tqdm=False, lora_request=loras)
        seconds = time.monotonic() - begin
        answers = []
        for output in outputs:
            one = output.outputs[0]
            total = sum(max(p.logprob for p in step.values()) for step in one.logprobs or [])
            first = output.metrics.first_token_latency if output.metrics else 0.0
            answers.append({"tokens": list(one.token_ids), "cached": output.num_cached_tokens or 0,
                            "logprob": round(total, 5), "finish": one.finish_reason, "ttft": first})
        return {"answers": answers, "seconds": seconds}

    def reset(self):
        """vLLM's own prefix cache, so that a hit is kvtier's. Waits for stores: their blocks are in use."""
        for _ in range(500):
            self._step_idle()
            if self.llm.reset_prefix_cache():
                return True
            time.sleep(0.01)
        return False

    def _step_idle(self):
        core = self.llm.llm_engine.engine_core.engine_core
        for _ in range(200):
            if not core.scheduler.has_requests():
                return
            self.llm.llm_engine.step()  # counts what the step reports

    def counters(self):
        return {m.name.removeprefix("vllm:kvtier_"): m.value for m in self.llm.get_metrics()
                if m.name.startswith("vllm:kvtier_")}

    def options(self, **changes):
        for side in filter(None, self._sides()):
            side._options = dataclasses.replace(side._options, **changes)
        return True

    def damage(self, prompt_chunks, shard=0):
        """Each following promise has these chunks (of this rank) damaged in shared memory before the workers load
        them."""
        scheduler = self._sides()[0]
        if not hasattr(scheduler, "undamaged"):
            scheduler.undamaged = scheduler.matched_tokens
        if not prompt_chunks:
            scheduler.matched_tokens = scheduler.undamaged
            return True
        space = scheduler._space if shard == 0 else self._shard(scheduler, shard)

        def matched_tokens(request, computed):
            answer = scheduler.undamaged(request, computed)
            state = scheduler._tracked[request.request_id]
            if not state.promise:
                return answer
            with space.match(state.chain, first=state.first, all_shards=False) as match:
                for chunk in prompt_chunks:
                    if chunk < match.chunks:
                        payload = match.payload(chunk)
                        middle = payload.address + len(payload) // 2
                        ctypes.memset(middle, ctypes.string_at(middle, 1)[0] ^ 0xFF, 1)
            return answer

        scheduler.matched_tokens = matched_tokens
        return True

    @staticmethod
    def _shard(scheduler, shard):
        """The space of another rank, as this process sees it."""
        import kvtier

        spec = scheduler._space.spec
        names = ("dtype", "layout", "isa", "layers", "kv_heads", "head_dim", "shards", "tokens_per_chunk",
                 "chunk_bytes")
        space = scheduler._session.open_space(
            kvtier.SpaceSpec(spec.model, shard=shard, **{name: getattr(spec, name) for name in names}))
        end = time.monotonic() + 10
        while space.derive([1] * spec.tokens_per_chunk) is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)  # the space opens in the background
        return space

    def seed_agrees(self, other):
        """What an engine with another seed of its hashes is told (or with the same one)."""
        from vllm.logger import init_logger
        from vllm.v1.core import kv_cache_utils

        from kvtier.vllm import seed

        scheduler = self._sides()[0]
        own = kv_cache_utils.NONE_HASH
        try:
            if other:
                kv_cache_utils.NONE_HASH = type(own)(bytes(32)) if isinstance(own, bytes) else bytes(32)
            return seed.check(scheduler._session, scheduler._space.spec, init_logger("vllm.kvtier.test"), 5.0)
        finally:
            kv_cache_utils.NONE_HASH = own

    def time_matches(self, prompt, rounds):
        """Microseconds of each call for a prompt that is cached, as the scheduler makes it."""
        scheduler, _ = self._sides()
        times, busy, tokens = [], [], 0
        for i in range(rounds):
            request = self._arrived(prompt, f"timed-{i}")
            begin, busy_begin = time.perf_counter_ns(), time.thread_time_ns()
            tokens, _ = scheduler.matched_tokens(request, 0)
            busy.append((time.thread_time_ns() - busy_begin) / 1000)
            times.append((time.perf_counter_ns() - begin) / 1000)
            del scheduler._tracked[request.request_id]
        return {"microseconds": times, "cpu_microseconds": busy, "tokens": tokens}

    def _arrived(self, prompt, name):
        """A request as the scheduler sees it come."""
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        core = self.llm.llm_engine.engine_core.engine_core
        request = Request(request_id=name, prompt_token_ids=list(prompt),
                          sampling_params=SamplingParams(max_tokens=1), pooling_params=None,
                          block_hasher=core.request_block_hasher)
        self._sides()[0].on_new_request(request)
        return request

    def plan(self, prompt):
        """What the planner would load of a prompt now."""
        scheduler, _ = self._sides()
        request = self._arrived(prompt, "planned")
        state = scheduler._tracked.pop(request.request_id)
        plan = scheduler._plan(state, 0, (len(prompt) - 1) // scheduler._chunk_tokens)
        return {"load_chunks": plan.load_chunks, "resident": plan.resident} if plan is not None else None

    def report_prefills(self, tokens, context, seconds, times):
        """As if this engine had computed so fast."""
        _, worker = self._sides()
        return [bool(worker._spaces[0].report_prefill(tokens, context, seconds)) for _ in range(times)].count(True)

    def step_idle(self):
        self._step_idle()
        return True

    def preemptions(self):
        return sum(m.value for m in self.llm.get_metrics() if m.name == "vllm:num_preemptions")

    def attached(self):
        return bool(self._sides()[0]._session.attached)

    def session_stats(self):
        return self._sides()[0]._session.stats()


def main():
    answers = os.fdopen(3, "w", buffering=1)
    os.dup2(2, 1)
    try:
        engine = Engine(sys.argv[1], json.loads(sys.argv[2]))
        answers.write(json.dumps({"ok": True}) + "\n")
        for line in sys.stdin:
            command = json.loads(line)
            value = getattr(engine, command["do"])(*command.get("args", []), **command.get("named", {}))
            answers.write(json.dumps({"value": value}) + "\n")
    except Exception as error:
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        raise


if __name__ == "__main__":
    main()
