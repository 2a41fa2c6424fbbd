"""One batch of Transformers' continuous batching, which requests join and leave at every step.

The library runs the model in a thread of its own. Its outputs are read in a second one, which also
sees when the first has died: then every request hears of it, and the next one starts it anew.
"""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.generation.continuous_batching import ContinuousBatchingManager, FIFOScheduler
from transformers.generation.continuous_batching.requests import GenerationOutput
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING

from workers.llm.engines.transformers_logits import Guide, logits_processors

# How long it may take to see that the library's thread is gone.
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Generated:
    """The next tokens of a request, its end-of-sequence token included."""

    tokens: list[int]
    finished: bool


@dataclass(slots=True, eq=False)
class Request:
    """What to generate, and who is told: `deliver` is called in another thread.

    At most `longest` tokens after `tokens`, those that `guide` allows if there is one. After its
    last output or an exception, nothing more is delivered. `cached_tokens` of `tokens` were in the
    cache; it is known with the first output.
    """

    tokens: list[int]
    longest: int
    temperature: float
    deliver: Callable[[Generated | Exception], object]
    guide: Guide | None = None
    cached_tokens: int | None = None
    delivered: int = 0
    id: str = field(default_factory=map(str, itertools.count()).__next__)


class Batch:
    """Generates for requests that come and go."""

    def __init__(
        self,
        model: PreTrainedModel,
        sampling: GenerationConfig,
        config: ContinuousBatchingConfig,
    ) -> None:
        """Takes the memory that all of it needs, which `config` says.

        Raises:
            MemoryError: there is less.
        """
        self._requests: dict[str, Request] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._reader: threading.Thread | None = None
        config.scheduler_type = _TellingScheduler.__name__
        self._manager: ContinuousBatchingManager = model.init_continuous_batching(
            generation_config=sampling, continuous_batching_config=config
        )
        self._manager.logit_processor = logits_processors(
            sampling,
            model.config.vocab_size,
            config.max_requests_per_batch,
            model.device,
            self._guide,
        )
        self._manager.warmup()
        self._manager.batch_processor.scheduler.requests = self._requests

    def submit(self, request: Request) -> None:
        """Adds a request to the batch.

        Raises:
            RuntimeError: the batch is closed, or the library's thread does not start.
        """
        with self._lock:
            if self._closed:
                raise _closed()
            if self._reader is None:
                self._manager.start()
                self._reader = threading.Thread(target=self._read, name="transformers outputs")
                self._reader.start()
            self._requests[request.id] = request
            self._manager.add_request(
                request.tokens,
                request.id,
                max_new_tokens=request.longest,
                streaming=True,
                temperature=request.temperature,
            )

    def withdraw(self, request: Request) -> None:
        """Takes a request out of the batch before its next step, if it is still there."""
        with self._lock:
            if self._requests.pop(request.id, None) is not None:
                self._manager.cancel_request(request.id)

    def close(self) -> None:
        """Ends every request after the step that runs, and frees the memory."""
        with self._lock:
            self._closed = True
            reader = self._reader
            self._fail_all(_closed())
        if reader is not None:
            self._manager.stop(block=True, hard_stop=True)
            reader.join()
        self._manager.destroy()

    def _guide(self, request_id: str) -> Guide | None:
        request = self._requests.get(request_id)
        return request.guide if request else None

    def _read(self) -> None:
        while True:
            output = self._manager.get_result(timeout=_LOOK_S)
            with self._lock:
                if output is not None:
                    self._deliver(output)
                elif not self._manager.is_running():
                    error = self._manager.background_thread_status.fatal_error
                    self._fail_all(_failed(error))
                    self._reader = None
                    return

    def _deliver(self, output: GenerationOutput) -> None:
        request = self._requests.get(output.request_id)
        if request is None:  # withdrawn in the meantime
            return
        if output.is_finished():
            del self._requests[request.id]
        if output.error is not None:
            request.deliver(_failed(output.error))
            return
        tokens = output.generated_tokens[request.delivered :]
        request.delivered += len(tokens)
        request.deliver(Generated(tokens, output.is_finished()))

    def _fail_all(self, error: Exception) -> None:
        failed = [*self._requests.values()]
        self._requests.clear()
        for request in failed:
            self._manager.cancel_request(request.id)  # it may still wait to be seen
            request.deliver(error)


class _TellingScheduler(FIFOScheduler):
    """First come, first served; requests are told what of them was in the cache."""

    requests: dict[str, Request]

    def schedule_batch(self, *budgets: int) -> tuple:
        scheduled = super().schedule_batch(*budgets)
        for future in scheduled[0] or ():
            request = self.requests.get(future.state.request_id)
            if request is not None and request.cached_tokens is None:
                request.cached_tokens = future.state.position_offset
        return scheduled


SCHEDULER_MAPPING[_TellingScheduler.__name__] = _TellingScheduler


def _closed() -> RuntimeError:
    return RuntimeError("the transformers engine was closed")


def _failed(error: object) -> RuntimeError:
    return RuntimeError(f"the language model failed: {error}")
