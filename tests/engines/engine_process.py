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
        from vllm.distributed.kv_transfer import get_kv_transfer_group

        return core.scheduler.connector._scheduler, get_kv_transfer_group()._worker

    def generate(self, prompts, max_tokens=8, salts=None, logprobs=True):
        from vllm import SamplingParams

        parameters = SamplingParams(
            temperature=0, max_tokens=max_tokens, logprobs=1 if logprobs else None, ignore_eos=True)
        asked = [{"prompt_token_ids": p} for p in prompts]
        for one, salt in zip(asked, salts or []):
            if salt is not None:
                one["cache_salt"] = salt
        begin = time.monotonic()
        outputs = self.llm.generate(asked, parameters, use_tqdm=False)
        seconds = time.monotonic() - begin
        answers = []
        for output in outputs:
            one = output.outputs[0]
            total = sum(max(p.logprob for p in step.values()) for step in one.logprobs or [])
            answers.append({"tokens": list(one.token_ids), "cached": output.num_cached_tokens or 0,
                            "logprob": round(total, 5), "finish": one.finish_reason})
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
            core.step_fn() if hasattr(core, "step_fn") else core.step()

    def counters(self):
        return {m.name.removeprefix("vllm:kvtier_"): m.value for m in self.llm.get_metrics()
                if m.name.startswith("vllm:kvtier_")}

    def options(self, **changes):
        for side in self._sides():
            side._options = dataclasses.replace(side._options, **changes)
        return True

    def damage(self, prompt_chunks):
        """Each following promise has these chunks damaged in shared memory before the workers load them."""
        scheduler, _ = self._sides()
        if not hasattr(scheduler, "undamaged"):
            scheduler.undamaged = scheduler.matched_tokens
        if not prompt_chunks:
            scheduler.matched_tokens = scheduler.undamaged
            return True

        def matched_tokens(request, computed):
            answer = scheduler.undamaged(request, computed)
            promise = scheduler._tracked[request.request_id].promise
            for chunk in prompt_chunks:
                if promise is not None and chunk < promise.chunks:
                    payload = promise.payload(chunk)
                    middle = payload.address + len(payload) // 2
                    ctypes.memset(middle, ctypes.string_at(middle, 1)[0] ^ 0xFF, 1)
            return answer

        scheduler.matched_tokens = matched_tokens
        return True

    def time_matches(self, prompt, rounds):
        """Microseconds of each call for a prompt that is cached, as the scheduler makes it."""
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        core = self.llm.llm_engine.engine_core.engine_core
        scheduler, _ = self._sides()
        times, tokens = [], 0
        for i in range(rounds):
            request = Request(request_id=f"timed-{i}", prompt_token_ids=list(prompt),
                              sampling_params=SamplingParams(max_tokens=1), pooling_params=None,
                              block_hasher=core.request_block_hasher)
            scheduler.on_new_request(request)
            begin = time.perf_counter_ns()
            tokens, _ = scheduler.matched_tokens(request, 0)
            times.append((time.perf_counter_ns() - begin) / 1000)
            del scheduler._tracked[request.request_id]
        return {"microseconds": times, "tokens": tokens}

    def events(self):
        scheduler, _ = self._sides()
        return [[e.medium, e.block_size, len(e.token_ids), e.parent_block_hash is None]
                for e in getattr(scheduler, "seen_events", [])]

    def attached(self):
        return all(side is not None for side in self._sides()) and bool(self._sides()[0]._session.attached)

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
