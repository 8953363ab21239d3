"""A small assistant with two tools, and the scripted model it uses when no real one is named."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.messages import UserPromptPart as UserPrompt
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from awaken.domain.clock import Clock, sleep

INSTRUCTIONS: Final = (
    "You are a friendly assistant in a demonstration of a durable run server. Be brief. "
    "Use the tools for counting words and for arithmetic instead of doing either in your head."
)
TOKEN_DELAY_S: Final = 0.03
"""Between two tokens of the scripted model, so that a person sees the answer come."""
MAX_EXPONENT: Final = 1_000
MAX_DIGITS: Final = 1_000

_EXPRESSION: Final = re.compile(r"\(*-?\d[\d.\s+*/%()^-]*[\d)]")
_COUNTING: Final = re.compile(r"\b(how many words|count (?:the )?words)\b[^:]*:?\s*(.*)", re.IGNORECASE | re.DOTALL)
_OPERATORS: Final[dict[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,  # pyright: ignore[reportUnknownMemberType]
    ast.FloorDiv: operator.floordiv,  # pyright: ignore[reportUnknownMemberType]
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,  # pyright: ignore[reportUnknownMemberType]
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_HELP: Final = (
    "I am a scripted model on this machine, so I only know a few things. Ask me to calculate something, such as "
    '"what is 12 * (3 + 4)?", or "count the words: to be or not to be". '
    "Set AWAKEN_MODEL to talk to a real model instead."
)


def make_assistant(clock: Clock, *, model: str | None = None, token_delay_s: float = TOKEN_DELAY_S) -> Agent[Any, str]:
    """The agent, with a real model if one is named, as Pydantic AI names them."""
    return Agent[Any, str](
        model or scripted_model(clock, token_delay_s=token_delay_s),
        instructions=INSTRUCTIONS,
        tools=[count_words, calculate],
    )


async def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


async def calculate(expression: str) -> float | int:
    """Work out an arithmetic expression with + - * / // % ** and parentheses."""
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError) as error:
        raise ModelRetry(f"{expression!r} cannot be worked out: {error}") from error
    return value


def _value(node: ast.AST) -> Any:
    """The number a syntax tree amounts to; nothing but numbers and operators is allowed in it."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = _value(left), _value(right)
            if isinstance(op, ast.Pow) and (abs(b) > MAX_EXPONENT or abs(a) > MAX_EXPONENT):
                raise ValueError("the power is too large")
            result = _OPERATORS[type(op)](a, b)
            if isinstance(result, complex) or abs(result) > 10**MAX_DIGITS:
                raise ValueError("the result is too large")
            return result
        case _:
            raise ValueError("only numbers and + - * / // % ** ( ) are understood")


# --- the scripted model -----------------------------------------------------------------------------------------------


def scripted_model(clock: Clock, *, token_delay_s: float = TOKEN_DELAY_S) -> FunctionModel:
    """A model of a few rules that answers token by token."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        reply = answer(messages)
        if isinstance(reply, ToolCallPart):
            yield {0: DeltaToolCall(reply.tool_name, reply.args_as_json_str(), tool_call_id=reply.tool_call_id)}
            return
        for index, token in enumerate(re.findall(r"\S+\s*", reply)):
            if index and token_delay_s:
                await sleep(clock, token_delay_s)
            yield token

    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        reply = answer(messages)
        return ModelResponse(parts=[reply if isinstance(reply, ToolCallPart) else TextPart(reply)])

    return FunctionModel(respond, stream_function=stream, model_name="scripted-assistant")


def answer(messages: list[ModelMessage]) -> str | ToolCallPart:
    """What the scripted model answers: a tool call for what it can look up, a sentence for what it got back."""
    last = messages[-1]
    results = (
        [part for part in last.parts if isinstance(part, ToolReturnPart)] if isinstance(last, ModelRequest) else []
    )
    if results:
        return _about(results[-1])
    asked = _last_prompt(messages)
    counting = _COUNTING.search(asked)
    if counting is not None and counting[2].strip():
        return ToolCallPart("count_words", {"text": counting[2].strip()}, "call_0")
    expression = _EXPRESSION.search(asked)
    if expression is not None and re.search(r"[+*/%^-]", expression[0].lstrip("(-")):
        return ToolCallPart("calculate", {"expression": expression[0].replace("^", "**")}, "call_0")
    return f'You said: "{asked.strip()}". {_HELP}' if asked.strip() else _HELP


def _about(result: ToolReturnPart) -> str:
    if result.outcome != "success":
        return f"That did not work: {result.content}"
    if result.tool_name == "count_words":
        return f"I count {result.content} word{'' if result.content == 1 else 's'}."
    return f"That makes {result.content}."


def _last_prompt(messages: list[ModelMessage]) -> str:
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, UserPrompt):
                content = part.content
                return content if isinstance(content, str) else " ".join([c for c in content if isinstance(c, str)])
    return ""
