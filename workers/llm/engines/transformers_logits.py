"""What happens to the logits of a batch whose requests want different things."""

from collections.abc import Callable

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.torch import allocate_token_bitmask, fill_next_token_bitmask
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.requests import FutureRequestState

# No temperature may be 0, by which logits are divided. At this one the likeliest token is taken,
# as far as float32 can tell.
COLDEST = 1e-6


class Guide:
    """Which tokens may come next for what is generated to be of a grammar.

    Raises:
        ValueError: llguidance does not compile the grammar; says why.
    """

    def __init__(self, tokenizer: LLTokenizer, grammar: str) -> None:
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0)
        self._consumed = 0
        if self._matcher.is_error():
            raise ValueError(self._matcher.get_error())

    def mask(self, generated: list[int], masks: torch.Tensor, row: int) -> None:
        """Sets a row of `masks`, int32 (rows, words), to what may follow `generated`.

        Everything may where the grammar has become too complex: whoever reads what is generated
        sees that it is not of the grammar.
        """
        self._matcher.consume_tokens(generated[self._consumed :])
        self._consumed = len(generated)
        if not self._matcher.is_error():
            fill_next_token_bitmask(self._matcher, masks, row)


def logits_processors(
    sampling: GenerationConfig,
    vocabulary: int,
    rows: int,
    device: torch.device,
    guide_of: Callable[[str], Guide | None],
) -> ContinuousBatchingLogitsProcessorList:
    """The guides of requests, their temperatures, and what `sampling` says for all.

    Args:
        vocabulary: how many logits a token has.
        rows: how many requests are in the batch at most.
        guide_of: tells a request's guide from its id.
    """
    chain = [
        _Guides(vocabulary, rows, device, guide_of),
        TemperatureLogitsWarper(sampling.temperature),
    ]
    if sampling.top_k:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        chain.append(TopPLogitsWarper(sampling.top_p))
    processors = ContinuousBatchingLogitsProcessorList(
        LogitsProcessorList(chain), per_request_processors=True
    )
    processors.tensors_required += 1  # it counts those it makes itself
    return processors


class _Guides(ContinuousBatchingLogitsProcessor):
    """Leaves each request that has a guide the tokens that may come next.

    The masks stay where they are on the device, and all of them are always applied: what a CUDA
    graph has captured holds for every batch.
    """

    supported_kwargs: dict[str, type]
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(
        self,
        vocabulary: int,
        rows: int,
        device: torch.device,
        guide_of: Callable[[str], Guide | None],
    ) -> None:
        self.supported_kwargs = {}
        self._guide_of = guide_of
        self._masks = allocate_token_bitmask(rows, vocabulary)
        self._on_device = self._masks.to(device, copy=True)
        self._bits = torch.arange(32, dtype=torch.int32, device=device)

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(
        self, requests_with_new_token: list[FutureRequestState]
    ) -> torch.Tensor:
        """Renews the masks; there are no other arguments."""
        self._masks.fill_(-1)  # every bit
        for row, future in enumerate(requests_with_new_token):
            guide = self._guide_of(future.state.request_id)
            if guide is not None:
                generated = future.state.to_generation_output().generated_tokens
                guide.mask(generated, self._masks, row)
        self._on_device.copy_(self._masks)
        return torch.zeros(len(requests_with_new_token), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        count, vocabulary = scores.shape
        words = self._on_device[:count].unsqueeze(-1)
        forbidden = (words >> self._bits & 1).view(count, -1)[:, :vocabulary] == 0
        return scores.masked_fill(forbidden, -torch.inf)
