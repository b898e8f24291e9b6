"""Chat templates of strangers: they render as transformers renders them, always alike, and none can hang or fill this process."""

from __future__ import annotations

import time
from typing import Any

import psutil
import pytest

from reft_studio.data.chat import renderer
from reft_studio.data.chat.renderer import LARGE, REFUSED, SLOW, SYNTAX, render
from reft_studio.data.chat.templates import chat_template, template_for, transcript
from reft_studio.errors import DataError, PrerequisiteError, SpecError
from tests.data.chat.test_templates import SPEAKS, FakeTokenizer

CHAT = [{"role": "user", "content": "How do I bake bread?"}]
LLAMA = """{{- bos_token }}
{%- if strftime_now is defined %}{%- set date = strftime_now('%d %b %Y') %}{%- else %}{%- set date = '26 Jul 2024' %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}<|system|>{{ 'Today: ' + date + system }}<|end|>
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>\n\n' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""
QWEN = """{%- macro part(m) -%}
<|im_start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% endif %}
{%- endmacro -%}
{%- set ns = namespace(last=messages | length - 1) %}
{%- for m in messages[::-1] %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% break %}{% endif %}{%- endfor %}
{%- for m in messages %}
{{ part(m) }}
{%- if m.tool_calls %}{%- for call in m.tool_calls %}<call>{{ call | tojson }}</call>{%- endfor %}{%- endif %}
{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}<|im_end|>
{% generation %}{{ dict(a=1) | tojson }}{% endgeneration %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}{{ ns.last }}{{ tools }}"""
CHATS: list[list[dict[str, Any]]] = [
    CHAT,
    [{"role": "system", "content": "Be brief. <b>&amp;"}, {"role": "user", "content": " \ud83d é漢 \n{{ x }} {% y %}"}],
    [*CHAT, {"role": "assistant", "content": None, "tool_calls": [{"f": "<&>"}], "thinking": "hm"}, {"role": "user", "content": "and?"}],
]
HANG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = {
    "three gigabytes of text": ("{{ 'x' * 3000000000 }}", LARGE),
    "three gigabytes by and by": ("{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}", LARGE),
    "a text that doubles": (
        "{% set n = namespace(x='x') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x | length }}",
        (LARGE, SLOW),
    ),
    "loops in loops": (HANG, SLOW),
    "a number of millions of digits": ("{% set n = namespace(x=7) %}{% for a in range(40) %}{% set n.x = n.x ** 7 %}{% endfor %}", SLOW),
    "a macro that calls itself": ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", REFUSED),
    "brackets": ("{{ " + "(" * 50_000 + ")" * 50_000 + " }}", SYNTAX),
    "a huge template": ("x" * 2_000_000, LARGE),
    "a padded number": ("{{ '%2000000000d' % 1 }}", LARGE),
    "python inside": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", REFUSED),
    "a file": ("{% include '/etc/passwd' %}", REFUSED),
    "chance": ("{{ [1, 2, 3] | random }}", SYNTAX),
    "words by chance": ("{{ lipsum() }}", REFUSED),
    "no template": ("{% if %}", SYNTAX),
}


@pytest.mark.parametrize("template", [LLAMA.replace("strftime_now", "not_known"), QWEN, SPEAKS], ids=["llama", "qwen", "speaks"])
def test_a_template_renders_as_transformers_renders_it(template: str) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    for asks in (True, False):
        theirs = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=asks) for chat in CHATS]
        assert [str(one) for one in render(template, CHATS, names=names, add_generation_prompt=asks)] == theirs


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_in_one_of_four_words(name: str) -> None:
    template, error = HOSTILE[name]
    before, started = psutil.Process().memory_info().rss, time.process_time()
    found = render(template, [CHAT], names={})[0]
    assert found.error in error and str(found) == "" != found.error
    assert psutil.Process().memory_info().rss - before < 50_000_000 and time.process_time() - started < 1
    assert str(render(SPEAKS, [CHAT], names={})[0]) == "user:How do I bake bread?|assistant:", "the next one is served"


def test_a_text_may_not_grow_far_beyond_its_conversation_but_a_long_conversation_is_rendered() -> None:
    long = [{"role": "user", "content": "x" * 3_000_000}]
    assert len(render("{{ messages[0].content }}", [long], names={})[0]) == 3_000_000
    assert [bool(one.error) for one in render("{{ messages[0].content * 9 }}", [CHAT, long], names={})] == [False, True]


def test_a_template_that_hangs_again_and_again_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% if 'hang' in messages[0].content %}" + HANG + "{% endif %}{{ messages[0].content }}"
    chats = [[{"role": "user", "content": text}] for text in ("a", "hang", "b", "hang", "c", "hang", "d")]
    assert [one.error or str(one) for one in render(template, chats[:5], names={})] == ["a", SLOW, "b", SLOW, "c"]
    with pytest.raises(PrerequisiteError, match="chat template hangs"):
        render(template, chats, names={})
    with pytest.raises(PrerequisiteError, match="chat template hangs"):
        render(template, chats[:1], names={})


def test_a_process_that_dies_is_started_again() -> None:
    assert not render(SPEAKS, [CHAT], names={})[0].error
    running = renderer._PROCESS._running
    assert running is not None
    running.kill()
    running.wait()
    assert [one.error for one in render(SPEAKS, [CHAT, CHAT], names={})] == ["", ""]


def test_many_conversations_are_answered_in_order_whatever_their_size() -> None:
    chats = [[{"role": "user", "content": f"{number} " + "x" * (number * 997 % 20_000)}] for number in range(1500)]
    assert [str(one) for one in render("{{ messages[0].content }}", chats, names={})] == [chat[0]["content"] for chat in chats]


def test_the_clock_of_a_template_stands_still_and_is_part_of_its_name() -> None:
    template = chat_template(FakeTokenizer(LLAMA))
    assert "Today: 01 Jan 2025" in template.prompt(CHAT) and template.clock == "2025-01-01T12:00:00"
    assert chat_template(FakeTokenizer(SPEAKS)).clock is None
    without = LLAMA.replace("strftime_now", "not_known")
    assert chat_template(FakeTokenizer(without)).clock is None and "26 Jul 2024" in chat_template(FakeTokenizer(without)).prompt(CHAT)


@pytest.mark.parametrize(
    ("name", "told"), [("no template", "is no template"), ("loops in loops", "hangs"), ("three gigabytes of text", "takes more memory")]
)
def test_a_model_with_a_hostile_template_is_refused_in_words_and_works_with_another(name: str, told: str) -> None:
    tokenizer = FakeTokenizer(HOSTILE[name][0])
    with pytest.raises(SpecError, match=told):
        chat_template(tokenizer)
    assert template_for(tokenizer, "alpaca").prompt(CHAT)


def test_a_row_that_the_template_refuses_is_named_without_its_text_and_the_others_are_rendered() -> None:
    template = chat_template(FakeTokenizer("{% if 'rude' in messages[0].content %}{{ raise_exception(messages[0].content) }}{% endif %}ok"))
    with pytest.raises(DataError) as caught:
        template.prompt([{"role": "user", "content": "rude words"}])
    assert "rude" not in str(caught.value) and "roles: user" in str(caught.value)
    asked = [[{"role": "user", "content": text}] for text in ("kind", "rude", "kind")]
    assert template.prompts(asked) == ["ok", None, "ok"]


def test_a_finished_conversation_ends_with_its_answer() -> None:
    assert transcript(FakeTokenizer(), [*CHAT, {"role": "assistant", "content": "Mix."}]).endswith("assistant:Mix.|")
