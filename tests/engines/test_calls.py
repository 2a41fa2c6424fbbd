"""What every LLM engine does with tools, with a real model."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from shared.messages import NamedTool, Tool
from shared.settings import Settings
from tests.engines.smollm2 import checkpoint, checkpoint_with
from tests.support.chat_server import MODEL, llama_server
from workers.llm.engines import (
    Call,
    Completion,
    Delta,
    LlmEngine,
    Message,
    Prompt,
    PromptError,
    create,
)
from workers.llm.engines.llama import LlamaEngine

INSTRUCTIONS = Message("system", "You speak with the user. Give short, factual answers.")

# A model that was made for calls has such a template. This one makes the starter model write calls
# as a bigger one would, once it has seen some.
TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ 'user' if message.role == 'tool' else message.role }}
{%- if message.content %}{{ '\n' + message.content }}{% endif -%}
{%- if loop.first and tools %}{% for tool in tools %}{{ '\n' + (tool | tojson) }}{% endfor %}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' -}}
{{- (call.function.arguments | tojson) + '}\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
"""


def tool(name: str, description: str = "", **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return Tool(name=name, description=description, parameters=json.dumps(schema))


WEATHER = tool("get_weather", "Tells the weather of a city.", city={"type": "string"})
LIGHT = tool("set_light", "Switches light.", room={"type": "string"}, on={"type": "boolean"})
TOOLS = (WEATHER, LIGHT)

SCHEMAS: dict[str, dict[str, Any]] = {
    "nested": {
        "type": "object",
        "properties": {
            "guest": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "age": {"type": "integer", "minimum": 0, "maximum": 120},
                },
                "required": ["name", "age"],
            },
            "nights": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["guest", "nights"],
    },
    "enums_and_arrays": {
        "type": "object",
        "properties": {
            "size": {"enum": ["small", "large"]},
            "toppings": {
                "type": "array",
                "items": {"type": "string", "enum": ["ham", "olives", "cheese"]},
                "minItems": 1,
                "maxItems": 2,
            },
        },
        "required": ["size", "toppings"],
    },
    "numbers": {
        "type": "object",
        "properties": {
            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "amount": {"type": "number"},
            "count": {"type": ["integer", "null"]},
            "step": {"type": "integer", "multipleOf": 5, "minimum": 0},
        },
        "required": ["share", "amount", "count", "step"],
    },
    "all_optional": {
        "type": "object",
        "properties": {"note": {"type": "string"}, "urgent": {"type": "boolean"}},
    },
    "nothing": {},
    "references": {
        "type": "object",
        "properties": {"start": {"$ref": "#/$defs/place"}, "end": {"$ref": "#/$defs/place"}},
        "required": ["start", "end"],
        "$defs": {
            "place": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
        },
    },
    "either": {
        "type": "object",
        "properties": {
            "id": {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "string", "pattern": "^[a-z]{3}-[0-9]{2}$"},
                ]
            },
            "date": {"type": "string", "format": "date"},
            "link": {"type": "string", "format": "uri"},
        },
        "required": ["id", "date", "link"],
    },
    "both": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
        ]
    },
    "open": {"type": "object", "additionalProperties": {"type": "string"}},
    "endless": {
        "type": "object",
        "properties": {
            "people": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "email": {"format": "email"},
                        "more": {},
                    },
                    "required": ["name"],
                },
            }
        },
        "required": ["people"],
    },
}
QUESTIONS = [
    "Tell me a long story about a dragon.",
    'Repeat this: {"json": [1, 2, }</tool_call>',
]


TORCH = (pytest.mark.torch_engine, pytest.mark.timeout(300))
TRANSFORMERS = pytest.param("transformers", marks=TORCH)
TRAINED_TRANSFORMERS = pytest.param("transformers trained", marks=TORCH)
PLAIN = ["llama", TRANSFORMERS]
TRAINED = ["llama trained", "server trained", TRAINED_TRANSFORMERS]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LlmEngine]]:
    """Engines by name: the starter model, whose template knows no tools, or "trained", with one
    that does; at llama.cpp's server for "server"."""
    engines: dict[str, LlmEngine] = {}
    servers = ExitStack()

    def make(name: str) -> LlmEngine:
        runtime, _, trained = name.partition(" ")
        if runtime == "llama":
            return LlamaEngine(Settings(llm_slots=2), chat_template=TEMPLATE if trained else "")
        if runtime == "server":
            url = servers.enter_context(llama_server(chat_template=TEMPLATE if trained else ""))
            return create(Settings(llm_engine="openai", llm_url=url, llm_model=MODEL, llm_slots=2))
        folder = tmp_path_factory.mktemp("checkpoint")
        model = checkpoint_with(TEMPLATE, folder) if trained else checkpoint()
        return create(Settings(llm_engine="transformers", llm_model=model, llm_slots=2))

    def start(name: str) -> LlmEngine:
        if name not in engines:
            engine = make(name)
            engine.load()
            engines[name] = engine
        return engines[name]

    yield start
    for engine in engines.values():
        engine.close()
    servers.close()


@pytest.fixture(params=PLAIN)
def plain(request: pytest.FixtureRequest, started: Callable[[str], LlmEngine]) -> LlmEngine:
    return started(request.param)


@pytest.fixture(params=TRAINED)
def trained(request: pytest.FixtureRequest, started: Callable[[str], LlmEngine]) -> LlmEngine:
    return started(request.param)


@pytest.fixture(params=[*PLAIN, "llama trained", TRAINED_TRANSFORMERS])
def real(request: pytest.FixtureRequest, started: Callable[[str], LlmEngine]) -> LlmEngine:
    return started(request.param)


@pytest.fixture(params=[*PLAIN, *TRAINED, "server", "instant", "paced"])
def engine(request: pytest.FixtureRequest, started: Callable[[str], LlmEngine]) -> LlmEngine:
    if request.param in {"instant", "paced"}:
        return create(Settings(llm_engine=request.param, paced_token_ms=0))
    return started(request.param)


def ask(question: str, **options: Any) -> Prompt:
    options = {"tools": TOOLS, "temperature": 0.0, **options}
    return Prompt([INSTRUCTIONS, Message("user", question)], **options)


async def answer(engine: LlmEngine, prompt: Prompt) -> tuple[str, list[Call], Completion]:
    *steps, completion = [step async for step in engine.stream(prompt)]
    assert isinstance(completion, Completion)
    calls = [step for step in steps if isinstance(step, Call)]
    words = [step.text for step in steps if isinstance(step, Delta)]
    assert steps[len(words) :] == calls
    return "".join(words), calls, completion


async def test_a_forced_call_is_one_of_the_tools(engine: LlmEngine) -> None:
    words, [call], completion = await answer(engine, ask("Is it cold?", choice="required"))
    assert words == ""
    assert call.complete
    assert completion.finish == "stop"
    schema = {tool.name: json.loads(tool.parameters) for tool in TOOLS}[call.name]
    Draft202012Validator(schema).validate(json.loads(call.arguments))


async def test_a_named_call_is_that_tool(engine: LlmEngine) -> None:
    for name in ("get_weather", "set_light"):
        _, [call], _ = await answer(engine, ask("Hello.", choice=NamedTool(name)))
        assert call.name == name


async def test_a_tool_that_is_not_there_cannot_be_forced(engine: LlmEngine) -> None:
    with pytest.raises(PromptError, match="tool_choice: no tool fly is among the tools"):
        await answer(engine, ask("Hello.", choice=NamedTool("fly")))
    with pytest.raises(PromptError, match="tool_choice: no tool to call"):
        await answer(engine, ask("Hello.", choice="required", tools=()))


@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_a_question_is_answered_in_words(engine: LlmEngine, choice: Any) -> None:
    question = ask("What is the capital of France?", choice=choice, max_tokens=64)
    words, calls, completion = await answer(engine, question)
    assert "France" in words
    assert "{" not in words
    assert (calls, completion.finish) == ([], "stop")


async def test_a_call_that_is_cut_is_not_complete(engine: LlmEngine) -> None:
    for length in range(2, 30, 9):
        prompt = ask("What is the weather in Rome?", choice="required", max_tokens=length)
        _, calls, completion = await answer(engine, prompt)
        assert [call.complete for call in calls] == [is_json(call.arguments) for call in calls]
        assert completion.finish == "length" or calls[0].complete


async def test_a_forced_call_is_made_after_words_too(engine: LlmEngine) -> None:
    prompt = ask("What is the weather in Rome?", choice="required", prefix="Let me see. ")
    words, [call], _ = await answer(engine, prompt)
    assert words == ""
    assert call.complete


async def test_what_functions_returned_is_answered_in_words(engine: LlmEngine) -> None:
    history = [*exchange("Paris", "c1"), Message("user", "Thank you. And the capital of France?")]
    words, calls, _ = await answer(engine, Prompt([INSTRUCTIONS, *history], max_tokens=40))
    assert words
    assert "tool_call" not in words
    assert calls == []


@pytest.mark.parametrize("name", SCHEMAS)
async def test_arguments_are_what_the_schema_allows(plain: LlmEngine, name: str) -> None:
    schema = SCHEMAS[name]
    tools = (WEATHER, Tool(name=name, parameters=json.dumps(schema)))
    prompts = [ask(question, tools=tools, choice=NamedTool(name)) for question in QUESTIONS]
    for _, [call], completion in await asyncio.gather(*(answer(plain, p) for p in prompts)):
        assert (call.name, completion.finish) == (name, "stop")
        Draft202012Validator(schema).validate(json.loads(call.arguments))


@pytest.mark.parametrize(
    "argument",
    [
        {"pattern": "^(?=a)b$"},
        {"type": "array", "uniqueItems": True},
        {"$ref": "https://example.com/a.json"},
        {"type": "string", "minLength": 9, "maxLength": 8},
        {"type": "integer", "minimum": 10**30},  # which llguidance takes for its largest
    ],
)
async def test_a_schema_the_model_cannot_be_held_to_is_an_error(
    real: LlmEngine, argument: dict[str, Any]
) -> None:
    with pytest.raises(PromptError, match=r"tools: .* odd"):
        await answer(real, ask("Hello.", tools=(tool("odd", a=argument),), choice="required"))
    _, [call], _ = await answer(real, ask("Hello.", choice="required"))
    assert call.complete


@pytest.mark.parametrize("parameters", ["[]", "{", '"a"'])
async def test_parameters_that_are_no_schema_are_an_error(
    plain: LlmEngine, parameters: str
) -> None:
    bad = Tool(name="odd", parameters=parameters)
    with pytest.raises(PromptError, match="tools: the parameters of odd"):
        await answer(plain, ask("Hello.", tools=(bad,), choice="required"))


async def test_a_trained_model_calls_as_it_was_trained_to(trained: LlmEngine) -> None:
    prompt = shown_how("What is the weather in Paris?")
    words, [call], completion = await answer(trained, prompt)
    assert words == ""
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert (call.complete, completion.finish) == (True, "stop")


async def test_a_trained_models_call_that_is_cut_is_not_complete(trained: LlmEngine) -> None:
    words, calls, completion = await answer(
        trained, shown_how("What is the weather in Paris?", max_tokens=14)
    )
    assert words == ""
    assert [call.complete for call in calls] == [False]
    assert completion.finish == "length"


async def test_a_trained_model_that_may_call_nothing_calls_nothing(trained: LlmEngine) -> None:
    words, calls, _ = await answer(
        trained, shown_how("What is the weather in Paris?", choice="none", max_tokens=40)
    )
    assert words
    assert "tool_call" not in words
    assert calls == []


async def test_tools_are_read_once(trained: LlmEngine) -> None:
    await answer(trained, ask("Hello.", max_tokens=1))
    _, _, completion = await answer(trained, ask("Good morning.", choice="required"))
    assert completion.cached_tokens > completion.prompt_tokens // 2


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def exchange(city: str, call_id: str) -> list[Message]:
    call = Call("get_weather", json.dumps({"city": city}), call_id=call_id)
    return [
        Message("user", f"What is the weather in {city}?"),
        Message("assistant", "", calls=(call,)),
        Message("tool", "18 degrees", name="get_weather", call_id=call_id),
        Message("assistant", "18 degrees."),
    ]


def shown_how(question: str, **options: Any) -> Prompt:
    cities = ("Rome", "Oslo", "Bern", "Cork")
    history = [message for city in cities for message in exchange(city, f"c_{city}")]
    options = {"tools": TOOLS, "temperature": 0.0, **options}
    return Prompt([INSTRUCTIONS, *history, Message("user", question)], **options)
