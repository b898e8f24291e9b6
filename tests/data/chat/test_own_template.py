"""An own template is text around {prompt} or Jinja; a hostile one is refused, fast, and never runs in this process."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from jinja2 import Environment

from reft_studio.data.chat.own_template import LONGEST, MARK, PATTERN
from reft_studio.data.chat.templates import ALPACA, template_for
from reft_studio.errors import DataError, SpecError
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.training.spec import RunSpec
from tests.data.chat.test_templates import TURNS, FakeTokenizer

MORE = [{"role": "system", "content": "Be short."}, *TURNS, {"role": "user", "content": "Bye"}]
LLAMA_2 = (
    "custom:{% if messages[0].role == 'system' %}{% set system = '<<SYS>>' + messages[0].content + '<</SYS>> ' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if message['role'] == 'user' %}{{ bos_token ~ '[INST] ' ~ (system if loop.first else '') "
    "~ message['content'] | trim ~ ' [/INST]' }}{% else %}{{ ' ' ~ message.content ~ ' ' }}{% endif %}{% endfor %}"
)


def render(choice: str, messages: Any = TURNS) -> str:
    return template_for(FakeTokenizer(), choice).prompt(messages)


def test_plain_text_takes_the_prompt_where_it_says_so() -> None:
    assert render("Q: {prompt}\nA:") == "Q: Hi\nA:"
    assert render("Q: {prompt}\nA:", MORE) == "Q: Be short.\n\nHi\nA:Hello\n\nQ: Bye\nA:"
    assert render("{prompt}", [{"role": "user", "content": "a {prompt} {{ b }}"}]) == "a {prompt} {{ b }}"


def test_jinja_sees_messages_prompt_and_special_tokens() -> None:
    assert render("custom:{{ bos_token }}<u>{{ prompt }}</u>") == "<s><u>Hi</u>"
    assert render(LLAMA_2, MORE) == "<s>[INST] <<SYS>>Be short.<</SYS>> Hi [/INST] Hello <s>[INST] Bye [/INST]"


PUBLISHED = {
    "ChatML": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Gemma 2": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
        "{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
    "Llama 3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] "
        "+ '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "Mistral": (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('alternate') }}{% endif %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}"
        "{{ raise_exception('no') }}{% endif %}{% endfor %}"
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_chat_templates_as_they_are_published_render_as_plain_jinja_does(name: str) -> None:
    plain = Environment(trim_blocks=True, lstrip_blocks=True).from_string(PUBLISHED[name])
    turns = [*TURNS, {"role": "user", "content": "Bye "}]
    wanted = plain.render(messages=turns, add_generation_prompt=True, bos_token="<s>", eos_token="")
    assert render("custom:" + PUBLISHED[name], turns) == wanted


def test_special_tokens_are_added_once() -> None:
    assert template_for(FakeTokenizer(), "Q: {prompt}").special_tokens
    assert template_for(FakeTokenizer(), "custom:{{ prompt }}").special_tokens
    assert not template_for(FakeTokenizer(), "custom:{{ bos_token }}{{ prompt }}").special_tokens


def test_the_name_of_an_own_template_makes_it_again_and_its_hash_is_its_own() -> None:
    made = template_for(FakeTokenizer(), "Q: {prompt}\nA:")
    again = template_for(FakeTokenizer(), made.name)
    assert again.hash == made.hash and again.prompt(TURNS) == made.prompt(TURNS)
    assert len({made.hash, ALPACA.hash, template_for(FakeTokenizer(), "Q: {prompt}\nA: ").hash}) == 3


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("custom:no place", "does not show the prompt"),
        ("custom:{{ prompt | upper }}", "does not show the prompt"),
        ("custom:{{ prompt", "no Jinja that can be read: unexpected end of template"),
        ("custom:{{ prompt }}{{ raise_exception('only two turns') }}", "cannot be rendered: only two turns"),
        ("custom:{{ prompt }}{{ messages[0].content + 1 }}", "cannot be rendered"),
        ("{prompt}" + "x" * LONGEST, "has 8,008 characters; at most 8,000"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(choice: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        template_for(FakeTokenizer(), choice)


def test_a_conversation_that_an_own_template_refuses_is_an_error_of_the_row() -> None:
    made = template_for(
        FakeTokenizer(), "custom:{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ prompt }}"
    )
    assert made.prompt(TURNS[:1]) == "Hi"
    with pytest.raises(DataError, match="one turn only"):
        made.prompt(MORE)


GROWING = "{% set n = namespace(x=prompt) %}" + "{% set n.x = n.x + n.x %}" * 200 + "{{ n.x }}{{ prompt }}"
HOSTILE = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{{ prompt }}",
    "recursion": "{% for a in messages recursive %}{{ loop(messages) }}{% endfor %}{{ prompt }}",
    "product": "{{ 'a' * 9999999999 }}{{ prompt }}",
    "power": "{{ 9 ** (9 ** (9 ** 9)) }}{{ prompt }}",
    "width": "{{ '%9999999999d' % 1 }}{{ prompt }}",
    "width kept": "{% set f = '%9999999999d' %}{{ f % 1 }}{{ prompt }}",
    "format": "{{ '{:9999999999}'.format(1) }}{{ prompt }}",
    "filter": "{{ prompt | center(9999999999) }}{{ prompt }}",
    "growth": GROWING,
    "growth by ~": "{% set x = prompt %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}{{ prompt }}",
    "growth by ~ inside": "{% set x = prompt %}" + "{% set x = (x ~ x) | trim %}" * 60 + "{{ x }}{{ prompt }}",
    "growth by lists": "{% set x = prompt %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}{{ prompt }}",
    "much output": "{% set x = prompt %}" + "{% set x = x + x %}" * 8 + "{{ x }}" * 400,
    "macro": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}{{ prompt }}",
    "file": "{% include '/etc/passwd' %}{{ prompt }}",
    "inside": "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ prompt }}",
    "inside by item": "{{ messages['__class__'] }}{{ cycler.__init__.__globals__ }}{{ prompt }}",
    "nesting": "{{ " + "(" * 3000 + "prompt" + ")" * 3000 + " }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused_within_a_second(name: str) -> None:
    started = time.process_time()
    with pytest.raises(SpecError, match="Your template"):
        template_for(FakeTokenizer(), "custom:" + HOSTILE[name])
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{% for turn in messages %}{% for part in [turn.content] %}{{ part }}{% endfor %}{% endfor %}", "Hi"),
        ("{% set x %}<{{ prompt }}>{% endset %}{{ x | upper }}{{ prompt }}", "<HI>Hi"),
        ("{% macro f(a) %}[{{ a }}]{% endmacro %}{{ f(prompt) }}", "[Hi]"),
    ],
)
def test_all_of_jinja_may_be_used_as_in_the_template_of_a_model(body: str, text: str) -> None:
    assert render("custom:" + body) == text


def test_the_longest_rendering_that_is_allowed_stays_quick() -> None:
    """A hundred turns of a thousand characters, every one looked at by a loop that says it seven times."""
    body = "{% if m.content | trim | length > 5 %}{{ m.content }}{% endif %}" * 7
    made = template_for(FakeTokenizer(), "custom:{% for m in messages %}" + body + "{% endfor %}")
    started = time.process_time()
    assert len(made.prompt([{"role": "user", "content": "x" * 1000}] * 100)) == 700_000
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("choice", "fits"),
    [("auto", True), ("alpaca", True), ("Q: {prompt}\nA:", True), ("custom:{{ prompt }}\n", True), ("vicuna", False), ("", False)],
)
def test_the_setting_takes_names_and_own_templates_only(choice: str, fits: bool) -> None:
    assert (re.search(PATTERN, choice) is not None) == fits


def test_the_specs_of_teacher_and_run_take_an_own_template_and_refuse_another_name() -> None:
    sets = {name: "d" for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
    assert TeacherSpec.checked(**sets, template="Q: {prompt}\nA:").template.startswith("Q")
    assert RunSpec.checked(dataset="d", method="sft", template="custom:{{ prompt }}").template.startswith(MARK)
    with pytest.raises(SpecError, match="template is 'vicuna'"):
        RunSpec.checked(dataset="d", method="sft", template="vicuna")
